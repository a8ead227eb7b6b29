//! What belongs to a case beside its arrays.

use nnunet_image::{BoundingBox, Geometry};
use serde::{Deserialize, Serialize};

use crate::{CaseProperties, ClassKey, ClassLocations};

/// `<id>.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct Properties {
    spacing: [f64; 3],
    origin: [f64; 3],
    direction: [[f64; 3]; 3],
    axes_in_file: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_axes: Option<String>,
    shape_before_cropping: [usize; 3],
    bbox_used_for_cropping: [[usize; 2]; 3],
    shape_after_cropping_and_before_resampling: [usize; 3],
    class_locations: Vec<ClassKey>,
    /// CRC-32 of the numbers of image, segmentation and class locations.
    pub(super) checksums: [u32; 3],
}

impl Properties {
    pub(super) fn of(p: &CaseProperties, checksums: [u32; 3]) -> Self {
        Self {
            spacing: p.spacing,
            origin: p.geometry.origin,
            direction: p.geometry.direction,
            axes_in_file: p.geometry.dims,
            file_axes: p.geometry.file_axes.map(|code| code.to_string()),
            shape_before_cropping: p.shape_before_cropping,
            bbox_used_for_cropping: std::array::from_fn(|a| [p.bbox.start[a], p.bbox.end[a]]),
            shape_after_cropping_and_before_resampling: p.shape_after_cropping,
            class_locations: p.class_locations.iter().map(|class| class.class.clone()).collect(),
            checksums,
        }
    }

    /// The properties with the voxels of the classes, given as rows of class number, z, y, x; the error is a number without a
    /// class.
    pub(super) fn with_rows(self, rows: &[u32]) -> Result<CaseProperties, String> {
        let list = |class| ClassLocations { class, voxels: Vec::new() };
        let mut classes: Vec<ClassLocations> = self.class_locations.into_iter().map(list).collect();
        for row in rows.chunks_exact(4) {
            match classes.get_mut(row[0] as usize) {
                Some(class) => class.voxels.push([row[1], row[2], row[3]]),
                None => return Err(format!("class number {}, there are {}", row[0], classes.len())),
            }
        }
        let geometry = Geometry {
            spacing: self.spacing,
            origin: self.origin,
            direction: self.direction,
            dims: self.axes_in_file,
            file_axes: self.file_axes.and_then(|code| code.parse().ok()),
        };
        Ok(CaseProperties {
            geometry,
            spacing: self.spacing,
            shape_before_cropping: self.shape_before_cropping,
            bbox: BoundingBox {
                start: self.bbox_used_for_cropping.map(|[start, _]| start),
                end: self.bbox_used_for_cropping.map(|[_, end]| end),
            },
            shape_after_cropping: self.shape_after_cropping_and_before_resampling,
            class_locations: classes,
        })
    }
}

/// Rows of class number, z, y, x.
pub(super) fn rows(properties: &CaseProperties) -> Vec<u32> {
    let classes = properties.class_locations.iter().enumerate();
    classes
        .flat_map(|(i, class)| class.voxels.iter().flat_map(move |v| [i as u32, v[0], v[1], v[2]]))
        .collect()
}
