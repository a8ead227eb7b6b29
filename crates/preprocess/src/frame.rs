//! What preprocessing did to the grid of a case, in the form in which files keep it.

use nnunet_image::{BoundingBox, Geometry};
use serde::{Deserialize, Serialize};

use crate::CaseProperties;

/// Where the arrays of a case lie in its image, under the names of the reference's property files.
///
/// It is what leads a prediction back to the grid of the image. Shapes and the box are those of the transposed image, before
/// (and after) it was cropped to what is not zero; `spacing` is that of the file. Geometry as in [`Geometry`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseFrame {
    /// Millimetres per voxel of the file (z, y, x).
    pub spacing: [f64; 3],
    /// Place of the first voxel in millimetres (x, y, z).
    pub origin: [f64; 3],
    /// Direction cosines; a column per axis (x, y, z).
    pub direction: [[f64; 3]; 3],
    /// Number of axes that the file has: 2 or 3.
    pub axes_in_file: usize,
    /// Which way the axes of the file point, where the reader turned the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_axes: Option<String>,
    /// Voxels per axis of the whole image.
    pub shape_before_cropping: [usize; 3],
    /// First voxel and the one after the last, per axis, of what was kept.
    pub bbox_used_for_cropping: [[usize; 2]; 3],
    /// Voxels per axis of what was kept.
    pub shape_after_cropping_and_before_resampling: [usize; 3],
}

impl CaseFrame {
    /// That of a preprocessed case.
    pub fn of(case: &CaseProperties) -> Self {
        Self {
            spacing: case.spacing,
            origin: case.geometry.origin,
            direction: case.geometry.direction,
            axes_in_file: case.geometry.dims,
            file_axes: case.geometry.file_axes.map(|code| code.to_string()),
            shape_before_cropping: case.shape_before_cropping,
            bbox_used_for_cropping: std::array::from_fn(|axis| [case.bbox.start[axis], case.bbox.end[axis]]),
            shape_after_cropping_and_before_resampling: case.shape_after_cropping,
        }
    }

    /// The geometry of the image.
    pub fn geometry(&self) -> Geometry {
        Geometry {
            spacing: self.spacing,
            origin: self.origin,
            direction: self.direction,
            dims: self.axes_in_file,
            file_axes: self.file_axes.as_ref().and_then(|code| code.parse().ok()),
        }
    }

    /// What was kept of the image.
    pub fn bounding_box(&self) -> BoundingBox {
        BoundingBox {
            start: self.bbox_used_for_cropping.map(|[start, _]| start),
            end: self.bbox_used_for_cropping.map(|[_, end]| end),
        }
    }
}
