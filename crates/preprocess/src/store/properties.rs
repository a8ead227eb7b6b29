//! What belongs to a case beside its arrays.

use serde::{Deserialize, Serialize};

use crate::{CaseFrame, CaseProperties, ClassKey, ClassLocations};

/// `<id>.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct Properties {
    #[serde(flatten)]
    frame: CaseFrame,
    class_locations: Vec<ClassKey>,
    /// CRC-32 of the numbers of image, segmentation and class locations.
    pub(super) checksums: [u32; 3],
}

impl Properties {
    pub(super) fn of(p: &CaseProperties, checksums: [u32; 3]) -> Self {
        Self {
            frame: CaseFrame::of(p),
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
        let frame = self.frame;
        Ok(CaseProperties {
            geometry: frame.geometry(),
            spacing: frame.spacing,
            shape_before_cropping: frame.shape_before_cropping,
            bbox: frame.bounding_box(),
            shape_after_cropping: frame.shape_after_cropping_and_before_resampling,
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
