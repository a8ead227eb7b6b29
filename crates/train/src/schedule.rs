use std::f64::consts::PI;

use serde::Serialize;

/// How the learning rate falls; it is constant over an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedule {
    /// Polynomially to 0, nnU-Net's default; see [`poly_lr`].
    #[default]
    Poly,
    /// Along half a cosine to 0.
    Cosine,
    /// Linearly up to the initial rate, then polynomially to 0.
    WarmUp {
        /// Epochs of the rise.
        epochs: usize,
    },
}

impl LrSchedule {
    /// Learning rate of an epoch, counted from 0.
    pub fn lr(self, initial: f64, epoch: usize, epochs: usize) -> f64 {
        match self {
            Self::Poly => poly_lr(initial, epoch, epochs),
            Self::Cosine if epochs == 0 => initial,
            Self::Cosine => initial * (1.0 + (PI * epoch.min(epochs) as f64 / epochs as f64).cos()) / 2.0,
            Self::WarmUp { epochs: rise } if epoch < rise => initial * (epoch + 1) as f64 / rise as f64,
            Self::WarmUp { epochs: rise } => poly_lr(initial, epoch - rise, epochs.saturating_sub(rise)),
        }
    }
}

/// Polynomial learning rate: `initial * (1 - epoch / epochs) ^ 0.9`, constant over an epoch.
pub fn poly_lr(initial: f64, epoch: usize, epochs: usize) -> f64 {
    if epochs == 0 {
        return initial;
    }
    initial * (1.0 - epoch.min(epochs) as f64 / epochs as f64).powf(0.9)
}

#[cfg(test)]
mod tests {
    use super::{LrSchedule, poly_lr};

    #[test]
    fn agrees_with_the_published_schedule() {
        for (epoch, expected) in
            [(0, 0.01), (1, 0.009_991_00), (50, 0.009_548_85), (500, 0.005_358_87), (999, 1.995_26e-5)]
        {
            assert!((poly_lr(0.01, epoch, 1000) - expected).abs() < 5e-9, "epoch {epoch}");
        }
    }

    #[test]
    fn follows_the_reference_run_of_twelve_epochs() {
        let reference = [
            0.01, 0.00925, 0.00849, 0.00772, 0.00694, 0.00616, 0.00536, 0.00455, 0.00372, 0.00287, 0.00199,
            0.00107,
        ];
        for (epoch, expected) in reference.into_iter().enumerate() {
            assert!((poly_lr(0.01, epoch, 12) - expected).abs() < 5.1e-6, "epoch {epoch}");
        }
    }
    /// Within 1e-15: the same formulas in double precision.
    #[test]
    fn schedules_agree_with_the_reference() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../tests/golden/variants.json")).unwrap();
        for (name, schedule) in [
            ("poly", LrSchedule::Poly),
            ("cosine", LrSchedule::Cosine),
            ("warm-up", LrSchedule::WarmUp { epochs: 50 }),
        ] {
            let rates = golden["schedules"][name].as_object().unwrap();
            assert!(rates.len() > 5);
            for (epoch, expected) in rates {
                let found = schedule.lr(0.01, epoch.parse().unwrap(), 1000);
                let expected = expected.as_f64().unwrap();
                assert!((found - expected).abs() < 1e-15, "{name}, {epoch}: {found} instead of {expected}");
            }
        }
    }
}
