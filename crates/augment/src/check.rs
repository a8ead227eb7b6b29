//! Checks that come before a sample is touched.

use crate::spatial::Affine;
use crate::strong::StrongParameters;
use crate::{AugmentError, Parameters, Pipeline, Sample, Window};

/// Largest sigma of a blur in voxels; its kernel has 601 weights.
const LARGEST_SIGMA: f64 = 100.0;

impl Pipeline {
    /// Checks configuration, channels, shape and parameters; gives the map if there is one.
    pub(crate) fn check(
        &self,
        sample: &Sample,
        loaded: [usize; 3],
        parameters: &Parameters,
    ) -> Result<Option<Affine>, AugmentError> {
        let affine = self.check_shape(loaded, parameters)?;
        let channels = sample.image.shape()[0];
        let mask = &self.config().mask_channels;
        if self.is_training() && !mask.is_empty() {
            check_count("mask_channels", mask.len(), channels)?;
        }
        check_parameters(parameters, channels)?;
        if let Some(strong) = &parameters.strong {
            check_strong(strong, channels, self.config().patch_size)?;
        }
        self.check_cascade(sample, parameters)?;
        Ok(affine)
    }

    /// A cascade needs the previous stage's labels, and its parameters are about its channels.
    fn check_cascade(&self, sample: &Sample, parameters: &Parameters) -> Result<(), AugmentError> {
        let Some(cascade) = &self.config().cascade else { return Ok(()) };
        let found = sample.labels.shape()[0];
        if found != 2 {
            let expected = "2, the labels and those of the previous stage".into();
            return Err(AugmentError::Channels { what: "label channels", found, expected });
        }
        let Some(drawn) = &parameters.cascade else { return Ok(()) };
        let count = cascade.labels.len();
        let channels = drawn.operations.iter().map(|o| o.channel);
        let channels = channels.chain(drawn.removals.iter().map(|r| r.channel));
        for channel in channels {
            check_value("cascade", channel as f64, |v| v < count as f64, "a channel of the previous stage")?;
        }
        let radii = drawn.operations.iter().map(|o| o.radius);
        radii.into_iter().try_for_each(|r| {
            check_value("cascade", r, |v| v > 0.0 && v <= 100.0, "a radius in (0, 100] voxels")
        })
    }

    /// Checks the configuration and that a loaded patch has room for the patch.
    pub(crate) fn check_shape(
        &self,
        loaded: [usize; 3],
        parameters: &Parameters,
    ) -> Result<Option<Affine>, AugmentError> {
        let config = self.config();
        config.check()?;
        for (axis, (&found, patch)) in loaded.iter().zip(config.patch_size).enumerate() {
            let exactly = !self.is_training() || (axis == 0 && config.in_plane());
            if found < patch || (exactly && found != patch) {
                let how = if exactly { "" } else { "at least " };
                let expected = format!("{how}{patch}, the patch size");
                return Err(AugmentError::Shape { what: "image", axis, found, expected });
            }
        }
        Affine::new(parameters, config.in_plane(), config.patch_size, loaded)
    }
}

/// Checks that an array of `shape` is the window and holds all that is needed.
pub(crate) fn check_window(shape: [usize; 3], window: &Window, needed: &Window) -> Result<(), AugmentError> {
    if let Some(axis) = (0..3).find(|&axis| shape[axis] != window.shape[axis]) {
        let expected = format!("{} as the window has", window.shape[axis]);
        return Err(AugmentError::Shape { what: "image", axis, found: shape[axis], expected });
    }
    if Window::whole(window.loaded).contains(window) && window.contains(needed) {
        return Ok(());
    }
    let expected =
        format!("a window inside {:?} that holds {:?} from {:?}", window.loaded, needed.shape, needed.start);
    let found = format!("{:?} from {:?}", window.shape, window.start);
    Err(AugmentError::Parameter { key: "window", found, expected })
}

fn check_count(what: &'static str, found: usize, channels: usize) -> Result<(), AugmentError> {
    if found == channels {
        return Ok(());
    }
    Err(AugmentError::Channels { what, found, expected: format!("{channels}, one for each image channel") })
}

fn check_parameters(parameters: &Parameters, channels: usize) -> Result<(), AugmentError> {
    let any = |_: f64| true;
    let positive = |v: f64| v > 0.0;
    let lists = [
        ("brightness", &parameters.brightness, any as fn(f64) -> bool, "a finite factor"),
        ("contrast", &parameters.contrast, any, "a finite factor"),
        ("gamma_inverted", &parameters.gamma_inverted, positive, "a finite exponent above 0"),
        ("gamma", &parameters.gamma, positive, "a finite exponent above 0"),
    ];
    for (key, values, usable, expected) in lists {
        let Some(values) = values else { continue };
        check_count(key, values.len(), channels)?;
        values.iter().try_for_each(|&v| check_value(key, v, usable, expected))?;
    }
    if let Some(noise) = &parameters.noise {
        check_value(
            "noise",
            noise.standard_deviation,
            |v| v >= 0.0,
            "a finite standard deviation, at least 0",
        )?;
    }
    if let Some(factors) = &parameters.low_resolution {
        check_count("low_resolution", factors.len(), channels)?;
        let usable = |v| v > 0.0 && v <= 1.0;
        factors
            .iter()
            .flatten()
            .try_for_each(|&v| check_value("low_resolution", v, usable, "a factor in (0, 1]"))?;
    }
    if let Some(blur) = &parameters.blur {
        check_count("blur", blur.len(), channels)?;
        let usable = |v| v > 0.0 && v <= LARGEST_SIGMA;
        let sigmas = blur.iter().flatten().flatten();
        sigmas.copied().try_for_each(|v| check_value("blur", v, usable, "a sigma in (0, 100] voxels"))?;
    }
    Ok(())
}

fn check_value(
    key: &'static str,
    value: f64,
    usable: impl Fn(f64) -> bool,
    expected: &str,
) -> Result<(), AugmentError> {
    if value.is_finite() && usable(value) {
        return Ok(());
    }
    Err(AugmentError::Parameter { key, found: value.to_string(), expected: expected.into() })
}

fn check_strong(strong: &StrongParameters, channels: usize, patch: [usize; 3]) -> Result<(), AugmentError> {
    let fail = |found: String, expected: &str| {
        Err(AugmentError::Parameter { key: "strong", found, expected: expected.into() })
    };
    if let Some((a, b, _)) = strong.quarter_turns
        && !(a < b && b < 3 && patch[a] == patch[b])
    {
        return fail(format!("quarter turns from axis {a} to {b}"), "two axes of equal length");
    }
    if let Some(order) = strong.axis_order {
        let mut sorted = order;
        sorted.sort_unstable();
        if sorted != [0, 1, 2] || (0..3).any(|axis| patch[order[axis]] != patch[axis]) {
            return fail(format!("the order {order:?}"), "a permutation of axes of equal length");
        }
    }
    let counts = [
        strong.median.as_ref().map(Vec::len),
        strong.shift.as_ref().map(Vec::len),
        strong.contrast.as_ref().map(Vec::len),
        strong.gamma_inverted.as_ref().map(Vec::len),
        strong.rectangles.as_ref().map(Vec::len),
        strong.gradient.as_ref().map(Vec::len),
        strong.local_gamma.as_ref().map(Vec::len),
        strong.sharpen.as_ref().map(Vec::len),
    ];
    counts.into_iter().flatten().try_for_each(|count| check_count("strong", count, channels))?;
    for window in strong.median.iter().flatten().flatten() {
        check_value("strong", *window as f64, |v| (1.0..=31.0).contains(&v), "a window of 1 to 31 voxels")?;
    }
    for rectangle in strong.rectangles.iter().flatten().flatten() {
        let inside = |k: usize| {
            rectangle.size[k] > 0 && rectangle.start[k].saturating_add(rectangle.size[k]) <= patch[k]
        };
        if !(0..3).all(inside) {
            return fail(format!("{rectangle:?}"), "a box inside the patch");
        }
    }
    let numbers = strong.shift.iter().chain(&strong.contrast).chain(&strong.sharpen).flatten().flatten();
    numbers.copied().try_for_each(|v| check_value("strong", v, |_| true, "a finite number"))?;
    let exponents = strong.gamma_inverted.iter().flatten().copied();
    let local = strong.local_gamma.iter().flatten().flatten();
    exponents
        .chain(local.clone().map(|(_, exponent)| *exponent))
        .try_for_each(|v| check_value("strong", v, |v| v > 0.0, "a finite exponent above 0"))?;
    for (bump, height) in strong.gradient.iter().flatten().flatten().chain(local) {
        check_value("strong", *height, |_| true, "a finite height")?;
        for axis in 0..3 {
            check_value("strong", bump.centre[axis], |_| true, "a finite centre")?;
            check_value("strong", bump.sigma[axis], |v| v > 0.0, "a sigma above 0")?;
        }
    }
    Ok(())
}
