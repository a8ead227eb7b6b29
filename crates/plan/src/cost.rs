//! The memory estimate of networks with other parts than nnU-Net's own.

use crate::{BlockKind, Blocks, DecoderKind, DownKind, NetworkSpec, UpKind};

/// Values that the convolutions of one sample give out.
pub(crate) fn feature_map_cost(spec: &NetworkSpec, blocks: &Blocks, patch: [usize; 3], outputs: u64) -> u64 {
    let voxels = voxels(spec, patch);
    let full: u64 = patch.map(|n| n as u64).iter().product();
    let mut total = if blocks.encoder.needs_stem() { spec.features[0] as u64 * full } else { 0 };
    for stage in 0..spec.num_stages() {
        let features = spec.features[stage];
        let widens = stage > 0 && features != spec.features[stage - 1];
        let strided = spec.strides[stage] != [1; 3];
        let mut projects = widens || strided;
        if blocks.down == DownKind::Conv && stage > 0 {
            total += features as u64 * voxels[stage];
            projects = false;
        }
        let maps = maps(blocks.encoder, spec.encoder_convs[stage], features, blocks.growth_rate, projects);
        total += maps * voxels[stage];
    }
    total + decoder_cost(spec, blocks, &voxels, outputs, full)
}

fn decoder_cost(spec: &NetworkSpec, blocks: &Blocks, voxels: &[u64], outputs: u64, full: u64) -> u64 {
    let last = spec.num_stages() - 1;
    if let DecoderKind::Aspp { rates, channels } = &blocks.joined {
        // Each rate, the 1×1 branch, and what joins them.
        return (rates.len() as u64 + 2) * *channels as u64 * voxels[last] + outputs * (voxels[last] + full);
    }
    let nested = blocks.joined == DecoderKind::Nested;
    let mut total = 0;
    for stage in 0..last {
        let below = if stage + 1 == last || nested {
            spec.features[stage + 1]
        } else {
            spec.decoder_features(stage + 1)
        };
        let features = spec.features[stage];
        let up = match blocks.up {
            UpKind::Transposed | UpKind::TransposedUnit => features,
            UpKind::TransposedWide | UpKind::Linear => below,
        };
        let convs = spec.decoder_convs[last - 1 - stage];
        let out = spec.decoder_features(stage);
        let block = maps(blocks.decoder, convs, out, blocks.growth_rate, true);
        // A row of the grid has as many nodes as there are stages below.
        let nodes = if nested { (last - stage) as u64 } else { 1 };
        total += nodes * (up as u64 + block) * voxels[stage];
        if blocks.joined == DecoderKind::Attention {
            total += (2 * (features / 2).max(1) as u64 + 1) * voxels[stage + 1];
        }
    }
    total + outputs * voxels[0]
}

/// Voxels of each stage.
fn voxels(spec: &NetworkSpec, patch: [usize; 3]) -> Vec<u64> {
    let mut size = patch.map(|n| n as u64);
    let below = spec.strides.iter().map(|stride| {
        (0..3).for_each(|axis| size[axis] /= stride[axis].max(1) as u64);
        size.iter().product()
    });
    below.collect()
}

/// Channels that the convolutions of a stage's blocks give out, `count` of them.
fn maps(kind: BlockKind, count: usize, features: usize, growth: usize, projects: bool) -> u64 {
    let (count, features) = (count as u64, features as u64);
    let shortcut = if projects { features } else { 0 };
    match kind {
        BlockKind::Plain => count * features,
        BlockKind::Doubling => features + (count - 1) * (features / 2).max(1),
        BlockKind::Residual | BlockKind::Preactivation => 2 * count * features + shortcut,
        BlockKind::Bottleneck => count * (features + 2 * features.div_ceil(4)) + shortcut,
        BlockKind::Dense => count * growth as u64 + features,
        BlockKind::Vnet => count * features,
    }
}
