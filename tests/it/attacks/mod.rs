//! Hostile clients, each beside two honest ones that must not notice: what one of them writes is acknowledged, and seen
//! by the other, while the attack lasts and after it.

mod cells;
mod channels;
mod fragments;
mod frames;
mod silence;
mod stamps;
mod volume;
mod world;
