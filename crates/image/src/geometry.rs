//! Images and label maps with their place in space.

use ndarray::{Array3, Array4};

use crate::AxisCode;

/// Where the voxels of an array `(z, y, x)` lie in space.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    /// Distance of neighbouring voxels along the array axes z, y, x in millimetres.
    pub spacing: [f64; 3],
    /// Position of the first voxel in millimetres as (x, y, z), x towards left, y towards back, z up (LPS, as ITK).
    pub origin: [f64; 3],
    /// Direction cosines, row by row as ITK gives them: column k is the direction of the index axis x, y, z.
    pub direction: [[f64; 3]; 3],
    /// Number of axes in the file: 2 or 3.
    pub dims: usize,
    /// Which way the axes of the file point, if the reader turned the image; segmentations are turned back to it when they
    /// are written.
    pub file_axes: Option<AxisCode>,
}

impl Default for Geometry {
    fn default() -> Self {
        let direction = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        Self { spacing: [1.0; 3], origin: [0.0; 3], direction, dims: 3, file_axes: None }
    }
}

impl Geometry {
    /// Whether the spacings agree within `1e-8 + 1e-5 · |other|` per axis, as nnU-Net compares them.
    pub fn same_spacing(&self, other: &Self) -> bool {
        close(&self.spacing, &other.spacing)
    }

    /// Makes the frame that of a 2-D image, whose slices nnU-Net takes to be 999 times as far apart as its widest pixels.
    #[cfg(feature = "stored")]
    pub(crate) fn make_flat(&mut self) {
        self.dims = 2;
        self.spacing[0] = 999.0 * self.spacing[1].max(self.spacing[2]);
    }

    /// Whether origin and direction agree within the tolerance of [`Geometry::same_spacing`].
    pub fn same_frame(&self, other: &Self) -> bool {
        close(&self.origin, &other.origin)
            && close(self.direction.as_flattened(), other.direction.as_flattened())
    }
}

impl Geometry {
    /// The largest distance in millimetres between voxels of the same index on two grids of `shape` voxels (z, y, x): that of
    /// the grids' corners which lie farthest apart.
    ///
    /// ```
    /// use nnunet_image::Geometry;
    ///
    /// let geometry = Geometry::default();
    /// let moved = Geometry { origin: [0.0, 3.0, 4.0], ..Geometry::default() };
    /// assert_eq!(geometry.largest_distance(&moved, [10, 20, 20]), 5.0);
    /// ```
    pub fn largest_distance(&self, other: &Self, shape: [usize; 3]) -> f64 {
        (0..8).map(|corner| self.distance_at_corner(other, shape, corner)).fold(0.0, f64::max)
    }

    /// Bit k of `corner` tells whether it lies at the end of the index axis x, y, z.
    fn distance_at_corner(&self, other: &Self, shape: [usize; 3], corner: usize) -> f64 {
        let index: [f64; 3] = std::array::from_fn(|k| {
            if corner >> k & 1 == 1 { shape[2 - k].saturating_sub(1) as f64 } else { 0.0 }
        });
        let place = |g: &Self, i: usize| {
            g.origin[i] + (0..3).map(|k| g.direction[i][k] * g.spacing[2 - k] * index[k]).sum::<f64>()
        };
        (0..3).map(|i| (place(self, i) - place(other, i)).powi(2)).sum::<f64>().sqrt()
    }
}

/// Determinant of a 3 × 3 matrix.
pub(crate) fn determinant(r: &[[f64; 3]; 3]) -> f64 {
    r[0][0] * (r[1][1] * r[2][2] - r[1][2] * r[2][1]) - r[0][1] * (r[1][0] * r[2][2] - r[1][2] * r[2][0])
        + r[0][2] * (r[1][0] * r[2][1] - r[1][1] * r[2][0])
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-8 + 1e-5 * b.abs())
}

/// An image of one or more channels.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Intensities, `(channel, z, y, x)`; 2-D images have one slice.
    pub data: Array4<f32>,
    /// Where the voxels lie.
    pub geometry: Geometry,
}

/// A segmentation: one integer label per voxel.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelMap {
    /// Labels, `(z, y, x)`; 2-D images have one slice.
    pub data: Array3<i16>,
    /// Where the voxels lie.
    pub geometry: Geometry,
}

/// How far a piece of work has come; handed to progress callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Items that are done.
    pub done: usize,
    /// Items in all.
    pub total: usize,
    /// The item that was finished last or is being worked on; may be empty.
    pub item: &'a str,
}
