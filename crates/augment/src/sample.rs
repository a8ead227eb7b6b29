use ndarray::Array4;

use crate::AugmentError;

/// One training sample: an image patch and the label map on the same grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Intensities `[channel, z, y, x]`, normalised; a 2-D patch has a z axis of length 1.
    pub image: Array4<f32>,
    /// Labels `[channel, z, y, x]` with one channel, or two where the second is the segmentation of a previous
    /// stage. −1 marks voxels outside the case and outside its nonzero mask.
    pub labels: Array4<i16>,
}

impl Sample {
    /// Spatial shape `[z, y, x]` in voxels.
    ///
    /// # Errors
    /// If an axis has length zero, there is no image or label channel, or image and labels differ in shape.
    pub fn shape(&self) -> Result<[usize; 3], AugmentError> {
        let (image, labels) = (self.image.shape(), self.labels.shape());
        for (what, count) in [("image channels", image[0]), ("label channels", labels[0])] {
            if count == 0 {
                return Err(AugmentError::Channels { what, found: 0, expected: "at least 1".into() });
            }
        }
        for axis in 0..3 {
            let (found, other) = (image[axis + 1], labels[axis + 1]);
            if found == 0 {
                return Err(AugmentError::Shape {
                    what: "image",
                    axis,
                    found,
                    expected: "at least 1".into(),
                });
            }
            if found != other {
                let expected = format!("{found} as the image has");
                return Err(AugmentError::Shape { what: "labels", axis, found: other, expected });
            }
        }
        Ok([image[1], image[2], image[3]])
    }
}
