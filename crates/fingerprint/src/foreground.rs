//! Foreground and non-zero box of a case, gathered while its files are decoded: no array of the whole case is made.

use std::ops::{ControlFlow, Range};

use nnunet_image::{BoundingBox, Parts};

/// Voxels per word of a mask.
const WORD: usize = u64::BITS as usize;

/// One bit per voxel: whether its label is above 0.
#[derive(Debug, Default)]
pub(crate) struct Mask {
    words: Vec<u64>,
    /// Voxels so far.
    length: usize,
    /// Shape (z, y, x).
    pub(crate) shape: [usize; 3],
}

impl Parts<i16> for Mask {
    fn start(&mut self, [_, z, y, x]: [usize; 4]) -> ControlFlow<()> {
        self.words.clear();
        (self.length, self.shape) = (0, [z, y, x]);
        ControlFlow::Continue(())
    }

    fn take(&mut self, mut labels: &[i16]) {
        let open = self.length % WORD;
        if open > 0 {
            let (first, rest) = labels.split_at(labels.len().min(WORD - open));
            if let Some(last) = self.words.last_mut() {
                *last |= bits(first) << open;
            }
            self.length += first.len();
            labels = rest;
        }
        self.words.extend(labels.chunks(WORD).map(bits));
        self.length += labels.len();
    }
}

/// One bit for each of up to 64 labels.
fn bits(labels: &[i16]) -> u64 {
    let (any, all) = labels.iter().fold((false, true), |(any, all), &l| (any | (l > 0), all & (l > 0)));
    match (any, all && labels.len() == WORD) {
        (false, _) => 0,
        (_, true) => u64::MAX,
        _ => labels.iter().rev().fold(0, |word, &label| word << 1 | u64::from(label > 0)),
    }
}

impl Mask {
    /// Voxels of the foreground.
    fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Calls `run` with the foreground within `range`, run by run (relative to its start), in ascending order.
    fn runs(&self, range: Range<usize>, mut run: impl FnMut(Range<usize>)) {
        let mut open: Option<Range<usize>> = None;
        let mut at = range.start;
        while at < range.end {
            let (index, shift) = (at / WORD, at % WORD);
            let within = (WORD - shift).min(range.end - at);
            let mut word = self.words.get(index).map_or(0, |word| word >> shift);
            if within < WORD {
                word &= (1 << within) - 1;
            }
            while word != 0 {
                let first = word.trailing_zeros() as usize;
                let length = (word >> first).trailing_ones() as usize;
                let start = at - range.start + first;
                match &mut open {
                    Some(open) if open.end == start => open.end += length,
                    _ => {
                        if let Some(done) = open.replace(start..start + length) {
                            run(done);
                        }
                    }
                }
                if first + length >= WORD {
                    break;
                }
                word &= u64::MAX << (first + length);
            }
            at += within;
        }
        if let Some(last) = open {
            run(last);
        }
    }
}

/// The intensities of a case's foreground.
#[derive(Debug, Default)]
pub(crate) struct Foreground {
    /// Per channel, in memory order.
    pub(crate) values: Vec<Vec<f32>>,
    /// Channels whose values have begun.
    pub(crate) channels: usize,
    /// The first channel that holds NaN.
    pub(crate) not_a_number: Option<usize>,
    /// Shape (z, y, x).
    pub(crate) shape: [usize; 3],
    found: Extent,
}

/// Takes the channels of a case one after the other.
pub(crate) struct Gather<'a> {
    mask: &'a Mask,
    into: &'a mut Foreground,
    /// Voxels of a channel, of the foreground of each, and of the current channel that have passed.
    voxels: usize,
    count: usize,
    passed: usize,
    left: usize,
}

impl<'a> Gather<'a> {
    /// Empties `into`; its memory is used again.
    pub(crate) fn new(mask: &'a Mask, into: &'a mut Foreground) -> Self {
        into.values.iter_mut().for_each(Vec::clear);
        (into.channels, into.not_a_number, into.found) = (0, None, Extent::default());
        let voxels = mask.shape.iter().product();
        Self { mask, into, voxels, count: mask.count(), passed: 0, left: 0 }
    }

    /// Cuts the foreground to the non-zero box, which is known only now, and gives the box.
    pub(crate) fn finish(self) -> BoundingBox {
        let bbox = self.into.found.bbox(self.mask.shape);
        let [_, ny, nx] = self.mask.shape;
        let whole = bbox.shape() == self.mask.shape;
        for values in self.into.values[..self.into.channels].iter_mut().filter(|_| !whole) {
            let (mut kept, mut seen) = (0, 0);
            for row in 0..self.mask.shape[0] * ny {
                let inside = [row / ny, row % ny]
                    .into_iter()
                    .enumerate()
                    .all(|(axis, at)| (bbox.start[axis]..bbox.end[axis]).contains(&at));
                self.mask.runs(row * nx..(row + 1) * nx, |run| {
                    let (from, to) = (run.start.max(bbox.start[2]), run.end.min(bbox.end[2]));
                    if inside && from < to {
                        let first = seen + from - run.start;
                        values.copy_within(first..first + to - from, kept);
                        kept += to - from;
                    }
                    seen += run.len();
                });
            }
            values.truncate(kept);
        }
        bbox
    }
}

impl Parts<f32> for Gather<'_> {
    fn start(&mut self, [channels, z, y, x]: [usize; 4]) -> ControlFlow<()> {
        self.into.shape = [z, y, x];
        if self.into.shape != self.mask.shape || self.voxels == 0 {
            return ControlFlow::Break(());
        }
        self.left += channels;
        ControlFlow::Continue(())
    }

    fn take(&mut self, mut values: &[f32]) {
        while !values.is_empty() {
            if self.passed == 0 || self.passed == self.voxels {
                let Some(left) = self.left.checked_sub(1) else { return };
                (self.left, self.passed) = (left, 0);
                self.into.channels += 1;
                if self.into.values.len() < self.into.channels {
                    self.into.values.push(Vec::new());
                }
                self.into.values[self.into.channels - 1].reserve(self.count);
            }
            let (part, rest) = values.split_at(values.len().min(self.voxels - self.passed));
            self.part(part);
            values = rest;
        }
    }
}

impl Gather<'_> {
    /// Values of one channel.
    fn part(&mut self, values: &[f32]) {
        let channel = self.into.channels - 1;
        if self.into.not_a_number.is_none() && values.iter().fold(false, |nan, v| nan | v.is_nan()) {
            self.into.not_a_number = Some(channel);
        }
        self.into.found.widen(self.mask.shape, self.passed, values);
        let kept = &mut self.into.values[channel];
        self.mask.runs(self.passed..self.passed + values.len(), |run| kept.extend_from_slice(&values[run]));
        self.passed += values.len();
    }
}

/// First and last voxel that is not 0, per axis; none at first.
#[derive(Debug, Clone, Copy)]
struct Extent {
    low: [usize; 3],
    high: [usize; 3],
}

impl Default for Extent {
    fn default() -> Self {
        Self { low: [usize::MAX; 3], high: [0; 3] }
    }
}

impl Extent {
    /// Looks at values that begin at voxel `first`.
    fn widen(&mut self, [_, ny, nx]: [usize; 3], first: usize, mut values: &[f32]) {
        let mut at = first;
        while !values.is_empty() {
            let (row, x) = (at / nx, at % nx);
            let (part, rest) = values.split_at(values.len().min(nx - x));
            if let Some(from) = part.iter().position(|&v| v != 0.0) {
                let to = part.iter().rposition(|&v| v != 0.0).unwrap_or(from);
                let (z, y) = (row / ny, row % ny);
                for (axis, [low, high]) in [[z, z], [y, y], [x + from, x + to]].into_iter().enumerate() {
                    self.low[axis] = self.low[axis].min(low);
                    self.high[axis] = self.high[axis].max(high + 1);
                }
            }
            at += part.len();
            values = rest;
        }
    }

    /// The whole image if there was none.
    fn bbox(&self, shape: [usize; 3]) -> BoundingBox {
        if self.high[0] == 0 {
            return BoundingBox { start: [0; 3], end: shape };
        }
        BoundingBox { start: self.low, end: self.high }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, Array4, s};
    use nnunet_image::nonzero_box;

    use super::*;
    use crate::rng::Mt19937;

    /// The same with arrays.
    fn reference(image: &Array4<f32>, labels: &Array3<i16>) -> (BoundingBox, Vec<Vec<f32>>) {
        let bbox = nonzero_box(image.view());
        let ([z0, y0, x0], [z1, y1, x1]) = (bbox.start, bbox.end);
        let labels = labels.slice(s![z0..z1, y0..y1, x0..x1]);
        let values = image
            .slice(s![.., z0..z1, y0..y1, x0..x1])
            .outer_iter()
            .map(|c| c.iter().zip(&labels).filter(|(_, l)| **l > 0).map(|(v, _)| *v).collect())
            .collect();
        (bbox, values)
    }

    #[test]
    fn parts_of_any_size_give_what_arrays_give() {
        let mut rng = Mt19937::new(3);
        let (mut mask, mut found) = (Mask::default(), Foreground::default());
        for case in 0..60usize {
            let shape = std::array::from_fn(|axis| 1 + rng.bounded([5, 9, 200][axis]) as usize);
            let [z, y, x] = shape;
            let dense = rng.bounded(3) as i32;
            let labels = Array3::from_shape_fn(shape, |(_, y, x)| {
                let noise = rng.bounded(3) as i32;
                if (y + x / 40) % 3 == 0 { (noise + dense - 1) as i16 } else { i16::from(dense == 3) }
            });
            let mut image = Array4::from_shape_fn((2, z, y, x), |_| rng.bounded(4) as f32);
            let cut = rng.bounded(4) as usize;
            image.slice_mut(s![.., .., .., ..cut.min(x)]).fill(0.0);
            image.slice_mut(s![.., z - cut.min(z - 1).., .., ..]).fill(0.0);
            if case == 7 {
                image.fill(0.0);
            }
            let step = 1 + rng.bounded(300) as usize;
            assert!(mask.start([1, z, y, x]).is_continue());
            labels.as_slice().unwrap().chunks(step).for_each(|part| mask.take(part));
            let mut gather = Gather::new(&mask, &mut found);
            assert!(gather.start([2, z, y, x]).is_continue());
            image.as_slice().unwrap().chunks(step).for_each(|part| gather.take(part));
            let bbox = gather.finish();
            let expected = reference(&image, &labels);
            assert_eq!(
                (bbox, &found.values[..2]),
                (expected.0, expected.1.as_slice()),
                "{shape:?} by {step}"
            );
            assert_eq!((found.channels, found.not_a_number), (2, None));
        }
    }

    #[test]
    fn nan_is_seen_and_another_shape_stops() {
        let (mut mask, mut found) = (Mask::default(), Foreground::default());
        assert!(mask.start([1, 1, 1, 3]).is_continue());
        mask.take(&[0, 1, 2]);
        let mut gather = Gather::new(&mask, &mut found);
        assert!(gather.start([1, 1, 1, 4]).is_break());
        assert!(gather.start([1, 1, 1, 3]).is_continue());
        gather.take(&[1.0, 2.0, 3.0]);
        assert!(gather.start([1, 1, 1, 3]).is_continue());
        gather.take(&[1.0, f32::NAN, 3.0]);
        gather.finish();
        assert_eq!((found.channels, found.not_a_number), (2, Some(1)));
        assert_eq!(found.values[0], [2.0, 3.0]);
    }
}
