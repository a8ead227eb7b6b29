//! The numbers that networks compute with.

use std::fmt;
use std::str::FromStr;

use crate::NnError;
use crate::kernels::has_amx;

/// The arithmetic of convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// bf16 where the processor has AMX, which multiplies it ten times as fast as f32; f32 elsewhere.
    #[default]
    Auto,
    /// 32-bit floats throughout.
    F32,
    /// Products of values that are rounded to bf16, summed in f32; weights, statistics and losses stay in f32.
    Bf16,
}

impl Precision {
    /// Whether products are taken in bf16 on this processor.
    pub fn is_bf16(self) -> bool {
        match self {
            Self::Auto => has_amx(),
            Self::F32 => false,
            Self::Bf16 => true,
        }
    }
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
