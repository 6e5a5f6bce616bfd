//! Comparisons as a whole process makes and keeps them: what of users' data may be found afterwards, what counts as
//! noise, and which rules are told to be at fault.

mod canary;
mod noise;
mod rules;
pub(crate) mod world;
