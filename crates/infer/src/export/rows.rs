use std::ops::Range;

use half::f16;

use super::taps::Taps;
use crate::logits::{Logits, Number, Values};

/// Resampled logits, one row at a time: whatever the size of the image, only rows are held beside the logits.
pub(crate) struct Rows<'a> {
    logits: &'a Logits,
    taps: &'a [Taps; 3],
    /// Keep single precision whatever the logits have.
    single: bool,
    /// What of a row at the old resolution is needed.
    columns: Range<usize>,
    /// These columns times channels.
    blended: Vec<f64>,
    /// The row at the new resolution, x times channels.
    row: Vec<f32>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(logits: &'a Logits, taps: &'a [Taps; 3], single: bool) -> Self {
        let columns = taps[2].needed(0..taps[2].lower.len());
        let (old, new) = (columns.len() * logits.channels, taps[2].lower.len() * logits.channels);
        Self { logits, taps, single, columns, blended: vec![0.0; old], row: vec![0.0; new] }
    }

    /// Numbers per voxel.
    pub(crate) fn channels(&self) -> usize {
        self.logits.channels
    }

    /// The resampled row at (z, y): the channels of each voxel lie together. As in nnU-Net v2.8.1, it is
    /// computed in double precision and rounded to the precision of the logits.
    pub(crate) fn at(&mut self, z: usize, y: usize) -> &[f32] {
        match &self.logits.values {
            Values::F32(values) => self.fill(values, z, y, f32::through),
            Values::F16(values) if self.single => self.fill(values, z, y, f32::through),
            Values::F16(values) => self.fill(values, z, y, f16::through),
        }
        &self.row
    }

    fn fill<N: Number>(&mut self, values: &[N], z: usize, y: usize, rounded: impl Fn(f64) -> f32) {
        let [_, height, width] = self.logits.shape;
        let channels = self.logits.channels;
        let [tz, ty, tx] = self.taps;
        self.blended.fill(0.0);
        for (plane, wz) in sides(tz, z) {
            for (line, wy) in sides(ty, y) {
                let start = ((plane * height + line) * width + self.columns.start) * channels;
                let source = &values[start..start + self.columns.len() * channels];
                let weight = wz * wy;
                self.blended
                    .iter_mut()
                    .zip(source)
                    .for_each(|(to, from)| *to += f64::from(from.get()) * weight);
            }
        }
        let first = self.columns.start;
        let at = |column: usize| (column - first) * channels..(column - first + 1) * channels;
        for (i, voxel) in self.row.chunks_exact_mut(channels).enumerate() {
            let upper = tx.weight[i];
            let left = &self.blended[at(tx.lower[i])];
            if upper == 0.0 {
                voxel.iter_mut().zip(left).for_each(|(to, left)| *to = rounded(*left));
                continue;
            }
            let right = &self.blended[at(tx.upper[i])];
            for ((to, left), right) in voxel.iter_mut().zip(left).zip(right) {
                *to = rounded(left * (1.0 - upper) + right * upper);
            }
        }
    }
}

/// The samples that count for sample `i`, with their weights.
fn sides(taps: &Taps, i: usize) -> impl Iterator<Item = (usize, f64)> {
    let weight = taps.weight[i];
    [(taps.lower[i], 1.0 - weight), (taps.upper[i], weight)].into_iter().filter(|(_, weight)| *weight != 0.0)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array4, array};
    use nnunet_image::{ResampleOptions, resample_image};

    use super::super::taps::axis_taps;
    use super::*;

    fn resampled(logits: &Logits, taps: &[Taps; 3]) -> Array4<f32> {
        let [z, y, x] = taps.each_ref().map(|taps| taps.lower.len());
        let mut rows = Rows::new(logits, taps, false);
        let mut out = Array4::zeros((logits.channels, z, y, x));
        for k in 0..z {
            for j in 0..y {
                for (at, value) in rows.at(k, j).iter().enumerate() {
                    out[[at % logits.channels, k, j, at / logits.channels]] = *value;
                }
            }
        }
        out
    }

    #[test]
    fn a_half_precision_slice_has_the_values_of_the_reference() {
        let values = [0.0, 2.0, 2.0, 2.0].map(f16::from_f32).to_vec();
        let logits = Logits { shape: [1, 2, 2], channels: 1, values: Values::F16(values) };
        let options = ResampleOptions::probabilities();
        let taps = axis_taps([1, 2, 2], [1, 4, 4], [1.0; 3], [1.0; 3], &options).unwrap();
        let expected = array![[[
            [0.0, 0.5, 1.5, 2.0],
            [0.5, 0.875, 1.625, 2.0],
            [1.5, 1.625, 1.875, 2.0],
            [2.0, 2.0, 2.0, 2.0]
        ]]];
        assert_eq!(resampled(&logits, &taps), expected);
    }

    #[test]
    fn rows_agree_with_resampling_the_whole_image() {
        let image = Array4::from_shape_fn((2, 4, 5, 6), |(c, z, y, x)| {
            ((c * 131 + z * 37 + y * 11 + x * 7) as f32 * 0.7).sin() * 5.0
        });
        let logits = Logits::from_array(image.view());
        for (spacing, new) in
            [([1.0; 3], [7, 3, 11]), ([5.0, 1.0, 1.0], [7, 9, 3]), ([1.0, 1.0, 9.0], [4, 5, 13])]
        {
            let options = ResampleOptions::probabilities();
            let taps = axis_taps([4, 5, 6], new, spacing, [1.0; 3], &options).unwrap();
            let found = resampled(&logits, &taps);
            let expected = resample_image(image.view(), new, spacing, [1.0; 3], &options).unwrap();
            let worst = (&found - &expected).iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            assert!(worst <= 5e-7, "{spacing:?}: {worst}");
        }
    }

    #[test]
    fn an_unchanged_shape_changes_nothing() {
        let image = Array4::from_shape_fn((3, 2, 3, 4), |(c, z, y, x)| (c + z * 3 + y * 7 + x) as f32 * 0.1);
        let logits = Logits::from_array(image.view());
        let options = ResampleOptions::image();
        let taps = axis_taps([2, 3, 4], [2, 3, 4], [1.0; 3], [2.0; 3], &options).unwrap();
        assert_eq!(resampled(&logits, &taps), image);
    }
}
