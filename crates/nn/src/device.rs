//! Where networks run.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;
use nnunet_plan::NetworkSpec;

use crate::NnError;

/// A device as a person asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceSpec {
    /// The best that there is.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = NnError;

    fn from_str(text: &str) -> Result<Self, NnError> {
        let wrong = || NnError::Device {
            device: text.to_owned(),
            reason: "expected auto, cpu, cuda or cuda:N".to_owned(),
        };
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(|n| n.parse().ok()).map(Self::Cuda).ok_or_else(wrong),
        }
    }
}

/// A device for networks other than the CPU. Without the features `cuda` and `emulator` there is none.
#[derive(Debug, Clone)]
pub struct Accelerator {
    #[cfg(any(feature = "cuda", feature = "emulator"))]
    engine: std::sync::Arc<dyn crate::cuda::Engine>,
    #[cfg(not(any(feature = "cuda", feature = "emulator")))]
    never: std::convert::Infallible,
}

#[cfg(any(feature = "cuda", feature = "emulator"))]
impl Accelerator {
    /// A device by its engine.
    pub fn new(engine: std::sync::Arc<dyn crate::cuda::Engine>) -> Self {
        Self { engine }
    }

    /// The engine of the device.
    pub fn engine(&self) -> &std::sync::Arc<dyn crate::cuda::Engine> {
        &self.engine
    }

    /// What activations and products are for a precision: bf16 unless f32 is asked for.
    pub fn kind(precision: crate::Precision) -> crate::cuda::Kind {
        match precision {
            crate::Precision::F32 => crate::cuda::Kind::F32,
            _ => crate::cuda::Kind::Bf16,
        }
    }
}

impl PartialEq for Accelerator {
    /// The same device, opened once.
    fn eq(&self, other: &Self) -> bool {
        #[cfg(any(feature = "cuda", feature = "emulator"))]
        return std::sync::Arc::ptr_eq(&self.engine, &other.engine);
        #[cfg(not(any(feature = "cuda", feature = "emulator")))]
        return self.never == other.never;
    }
}

/// Where networks run.
#[derive(Debug, Clone)]
pub struct Compute {
    /// Where tensors of candle lie: the CPU.
    pub device: Device,
    /// The device that networks run on instead of the CPU.
    pub accelerator: Option<Accelerator>,
    /// A sentence that says what was picked and why.
    pub message: String,
}

/// The device to use: what was asked for, or, for `auto`, the first CUDA device if this build has CUDA support and there is
/// one that can be used, otherwise the CPU.
///
/// # Errors
/// A CUDA device was asked for that is not there or cannot be used, or this build has no CUDA support.
pub fn device(spec: &DeviceSpec) -> Result<Compute, NnError> {
    match spec {
        DeviceSpec::Cpu => Ok(host(", as asked")),
        DeviceSpec::Auto => auto(),
        DeviceSpec::Cuda(number) => cuda(*number),
    }
}

/// [`device`] for a network: networks of other parts than nnU-Net's own run on the CPU alone, and so does training with dropout;
/// `auto` picks it for them.
///
/// # Errors
/// As [`device`]; a CUDA device was asked for by number for a network that cannot run there.
pub fn device_for(spec: &DeviceSpec, network: &NetworkSpec, training: bool) -> Result<Compute, NnError> {
    let drops = training && network.dropout.is_some_and(|p| p > 0.0);
    if network.is_standard() && !drops {
        return device(spec);
    }
    let what = format!("{}{}", network.describe(), if drops { ", trained with dropout," } else { "" });
    match spec {
        DeviceSpec::Cpu => device(spec),
        DeviceSpec::Auto => Ok(host(&format!(": {what} runs nowhere else"))),
        DeviceSpec::Cuda(_) => Err(NnError::HostOnly(what)),
    }
}

fn host(why: &str) -> Compute {
    let threads = rayon::current_num_threads();
    let message = format!("running on the CPU ({} with {threads} threads){why}", crate::isa());
    Compute { device: Device::Cpu, accelerator: None, message }
}

#[cfg(not(feature = "cuda"))]
fn auto() -> Result<Compute, NnError> {
    Ok(host(": this build has no CUDA support"))
}

#[cfg(not(feature = "cuda"))]
fn cuda(number: usize) -> Result<Compute, NnError> {
    Err(NnError::Device {
        device: DeviceSpec::Cuda(number).to_string(),
        reason: "this build has no CUDA support; use --device cpu, or build with the feature `cuda`"
            .to_owned(),
    })
}

#[cfg(feature = "cuda")]
fn auto() -> Result<Compute, NnError> {
    match cuda(0) {
        Ok(found) => Ok(Compute { message: format!("{}: the first CUDA device", found.message), ..found }),
        Err(NnError::Device { reason, .. }) => Ok(host(&format!(": no CUDA device can be used ({reason})"))),
        Err(error) => Err(error),
    }
}

#[cfg(feature = "cuda")]
fn cuda(number: usize) -> Result<Compute, NnError> {
    let engine = crate::cuda::CudaEngine::new(number)?;
    let (name, (free, total)) = (crate::cuda::Engine::name(&engine), crate::cuda::Engine::memory(&engine)?);
    let [free, total] = [free, total].map(|bytes| bytes as f64 / 1e9);
    let convolutions = engine.convolutions();
    let message = format!(
        "running on cuda:{number} ({name}, {free:.1} of {total:.1} GB free, convolutions by {convolutions})"
    );
    let accelerator = Some(Accelerator::new(std::sync::Arc::new(engine)));
    Ok(Compute { device: Device::Cpu, accelerator, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_parsed() {
        assert_eq!("cuda:3".parse::<DeviceSpec>().unwrap(), DeviceSpec::Cuda(3));
        assert_eq!("cuda".parse::<DeviceSpec>().unwrap(), DeviceSpec::Cuda(0));
        assert!("gpu".parse::<DeviceSpec>().unwrap_err().to_string().contains("cuda:N"));
    }

    #[test]
    fn networks_of_other_parts_get_the_cpu_or_an_error_by_name() {
        let preset = nnunet_plan::Preset::VNet.published(3).resolve().unwrap();
        let found = device_for(&DeviceSpec::Auto, &preset, false).unwrap();
        assert!(found.accelerator.is_none() && found.message.contains("Vnet blocks"), "{}", found.message);
        assert!(device_for(&DeviceSpec::Cpu, &preset, true).unwrap().accelerator.is_none());
        let error = device_for(&DeviceSpec::Cuda(0), &preset, true).unwrap_err().to_string();
        assert!(error.contains("Vnet blocks") && error.contains("--device cpu"), "{error}");
        // nnU-Net's own networks are refused where training drops activations.
        let mut own = preset;
        (own.blocks, own.dropout) = (None, Some(0.1));
        let error = device_for(&DeviceSpec::Cuda(0), &own, true).unwrap_err().to_string();
        assert!(error.contains("dropout"), "{error}");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn auto_is_the_cpu_and_says_why() {
        let found = device(&DeviceSpec::Auto).unwrap();
        assert!(found.device.is_cpu() && found.accelerator.is_none());
        assert!(found.message.contains("CPU") && found.message.contains("CUDA"), "{}", found.message);
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn auto_says_what_it_picked_and_why() {
        let found = device(&DeviceSpec::Auto).unwrap();
        let cpu = found.accelerator.is_none();
        assert!(found.message.contains(if cpu {
            "no CUDA device can be used"
        } else {
            "the first CUDA device"
        }));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn cuda_without_support_is_refused() {
        assert!(device(&DeviceSpec::Cuda(0)).unwrap_err().to_string().contains("--device cpu"));
    }
}
