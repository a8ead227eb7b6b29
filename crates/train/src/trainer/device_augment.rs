//! Augmentation of images in the memory of a device.

use std::sync::Arc;

use nnunet_augment::{Parameters, Pipeline};
use nnunet_nn::NnError;
use nnunet_nn::cuda::ops::{
    Finish, Tap, Warp, blur, brightness, contrast, finish_patch, gamma, low_resolution, noise,
    warp_image_into,
};
use nnunet_nn::cuda::{Array, Engine, Kind, Parcel, View};

use crate::TrainError;
use crate::loader::Unfinished;

/// Augments the images of a batch: `(sample, voxel, channel)` of a kind.
///
/// The images are copied beside the device's work; what is done to them is asked for at once.
///
/// # Errors
/// Parameters that do not fit, or the device has no room or failed.
pub(super) fn augment(
    engine: &Arc<dyn Engine>,
    pipeline: &Pipeline,
    samples: &[Unfinished],
    kind: Kind,
) -> Result<Array, TrainError> {
    let voxels: usize = pipeline.config().patch_size.iter().product();
    let channels = samples.first().map_or(0, |sample| sample.image.dim().0);
    let send = |sample: &Unfinished| {
        let image = sample.image.as_standard_layout();
        let image = Parcel::of_f32(engine, image.as_slice().unwrap_or_default())?;
        let mask = sample.mask.as_ref().map(|labels| Parcel::of_i16(engine, labels)).transpose()?;
        Ok((image, mask))
    };
    let sent: Vec<_> = samples.iter().map(send).collect::<Result<_, NnError>>()?;
    let batch = Array::new(engine, kind, samples.len() * channels * voxels)?;
    let patch = Array::new(engine, Kind::F32, channels * voxels)?;
    for ((index, sample), (image, mask)) in samples.iter().enumerate().zip(sent) {
        geometry(pipeline, sample, image.open()?.view(), patch.view())?;
        for channel in 0..channels {
            let values = patch.view().range(channel * voxels..(channel + 1) * voxels)?;
            intensities(pipeline, &sample.parameters, channel, values)?;
        }
        let mask = mask.map(Parcel::open).transpose()?;
        let flags = &pipeline.config().mask_channels;
        let finish = Finish {
            shape: pipeline.config().patch_size,
            mirror: sample.parameters.mirror,
            mask: mask.as_ref().map(|labels| (labels.view(), flags.as_slice())),
        };
        let part = batch.view().range(index * channels * voxels..(index + 1) * channels * voxels)?;
        finish_patch(patch.view(), part, &finish)?;
    }
    Ok(batch)
}

/// Rotation and scaling; without them the part that was loaded is the patch, and this copies it.
fn geometry(
    pipeline: &Pipeline,
    sample: &Unfinished,
    image: View<'_>,
    patch: View<'_>,
) -> Result<(), TrainError> {
    let (from, to, start) = (sample.window.shape, pipeline.config().patch_size, sample.window.start);
    let map = pipeline.map(&sample.parameters, sample.window.loaded).map_err(|e| {
        let message = e.to_string();
        TrainError::Loader(message)
    })?;
    let warp = match map {
        Some(map) => Warp {
            from,
            to,
            matrix: map.matrix.map(|row| row.map(|v| v as f32)),
            centre: std::array::from_fn(|axis| (map.centre[axis] - start[axis] as f64) as f32),
        },
        None => Warp {
            from,
            to,
            matrix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            centre: from.map(|length| (length as f32 - 1.0) / 2.0),
        },
    };
    Ok(warp_image_into(image, &warp, patch)?)
}

/// The transforms of one channel, in the order of [`Parameters`].
fn intensities(
    pipeline: &Pipeline,
    parameters: &Parameters,
    channel: usize,
    values: View<'_>,
) -> Result<(), NnError> {
    let shape = pipeline.config().patch_size;
    let of = |factors: &Option<Vec<f64>>| factors.as_ref().and_then(|all| all.get(channel).copied());
    if let Some(drawn) = &parameters.noise {
        // Each channel has a stream of its own.
        let key = drawn.seed ^ (channel as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        noise(values, drawn.standard_deviation as f32, key)?;
    }
    if let Some(weights) = pipeline.blur_weights(parameters, channel) {
        blur(values, shape, weights.each_ref().map(Vec::as_slice))?;
    }
    if let Some(factor) = of(&parameters.brightness) {
        brightness(values, factor as f32)?;
    }
    if let Some(factor) = of(&parameters.contrast) {
        contrast(values, factor as f32, true)?;
    }
    if let Some(taps) = pipeline.low_resolution_taps(parameters, channel) {
        let taps = taps.map(|axis| {
            let words = axis.iter().map(|tap| (tap.low as u32, tap.high as u32, tap.weight));
            words.collect::<Vec<Tap>>()
        });
        low_resolution(values, shape, taps.each_ref().map(Vec::as_slice))?;
    }
    if let Some(exponent) = of(&parameters.gamma_inverted) {
        gamma(values, exponent as f32, true)?;
    }
    if let Some(exponent) = of(&parameters.gamma) {
        gamma(values, exponent as f32, false)?;
    }
    Ok(())
}

#[cfg(all(test, feature = "emulator"))]
mod tests {
    use ndarray::{Array4, s};
    use nnunet_augment::{PipelineConfig, Sample, Workspace, sample_rng};
    use nnunet_nn::cuda::Emulator;

    use super::*;

    /// Largest difference from the pipeline's own images, over a number of draws without noise.
    fn check(patch: &[usize], masked: [bool; 2]) {
        let config = PipelineConfig::nnunet(patch, &masked);
        let (loaded, shape) = (config.initial_patch_size(), config.patch_size);
        let pipeline = Pipeline::training(config);
        let engine: Arc<dyn Engine> = Arc::new(Emulator::new());
        let [z, y, x] = loaded;
        let image = Array4::from_shape_fn((2, z, y, x), |(c, z, y, x)| {
            ((z * 3 + y * 5 + x * 7 + c * 11) as f32 * 0.21).sin() + 0.1 * c as f32
        });
        let labels = Array4::from_shape_fn((1, z, y, x), |(_, z, y, x)| ((z + y * x / 9) % 4) as i16 - 1);
        let mut transforms = 0;
        for number in 0..60 {
            let mut parameters = pipeline.draw(2, &mut sample_rng(3, 1, number));
            parameters.noise = None;
            transforms += usize::from(parameters.blur.is_some() && parameters.low_resolution.is_some());
            let whole = Sample { image: image.clone(), labels: labels.clone() };
            let expected = pipeline.apply(whole, &parameters).unwrap().image;
            let window = pipeline.source_window(&parameters, loaded).unwrap();
            let range = |axis: usize| window.start[axis]..window.start[axis] + window.shape[axis];
            let part = |array: &Array4<i16>| array.slice(s![.., range(0), range(1), range(2)]).to_owned();
            let mut workspace = Workspace::default();
            let mask = pipeline.apply_to_labels(part(&labels), &window, &parameters, &mut workspace).unwrap();
            let sample = Unfinished {
                image: image.slice(s![.., range(0), range(1), range(2)]).to_owned(),
                window,
                parameters,
                mask: masked.contains(&true).then(|| mask.iter().copied().collect()),
            };
            let samples = [sample.clone(), sample];
            let found = augment(&engine, &pipeline, &samples, Kind::F32).unwrap().to_f32().unwrap();
            let [z, y, x] = shape;
            let found = Array4::from_shape_vec((z, y, x, 2), found[found.len() / 2..].to_vec()).unwrap();
            let found = found.permuted_axes([3, 0, 1, 2]);
            let worst = (&found - &expected).fold(0.0f32, |worst, d| worst.max(d.abs()));
            assert!(worst < 2e-4, "{patch:?}, draw {number}: {worst}, {:?}", samples[0].parameters);
        }
        assert!(transforms > 0);
    }

    #[test]
    fn images_of_a_device_are_those_of_the_pipeline() {
        if !Emulator::is_there() {
            return println!("skipped: no C++ compiler, so no emulated device");
        }
        check(&[9, 12, 10], [false, false]);
        check(&[8, 11, 12], [true, false]);
        // Two axes, and slices that are augmented in their plane.
        check(&[14, 11], [false, true]);
        check(&[4, 20, 22], [false, false]);
    }
}
