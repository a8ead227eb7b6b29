//! What a device does for the engine.

use super::exchange::Exchange;
use crate::NnError;
use crate::kernels::{ConvGeometry, Dims};

/// What the numbers of an array are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 32-bit floats.
    F32,
    /// The upper halves of 32-bit floats.
    Bf16,
    /// 64-bit floats.
    F64,
    /// 16-bit integers.
    I16,
    /// Bytes.
    U8,
    /// 32-bit integers.
    U32,
}

impl Kind {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 | Self::U32 => 4,
            Self::Bf16 | Self::I16 => 2,
            Self::U8 => 1,
        }
    }

    /// How kernels over numbers of this kind end.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F64 => "f64",
            Self::I16 => "i16",
            Self::U8 => "u8",
            Self::U32 => "u32",
        }
    }
}

/// An argument of a kernel.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// An address in the device's memory.
    Pointer(u64),
    /// A number.
    U32(u32),
    /// A number.
    U64(u64),
    /// A number.
    F32(f32),
    /// A structure of 32-bit fields.
    Words(Vec<u32>),
}

/// A matrix, row by row.
#[derive(Debug, Clone, Copy)]
pub struct Operand {
    /// Its first value.
    pub pointer: u64,
    /// [`Kind::F32`] or [`Kind::Bf16`].
    pub kind: Kind,
    /// Values from one row to the next.
    pub pitch: usize,
    /// Whether the transposed matrix takes part in the product.
    pub transposed: bool,
}

/// `c = a · b + beta · c`, with `a` of m × k, `b` of k × n values (as they take part), products summed in f32.
#[derive(Debug, Clone, Copy)]
pub struct Gemm {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Terms of each sum.
    pub k: usize,
    /// The left matrix.
    pub a: Operand,
    /// The right matrix, of the left one's kind.
    pub b: Operand,
    /// The result; not transposed.
    pub c: Operand,
    /// 0 or 1.
    pub beta: f32,
}

/// Which product of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pass {
    /// The output.
    Forward,
    /// The gradient of the input.
    BackwardData,
    /// The gradient of the weights.
    BackwardWeights,
}

/// A convolution over channels-last activations with weights (out, tap, in), all of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Convolution {
    /// Which of `x`, `weight` and `y` is written.
    pub pass: Pass,
    /// Shape of the input.
    pub input: Dims,
    /// Channels of the output.
    pub channels: usize,
    /// Kernel, stride, padding.
    pub geometry: ConvGeometry,
    /// Of all three.
    pub kind: Kind,
    /// Input or its gradient.
    pub x: u64,
    /// Weights or their gradient.
    pub weight: u64,
    /// Output or its gradient.
    pub y: u64,
    /// Whether the result is added to what is there.
    pub add: bool,
}

/// A device: its memory, and what runs on it. Work is done in the order in which it is asked for, but for the copies
/// of [`Engine::send`]; only [`Engine::read`] and [`Engine::wait`] wait for it.
pub trait Engine: Send + Sync + std::fmt::Debug {
    /// What it is, for people.
    fn name(&self) -> String;

    /// Takes memory; its values are arbitrary.
    ///
    /// # Errors
    /// There is not enough.
    fn allocate(&self, bytes: usize) -> Result<u64, NnError>;

    /// Gives memory back, once the work asked for so far is done.
    fn release(&self, pointer: u64, bytes: usize);

    /// Fills memory with zero bytes.
    ///
    /// # Errors
    /// The device failed.
    fn clear(&self, pointer: u64, bytes: usize) -> Result<(), NnError>;

    /// Copies into the device's memory.
    ///
    /// # Errors
    /// The device failed.
    fn write(&self, pointer: u64, bytes: &[u8]) -> Result<(), NnError>;

    /// Begins to copy into new memory, beside the work that was asked for, and returns its address. It is given back by
    /// [`Engine::release`] and holds the bytes for what is asked for after [`Engine::arrive`].
    ///
    /// # Errors
    /// There is not enough memory, or the device failed.
    fn send(&self, bytes: &[u8]) -> Result<u64, NnError>;

    /// Lets the work that is asked for from now on wait for a copy that [`Engine::send`] began.
    ///
    /// # Errors
    /// The device failed.
    fn arrive(&self, pointer: u64) -> Result<(), NnError>;

    /// Waits for all work and copies out of the device's memory.
    ///
    /// # Errors
    /// The device failed.
    fn read(&self, pointer: u64, bytes: &mut [u8]) -> Result<(), NnError>;

    /// Waits for all work.
    ///
    /// # Errors
    /// The device failed.
    fn wait(&self) -> Result<(), NnError>;

    /// Free and total bytes of memory.
    ///
    /// # Errors
    /// The device failed.
    fn memory(&self) -> Result<(usize, usize), NnError>;

    /// Runs a kernel on `grid` blocks of 256 threads. Only [`ops`](super::ops) calls it, with addresses that hold what the
    /// kernel reads and writes.
    ///
    /// # Errors
    /// There is no such kernel, or the device failed.
    fn launch(&self, kernel: &str, grid: [u32; 3], arguments: &[Argument]) -> Result<(), NnError>;

    /// A matrix product.
    ///
    /// # Errors
    /// The device failed.
    fn gemm(&self, gemm: &Gemm) -> Result<(), NnError>;

    /// A convolution by a library; false if there is none for it, and nothing was done.
    ///
    /// # Errors
    /// The device failed.
    fn convolve(&self, convolution: &Convolution) -> Result<bool, NnError>;

    /// Bytes by which other devices find this one, to add up values without the host; none where devices cannot.
    ///
    /// # Errors
    /// The device failed.
    fn invite(&self) -> Result<Option<Vec<u8>>, NnError> {
        Ok(None)
    }

    /// Joins the device that [invited](Engine::invite) as number `rank` of `size`; all of them join at the same time.
    ///
    /// # Errors
    /// Devices cannot exchange values, other bytes than those of an invitation, or the device failed.
    fn join(&self, invitation: &[u8], rank: usize, size: usize) -> Result<Box<dyn Exchange>, NnError> {
        let _ = (invitation, rank, size);
        Err(NnError::Unsupported(format!("{} does not exchange values with other devices", self.name())))
    }
}

impl Argument {
    /// Where the argument's value lies, as launches want it.
    pub(crate) fn address(&self) -> *mut std::ffi::c_void {
        let address: *const std::ffi::c_void = match self {
            Self::Pointer(value) | Self::U64(value) => std::ptr::from_ref(value).cast(),
            Self::U32(value) => std::ptr::from_ref(value).cast(),
            Self::F32(value) => std::ptr::from_ref(value).cast(),
            Self::Words(values) => values.as_ptr().cast(),
        };
        address.cast_mut()
    }
}
