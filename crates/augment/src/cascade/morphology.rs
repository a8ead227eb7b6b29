//! Binary morphology on bits: a row of 64 voxels is one word, so that a structuring element costs a few operations
//! per word and row.

use super::Operator;
use super::element::{Element, Row};

/// A binary volume, one bit per voxel, rows padded to whole words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bits {
    shape: [usize; 3],
    /// Words per row.
    words: usize,
    data: Vec<u64>,
}

impl Bits {
    /// The voxels of a channel that are not 0.
    pub(super) fn from_channel(channel: &[f32], shape: [usize; 3]) -> Self {
        let words = shape[2].div_ceil(64);
        let mut data = vec![0u64; shape[0] * shape[1] * words];
        for (row, bits) in channel.chunks_exact(shape[2]).zip(data.chunks_exact_mut(words)) {
            for (x, _) in row.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                bits[x / 64] |= 1 << (x % 64);
            }
        }
        Self { shape, words, data }
    }

    /// Whether the voxel of this index in the channel is set.
    pub(super) fn get(&self, index: usize) -> bool {
        let (row, x) = (index / self.shape[2], index % self.shape[2]);
        self.data[row * self.words + x / 64] >> (x % 64) & 1 == 1
    }

    /// The result of an operator.
    pub(super) fn apply(&self, operator: Operator, element: &Element) -> Self {
        match operator {
            Operator::Dilate => self.dilate(element),
            Operator::Erode => self.erode(element),
            Operator::Close => self.dilate(element).erode(element),
            Operator::Open => self.erode(element).dilate(element),
        }
    }

    fn erode(&self, element: &Element) -> Self {
        self.complement().dilate(element).complement()
    }

    fn complement(&self) -> Self {
        let mut all = self.clone();
        let rest = self.shape[2] % 64;
        let tail = if rest == 0 { u64::MAX } else { (1 << rest) - 1 };
        for row in all.data.chunks_exact_mut(self.words) {
            row.iter_mut().for_each(|word| *word = !*word);
            row[self.words - 1] &= tail;
        }
        all
    }

    /// A voxel is set where the element, put there, touches a set voxel.
    fn dilate(&self, element: &Element) -> Self {
        let mut out = Self { data: vec![0; self.data.len()], ..self.clone() };
        let mut runs: Vec<(i64, i64)> = element.rows.iter().map(|row| row.run).collect();
        runs.sort_unstable();
        runs.dedup();
        for run in runs {
            let wide = self.dilate_rows(run);
            for row in element.rows.iter().filter(|row| row.run == run) {
                out.add_shifted(&wide, row);
            }
        }
        out
    }

    /// Ors the rows of `wide` that lie `row.z` and `row.y` further on.
    fn add_shifted(&mut self, wide: &Self, row: &Row) {
        let [depth, height, _] = self.shape;
        let range = |shift: i64, length: usize| {
            let first = (-shift).max(0) as usize;
            first..(length as i64 - shift.max(0)).max(0) as usize
        };
        let ys = range(row.y, height);
        if ys.is_empty() {
            return;
        }
        for z in range(row.z, depth) {
            let from_z = (z as i64 + row.z) as usize;
            let count = ys.len() * self.words;
            let to = (z * height + ys.start) * self.words;
            let from = (from_z * height + (ys.start as i64 + row.y) as usize) * self.words;
            let (target, source) = (&mut self.data[to..to + count], &wide.data[from..from + count]);
            target.iter_mut().zip(source).for_each(|(t, s)| *t |= s);
        }
    }

    /// A voxel is set where any of those at `first..=last` from it in its row is.
    fn dilate_rows(&self, (first, last): (i64, i64)) -> Self {
        let mut out = Self { data: vec![0; self.data.len()], ..self.clone() };
        let rest = self.shape[2] % 64;
        let tail = if rest == 0 { u64::MAX } else { (1 << rest) - 1 };
        let rows = self.data.chunks_exact(self.words).zip(out.data.chunks_exact_mut(self.words));
        for (source, target) in rows.filter(|(source, _)| source.iter().any(|&word| word != 0)) {
            for shift in first..=last {
                or_shifted(source, shift, target);
            }
            target[self.words - 1] &= tail;
        }
        out
    }
}

/// Ors bit `i + shift` of `source` into bit `i` of `target`; there are zeros beyond the ends.
fn or_shifted(source: &[u64], shift: i64, target: &mut [u64]) {
    let (jump, bits) = (shift.div_euclid(64), shift.rem_euclid(64) as u32);
    let word = |i: i64| usize::try_from(i).ok().and_then(|i| source.get(i)).copied().unwrap_or(0);
    for (i, target) in target.iter_mut().enumerate() {
        let at = i as i64 + jump;
        let upper = if bits == 0 { 0 } else { word(at + 1) << (64 - bits) };
        *target |= word(at) >> bits | upper;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, voxel by voxel.
    fn slow_dilate(set: &[bool], shape: [usize; 3], element: &Element) -> Vec<bool> {
        let [depth, height, width] = shape.map(|n| n as i64);
        let inside = |z, y, x| {
            (0..depth).contains(&z)
                && (0..height).contains(&y)
                && (0..width).contains(&x)
                && set[((z * height + y) * width + x) as usize]
        };
        let voxel = |i: usize| {
            let i = i as i64;
            let (z, y, x) = (i / (height * width), i / width % height, i % width);
            element
                .rows
                .iter()
                .any(|row| (row.run.0..=row.run.1).any(|shift| inside(z + row.z, y + row.y, x + shift)))
        };
        (0..set.len()).map(voxel).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn bits_agree_with_the_definition(
            z in 1usize..5, y in 1usize..7, x in prop_oneof![1usize..9, 60usize..70, 127usize..131],
            radius in 1.0f64..4.5, planar: bool, seed: u64
        ) {
            let shape = [z, y, x];
            let mut state = seed | 1;
            let mut random = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                state >> 62 == 0
            };
            let set: Vec<bool> = (0..z * y * x).map(|_| random() && random()).collect();
            let channel: Vec<f32> = set.iter().map(|&set| f32::from(set)).collect();
            let element = if planar { Element::disc(radius) } else { Element::ball(radius) };
            let bits = Bits::from_channel(&channel, shape);
            let found = |operator| {
                let out = bits.apply(operator, &element);
                (0..set.len()).map(|i| out.get(i)).collect::<Vec<_>>()
            };
            let not = |set: &[bool]| set.iter().map(|set| !set).collect::<Vec<_>>();
            let dilate = |set: &[bool]| slow_dilate(set, shape, &element);
            let erode = |set: &[bool]| not(&dilate(&not(set)));
            prop_assert_eq!(found(Operator::Dilate), dilate(&set));
            prop_assert_eq!(found(Operator::Erode), erode(&set));
            prop_assert_eq!(found(Operator::Close), erode(&dilate(&set)));
            prop_assert_eq!(found(Operator::Open), dilate(&erode(&set)));
        }
    }
}
