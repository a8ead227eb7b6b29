//! Shapes of activations and convolutions.

use super::source::{Region, SlabShape};

/// Shape of a channels-last activation: batch, z, y, x, channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dims {
    /// Samples.
    pub batch: usize,
    /// Voxels along z, y, x.
    pub space: [usize; 3],
    /// Channels, the fastest axis in memory.
    pub channels: usize,
}

impl Dims {
    /// Number of voxels of one sample.
    pub fn voxels(&self) -> usize {
        self.space.iter().product()
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.batch * self.voxels() * self.channels
    }

    /// Whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Kernel, stride and zero padding of a convolution, each along z, y, x. Dilation is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Kernel size.
    pub kernel: [usize; 3],
    /// Stride.
    pub stride: [usize; 3],
    /// Zeros added on both sides.
    pub padding: [usize; 3],
}

impl ConvGeometry {
    /// Kernel with "same" padding `(k - 1) / 2`.
    pub fn same(kernel: [usize; 3], stride: [usize; 3]) -> Self {
        Self { kernel, stride, padding: kernel.map(|k| k.saturating_sub(1) / 2) }
    }

    /// Output voxels for `input` voxels; none along an axis where the padded input is smaller than the kernel.
    pub fn output(&self, input: [usize; 3]) -> [usize; 3] {
        std::array::from_fn(|a| {
            let padded = input[a] + 2 * self.padding[a];
            if self.kernel[a] == 0 || self.stride[a] == 0 || padded < self.kernel[a] {
                0
            } else {
                (padded - self.kernel[a]) / self.stride[a] + 1
            }
        })
    }

    /// Number of kernel taps.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }
}

/// One grid of outputs, each a weighted sum over a box of inputs.
///
/// Output number `m` (per axis) lies at voxel `out_start + m * out_step` and reads the input voxels
/// `m * in_stride + t + offset` for the taps `t`; voxels outside the input count as zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Correlation {
    pub(crate) input: Dims,
    pub(crate) output: Dims,
    pub(crate) count: [usize; 3],
    pub(crate) taps: [usize; 3],
    pub(crate) in_stride: [usize; 3],
    pub(crate) offset: [isize; 3],
    pub(crate) out_start: [usize; 3],
    pub(crate) out_step: [usize; 3],
    /// Values from one output voxel to the next: the channels, or more where others fill the rest.
    pub(crate) pitch: usize,
}

impl Correlation {
    /// Rows of the weight matrix: taps times input channels.
    pub(crate) fn depth(&self) -> usize {
        self.taps.iter().product::<usize>() * self.input.channels
    }

    /// Whether nothing is to be computed.
    pub(crate) fn is_empty(&self) -> bool {
        self.input.is_empty() || self.output.is_empty() || self.depth() == 0 || self.count.contains(&0)
    }

    /// What correlations over the same input with the same strides read together, and the most outputs of any of them.
    pub(crate) fn reach(parts: &[Self]) -> Self {
        let over = |f: &dyn Fn(&Self) -> isize, best: fn(isize, isize) -> isize| {
            parts.iter().map(f).reduce(best).unwrap_or(0)
        };
        let offset = std::array::from_fn(|a| over(&|part| part.offset[a], isize::min));
        let end = |a: usize| over(&|part| part.offset[a] + part.taps[a] as isize, isize::max);
        let taps = std::array::from_fn(|a| (end(a) - offset[a]) as usize);
        let count = std::array::from_fn(|a| over(&|part| part.count[a] as isize, isize::max) as usize);
        Self { offset, taps, count, ..parts[0] }
    }

    /// The outputs of a part in a region of their reach, and where its first input lies in the region's slab.
    pub(crate) fn part(&self, part: &Self, region: &Region, shape: SlabShape) -> Option<(Region, usize)> {
        let count: [usize; 3] = std::array::from_fn(|a| {
            part.count[a].min(region.start[a] + region.count[a]).saturating_sub(region.start[a])
        });
        let ahead: [usize; 3] = std::array::from_fn(|a| (part.offset[a] - self.offset[a]) as usize);
        let first = ahead[0] * shape.plane + ahead[1] * shape.row + ahead[2] * self.input.channels;
        (!count.contains(&0)).then_some((Region { count, ..*region }, first))
    }
}
