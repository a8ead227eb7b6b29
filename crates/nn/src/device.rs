//! Where networks run.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

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

/// The device to use, and a sentence that says what was picked and why.
///
/// The operations of this crate have kernels for the CPU only so far. A build with the feature `cuda` therefore falls back
/// to the CPU and says so; a build without it refuses an explicit CUDA device.
///
/// # Errors
/// A CUDA device was asked for and this build knows nothing of CUDA.
pub fn device(spec: &DeviceSpec) -> Result<(Device, String), NnError> {
    let cuda = cfg!(feature = "cuda");
    let why = match spec {
        DeviceSpec::Cpu => ", as asked",
        DeviceSpec::Auto if cuda => ": the networks have no CUDA kernels yet",
        DeviceSpec::Auto => ": this build has no CUDA support",
        DeviceSpec::Cuda(_) if cuda => " instead of the CUDA device: the networks have no CUDA kernels yet",
        DeviceSpec::Cuda(_) => {
            return Err(NnError::Device {
                device: spec.to_string(),
                reason: "this build has no CUDA support; use --device cpu, or build with the feature `cuda`"
                    .to_owned(),
            });
        }
    };
    let threads = rayon::current_num_threads();
    Ok((Device::Cpu, format!("running on the CPU ({} with {threads} threads){why}", crate::isa())))
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
    fn auto_is_the_cpu_and_says_why() {
        let (device, message) = device(&DeviceSpec::Auto).unwrap();
        assert!(device.is_cpu());
        assert!(message.contains("CPU") && message.contains("CUDA"), "{message}");
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn cuda_without_kernels_is_the_cpu_and_says_so() {
        let (device, message) = device(&DeviceSpec::Cuda(0)).unwrap();
        assert!(device.is_cpu() && message.contains("no CUDA kernels yet"), "{message}");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn cuda_without_support_is_refused() {
        assert!(device(&DeviceSpec::Cuda(0)).unwrap_err().to_string().contains("--device cpu"));
    }
}
