//! Comparisons as a whole process makes and keeps them: what counts as noise, and which rules are told to be at
//! fault.

mod noise;
mod rules;
mod world;
