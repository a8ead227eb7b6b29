//! The engine on drawn cases: batches and whole trainings.

mod batches;
mod cascade;
mod drawn;
mod killed;
mod runs;
mod variants;
