use crate::intensity::{BlurBuffers, LowResolutionBuffers};
use crate::spatial::RowTables;

/// Buffers that a thread keeps from sample to sample, so that after the first ones nothing is allocated.
#[derive(Debug, Default)]
pub struct Workspace {
    pub(crate) rows: RowTables,
    pub(crate) blur: BlurBuffers,
    pub(crate) low_resolution: LowResolutionBuffers,
}
