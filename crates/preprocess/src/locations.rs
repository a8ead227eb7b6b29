//! Voxels of each class, drawn once per case, from which training picks the centres of foreground patches.

use ndarray::ArrayView3;
use nnunet_fingerprint::rng::Mt19937;
use nnunet_plan::{Class, LabelRules};
use serde::{Deserialize, Serialize};

/// Seed of the draws of each case.
const SEED: u32 = 1234;
/// Voxels that are kept of a class, or a hundredth of them if that is more.
const VOXELS: usize = 10_000;

/// What a list of voxels belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassKey {
    /// One label.
    Label(i16),
    /// A region: the union of labels.
    Region(Vec<i16>),
    /// Everything that is labelled, where the data set has an ignore label; background included.
    Annotated(Vec<i16>),
}

impl ClassKey {
    fn labels(&self) -> &[i16] {
        match self {
            Self::Label(label) => std::slice::from_ref(label),
            Self::Region(labels) | Self::Annotated(labels) => labels,
        }
    }
}

/// Voxels of one class, in random order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassLocations {
    /// The class.
    pub class: ClassKey,
    /// Voxels (z, y, x) of the preprocessed segmentation.
    pub voxels: Vec<[u32; 3]>,
}

/// Draws the voxels of all classes of a preprocessed segmentation (z, y, x), with the reference's random numbers.
pub fn class_locations(seg: ArrayView3<'_, i16>, rules: &LabelRules) -> Vec<ClassLocations> {
    let mut keys: Vec<ClassKey> = rules
        .foreground_classes()
        .iter()
        .map(|class| match class {
            Class::Label(label) => ClassKey::Label(*label),
            Class::Region(labels) => ClassKey::Region(labels.clone()),
        })
        .collect();
    if rules.ignore_label().is_some() {
        keys.push(ClassKey::Annotated(rules.all_labels().to_vec()));
    }
    let by_label = voxels_by_label(seg, &keys);
    let mut rng = Mt19937::new(SEED);
    keys.into_iter()
        .map(|class| {
            let lists: Vec<&[[u32; 3]]> = class
                .labels()
                .iter()
                .filter_map(|label| by_label.iter().find(|(l, _)| l == label))
                .map(|(_, voxels)| voxels.as_slice())
                .collect();
            let total: usize = lists.iter().map(|list| list.len()).sum();
            let count = total.min(VOXELS).max((total as f64 * 0.01).ceil() as usize);
            let pick = |mut i: usize| {
                for list in &lists {
                    if i < list.len() {
                        return list[i];
                    }
                    i -= list.len();
                }
                [0; 3]
            };
            let voxels = if total == 0 {
                Vec::new()
            } else {
                rng.choice(total, count).into_iter().map(pick).collect()
            };
            ClassLocations { class, voxels }
        })
        .collect()
}

/// Voxels of every label that some class asks for, in memory order.
fn voxels_by_label(seg: ArrayView3<'_, i16>, keys: &[ClassKey]) -> Vec<(i16, Vec<[u32; 3]>)> {
    let mut lists: Vec<(i16, Vec<[u32; 3]>)> = Vec::new();
    for &label in keys.iter().flat_map(|key| key.labels()) {
        if !lists.iter().any(|(l, _)| *l == label) {
            lists.push((label, Vec::new()));
        }
    }
    for ((z, y, x), label) in seg.indexed_iter() {
        if let Some((_, voxels)) = lists.iter_mut().find(|(l, _)| l == label) {
            voxels.push([z as u32, y as u32, x as u32]);
        }
    }
    lists
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;
    use nnunet_plan::DatasetJson;

    use super::*;

    fn rules(labels: &str) -> LabelRules {
        let text =
            format!(r#"{{"channel_names": {{}}, "labels": {labels}, "numTraining": 1, "file_ending": ""}}"#);
        serde_json::from_str::<DatasetJson>(&text).unwrap().label_rules().unwrap()
    }

    // Values of the reference.
    #[test]
    fn voxels_are_drawn_as_in_the_reference() {
        let mut seg = Array3::<i16>::zeros((2, 3, 4));
        seg.slice_mut(ndarray::s![1, 2, ..]).fill(2);
        for voxel in [[0, 1, 1], [0, 1, 2], [1, 1, 3]] {
            seg[voxel] = 1;
        }
        let drawn = class_locations(seg.view(), &rules(r#"{"background": 0, "a": 1, "b": 2}"#));
        assert_eq!(drawn[0].voxels, [[0, 1, 1], [0, 1, 2], [1, 1, 3]]);
        assert_eq!(drawn[1].voxels, [[1, 2, 1], [1, 2, 2], [1, 2, 3], [1, 2, 0]]);
    }

    #[test]
    fn a_hundredth_or_ten_thousand_voxels_are_kept() {
        let seg = Array3::<i16>::ones((50, 100, 100));
        let drawn = class_locations(seg.view(), &rules(r#"{"background": 0, "a": 1}"#));
        assert_eq!(drawn[0].voxels.len(), 10_000);
        assert_eq!(drawn[0].voxels[..3], [[45, 92, 22], [2, 86, 19], [45, 30, 20]]);
        let seg = Array3::<i16>::ones((144, 100, 100));
        let drawn = class_locations(seg.view(), &rules(r#"{"background": 0, "a": 1}"#));
        assert_eq!(drawn[0].voxels.len(), 14_400);
    }

    #[test]
    fn an_ignore_label_adds_a_list_of_everything_annotated() {
        let mut seg = Array3::<i16>::zeros((1, 2, 2));
        seg[[0, 0, 0]] = 2;
        seg[[0, 0, 1]] = 1;
        let drawn = class_locations(seg.view(), &rules(r#"{"background": 0, "a": 1, "ignore": 2}"#));
        assert_eq!(drawn[1].class, ClassKey::Annotated(vec![0, 1]));
        assert_eq!(drawn[1].voxels.len(), 3);
        let empty =
            class_locations(Array3::<i16>::zeros((1, 1, 1)).view(), &rules(r#"{"background": 0, "a": 1}"#));
        assert!(empty[0].voxels.is_empty());
    }
}
