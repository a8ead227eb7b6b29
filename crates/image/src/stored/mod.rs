//! What the formats of raw voxels share: reading values with bounded memory, writing them, gzip.

mod kind;
mod pixels;
mod source;

pub(crate) use kind::{Kind, Scale};
pub(crate) use pixels::Pixels;
pub(crate) use source::{Source, count};
