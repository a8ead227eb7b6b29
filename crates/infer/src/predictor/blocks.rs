//! Within a limit of memory: which parts of a case are predicted one after the other.

use nnunet_image::BoundingBox;

use crate::InferError;
use crate::export::{Block, Export};

/// What of the memory does not depend on the blocks, and what does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    /// Image, results and the network at work, in bytes.
    pub(super) fixed: usize,
    /// Sums per voxel of the network's grid, in bytes.
    pub(super) per_voxel: usize,
    pub(super) limit: usize,
}

/// Cuts a part of the cropped image into as few blocks as fit into memory: along z, and if that is not enough along y.
///
/// # Errors
/// Even the smallest blocks do not fit.
pub(super) fn blocks(export: &Export<'_>, out: BoundingBox, need: Need) -> Result<Vec<Block>, InferError> {
    let [depth, height, _] = out.shape();
    let bytes = |blocks: &[Block]| {
        let largest = blocks.iter().map(|block| block.low.shape().iter().product::<usize>()).max();
        need.fixed.saturating_add(largest.unwrap_or(0).saturating_mul(need.per_voxel))
    };
    let most_along_z = if export.has_blocks() { depth } else { 1 };
    let most_along_y = if export.has_blocks() { height } else { 1 };
    let mut blocks = Vec::new();
    let parts = (1..=most_along_z).map(|z| (z, 1)).chain((2..=most_along_y).map(|y| (most_along_z, y)));
    for (along_z, along_y) in parts {
        blocks = cut(out, along_z, along_y).into_iter().map(|out| export.block(out)).collect();
        if bytes(&blocks) <= need.limit {
            return Ok(blocks);
        }
    }
    Err(InferError::MemoryLimit { what: "the case", bytes: bytes(&blocks), limit: need.limit })
}

fn cut(whole: BoundingBox, along_z: usize, along_y: usize) -> Vec<BoundingBox> {
    let [depth, height, _] = whole.shape();
    let mut parts = Vec::with_capacity(along_z * along_y);
    for z in 0..along_z {
        for y in 0..along_y {
            let mut part = whole;
            part.start[0] = whole.start[0] + z * depth / along_z;
            part.end[0] = whole.start[0] + (z + 1) * depth / along_z;
            part.start[1] = whole.start[1] + y * height / along_y;
            part.end[1] = whole.start[1] + (y + 1) * height / along_y;
            parts.push(part);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_whole_once() {
        let whole = BoundingBox { start: [2, 3, 4], end: [9, 8, 6] };
        for (z, y) in [(1, 1), (3, 1), (7, 1), (7, 5), (2, 3)] {
            let parts = cut(whole, z, y);
            let voxels: usize = parts.iter().map(|part| part.shape().iter().product::<usize>()).sum();
            assert_eq!((parts.len(), voxels), (z * y, 7 * 5 * 2));
            assert_eq!((parts[0].start, parts[parts.len() - 1].end), (whole.start, whole.end));
        }
    }
}
