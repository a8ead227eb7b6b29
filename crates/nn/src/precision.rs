//! Number formats of the network's arithmetic.

use std::fmt;
use std::str::FromStr;

use crate::NnError;

/// In which numbers a network computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// What the device does best without losing accuracy: 32-bit floats on the CPU.
    #[default]
    Auto,
    /// 32-bit floats.
    F32,
    /// Products of 16-bit brain floats, summed in 32 bits.
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = NnError;

    fn from_str(text: &str) -> Result<Self, NnError> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(NnError::Unsupported(format!("precision {text:?}, expected auto, f32 or bf16"))),
        }
    }
}

impl Precision {
    /// A sentence about what happens instead, where the format is not there.
    pub fn notice(self) -> Option<&'static str> {
        (self == Self::Bf16).then_some("precision bf16: there are no such kernels yet, computing in f32")
    }
}
