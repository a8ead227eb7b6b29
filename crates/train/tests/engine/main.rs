//! The engine on drawn cases: batches and whole trainings.

mod batches;
mod cascade;
mod device;
mod drawn;
mod killed;
mod presets;
mod ranks;
mod runs;
mod variants;
