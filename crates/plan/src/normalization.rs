//! How intensities are normalised, per channel.

use crate::PlanError;

/// A normalisation scheme that plans name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Normalization {
    /// Mean 0 and standard deviation 1 over the image, or over its non-zero mask.
    ZScore,
    /// Clipped to the percentiles of the data set's foreground, then its mean and standard deviation.
    Ct,
    /// Intensities stay as they are.
    NoNorm,
    /// From 0 to 1.
    RescaleTo01,
    /// Divided by 255.
    RgbTo01,
}

impl Normalization {
    /// All schemes.
    pub const ALL: [Self; 5] = [Self::ZScore, Self::Ct, Self::NoNorm, Self::RescaleTo01, Self::RgbTo01];

    /// The scheme that nnU-Net chooses for a channel of this name: the name itself for `CT`, `noNorm`, `zscore`,
    /// `rescale_to_0_1` and `rgb_to_0_1` in any case, [`Normalization::ZScore`] for all others.
    pub fn for_channel(name: &str) -> Self {
        match name.to_lowercase().as_str() {
            "ct" => Self::Ct,
            "nonorm" => Self::NoNorm,
            "rescale_to_0_1" => Self::RescaleTo01,
            "rgb_to_0_1" => Self::RgbTo01,
            _ => Self::ZScore,
        }
    }

    /// The scheme's name in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZScore => "ZScoreNormalization",
            Self::Ct => "CTNormalization",
            Self::NoNorm => "NoNormalization",
            Self::RescaleTo01 => "RescaleTo01Normalization",
            Self::RgbTo01 => "RGBTo01Normalization",
        }
    }

    /// Whether the scheme can be limited to the non-zero mask.
    pub(crate) fn can_use_mask(self) -> bool {
        self == Self::ZScore
    }
}

impl std::str::FromStr for Normalization {
    type Err = PlanError;

    fn from_str(name: &str) -> Result<Self, PlanError> {
        Self::ALL.into_iter().find(|scheme| scheme.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            let reason = format!("{name:?} is not known; there are: {known}");
            PlanError::invalid("", "normalization_schemes", reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_names_choose_the_scheme() {
        for (name, scheme) in [
            ("CT", Normalization::Ct),
            ("ct", Normalization::Ct),
            ("noNorm", Normalization::NoNorm),
            ("RGB_to_0_1", Normalization::RgbTo01),
            ("rescale_to_0_1", Normalization::RescaleTo01),
            ("zscore", Normalization::ZScore),
            ("CT ", Normalization::ZScore),
            ("T1", Normalization::ZScore),
        ] {
            assert_eq!(Normalization::for_channel(name), scheme, "{name}");
        }
    }

    #[test]
    fn names_in_plans_are_read_back() {
        for scheme in Normalization::ALL {
            assert_eq!(scheme.name().parse::<Normalization>().unwrap(), scheme);
        }
        assert!("Other".parse::<Normalization>().unwrap_err().to_string().contains("\"Other\""));
    }
}
