//! Types of stored values and their scale.

use crate::reader::is_label;

/// Slope and intercept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) slope: f64,
    pub(crate) inter: f64,
    /// Whether integers become 32-bit floats before they are scaled.
    pub(crate) early: bool,
}

impl Scale {
    fn apply(self, value: f64) -> f32 {
        (value * self.slope + self.inter) as f32
    }
}

/// Type of the stored values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
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
    /// Bytes per value.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Whether a number can be stored in this type.
    pub(crate) fn holds(self, value: f64) -> bool {
        let (low, high) = match self {
            Self::U8 => (0.0, f64::from(u8::MAX)),
            Self::I8 => (f64::from(i8::MIN), f64::from(i8::MAX)),
            Self::U16 => (0.0, f64::from(u16::MAX)),
            Self::I16 => (f64::from(i16::MIN), f64::from(i16::MAX)),
            Self::U32 => (0.0, f64::from(u32::MAX)),
            Self::I32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
            Self::U64 => (0.0, u64::MAX as f64),
            Self::I64 => (i64::MIN as f64, i64::MAX as f64),
            Self::F32 | Self::F64 => return true,
        };
        value.fract() == 0.0 && (low..=high).contains(&value)
    }

    /// Appends the values that `bytes` hold; `big` says whether the most significant byte comes first.
    pub(crate) fn decode(self, bytes: &[u8], big: bool, scale: Option<Scale>, values: &mut Vec<f32>) {
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

    /// Appends the values that `bytes` hold as labels. The error is the first value that is no integer of 16 bits, with its
    /// place among those of `bytes`.
    pub(crate) fn decode_labels(
        self,
        bytes: &[u8],
        big: bool,
        scale: Option<Scale>,
        labels: &mut Vec<i16>,
    ) -> Result<(), (usize, f32)> {
        macro_rules! integers {
            ($t:ty) => {{
                let chunks = bytes.as_chunks::<{ size_of::<$t>() }>().0.iter();
                let raw =
                    chunks.map(|&raw| if big { <$t>::from_be_bytes(raw) } else { <$t>::from_le_bytes(raw) });
                if let Some(at) = raw.clone().position(|v| i16::try_from(v).is_err()) {
                    return Err((at, raw.clone().nth(at).map_or(f32::NAN, |v| v as f32)));
                }
                labels.extend(raw.map(|v| v as i16));
                Ok(())
            }};
        }
        match (self, scale) {
            (Self::U8, None) => integers!(u8),
            (Self::I8, None) => integers!(i8),
            (Self::U16, None) => integers!(u16),
            (Self::I16, None) => integers!(i16),
            (Self::U32, None) => integers!(u32),
            (Self::I32, None) => integers!(i32),
            (Self::U64, None) => integers!(u64),
            (Self::I64, None) => integers!(i64),
            _ => {
                let mut values = Vec::with_capacity(bytes.len() / self.size());
                self.decode(bytes, big, scale, &mut values);
                match values.iter().position(|&v| !is_label(v)) {
                    Some(at) => Err((at, values[at])),
                    None => {
                        labels.extend(values.iter().map(|&v| v as i16));
                        Ok(())
                    }
                }
            }
        }
    }
}
