//! The engine on drawn cases: batches and whole trainings.

mod batches;
mod drawn;
mod runs;
