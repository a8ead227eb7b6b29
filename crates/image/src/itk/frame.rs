//! What a header says about space, checked as ITK checks it.

use std::path::Path;

use crate::geometry::determinant;
use crate::{Geometry, ImageError};

/// Spacing, origin and direction of 2 to 4 axes, in the order x, y, z, ….
#[derive(Debug, Clone)]
pub(super) struct Space {
    pub(super) spacing: Vec<f64>,
    pub(super) origin: Vec<f64>,
    /// One vector per index axis.
    pub(super) axes: Vec<Vec<f64>>,
}

impl Space {
    /// Unit spacing along the axes of space.
    pub(super) fn new(axes: usize) -> Self {
        let unit = |k: usize| (0..axes).map(|i| f64::from(u8::from(i == k))).collect();
        Self { spacing: vec![1.0; axes], origin: vec![0.0; axes], axes: (0..axes).map(unit).collect() }
    }

    /// The geometry of the first three axes. An axis with a negative spacing is turned around.
    pub(super) fn geometry(&self, path: &Path) -> Result<Geometry, ImageError> {
        let wrong = |reason: String| Err(ImageError::format(path, reason));
        if self.spacing.iter().any(|s| !s.is_finite() || *s == 0.0) {
            return wrong(format!("spacing is {:?}: expected finite numbers other than 0", self.spacing));
        }
        if self.origin.iter().any(|v| !v.is_finite()) {
            return wrong(format!("origin is {:?}: expected finite numbers", self.origin));
        }
        let axes = self.spacing.len().min(3);
        let mut geometry = Geometry::default();
        for column in 0..axes {
            let spacing = self.spacing[column];
            geometry.spacing[2 - column] = spacing.abs();
            geometry.origin[column] = self.origin[column];
            for row in 0..axes {
                geometry.direction[row][column] = spacing.signum() * self.axes[column][row];
            }
        }
        let found = determinant(&geometry.direction);
        if !found.is_finite() || found == 0.0 {
            return wrong(format!("the directions of the axes {:?} do not span space", self.axes));
        }
        if self.spacing.len() == 2 {
            geometry.make_flat();
        }
        Ok(geometry)
    }

    /// The axes of a geometry, two if it is flat and there is one slice.
    pub(super) fn of(geometry: &Geometry, slices: usize) -> Self {
        let axes = if geometry.dims == 2 && slices == 1 { 2 } else { 3 };
        let vector = |column: usize| (0..axes).map(|row| geometry.direction[row][column]).collect();
        Self {
            spacing: (0..axes).map(|k| geometry.spacing[2 - k]).collect(),
            origin: geometry.origin[..axes].to_vec(),
            axes: (0..axes).map(vector).collect(),
        }
    }
}

/// Numbers with as few digits as give them back exactly.
pub(super) fn text(numbers: &[f64], separator: &str) -> String {
    numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(separator)
}
