//! Where blocks get their weights from.

use candle_core::{Device, Tensor, Var};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use crate::NnError;

/// Slope that the initialisation assumes.
const INIT_SLOPE: f64 = 0.01;

/// What a weight is for, which decides its first value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Weight of a convolution or transposed convolution.
    Kernel,
    /// Scale of a norm.
    Scale,
    /// Scale of the last norm of a residual block, which starts at 0.
    ZeroScale,
    /// A bias or shift, or the threshold of an activation.
    Shift,
    /// Slope of an activation.
    Slope,
    /// Running mean of a norm, which is not trained.
    Mean,
    /// Running variance of a norm, which is not trained.
    Variance,
}

impl Role {
    /// Whether gradients change it.
    pub fn is_trained(self) -> bool {
        !matches!(self, Self::Mean | Self::Variance)
    }

    /// First values: He-normal kernels, scales and variances at 1, slopes at 0.25, everything else at 0.
    ///
    /// The same seed and number give the same values on every machine.
    pub fn initial(self, shape: &[usize], seed: u64, number: u64) -> Vec<f32> {
        let count = shape.iter().product();
        match self {
            Self::Scale | Self::Variance => vec![1.0; count],
            Self::Slope => vec![0.25; count],
            Self::ZeroScale | Self::Shift | Self::Mean => vec![0.0; count],
            Self::Kernel => {
                let fan_in: usize = shape.iter().skip(1).product();
                let std = (2.0 / (1.0 + INIT_SLOPE * INIT_SLOPE)).sqrt() / (fan_in.max(1) as f64).sqrt();
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(number);
                match Normal::new(0.0, std) {
                    Ok(normal) => (0..count).map(|_| normal.sample(&mut rng) as f32).collect(),
                    Err(_) => vec![0.0; count],
                }
            }
        }
    }
}

/// Weights by name.
pub trait Weights {
    /// The weight of this name.
    ///
    /// # Errors
    /// There is none of this name and shape.
    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, NnError>;

    /// The values of this name that are kept from batch to batch without being trained.
    ///
    /// # Errors
    /// As [`Weights::weight`].
    fn buffer(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Var, NnError>;
}

/// Fresh weights, numbered as they are asked for.
#[derive(Debug, Clone)]
pub struct FreshWeights {
    seed: u64,
    vars: Vec<(String, Var)>,
}

impl FreshWeights {
    /// None yet.
    pub fn new(seed: u64) -> Self {
        Self { seed, vars: Vec::new() }
    }

    /// All weights that were made, in order.
    pub fn vars(&self) -> &[(String, Var)] {
        &self.vars
    }
}

impl Weights for FreshWeights {
    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, NnError> {
        Ok(self.buffer(name, shape, role)?.as_tensor().clone())
    }

    fn buffer(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Var, NnError> {
        let values = role.initial(shape, self.seed, self.vars.len() as u64);
        let var = Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?)?;
        self.vars.push((name.to_owned(), var.clone()));
        Ok(var)
    }
}
