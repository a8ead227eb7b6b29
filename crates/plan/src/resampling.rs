//! The resampling functions that plans name.

use serde::{Deserialize, Serialize};

use crate::PlanError;

/// A resampling function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resampler {
    /// Splines; the default.
    Spline,
    /// Linear interpolation in 32 bits.
    Torch,
    /// The array stays as it is.
    None,
}

impl Resampler {
    const ALL: [Self; 3] = [Self::Spline, Self::Torch, Self::None];

    /// The function's name in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spline => "resample_data_or_seg_to_shape",
            Self::Torch => "resample_torch_fornnunet",
            Self::None => "no_resampling_hack",
        }
    }
}

impl std::str::FromStr for Resampler {
    type Err = PlanError;

    fn from_str(name: &str) -> Result<Self, PlanError> {
        Self::ALL.into_iter().find(|function| function.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            PlanError::invalid("", "resampling_fn", format!("{name:?} is not known; there are: {known}"))
        })
    }
}

/// Arguments of a resampling function; a key that plans lack has its value of [`Default`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResamplingKwargs {
    /// Whether labels are resampled.
    pub is_seg: bool,
    /// Order of the splines: in the plane where one axis is resampled separately, of all axes otherwise.
    pub order: u8,
    /// Order along the axis that is resampled separately.
    pub order_z: u8,
    /// Whether the axis of the largest spacing is resampled separately; `None` (null) decides by the spacing.
    pub force_separate_z: Option<bool>,
    /// Ratio of largest to smallest spacing above which that axis is resampled separately.
    pub separate_z_anisotropy_threshold: f64,
    /// Whether [`Resampler::Torch`] takes labels one by one with a threshold instead of the largest score.
    pub memefficient_seg_resampling: bool,
}

impl Default for ResamplingKwargs {
    fn default() -> Self {
        Self {
            is_seg: false,
            order: 3,
            order_z: 0,
            force_separate_z: Some(false),
            separate_z_anisotropy_threshold: 3.0,
            memefficient_seg_resampling: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_not_the_same_as_absent() {
        let read = |text| serde_json::from_str::<ResamplingKwargs>(text).unwrap();
        assert_eq!(read(r#"{"force_separate_z": null}"#).force_separate_z, None);
        assert_eq!(read("{}"), ResamplingKwargs::default());
        assert_eq!(read("{}").force_separate_z, Some(false));
    }

    #[test]
    fn functions_are_known_by_name() {
        for function in Resampler::ALL {
            assert_eq!(function.name().parse::<Resampler>().unwrap(), function);
        }
        assert!("other".parse::<Resampler>().is_err());
    }
}
