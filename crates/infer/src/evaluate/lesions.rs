//! Lesions: connected components that are found or missed as a whole.

use ndarray::ArrayView3;
use nnunet_image::{Connectivity, mask_components};

/// How many components of two masks meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LesionCounts {
    /// Components of the reference with at least one voxel of the prediction.
    pub(super) found: u64,
    /// Components of the reference without.
    pub(super) missed: u64,
    /// Components of the prediction without a voxel of the reference.
    pub(super) wrong: u64,
}

/// Counts components that are connected across faces, edges and corners.
pub(super) fn lesion_counts(
    reference: ArrayView3<'_, bool>,
    prediction: ArrayView3<'_, bool>,
) -> LesionCounts {
    let met = |mask: ArrayView3<'_, bool>, other: ArrayView3<'_, bool>| {
        let components = mask_components(mask, Connectivity::Corners);
        let mut met = vec![false; components.sizes.len()];
        for (&number, &other) in components.labels.iter().zip(&other) {
            if other && number > 0 {
                met[number as usize - 1] = true;
            }
        }
        let found = met.iter().filter(|met| **met).count() as u64;
        (found, met.len() as u64 - found)
    };
    let (found, missed) = met(reference, prediction);
    let (_, wrong) = met(prediction, reference);
    LesionCounts { found, missed, wrong }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn components_are_found_missed_or_wrong() {
        let reference = array![[[true, true, false, true, false, false, true]]];
        let prediction = array![[[false, true, false, false, true, false, false]]];
        let counts = lesion_counts(reference.view(), prediction.view());
        assert_eq!(counts, LesionCounts { found: 1, missed: 2, wrong: 1 });
    }
}
