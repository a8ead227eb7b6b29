//! Checks that come before a sample is touched.

use crate::spatial::Affine;
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
        Ok(affine)
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
