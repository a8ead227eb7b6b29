//! How predictions are made.
#![allow(unsafe_code)]

use nnunet_infer::PredictorOptions;
use nnunet_nn::Precision;

use crate::edge::{Failure, Status, call, target};

/// bf16 where the processor multiplies it much faster, 32 bits elsewhere.
pub const PRECISION_AUTO: u32 = 0;
/// 32-bit floats throughout.
pub const PRECISION_F32: u32 = 1;
/// Products in bf16.
pub const PRECISION_BF16: u32 = 2;

/// How predictions are made. `nnunet_options_init` fills in nnU-Net's defaults; change what should differ.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Size of this structure, set by `nnunet_options_init`.
    pub size: usize,
    /// Distance of neighbouring tiles as a fraction of the patch size, above 0 and at most 1; by default 0.5.
    pub tile_step_size: f64,
    /// Most memory for a case in GB, beside program and weights; no limit if 0, the default.
    pub memory_gb: f64,
    /// Threads of the model; 0, the default, for one per processor, shared by all models. Has no effect in WebAssembly.
    pub threads: u32,
    /// One of `NNUNET_PRECISION_…`.
    pub precision: u32,
    /// Average over mirrored versions of each tile, where training mirrored: 1, the default, or 0, which is up to 8 times
    /// as fast.
    pub mirroring: u32,
    /// Weigh the centre of a tile more than its border: 1, the default, or 0.
    pub gaussian: u32,
}

/// Options, checked.
pub(crate) struct Checked {
    pub(crate) predictor: PredictorOptions,
    pub(crate) threads: usize,
}

impl Options {
    fn defaults() -> Self {
        let PredictorOptions { tile_step_size, .. } = PredictorOptions::default();
        Self {
            size: size_of::<Self>(),
            tile_step_size,
            memory_gb: 0.0,
            threads: 0,
            precision: PRECISION_AUTO,
            mirroring: 1,
            gaussian: 1,
        }
    }

    fn check(&self) -> Result<Checked, Failure> {
        if self.size != size_of::<Self>() {
            let (found, expected) = (self.size, size_of::<Self>());
            return Err(Failure::argument(format!(
                "options.size is {found}, expected {expected}: call nnunet_options_init first"
            )));
        }
        let flag = |name: &str, value: u32| match value {
            0 | 1 => Ok(value == 1),
            other => Err(Failure::argument(format!("options.{name} is {other}, expected 0 or 1"))),
        };
        let precision = match self.precision {
            PRECISION_AUTO => Precision::Auto,
            PRECISION_F32 => Precision::F32,
            PRECISION_BF16 => Precision::Bf16,
            other => {
                return Err(Failure::argument(format!(
                    "options.precision is {other}, expected a number of NNUNET_PRECISION_…"
                )));
            }
        };
        if self.threads > 4096 {
            return Err(Failure::argument(format!(
                "options.threads is {}, expected at most 4096",
                self.threads
            )));
        }
        let predictor = PredictorOptions {
            tile_step_size: self.tile_step_size,
            use_gaussian: flag("gaussian", self.gaussian)?,
            use_mirroring: flag("mirroring", self.mirroring)?,
            precision,
            memory_gb: (self.memory_gb != 0.0).then_some(self.memory_gb),
            ..PredictorOptions::default()
        };
        Ok(Checked { predictor, threads: self.threads as usize })
    }
}

/// The options behind a pointer; nnU-Net's defaults if it is null.
///
/// # Safety
/// `options` is null or can be read.
pub(crate) unsafe fn checked(options: *const Options) -> Result<Checked, Failure> {
    // SAFETY: the caller's.
    unsafe { options.as_ref() }.copied().unwrap_or_else(Options::defaults).check()
}

/// Fills in nnU-Net's defaults.
///
/// # Safety
/// `options` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnunet_options_init(options: *mut Options) -> Status {
    call(|| {
        // SAFETY: the caller's.
        *unsafe { target(options, "options") }? = Options::defaults();
        Ok(())
    })
}
