//! The CPU kernels, as fast as the processor lets them be.

use candle_core::{Device, Tensor};
use nnunet_infer::{blend_tiles, gaussian_importance_map};
use nnunet_nn::kernels::{
    conv_backward_data, conv_backward_weights, conv_forward, conv_transpose_backward_data,
    conv_transpose_backward_weights, conv_transpose_forward, norm_act_backward, norm_act_forward,
};
use nnunet_nn::{Executor, NnError, Parameters, Precision, UNet};
use nnunet_train::{DeepLoss, LossRules, Sgd, SgdConfig, TrainError, segmentation_loss};

use super::subject::{Blend, Conv, EPS, Loss, Network, Norm, Pass, Step, Subject, Timed, Up, timed};
use crate::Error;

pub(super) struct Host;

impl Subject for Host {
    fn conv(&self, case: &Conv, pass: Pass) -> Timed {
        let Conv { input, channels, geometry, x, weight, dy } = case;
        timed(|| {
            Ok(vec![match pass {
                Pass::Forward => conv_forward(x, *input, weight, None, *channels, geometry),
                Pass::BackwardData => conv_backward_data(dy, *input, weight, *channels, geometry),
                Pass::BackwardWeights => conv_backward_weights(x, *input, dy, *channels, geometry).0,
            }])
        })
    }

    fn up(&self, case: &Up, pass: Pass) -> Timed {
        let Up { input, channels, stride, x, weight, bias, dy } = case;
        timed(|| {
            Ok(match pass {
                Pass::Forward => {
                    vec![conv_transpose_forward(x, *input, weight, Some(bias), *channels, *stride, *channels)]
                }
                Pass::BackwardData => {
                    vec![conv_transpose_backward_data(dy, *input, weight, *channels, *stride)]
                }
                Pass::BackwardWeights => {
                    let (dw, db) = conv_transpose_backward_weights(x, *input, dy, *channels, *stride);
                    vec![dw, db]
                }
            })
        })
    }

    fn norm(&self, case: &Norm) -> Timed {
        let Norm { dims, x, gamma, beta, slope, .. } = case;
        timed(|| Ok(vec![norm_act_forward(x, *dims, gamma, beta, EPS, *slope).0]))
    }

    fn norm_backward(&self, case: &Norm) -> Timed {
        let Norm { dims, x, gamma, beta, slope, dz } = case;
        let (_, saved) = norm_act_forward(x, *dims, gamma, beta, EPS, *slope);
        timed(|| {
            let back = norm_act_backward(x, dz, *dims, &saved, gamma, beta, *slope);
            Ok(vec![back.x, back.weight, back.bias])
        })
    }

    fn loss(&self, case: &Loss) -> Timed {
        let [batch, z, y, x] = case.targets.shape();
        let shape = (batch, z, y, x, case.rules.channels());
        let logits = Tensor::from_slice(&case.logits, shape, &Device::Cpu).map_err(TrainError::from)?;
        let logits = candle_core::Var::from_tensor(&logits).map_err(TrainError::from)?;
        timed(|| {
            let (loss, value) = segmentation_loss(&logits, &case.targets, &case.rules, 1.0)?;
            let gradients = loss.backward().map_err(TrainError::from)?;
            let gradient = gradients.get(&logits).ok_or_else(|| missing("logits"))?;
            Ok(vec![vec![value as f32], flat(gradient)?])
        })
    }

    fn step(&self, case: &Step) -> Timed {
        let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu);
        let gradient = |values: &[f32], var: &candle_core::Var| -> candle_core::Result<_> {
            (var.as_tensor() * tensor(values)?)?.sum_all()?.backward()
        };
        let weights = tensor(&case.weights).map_err(TrainError::from)?;
        let var = candle_core::Var::from_tensor(&weights).map_err(TrainError::from)?;
        let stores = case.gradients.iter().map(|values| gradient(values, &var));
        let stores = stores.collect::<candle_core::Result<Vec<_>>>().map_err(TrainError::from)?;
        timed(|| {
            var.set(&weights).map_err(TrainError::from)?;
            let mut sgd = Sgd::new(vec![("w".to_owned(), var.clone())], SgdConfig::default());
            for store in &stores {
                sgd.step(store, sgd.gradient_norm(store)?, case.lr)?;
            }
            Ok(vec![flat(var.as_tensor())?, momentum(&sgd)?])
        })
    }

    fn blend(&self, case: &Blend) -> Timed {
        let map = gaussian_importance_map(case.patch);
        timed(|| {
            let (logits, labels) =
                blend_tiles(case.shape, case.channels, case.patch, &case.tiles, Some(map.view()))?;
            Ok(vec![logits, labels.into_iter().map(f32::from).collect()])
        })
    }

    fn predict(&self, case: &Network) -> Timed {
        let (_, network) = build(case)?;
        let executor = Executor::new(&network, case.size, Precision::F32)?;
        let voxels = case.size.iter().product::<usize>();
        let tile: Vec<f32> = (0..case.channels)
            .flat_map(|c| (0..voxels).map(move |v| (c, v)))
            .map(|(c, v)| case.x[v * case.channels + c])
            .collect();
        timed(|| Ok(vec![executor.forward(&tile)?]))
    }

    fn train(&self, case: &Network) -> Timed {
        timed(|| {
            let (parameters, network) = build(case)?;
            let [z, y, x] = case.size;
            let input = Tensor::from_slice(&case.x, (case.batch, z, y, x, case.channels), &Device::Cpu)
                .and_then(|input| input.permute([0, 4, 1, 2, 3]))
                .map_err(NnError::from)?;
            let outputs = network.forward_deep(&input)?;
            let rules = LossRules::labels(case.classes, None, false);
            let (loss, value) = DeepLoss::new(rules, outputs.len()).loss(&outputs, &case.targets)?;
            let gradients = loss.backward().map_err(TrainError::from)?;
            let named = parameters.names().iter().cloned().zip(parameters.vars().iter().cloned());
            let mut sgd = Sgd::new(named.collect(), SgdConfig::default());
            sgd.step(&gradients, sgd.gradient_norm(&gradients)?, 0.01)?;
            Ok(vec![vec![value as f32], momentum(&sgd)?])
        })
    }
}

/// Fresh weights and the network over them.
pub(super) fn build(case: &Network) -> Result<(Parameters, UNet), Error> {
    let parameters = Parameters::new(&case.spec, case.channels, case.classes, 7, &Device::Cpu)?;
    let network = UNet::new(&case.spec, case.channels, case.classes, &parameters)?;
    Ok((parameters, network))
}

fn momentum(sgd: &Sgd) -> Result<Vec<f32>, Error> {
    let parts: Vec<Vec<f32>> =
        sgd.momentum()?.iter().map(|(_, tensor)| flat(tensor)).collect::<Result<_, _>>()?;
    Ok(parts.concat())
}

fn flat(tensor: &Tensor) -> Result<Vec<f32>, Error> {
    Ok(tensor.flatten_all().and_then(|t| t.to_vec1()).map_err(NnError::from)?)
}

fn missing(what: &str) -> Error {
    Error::Invalid(format!("self-test: no gradient of the {what}"))
}
