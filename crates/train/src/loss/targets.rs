use crate::TrainError;

/// The label maps of a batch at one resolution, in the memory order of the logits without their channel axis.
///
/// Labels stay labels: no one-hot tensor is ever built, regions are looked up per voxel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    shape: [usize; 4],
    labels: Vec<i16>,
}

impl Targets {
    /// Wraps label maps of shape `[batch, z, y, x]`.
    ///
    /// # Errors
    /// If the number of labels is not the product of the shape.
    pub fn new(shape: [usize; 4], labels: Vec<i16>) -> Result<Self, TrainError> {
        let expected = shape.iter().product::<usize>();
        if labels.len() != expected {
            return Err(TrainError::Shape {
                what: "labels of a batch",
                found: format!("{} values", labels.len()),
                expected: format!("{expected} values for the shape {shape:?}"),
            });
        }
        Ok(Self { shape, labels })
    }

    /// `[batch, z, y, x]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The labels in C order.
    pub fn labels(&self) -> &[i16] {
        &self.labels
    }
}
