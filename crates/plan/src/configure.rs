//! One configuration: patch size, network and batch size for a spacing.

use nnunet_fingerprint::DatasetJson;
use serde_json::{Map, Value, json};

use crate::planner::{Reference, Resampling};
use crate::topology::Topology;
use crate::{
    Architecture, NetworkKind, NetworkSpec, NormSpec, Normalization, PlanError, Planner, Preset, PresetShape,
};

/// Base number of features.
const BASE_FEATURES: usize = 32;
/// Smallest batch.
const MIN_BATCH: f64 = 2.0;

/// What is decided once for all configurations.
pub(crate) struct Common<'a> {
    pub(crate) planner: Planner,
    /// A published network in the place of the planner's.
    pub(crate) preset: Option<Preset>,
    /// Memory target over the planner's own.
    pub(crate) memory: f64,
    pub(crate) dataset: &'a DatasetJson,
    pub(crate) plans_name: &'a str,
    pub(crate) relative_size: f64,
}

/// Patch, network and batch size of a configuration with the numbers that led to them.
pub(crate) struct Fit {
    /// The patch before anything was fitted.
    pub(crate) initial: Vec<f64>,
    /// How often the patch was made smaller.
    pub(crate) steps: usize,
    pub(crate) topology: Topology,
    /// Estimate of the network's memory, in values of feature maps.
    pub(crate) cost: f64,
    /// Largest estimate that is accepted.
    pub(crate) room: f64,
    /// Samples that the memory target has room for.
    pub(crate) batch_of_memory: f64,
    /// Samples that the data set's size allows.
    pub(crate) batch_of_data: f64,
    pub(crate) batch: u64,
}

/// A configuration and the numbers that later decisions need.
pub(crate) struct Planned {
    pub(crate) json: Map<String, Value>,
    pub(crate) patch: Vec<usize>,
}

impl Common<'_> {
    /// Plans the configuration `name` for a spacing, a median shape and the voxels of the whole data set; `median_json` is
    /// the median shape as it goes into the plans.
    ///
    /// # Errors
    /// No patch is small enough for the memory target.
    pub(crate) fn configure(
        &self,
        name: &str,
        spacing: &[f64],
        median: &[f64],
        median_json: Value,
        dataset_voxels: f64,
    ) -> Result<Planned, PlanError> {
        let fit = self.fit(name, spacing, median, dataset_voxels)?;
        let reference = self.planner.reference(spacing.len());
        let json = self.json(name, spacing, median_json, &fit.topology, fit.batch, &reference);
        Ok(Planned { json, patch: fit.topology.patch })
    }

    /// Fits patch and batch size to the memory target.
    ///
    /// # Errors
    /// As [`Common::configure`].
    pub(crate) fn fit(
        &self,
        name: &str,
        spacing: &[f64],
        median: &[f64],
        dataset_voxels: f64,
    ) -> Result<Fit, PlanError> {
        let reference = self.planner.reference(spacing.len());
        let target = reference.cost * self.memory;
        let initial = initial_patch(spacing, median);
        let (mut topology, mut steps) = (Topology::new(spacing, &initial), 0);
        let mut cost = self.cost(&topology, &reference)?;
        // The plain planner compares per reference batch of two, which gives 2-D patches six times the room.
        let room = if self.planner.network() == NetworkKind::PlainConvUNet {
            target * reference.batch / 2.0
        } else {
            target
        };
        while cost > room {
            topology = shrink(&topology, spacing, median).ok_or_else(|| PlanError::Memory {
                configuration: name.to_owned(),
                gb: self.memory * self.planner.memory_gb(),
            })?;
            cost = self.cost(&topology, &reference)?;
            steps += 1;
        }
        let voxels = topology.patch.iter().product::<usize>() as f64;
        let batch_of_memory = (target / cost * reference.batch).round_ties_even();
        let batch_of_data = (dataset_voxels * self.planner.coverage() / voxels).round_ties_even();
        let batch = batch_of_memory.min(batch_of_data).max(MIN_BATCH) as u64;
        Ok(Fit { initial, steps, topology, cost, room, batch_of_memory, batch_of_data, batch })
    }

    fn network(&self, topology: &Topology, reference: &Reference) -> NetworkSpec {
        let stages = topology.strides.len();
        let three = |lists: &[Vec<usize>]| {
            lists.iter().map(|l| if l.len() == 2 { [1, l[0], l[1]] } else { [l[0], l[1], l[2]] }).collect()
        };
        let kind = self.planner.network();
        let (encoder, decoder): (Vec<usize>, usize) = match kind {
            NetworkKind::PlainConvUNet | NetworkKind::Composed => (vec![2; stages], 2),
            NetworkKind::ResidualEncoderUNet => {
                ([1, 3, 4].into_iter().chain(std::iter::repeat(6)).take(stages).collect(), 1)
            }
        };
        let features = |i: usize| BASE_FEATURES.saturating_mul(1 << i.min(32)).min(reference.max_features);
        NetworkSpec {
            kind,
            dims: topology.patch.len(),
            features: (0..stages).map(features).collect(),
            kernel_sizes: three(&topology.kernels),
            strides: three(&topology.strides),
            encoder_convs: encoder,
            decoder_convs: vec![decoder; stages - 1],
            conv_bias: true,
            norm: Some(NormSpec { eps: 1e-5, affine: true }),
            dropout: None,
            negative_slope: Some(0.01),
            blocks: None,
        }
    }

    /// A published network with the topology's strides and kernels.
    fn published(&self, preset: Preset, topology: &Topology, reference: &Reference) -> Architecture {
        let kernel =
            |list: &Vec<usize>| list.iter().map(|&k| if k == 3 { preset.kernel() } else { k }).collect();
        preset.architecture(&PresetShape {
            features: preset.features(topology.strides.len(), reference.max_features),
            kernel_sizes: topology.kernels.iter().map(kernel).collect(),
            strides: topology.strides.clone(),
        })
    }

    fn cost(&self, topology: &Topology, reference: &Reference) -> Result<f64, PlanError> {
        let spec = match self.preset {
            Some(preset) => self.published(preset, topology, reference).resolve()?,
            None => self.network(topology, reference),
        };
        let patch = match *topology.patch.as_slice() {
            [y, x] => [1, y, x],
            [z, y, x] => [z, y, x],
            _ => [1; 3],
        };
        let outputs = if spec.num_stages() > 1 { self.dataset.labels.len() } else { 0 };
        Ok(spec.feature_map_cost(patch, outputs) as f64)
    }

    fn json(
        &self,
        name: &str,
        spacing: &[f64],
        median: Value,
        topology: &Topology,
        batch: u64,
        reference: &Reference,
    ) -> Map<String, Value> {
        let published = self.preset.is_some() && self.planner == Planner::Default;
        let shared = (self.planner.shares_data() || published) && name != "3d_lowres";
        let identifier = if shared { Planner::Default.plans_name() } else { self.plans_name };
        let schemes: Vec<Normalization> =
            self.dataset.channel_names.values().map(|channel| Normalization::for_channel(channel)).collect();
        let masked = |scheme: &Normalization| self.relative_size < 0.75 && *scheme == Normalization::ZScore;
        let entries = [
            ("data_identifier", json!(format!("{identifier}_{name}"))),
            ("preprocessor_name", json!("DefaultPreprocessor")),
            ("batch_size", json!(batch)),
            ("patch_size", json!(topology.patch)),
            ("median_image_size_in_voxels", median),
            ("spacing", json!(spacing)),
            ("normalization_schemes", json!(schemes.iter().map(|s| s.class_name()).collect::<Vec<_>>())),
            ("use_mask_for_norm", json!(schemes.iter().map(masked).collect::<Vec<_>>())),
        ];
        let mut map: Map<String, Value> =
            entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let (function, [data, seg, probabilities]) = self.resampling();
        for (key, value) in [
            ("resampling_fn_data", json!(function)),
            ("resampling_fn_seg", json!(function)),
            ("resampling_fn_data_kwargs", data),
            ("resampling_fn_seg_kwargs", seg),
            ("resampling_fn_probabilities", json!(function)),
            ("resampling_fn_probabilities_kwargs", probabilities),
            ("architecture", self.architecture(topology, reference)),
        ] {
            map.insert(key.to_owned(), value);
        }
        map
    }

    fn architecture(&self, topology: &Topology, reference: &Reference) -> Value {
        match self.preset {
            Some(preset) => json!(self.published(preset, topology, reference)),
            None => architecture(&self.network(topology, reference), topology),
        }
    }

    /// Name of the resampling function and its parameters for images, segmentations and logits.
    fn resampling(&self) -> (&'static str, [Value; 3]) {
        let kind = self.planner.resampling();
        match kind {
            Resampling::None => ("no_resampling_hack", [json!({}), json!({}), json!({})]),
            Resampling::Spline => {
                let kwargs = |is_seg: bool, order: u8| json!({"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": null});
                ("resample_data_or_seg_to_shape", [kwargs(false, 3), kwargs(true, 1), kwargs(false, 1)])
            }
            Resampling::Torch | Resampling::TorchSeparateZ => {
                let separate = kind == Resampling::TorchSeparateZ;
                let kwargs = |is_seg: bool| {
                    let force = if separate { Value::Null } else { json!(false) };
                    let mut map = json!({"is_seg": is_seg, "force_separate_z": force, "memefficient_seg_resampling": false});
                    if separate {
                        map["separate_z_anisotropy_threshold"] = json!(3);
                    }
                    map
                };
                ("resample_torch_fornnunet", [kwargs(false), kwargs(true), kwargs(false)])
            }
        }
    }
}

/// A patch of 256³ (or 2048²) voxels' volume whose edges are equal in millimetres, cut to the median shape.
fn initial_patch(spacing: &[f64], median: &[f64]) -> Vec<f64> {
    let dims = spacing.len();
    let inverse: Vec<f64> = spacing.iter().map(|s| 1.0 / s).collect();
    let volume: f64 = if dims == 3 { 256f64.powi(3) } else { 2048f64.powi(2) };
    let scale = (volume / inverse.iter().product::<f64>()).powf(1.0 / dims as f64);
    inverse.iter().zip(median).map(|(i, m)| (i * scale).round_ties_even().min(*m)).collect()
}

/// The patch made smaller along the axis where it is largest relative to the median shape; none if nothing would be left
/// of it.
fn shrink(topology: &Topology, spacing: &[f64], median: &[f64]) -> Option<Topology> {
    let ratio = |a: usize| topology.patch[a] as f64 / median[a];
    let axis = (1..median.len()).fold(0, |best, a| if ratio(a) >= ratio(best) { a } else { best });
    let mut trial: Vec<f64> = topology.patch.iter().map(|&p| p as f64).collect();
    trial[axis] -= topology.divisor[axis] as f64;
    let divisor = Topology::new(spacing, &trial).divisor[axis];
    let mut patch: Vec<f64> = topology.patch.iter().map(|&p| p as f64).collect();
    patch[axis] -= divisor as f64;
    (patch[axis] > 0.0).then(|| Topology::new(spacing, &patch))
}

fn architecture(spec: &NetworkSpec, topology: &Topology) -> Value {
    let dims = spec.dims;
    let (class, blocks) = match spec.kind {
        NetworkKind::PlainConvUNet | NetworkKind::Composed => ("PlainConvUNet", "n_conv_per_stage"),
        NetworkKind::ResidualEncoderUNet => ("ResidualEncoderUNet", "n_blocks_per_stage"),
    };
    json!({
        "network_class_name": format!("dynamic_network_architectures.architectures.unet.{class}"),
        "arch_kwargs": {
            "n_stages": spec.num_stages(),
            "features_per_stage": spec.features,
            "conv_op": format!("torch.nn.modules.conv.Conv{dims}d"),
            "kernel_sizes": topology.kernels,
            "strides": topology.strides,
            blocks: spec.encoder_convs,
            "n_conv_per_stage_decoder": spec.decoder_convs,
            "conv_bias": true,
            "norm_op": format!("torch.nn.modules.instancenorm.InstanceNorm{dims}d"),
            "norm_op_kwargs": {"eps": 1e-5, "affine": true},
            "dropout_op": null,
            "dropout_op_kwargs": null,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": true},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    })
}
