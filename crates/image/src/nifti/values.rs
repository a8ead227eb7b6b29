//! Types of stored values and their scale.

use nifti::NiftiHeader;

use super::Flavour;

/// Slope and intercept as a library applies them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    slope: f64,
    inter: f64,
    /// Whether integers become 32-bit floats before they are scaled.
    early: bool,
}

impl Scale {
    /// The scale of a file, if it changes anything.
    ///
    /// ITK takes a slope of 0 for 1 and still adds the intercept; nibabel ignores both. ITK turns integers into 32-bit floats
    /// first, nibabel computes in 64 bits throughout.
    pub(super) fn of(header: &NiftiHeader, flavour: Flavour) -> Option<Self> {
        let finite = |v: f32| if v.is_finite() { f64::from(v) } else { 0.0 };
        let (slope, inter) = (finite(header.scl_slope), finite(header.scl_inter));
        let slope = match flavour {
            Flavour::Nibabel if slope == 0.0 => return None,
            Flavour::SimpleItk if slope.abs() <= f64::EPSILON => 1.0,
            _ => slope,
        };
        let early = flavour == Flavour::SimpleItk;
        (slope != 1.0 || inter != 0.0).then_some(Self { slope, inter, early })
    }

    fn apply(self, value: f64) -> f32 {
        (value * self.slope + self.inter) as f32
    }
}

/// Type of the stored values.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Kind {
    /// The type with this NIfTI-1 code, if it is a real number.
    pub(super) fn of(code: i16) -> Option<Self> {
        Some(match code {
            2 => Self::U8,
            4 => Self::I16,
            8 => Self::I32,
            16 => Self::F32,
            64 => Self::F64,
            256 => Self::I8,
            512 => Self::U16,
            768 => Self::U32,
            1024 => Self::I64,
            1280 => Self::U64,
            _ => return None,
        })
    }

    /// Bytes per value.
    pub(super) fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Appends the values that `bytes` hold; `big` says whether the most significant byte comes first.
    pub(super) fn decode(self, bytes: &[u8], big: bool, scale: Option<Scale>, values: &mut Vec<f32>) {
        macro_rules! decode {
            ($t:ty, $integer:expr) => {{
                let chunks = bytes.as_chunks::<{ size_of::<$t>() }>().0.iter();
                let raw =
                    chunks.map(|&raw| if big { <$t>::from_be_bytes(raw) } else { <$t>::from_le_bytes(raw) });
                match scale {
                    None => values.extend(raw.map(|v| v as f32)),
                    Some(s) if s.early && $integer => {
                        values.extend(raw.map(|v| s.apply(f64::from(v as f32))))
                    }
                    Some(s) => values.extend(raw.map(|v| s.apply(v as f64))),
                }
            }};
        }
        match self {
            Self::U8 => decode!(u8, true),
            Self::I8 => decode!(i8, true),
            Self::U16 => decode!(u16, true),
            Self::I16 => decode!(i16, true),
            Self::U32 => decode!(u32, true),
            Self::I32 => decode!(i32, true),
            Self::U64 => decode!(u64, true),
            Self::I64 => decode!(i64, true),
            Self::F32 => decode!(f32, false),
            Self::F64 => decode!(f64, false),
        }
    }
}
