//! The whole pipeline below the sockets on a simulated disk, driven step by step from a seed.
//!
//! [`world`] runs it, [`model`] knows what was sent and promised. A failing seed prints itself; `HEADWATER_SIM_SEED=N` runs it alone.

mod bed;
mod bounded_start;
mod clock;
mod faults;
mod findings;
mod flips;
mod model;
mod planted;
mod retention;
mod rows;
mod seeds;
mod shelf;
mod syncs;
mod trouble;
mod world;
