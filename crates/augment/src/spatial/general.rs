//! Resampling voxel by voxel: elastic deformations and nearest neighbours, for which rows are not lines.

use super::affine::{Affine, ONE};
use super::elastic::Field;
use super::labels::vote;
use super::resample::{Cell, OUTSIDE, Volume};
use super::window::Window;

/// How values between voxels are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    /// Linear for images, by vote for labels.
    Linear,
    /// The nearest voxel.
    Nearest,
}

/// Where the voxels of a patch come from.
pub(crate) struct Grid<'a> {
    pub(crate) affine: &'a Affine,
    pub(crate) field: Option<&'a Field>,
    pub(crate) window: &'a Window,
    pub(crate) patch: [usize; 3],
}

impl Grid<'_> {
    /// Calls `voxel` with the number of each voxel of the patch and its coordinates in the window.
    fn walk(&self, mut voxel: impl FnMut(usize, [i64; 3])) {
        let shift = self.field.map_or([0.0; 3], |field| field.recentre(self.affine));
        let mut index = 0;
        for z in 0..self.patch[0] {
            for y in 0..self.patch[1] {
                for x in 0..self.patch[2] {
                    let moved = self.field.map_or([0.0; 3], |field| field.at(index));
                    let at = self.affine.at([z, y, x], moved, shift);
                    let start = self.window.start;
                    voxel(index, [0, 1, 2].map(|axis| at[axis] - start[axis] as i64 * ONE));
                    index += 1;
                }
            }
        }
    }

    fn odd(&self) -> [bool; 3] {
        self.window.start.map(|start| start % 2 == 1)
    }

    /// Samples all channels of an image.
    pub(crate) fn image(&self, source: &[f32], target: &mut [f32], between: Between) {
        let (voxels, count) = self.counts();
        for (source, target) in source.chunks_exact(voxels).zip(target.chunks_exact_mut(count)) {
            let volume = Volume { data: source, shape: self.window.shape };
            self.walk(|index, at| {
                let cell = Cell::new(at, self.odd());
                target[index] = match between {
                    Between::Linear => {
                        cell.corners(volume, 0.0).iter().zip(cell.weights).map(|(v, w)| v * w).sum()
                    }
                    Between::Nearest => cell.nearest_value(volume, 0.0),
                };
            });
        }
    }

    /// Samples all channels of a label map.
    pub(crate) fn labels(&self, source: &[i16], target: &mut [i16], between: Between) {
        let (voxels, count) = self.counts();
        for (source, target) in source.chunks_exact(voxels).zip(target.chunks_exact_mut(count)) {
            let volume = Volume { data: source, shape: self.window.shape };
            self.walk(|index, at| {
                let cell = Cell::new(at, self.odd());
                target[index] = match between {
                    Between::Linear => vote(&cell.corners(volume, OUTSIDE), &cell.weights, cell.nearest),
                    Between::Nearest => cell.nearest_value(volume, OUTSIDE),
                };
            });
        }
    }

    fn counts(&self) -> (usize, usize) {
        (self.window.shape.iter().product(), self.patch.iter().product())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::elastic::displacement;
    use super::*;
    use crate::{Elastic, Parameters};

    fn numbers<const N: usize>(value: &Value) -> [f64; N] {
        let list = value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
        list.collect::<Vec<_>>().try_into().unwrap()
    }

    /// The arrays that the golden values were made of.
    fn source([z, y, x]: [usize; 3]) -> (Vec<f32>, Vec<i16>) {
        let image = (0..z * y * x).map(|i| ((0.37 * i as f64).sin() * 2.0 + (0.011 * i as f64).cos()) as f32);
        let label = |i: usize| {
            let (z, y, x) = (i / (y * x), i / x % y, i % x);
            ((z / 3 * 5 + y / 4 * 3 + x / 3 * 7 + y * x / 17) % 4) as i16 - 1
        };
        (image.collect(), (0..z * y * x).map(label).collect())
    }

    /// Displacements, the turn after them and the centring are the reference's: intensities within 1e-4 (it keeps
    /// coordinates in f32), labels but for one in two hundred that the rounding of coordinates decides.
    #[test]
    fn deformed_patches_are_the_reference_s() {
        let golden: Value = serde_json::from_str(include_str!("../../tests/golden/strong.json")).unwrap();
        for case in golden["elastic"].as_array().unwrap() {
            let patch: [usize; 3] = numbers(&case["patch"]).map(|v| v as usize);
            let loaded = numbers(&case["loaded"]).map(|v| v as usize);
            let planar = patch[0] == 1;
            let (sigma, magnitude) = (numbers::<3>(&case["sigma"]), numbers::<3>(&case["magnitude"]));
            let moved = [0, 1, 2].map(|axis| {
                let wave = |i: usize| ((0.37 + 0.1 * axis as f64) * i as f64).sin() as f32;
                let noise: Vec<f32> = (0..patch.iter().product()).map(wave).collect();
                match planar && axis == 0 {
                    true => Vec::new(),
                    false => displacement(noise, patch, sigma[axis], magnitude[axis]),
                }
            });
            let parameters = Parameters {
                rotation: Some(numbers(&case["rotation"])),
                scaling: Some(numbers(&case["scaling"])),
                elastic: Some(Elastic { sigma, magnitude, seed: 0 }),
                ..Default::default()
            };
            let affine = Affine::new(&parameters, planar, patch, loaded).unwrap().unwrap();
            let field = Field { moved, slice: None };
            let window = Window::whole(loaded);
            let grid = Grid { affine: &affine, field: Some(&field), window: &window, patch };
            let (image, labels) = source(loaded);
            let count = patch.iter().product();
            let (mut found, mut found_labels) = (vec![0.0; count], vec![0; count]);
            grid.image(&image, &mut found, Between::Linear);
            grid.labels(&labels, &mut found_labels, Between::Linear);
            let expected = case["image"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
            for (i, (a, b)) in found.iter().zip(expected).enumerate() {
                assert!((f64::from(*a) - b).abs() < 1e-4, "voxel {i} is {a} instead of {b}");
            }
            let expected = case["labels"].as_array().unwrap().iter().map(|v| v.as_i64().unwrap());
            let wrong = found_labels.iter().zip(expected).filter(|(a, b)| i64::from(**a) != *b).count();
            assert!(wrong * 200 <= count, "{wrong} of {count} labels differ");
        }
    }
}
