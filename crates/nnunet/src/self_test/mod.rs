//! Every operation of training and prediction on a device, held against the portable CPU kernels.
//!
//! Convolutions, norms and whole networks are compared with the portable kernels; loss, optimiser and the blending of tiles
//! with their definitions in double precision.

mod cases;
mod definitions;
#[cfg(any(feature = "cuda", feature = "emulator"))]
mod engine;
mod host;
mod reference;
mod subject;

use std::time::Duration;

use nnunet_nn::{Compute, DeviceSpec, device};

use crate::Error;
use cases::Case;
use host::Host;
use reference::Reference;
use subject::Subject;

/// What one check found.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfCheck {
    /// The operation.
    pub operation: String,
    /// Sizes that it ran on.
    pub shape: String,
    /// Largest deviation from the reference, relative to the reference's largest value.
    pub error: f64,
    /// The deviation that is allowed.
    pub tolerance: f64,
    /// Shortest of several runs.
    pub time: Duration,
    /// Operations or bytes per second.
    pub rate: Rate,
}

/// How fast an operation ran.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// 10⁹ floating-point operations per second, of the direct algorithm.
    GigaFlops(f64),
    /// 10⁹ bytes read and written per second, each operand once.
    GigaBytes(f64),
}

impl SelfCheck {
    /// Whether the deviation is a number within the tolerance.
    pub fn passed(&self) -> bool {
        self.error <= self.tolerance
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::GigaFlops(rate) => write!(f, "{rate:.1} GFLOP/s"),
            Self::GigaBytes(rate) => write!(f, "{rate:.1} GB/s"),
        }
    }
}

/// Runs every check on a device; `found` is told the device first and then each result as it comes. Returns the number of
/// failed checks.
///
/// The instruction set of the CPU kernels is switched to and fro meanwhile: run nothing else on networks at the same time.
///
/// # Errors
/// The device is not there, or an operation cannot be run at all.
pub fn self_test(spec: &DeviceSpec, found: &mut dyn FnMut(SelfTestEvent<'_>)) -> Result<usize, Error> {
    let Compute { accelerator, message, .. } = device(spec)?;
    found(SelfTestEvent::Device(&message));
    match accelerator {
        #[cfg(any(feature = "cuda", feature = "emulator"))]
        Some(accelerator) => engine::test(&accelerator, found),
        _ => run(&Host, found),
    }
}

fn run(subject: &dyn Subject, found: &mut dyn FnMut(SelfTestEvent<'_>)) -> Result<usize, Error> {
    let mut failed = 0;
    for case in cases::all() {
        let check = check(&case, subject)?;
        failed += usize::from(!check.passed());
        found(SelfTestEvent::Checked(&check));
    }
    Ok(failed)
}

/// What [`self_test`] tells.
#[derive(Debug)]
pub enum SelfTestEvent<'a> {
    /// Which device was picked, and why.
    Device(&'a str),
    /// A check was made.
    Checked(&'a SelfCheck),
}

fn check(case: &Case, subject: &dyn Subject) -> Result<SelfCheck, Error> {
    let (values, time) = case.run(subject)?;
    let (expected, _) = case.run(&Reference)?;
    let seconds = time.as_secs_f64().max(1e-9);
    Ok(SelfCheck {
        operation: case.operation(),
        shape: case.shape(),
        error: deviation(&values, &expected),
        tolerance: case.tolerance(subject.is_coarse()),
        time,
        rate: case.rate(seconds),
    })
}

/// Largest difference relative to the largest expected value of each part; infinite where lengths differ or a value is not
/// a number.
fn deviation(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let parts = found.iter().zip(expected).map(|(found, expected)| {
        if found.len() != expected.len() || found.iter().any(|v| !v.is_finite()) {
            return f64::INFINITY;
        }
        let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let apart = found.iter().zip(expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        f64::from(apart) / f64::from(largest).max(1e-20)
    });
    parts.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_relative_to_the_largest_value_of_a_part() {
        let expected = [vec![1.0, -4.0], vec![0.5]];
        assert_eq!(deviation(&[vec![1.0, -4.0], vec![0.5]], &expected), 0.0);
        assert_eq!(deviation(&[vec![2.0, -4.0], vec![0.5]], &expected), 0.25);
        assert_eq!(deviation(&[vec![1.0, -4.0], vec![1.0]], &expected), 1.0);
    }

    #[test]
    fn what_is_missing_or_not_a_number_fails() {
        let expected = [vec![1.0, 2.0]];
        for found in [vec![], vec![vec![1.0]], vec![vec![1.0, f32::NAN]]] {
            let check = SelfCheck {
                operation: String::new(),
                shape: String::new(),
                error: deviation(&found, &expected),
                tolerance: 1e9,
                time: Duration::ZERO,
                rate: Rate::GigaBytes(0.0),
            };
            assert!(!check.passed(), "{found:?}");
        }
    }
}
