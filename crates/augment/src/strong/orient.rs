/// Permutes and reverses the axes of every channel: voxel `i` along an axis comes from voxel `i` (or, reversed, from
/// the other end) along axis `order[axis]`. The shape stays, so permuted axes must be equally long.
pub(super) fn reorder<T: Copy>(data: &mut [T], shape: [usize; 3], order: [usize; 3], reverse: [bool; 3]) {
    let strides = [shape[1] * shape[2], shape[2], 1];
    let voxels: usize = shape.iter().product();
    let mut source = Vec::with_capacity(voxels);
    for channel in data.chunks_exact_mut(voxels) {
        source.clear();
        source.extend_from_slice(channel);
        let at = |axis: usize, i: usize| {
            (if reverse[axis] { shape[axis] - 1 - i } else { i }) * strides[order[axis]]
        };
        for (index, line) in channel.chunks_exact_mut(shape[2]).enumerate() {
            let start = at(0, index / shape[1]) + at(1, index % shape[1]);
            line.iter_mut().enumerate().for_each(|(x, value)| *value = source[start + at(2, x)]);
        }
    }
}

/// Order and reversal of `count` quarter turns from axis `a` to axis `b`.
pub(super) fn quarter_turns(a: usize, b: usize, count: usize) -> ([usize; 3], [bool; 3]) {
    let (mut order, mut reverse) = ([0, 1, 2], [false; 3]);
    match count % 4 {
        // Out (i, j) is in (j, n − 1 − i).
        1 => (order[a], order[b], reverse[a]) = (b, a, true),
        2 => (reverse[a], reverse[b]) = (true, true),
        3 => (order[a], order[b], reverse[b]) = (b, a, true),
        _ => {}
    }
    (order, reverse)
}
