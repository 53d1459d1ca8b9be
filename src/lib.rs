//! servent
pub mod rng;
pub mod time;
