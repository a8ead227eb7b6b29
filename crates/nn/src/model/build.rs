//! The weights of a network: names, shapes and order, as nnU-Net's state dictionaries have them.

use nnunet_plan::{NetworkKind, NetworkSpec};

use super::composed::{Composed, Recorder};
use crate::NnError;
use crate::blocks::Role;
use crate::weights::COUNT;

/// One weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) role: Role,
}

/// All weights in the order in which the reference's optimiser numbers them; those that are not trained come last.
pub(crate) fn entries(spec: &NetworkSpec, inputs: usize, outputs: usize) -> Result<Vec<Entry>, NnError> {
    if spec.is_standard() {
        return Ok(standard_entries(spec, inputs, outputs));
    }
    let mut recorder = Recorder::default();
    Composed::new(spec, inputs, outputs, &mut recorder)?;
    let (mut trained, kept): (Vec<_>, Vec<_>) =
        recorder.entries.into_iter().partition(|entry| entry.role.is_trained());
    trained.extend(kept);
    Ok(trained)
}

/// The weights of nnU-Net's own networks.
fn standard_entries(spec: &NetworkSpec, inputs: usize, outputs: usize) -> Vec<Entry> {
    let mut list = List { spec, entries: Vec::new() };
    let stages = spec.num_stages();
    let mut channels = inputs;
    if spec.kind == NetworkKind::ResidualEncoderUNet {
        list.unit("encoder.stem.convs.0", channels, spec.features[0], spec.kernel_sizes[0], false);
        channels = spec.features[0];
    }
    for stage in 0..stages {
        for i in 0..spec.encoder_convs[stage] {
            let features = spec.features[stage];
            match spec.kind {
                NetworkKind::PlainConvUNet | NetworkKind::Composed => {
                    let name = format!("encoder.stages.{stage}.0.convs.{i}");
                    list.unit(&name, channels, features, spec.kernel_sizes[stage], false);
                }
                NetworkKind::ResidualEncoderUNet => list.block(stage, i, channels),
            }
            channels = features;
        }
    }
    for d in 0..stages - 1 {
        let below = stages - 1 - d;
        let features = spec.features[below - 1];
        for i in 0..spec.decoder_convs[d] {
            let inputs = if i == 0 { 2 * features } else { features };
            list.unit(
                &format!("decoder.stages.{d}.convs.{i}"),
                inputs,
                features,
                spec.kernel_sizes[below - 1],
                false,
            );
        }
    }
    for d in 0..stages - 1 {
        let below = stages - 1 - d;
        let (from, to) = (spec.features[below], spec.features[below - 1]);
        let name = format!("decoder.transpconvs.{d}");
        let shape = list.kernel(from, to, spec.strides[below]);
        list.push(format!("{name}.weight"), shape, Role::Kernel);
        if spec.conv_bias {
            list.push(format!("{name}.bias"), vec![to], Role::Shift);
        }
    }
    for d in 0..stages - 1 {
        let features = spec.features[stages - 2 - d];
        let shape = list.kernel(outputs, features, [1; 3]);
        list.push(format!("decoder.seg_layers.{d}.weight"), shape, Role::Kernel);
        list.push(format!("decoder.seg_layers.{d}.bias"), vec![outputs], Role::Shift);
    }
    list.entries
}

/// First names of all weights of a network of nnU-Net in the order of its state dictionary: what is not trained stands beside
/// what is, and batch norms count batches.
pub(crate) fn state_order(spec: &NetworkSpec) -> Result<Vec<String>, NnError> {
    // Names do not depend on the channels of the input and output.
    if spec.is_standard() {
        return Ok(standard_entries(spec, 1, 1).into_iter().map(|entry| entry.name).collect());
    }
    let mut recorder = Recorder::default();
    Composed::new(spec, 1, 1, &mut recorder)?;
    let mut names = Vec::with_capacity(recorder.entries.len());
    for Entry { name, .. } in recorder.entries {
        let norm = name.strip_suffix(".running_var").map(|norm| format!("{norm}{COUNT}"));
        names.push(name);
        names.extend(norm);
    }
    Ok(names)
}

/// Which skip path the residual block `block` of a stage has: whether it pools, and whether it projects.
pub(crate) fn skip_path(spec: &NetworkSpec, stage: usize, block: usize, channels: usize) -> (bool, bool) {
    let pools = block == 0 && spec.strides[stage] != [1; 3];
    (pools, channels != spec.features[stage])
}

struct List<'a> {
    spec: &'a NetworkSpec,
    entries: Vec<Entry>,
}

impl List<'_> {
    fn push(&mut self, name: String, shape: Vec<usize>, role: Role) {
        self.entries.push(Entry { name, shape, role });
    }

    /// Shape of a kernel; 2-D networks have no z axis.
    fn kernel(&self, a: usize, b: usize, size: [usize; 3]) -> Vec<usize> {
        [&[a, b], &size[3 - self.spec.dims..]].concat()
    }

    /// Convolution and norm; `zero` for the last of a residual block.
    fn unit(&mut self, name: &str, inputs: usize, outputs: usize, kernel: [usize; 3], zero: bool) {
        let shape = self.kernel(outputs, inputs, kernel);
        self.push(format!("{name}.conv.weight"), shape, Role::Kernel);
        if self.spec.conv_bias {
            self.push(format!("{name}.conv.bias"), vec![outputs], Role::Shift);
        }
        self.norm(name, outputs, zero);
    }

    fn norm(&mut self, name: &str, channels: usize, zero: bool) {
        if self.spec.norm.is_some_and(|norm| norm.affine) {
            let scale = if zero { Role::ZeroScale } else { Role::Scale };
            self.push(format!("{name}.norm.weight"), vec![channels], scale);
            self.push(format!("{name}.norm.bias"), vec![channels], Role::Shift);
        }
    }

    fn block(&mut self, stage: usize, block: usize, channels: usize) {
        let (features, kernel) = (self.spec.features[stage], self.spec.kernel_sizes[stage]);
        let name = format!("encoder.stages.{stage}.blocks.{block}");
        self.unit(&format!("{name}.conv1"), channels, features, kernel, false);
        self.unit(&format!("{name}.conv2"), features, features, kernel, true);
        let (pools, projects) = skip_path(self.spec, stage, block, channels);
        if projects {
            let skip = format!("{name}.skip.{}", usize::from(pools));
            let shape = self.kernel(features, channels, [1; 3]);
            self.push(format!("{skip}.conv.weight"), shape, Role::Kernel);
            self.norm(&skip, features, false);
        }
    }
}
