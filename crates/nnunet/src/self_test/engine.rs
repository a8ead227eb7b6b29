//! Operations of a device other than the CPU, in f32 and in bf16.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nnunet_infer::gaussian_importance_map;
use nnunet_nn::cuda::ops::{
    LossTable, LossTarget, NormBackward, Placement, SgdRule, UpGradients, conv_backward_data,
    conv_backward_weights, conv_forward, gradient_norm, narrow, norm_apply, norm_backward, norm_statistics,
    segmentation_loss, sgd_step, up_backward, up_forward, window_add, window_labels, window_mean,
};
use nnunet_nn::cuda::{Array, DeviceNetwork, Engine, Kind};
use nnunet_nn::kernels::Dims;
use nnunet_nn::{Accelerator, NnError};
use nnunet_train::deep_supervision_weights;

use super::SelfTestEvent;
use super::host::build;
use super::subject::{Blend, Conv, EPS, Loss, Network, Norm, Pass, Step, Subject, Timed, Up};
use crate::Error;

/// A device with activations and products of a kind.
struct Device {
    engine: Arc<dyn Engine>,
    kind: Kind,
}

/// Runs all checks in f32, then in bf16.
pub(super) fn test(
    accelerator: &Accelerator,
    found: &mut dyn FnMut(SelfTestEvent<'_>),
) -> Result<usize, Error> {
    let mut failed = 0;
    for (kind, message) in [(Kind::F32, "in f32:"), (Kind::Bf16, "with products in bf16:")] {
        found(SelfTestEvent::Device(message));
        failed += super::run(&Device { engine: Arc::clone(accelerator.engine()), kind }, found)?;
    }
    Ok(failed)
}

type Tried<T> = Result<T, NnError>;

impl Device {
    fn array(&self, values: &[f32]) -> Tried<Array> {
        Array::of_f32(&self.engine, values)
    }

    fn activations(&self, values: &[f32]) -> Tried<Array> {
        narrow(self.array(values)?.view(), self.kind)
    }

    fn room(&self, kind: Kind, len: usize) -> Tried<Array> {
        Array::zeros(&self.engine, kind, len)
    }

    /// Runs `f` once to warm up, and again until it has taken 30 ms or run ten times unless it is slow; the last result, and
    /// the shortest time until the device was done.
    fn timed<T>(
        &self,
        mut f: impl FnMut() -> Tried<T>,
        read: impl FnOnce(T) -> Tried<Vec<Vec<f32>>>,
    ) -> Timed {
        let mut run = || {
            let start = Instant::now();
            let result = f()?;
            self.engine.wait()?;
            Ok::<_, NnError>((result, start.elapsed()))
        };
        let (mut result, first) = run()?;
        if first > Duration::from_secs(1) {
            return Ok((read(result)?, first));
        }
        let (mut shortest, begun) = (Duration::MAX, Instant::now());
        for _ in 0..10 {
            let time;
            (result, time) = run()?;
            shortest = shortest.min(time);
            if begun.elapsed() > Duration::from_millis(30) {
                break;
            }
        }
        Ok((read(result)?, shortest))
    }
}

impl Subject for Device {
    fn is_coarse(&self) -> bool {
        self.kind == Kind::Bf16
    }

    fn conv(&self, case: &Conv, pass: Pass) -> Timed {
        let Conv { input, channels, geometry, .. } = case;
        let (x, dy) = (self.activations(&case.x)?, self.activations(&case.dy)?);
        let weight = self.array(&case.weight)?;
        let room = match pass {
            Pass::BackwardWeights => self.room(Kind::F32, case.weight.len())?,
            _ => self.room(self.kind, input.len())?,
        };
        let run = || {
            match pass {
                Pass::Forward => {
                    return conv_forward(x.view(), *input, weight.view(), *channels, geometry, self.kind);
                }
                Pass::BackwardData => {
                    let to = room.view();
                    conv_backward_data(dy.view(), *input, weight.view(), *channels, geometry, to, false)?;
                }
                Pass::BackwardWeights => {
                    conv_backward_weights(x.view(), *input, dy.view(), *channels, geometry, room.view())?;
                }
            }
            // Small, so that the results of all passes are arrays.
            self.room(Kind::F32, 0)
        };
        self.timed(run, |y| Ok(vec![if pass == Pass::Forward { y.to_f32()? } else { room.to_f32()? }]))
    }

    fn up(&self, case: &Up, pass: Pass) -> Timed {
        let Up { input, channels, stride, .. } = case;
        let (x, dy) = (self.activations(&case.x)?, self.activations(&case.dy)?);
        let (weight, bias) = (self.array(&case.weight)?, self.array(&case.bias)?);
        let (y, dx) = (self.room(self.kind, case.dy.len())?, self.room(self.kind, case.x.len())?);
        let (dw, db) = (self.room(Kind::F32, case.weight.len())?, self.room(Kind::F32, *channels)?);
        let run = || match pass {
            Pass::Forward => {
                let bias = Some(bias.view());
                up_forward(x.view(), *input, weight.view(), bias, *channels, *stride, y.view(), *channels)
            }
            _ => {
                let to = UpGradients { dx: (dx.view(), false), dw: dw.view(), dbias: Some(db.view()) };
                up_backward(x.view(), *input, weight.view(), dy.view(), *channels, *stride, *channels, to)
            }
        };
        self.timed(run, |()| {
            Ok(match pass {
                Pass::Forward => vec![y.to_f32()?],
                Pass::BackwardData => vec![dx.to_f32()?],
                Pass::BackwardWeights => vec![dw.to_f32()?, db.to_f32()?],
            })
        })
    }

    fn norm(&self, case: &Norm) -> Timed {
        let Norm { dims, slope, .. } = case;
        let x = self.activations(&case.x)?;
        let (gamma, beta) = (self.array(&case.gamma)?, self.array(&case.beta)?);
        let run = || {
            let rows = norm_statistics(x.view(), *dims, Some(gamma.view()), Some(beta.view()), EPS)?;
            norm_apply(x.view(), *dims, &rows, None, *slope)
        };
        self.timed(run, |z| Ok(vec![z.to_f32()?]))
    }

    fn norm_backward(&self, case: &Norm) -> Timed {
        let Norm { dims, slope, .. } = case;
        let (x, dz) = (self.activations(&case.x)?, self.activations(&case.dz)?);
        let (gamma, beta) = (self.array(&case.gamma)?, self.array(&case.beta)?);
        let [dgamma, dbeta] = [self.room(Kind::F32, dims.channels)?, self.room(Kind::F32, dims.channels)?];
        let rows = norm_statistics(x.view(), *dims, Some(gamma.view()), Some(beta.view()), EPS)?;
        let z = norm_apply(x.view(), *dims, &rows, None, *slope)?;
        let of = NormBackward {
            dz: dz.view(),
            z: z.view(),
            y: x.view(),
            rows: &rows,
            gamma: Some(gamma.view()),
            slope: *slope,
            dgamma: Some(dgamma.view()),
            dbeta: Some(dbeta.view()),
            dother: None,
        };
        self.timed(
            || norm_backward(&of, *dims),
            |dx| Ok(vec![dx.to_f32()?, dgamma.to_f32()?, dbeta.to_f32()?]),
        )
    }

    fn loss(&self, case: &Loss) -> Timed {
        let [batch, z, y, x] = case.targets.shape();
        let dims = Dims { batch, space: [z, y, x], channels: case.rules.channels() };
        let (channels, ignore) = (case.rules.channels(), case.rules.ignore());
        let table = match &case.regions {
            None => LossTable::labels(channels, ignore, case.rules.batch_dice()),
            Some(regions) => {
                let rows: Vec<Vec<bool>> = (0..=regions.len() as i16)
                    .map(|label| regions.iter().map(|region| region.contains(&label)).collect())
                    .collect();
                LossTable::regions(&self.engine, &rows, ignore, case.rules.batch_dice())?
            }
        };
        let logits = self.array(&case.logits)?;
        let target = LossTarget { dims, labels: case.targets.labels(), weight: 1.0 };
        let run = || {
            let value = self.room(Kind::F32, 1)?;
            let gradient = segmentation_loss(logits.view(), target, &table, value.view(), Some(self.kind))?;
            Ok((value, gradient))
        };
        self.timed(run, |(value, gradient)| {
            let gradient = gradient.as_ref().map_or(Ok(Vec::new()), Array::to_f32)?;
            Ok(vec![value.to_f32()?, gradient])
        })
    }

    fn step(&self, case: &Step) -> Timed {
        let gradients: Vec<Array> =
            case.gradients.iter().map(|gradient| self.array(gradient)).collect::<Result<_, _>>()?;
        let [weights, momenta] = [self.array(&case.weights)?, self.room(Kind::F32, case.weights.len())?];
        let rule = SgdRule { momentum: 0.99, weight_decay: 3e-5, clip: 12.0, lr: case.lr };
        let run = || {
            weights.view().write_f32(&case.weights)?;
            momenta.view().clear()?;
            for gradient in &gradients {
                let norm = gradient_norm(gradient.view())?;
                sgd_step(weights.view(), momenta.view(), gradient.view(), norm.view(), rule)?;
            }
            Ok(())
        };
        self.timed(run, |()| Ok(vec![weights.to_f32()?, momenta.to_f32()?]))
    }

    fn blend(&self, case: &Blend) -> Timed {
        let map: Vec<f32> = gaussian_importance_map(case.patch).iter().copied().collect();
        let map = self.array(&map)?;
        let tiles: Vec<(_, Array)> = case
            .tiles
            .iter()
            .map(|(origin, logits)| Ok((*origin, self.array(logits)?)))
            .collect::<Tried<_>>()?;
        let voxels = case.shape.iter().product::<usize>();
        let run = || {
            let sums = self.room(Kind::F32, voxels * case.channels)?;
            let weights = self.room(Kind::F32, voxels)?;
            for (origin, logits) in &tiles {
                let place =
                    Placement { image: case.shape, patch: case.patch, origin: *origin, flip: [false; 3] };
                let (map, weights) = (Some(map.view()), Some(weights.view()));
                window_add(logits.view(), case.channels, map, &place, 1.0, sums.view(), weights)?;
            }
            window_mean(sums.view(), weights.view(), case.channels)?;
            let labels = window_labels(sums.view(), case.channels)?;
            Ok((sums, labels))
        };
        self.timed(run, |(means, labels)| {
            Ok(vec![means.to_f32()?, labels.to_i16()?.into_iter().map(f32::from).collect()])
        })
    }

    fn predict(&self, case: &Network) -> Timed {
        let (_, network) = build(case)?;
        let network = DeviceNetwork::new(&self.engine, &network, self.kind)?;
        let voxels = case.size.iter().product::<usize>();
        let sample = self.array(&case.x[..voxels * case.channels])?;
        let run = || network.logits(narrow(sample.view(), self.kind)?, case.size, 1);
        self.timed(run, |logits| Ok(vec![logits.to_f32()?]))
    }

    fn train(&self, case: &Network) -> Timed {
        let (parameters, network) = build(case)?;
        let weights = deep_supervision_weights(case.targets.len());
        let mut targets = Vec::new();
        for (labels, &weight) in case.targets.iter().zip(&weights) {
            let [batch, z, y, x] = labels.shape();
            let dims = Dims { batch, space: [z, y, x], channels: 1 };
            targets.push(LossTarget { dims, labels: labels.labels(), weight });
        }
        let targets = &targets[..weights.iter().filter(|&&weight| weight > 0.0).count()];
        let table = LossTable::labels(case.classes, None, false);
        let rule = SgdRule { momentum: 0.99, weight_decay: 3e-5, clip: 12.0, lr: 0.01 };
        let dims = Dims { batch: case.batch, space: case.size, channels: case.channels };
        let run = || {
            let mut device = DeviceNetwork::new(&self.engine, &network, self.kind)?;
            let report = device.step(&case.x, dims, targets, &table, rule)?;
            Ok((device, report))
        };
        self.timed(run, |(device, report)| {
            let momenta = device.momenta(&parameters)?;
            let parts: Vec<Vec<f32>> = momenta
                .iter()
                .map(|(_, tensor)| Ok(tensor.flatten_all()?.to_vec1()?))
                .collect::<Tried<_>>()?;
            Ok(vec![vec![report.loss], parts.concat()])
        })
    }
}

#[cfg(all(test, feature = "emulator"))]
mod tests {
    use nnunet_nn::cuda::Emulator;

    use super::*;

    #[test]
    fn every_operation_of_the_emulated_device_agrees_with_the_reference() {
        if !Emulator::is_there() {
            return println!("skipped: no C++ compiler, so no emulated device");
        }
        let accelerator = Accelerator::new(Arc::new(Emulator::new()));
        let mut wrong = Vec::new();
        let failed = test(&accelerator, &mut |event| {
            if let SelfTestEvent::Checked(check) = event {
                println!("{check:?}");
                if !check.passed() {
                    wrong.push(check.clone());
                }
            }
        });
        assert_eq!(failed.unwrap(), 0, "{wrong:#?}");
    }
}
