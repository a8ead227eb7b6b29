use nnunet_image::{BoundingBox, Image, LabelMap};

use crate::CancelToken;

/// An image to segment, as it was read.
#[derive(Debug, Clone)]
pub struct CaseInput {
    /// The image.
    pub image: Image,
    /// For a configuration that continues another one: that one's segmentation of the image, in the image's shape.
    pub previous: Option<LabelMap>,
    /// The box (z, y, x in voxels of the image) to segment; everything outside is background. Inside, the result is that of
    /// the whole image, from the tiles that reach it.
    pub region: Option<BoundingBox>,
    /// Ends the prediction early.
    pub cancel: CancelToken,
}

impl From<Image> for CaseInput {
    fn from(image: Image) -> Self {
        Self { image, previous: None, region: None, cancel: CancelToken::new() }
    }
}
