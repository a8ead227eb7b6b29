//! The arrays that `golden/make.py` starts from.

use ndarray::Array4;
use nnunet_augment::{PipelineConfig, Sample};

/// A smooth but asymmetric pattern.
pub(crate) fn image(shape: [usize; 4]) -> Array4<f32> {
    let mut i = -1.0f64;
    Array4::from_shape_simple_fn(shape, || {
        i += 1.0;
        ((0.37 * i).sin() * 2.0 + (0.011 * i).cos()) as f32
    })
}

/// Blocks of `n` labels from −1 on.
pub(crate) fn labels(shape: [usize; 4], n: usize) -> Array4<i16> {
    Array4::from_shape_fn(shape, |(c, z, y, x)| {
        ((z / 3 * 5 + y / 4 * 3 + x / 3 * 7 + y * x / 17 + c) % n) as i16 - 1
    })
}

/// Image and labels of a loaded patch.
pub(crate) fn sample(
    image_channels: usize,
    label_channels: usize,
    [z, y, x]: [usize; 3],
    n: usize,
) -> Sample {
    Sample { image: image([image_channels, z, y, x]), labels: labels([label_channels, z, y, x], n) }
}

/// The reference's settings for a patch with a given way of augmenting.
pub(crate) fn config(patch: [usize; 3], in_plane: bool) -> PipelineConfig {
    let used = if patch[0] == 1 { &patch[1..] } else { &patch[..] };
    PipelineConfig { dummy_2d: in_plane && patch[0] > 1, ..PipelineConfig::nnunet(used, &[]) }
}
