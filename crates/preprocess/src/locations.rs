//! Voxels of each class, drawn once per case, from which training picks the centres of foreground patches.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Everything but the ignore label, where the data set has one: background and −1, outside the non-zero mask, included.
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
        keys.push(ClassKey::Annotated([&[-1], rules.all_labels()].concat()));
    }
    let by_label = voxels_by_label(seg, &keys);
    let (_, ny, nx) = seg.dim();
    let place = |voxel: u32| {
        let voxel = voxel as usize;
        [voxel / (ny * nx), voxel / nx % ny, voxel % nx].map(|n| n as u32)
    };
    let mut rng = Mt19937::new(SEED);
    let draw = |class: ClassKey| {
        let lists: Vec<&[u32]> =
            class.labels().iter().filter_map(|label| by_label.get(label)).map(Vec::as_slice).collect();
        let total: usize = lists.iter().map(|list| list.len()).sum();
        let count = total.min(VOXELS).max((total as f64 * 0.01).ceil() as usize);
        let pick = |i: usize| {
            let mut before = 0;
            let list = lists.iter().find(|list| {
                let found = i < before + list.len();
                before += if found { 0 } else { list.len() };
                found
            });
            list.map_or([0; 3], |list| place(list[i - before]))
        };
        let voxels = rng.choice(total, count).into_iter().map(pick).collect();
        ClassLocations { class, voxels }
    };
    keys.into_iter().map(draw).collect()
}

/// Positions in memory order of the voxels of every label that some class asks for.
fn voxels_by_label(seg: ArrayView3<'_, i16>, keys: &[ClassKey]) -> BTreeMap<i16, Vec<u32>> {
    let labels: BTreeSet<i16> = keys.iter().flat_map(|key| key.labels().iter().copied()).collect();
    let mut lists: BTreeMap<i16, Vec<u32>> = labels.into_iter().map(|label| (label, Vec::new())).collect();
    // Neighbours mostly have the same label.
    let (mut last, mut list) = (None, None);
    for (voxel, &label) in seg.iter().enumerate() {
        if last != Some(label) {
            last = Some(label);
            list = lists.get_mut(&label);
        }
        if let Some(list) = &mut list {
            list.push(voxel as u32);
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

    // Values of the reference.
    #[test]
    fn regions_take_their_labels_in_order() {
        let mut seg = Array3::<i16>::zeros((2, 3, 4));
        seg.slice_mut(ndarray::s![1, 2, ..]).fill(2);
        for (voxel, label) in
            [([0, 1, 1], 1), ([0, 1, 2], 1), ([1, 1, 3], 3), ([0, 0, 0], -1), ([0, 0, 1], -1)]
        {
            seg[voxel] = label;
        }
        let text = r#"{"channel_names": {}, "numTraining": 1, "file_ending": "", "regions_class_order": [1, 2, 3],
            "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}}"#;
        let rules = serde_json::from_str::<DatasetJson>(text).unwrap().label_rules().unwrap();
        let drawn = class_locations(seg.view(), &rules);
        assert_eq!(drawn[0].class, ClassKey::Region(vec![1, 2, 3]));
        let whole = [[1, 2, 0], [0, 1, 2], [1, 1, 3], [0, 1, 1], [1, 2, 2], [1, 2, 3], [1, 2, 1]];
        assert_eq!(drawn[0].voxels, whole);
        assert_eq!(drawn[1].voxels, [[1, 2, 2], [1, 2, 0], [1, 1, 3], [1, 2, 3], [1, 2, 1]]);
        assert_eq!((&drawn[2].class, drawn[2].voxels.as_slice()), (&ClassKey::Label(3), &[[1, 1, 3]][..]));
        assert_eq!(drawn[3].class, ClassKey::Annotated(vec![-1, 0, 1, 2, 3]));
        assert_eq!(drawn[3].voxels.len(), 24);
        assert_eq!(drawn[3].voxels[..6], [[0, 1, 0], [1, 0, 3], [1, 1, 0], [0, 1, 1], [0, 2, 2], [0, 0, 1]]);
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
        let mut seg = Array3::<i16>::zeros((1, 2, 4));
        for (x, label) in [(0, 2), (1, 1), (3, -1)] {
            seg[[0, 0, x]] = label;
            seg[[0, 1, x]] = label;
        }
        let drawn = class_locations(seg.view(), &rules(r#"{"background": 0, "a": 1, "ignore": 2}"#));
        assert_eq!(drawn[0].voxels, [[0, 0, 1], [0, 1, 1]]);
        assert_eq!(drawn[1].class, ClassKey::Annotated(vec![-1, 0, 1]));
        assert_eq!(drawn[1].voxels, [[0, 0, 2], [0, 1, 3], [0, 1, 1], [0, 0, 3], [0, 0, 1], [0, 1, 2]]);
        let empty =
            class_locations(Array3::<i16>::zeros((1, 1, 1)).view(), &rules(r#"{"background": 0, "a": 1}"#));
        assert!(empty[0].voxels.is_empty());
    }
}
