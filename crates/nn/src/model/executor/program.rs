//! The steps of a network and what they run on.

use super::slots::{Life, assign};
use crate::kernels::{ChannelMap, Dims, Moments, Prepared, Source, average_pool, merge};

/// An activation: some channels of a tensor, perhaps to be read through a map.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) tensor: usize,
    pub(super) first: usize,
    pub(super) channels: usize,
    /// Values per voxel of the tensor.
    pub(super) pitch: usize,
    pub(super) space: [usize; 3],
    pub(super) map: Option<usize>,
}

impl View {
    pub(super) fn dims(&self) -> Dims {
        Dims { batch: 1, space: self.space, channels: self.channels }
    }
}

/// What turns the moments of a convolution into a map.
pub(super) struct Norm {
    pub(super) eps: f64,
    pub(super) gamma: Vec<f32>,
    pub(super) beta: Vec<f32>,
    /// Maps that take the result, from a channel on.
    pub(super) targets: Vec<(usize, usize)>,
}

pub(super) enum Step {
    /// A convolution of either kind, and the norm behind it.
    Conv { conv: Box<Prepared>, input: View, output: View, norm: Option<Norm> },
    /// Means over boxes.
    Pool { stride: [usize; 3], input: View, output: View },
    /// `values = act(values + other)`.
    Merge { values: View, other: View, slope: f32 },
}

/// A network for tiles of one size.
pub(in crate::model) struct Program {
    pub(super) input: Dims,
    steps: Vec<Step>,
    maps: Vec<ChannelMap>,
    slot_of: Vec<usize>,
    /// Values of each slot.
    pub(super) slots: Vec<usize>,
    output: View,
}

/// The buffers of one thread.
pub(super) struct Workspace {
    slots: Vec<Vec<f32>>,
    maps: Vec<ChannelMap>,
}

impl Program {
    /// Lays out the tensors of `steps`, of which number 0 is the input; `lens` are their values.
    pub(super) fn new(
        input: Dims,
        steps: Vec<Step>,
        maps: Vec<ChannelMap>,
        lens: &[usize],
        output: View,
    ) -> Self {
        let mut lives: Vec<Life> =
            lens.iter().map(|&len| Life { first: steps.len(), last: 0, len }).collect();
        lives[0].first = 0;
        for (number, step) in steps.iter().enumerate() {
            let (a, b) = match step {
                Step::Conv { input, output, .. } | Step::Pool { input, output, .. } => (input, output),
                Step::Merge { values, other, .. } => (values, other),
            };
            for view in [a, b] {
                let life = &mut lives[view.tensor];
                life.first = life.first.min(number);
                life.last = number;
            }
        }
        lives[output.tensor].last = steps.len();
        let (slot_of, slots) = assign(&lives);
        Self { input, steps, maps, slot_of, slots, output }
    }

    /// Whether both run on the same buffers.
    pub(super) fn fits(&self, other: &Self) -> bool {
        self.slots == other.slots && self.maps == other.maps
    }

    pub(super) fn workspace(&self) -> Workspace {
        Workspace { slots: self.slots.iter().map(|&len| vec![0.0; len]).collect(), maps: self.maps.clone() }
    }

    /// Logits of the tile.
    pub(super) fn run(&self, tile: &[f32], workspace: &mut Workspace) -> Vec<f32> {
        channels_last(tile, self.input, &mut workspace.slots[self.slot_of[0]]);
        for step in &self.steps {
            self.step(step, workspace);
        }
        let len = self.output.dims().len();
        let logits = &workspace.slots[self.slot_of[self.output.tensor]];
        logits[self.output.first..][..len].to_vec()
    }

    fn step(&self, step: &Step, workspace: &mut Workspace) {
        let target = match step {
            Step::Conv { output, .. } | Step::Pool { output, .. } => output,
            Step::Merge { values, .. } => values,
        };
        let slot = self.slot_of[target.tensor];
        // Taken out while it is written; what is read lies in other slots.
        let mut written = std::mem::take(&mut workspace.slots[slot]);
        let out = &mut written[target.first..];
        match step {
            Step::Conv { conv, input, norm, .. } => {
                let moments = conv.run(self.source(input, workspace), out, norm.is_some());
                if let Some(norm) = norm {
                    norm.apply(&moments, &mut workspace.maps);
                }
            }
            Step::Pool { stride, input, .. } => {
                average_pool(self.source(input, workspace), input.dims(), *stride, out);
            }
            Step::Merge { values, other, slope } => {
                let map = values.map.map_or(&[][..], |map| std::slice::from_ref(&workspace.maps[map]));
                let other = self.source(other, workspace);
                merge(out, values.pitch, map, other, values.dims(), *slope);
            }
        }
        workspace.slots[slot] = written;
    }

    fn source<'a>(&self, view: &View, workspace: &'a Workspace) -> Source<'a> {
        Source {
            values: &workspace.slots[self.slot_of[view.tensor]][view.first..],
            pitch: view.pitch,
            maps: view.map.map_or(&[], |map| std::slice::from_ref(&workspace.maps[map])),
        }
    }
}

impl Norm {
    fn apply(&self, moments: &[Moments], maps: &mut [ChannelMap]) {
        for (channel, moments) in moments.iter().enumerate() {
            let (mean, inverse) = moments.normaliser(self.eps);
            let scale = f64::from(self.gamma[channel]) * inverse;
            let shift = f64::from(self.beta[channel]) - mean * scale;
            for &(map, first) in &self.targets {
                maps[map].scale[first + channel] = scale as f32;
                maps[map].shift[first + channel] = shift as f32;
            }
        }
    }
}

/// Puts the channels of each voxel together.
fn channels_last(tile: &[f32], dims: Dims, out: &mut [f32]) {
    let (c, voxels) = (dims.channels, dims.voxels());
    if c == 1 {
        return out[..voxels].copy_from_slice(tile);
    }
    for (channel, values) in tile.chunks_exact(voxels.max(1)).enumerate() {
        for (out, value) in out.chunks_exact_mut(c).zip(values) {
            out[channel] = *value;
        }
    }
}
