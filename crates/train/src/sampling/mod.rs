//! Which case, which patch: the draw of a training sample.

mod bbox;
mod draw;
mod oversample;
mod source;

pub use bbox::CropRange;
pub use draw::{Drawn, Sampler};
pub use oversample::{Oversampling, is_foreground_forced};
pub use source::{CaseSource, Locations, StoreSource};
