//! Drawn cases and small plans.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use ndarray::{Array3, Array4};
use nnunet_fingerprint::{DatasetJson, Split};
use nnunet_plan::Plans;
use nnunet_preprocess::{ClassKey, ClassLocations};
use nnunet_train::{CaseSource, Locations, OptimiserKind, TrainError, TrainOptions, TrainSetup};

/// Cases in memory.
pub(crate) struct Drawn {
    cases: BTreeMap<String, (Array4<f32>, Array3<i16>, Locations)>,
    /// Whether there are segmentations of a previous stage: the labels with a mistake.
    pub(crate) previous: bool,
}

impl Drawn {
    /// Cases of unequal shape with a square (label 1) and a disc (label 2) per slice; the third has no foreground,
    /// the fourth is smaller than the patch.
    pub(crate) fn new() -> Self {
        let shapes = [[6, 24, 20], [5, 20, 26], [4, 18, 18], [3, 9, 11], [6, 22, 22], [4, 20, 20]];
        let mut drawn = Self { cases: BTreeMap::new(), previous: false };
        for (number, shape) in shapes.into_iter().enumerate() {
            drawn.insert(&format!("case_{number}"), draw(shape, number));
        }
        drawn
    }

    /// Adds a case or replaces it.
    pub(crate) fn insert(&mut self, name: &str, (image, labels): (Array4<f32>, Array3<i16>)) {
        let class = |label: i16| ClassLocations {
            class: ClassKey::Label(label),
            voxels: labels
                .indexed_iter()
                .filter(|(_, found)| **found == label)
                .map(|((z, y, x), _)| [z as u32, y as u32, x as u32])
                .collect(),
        };
        let locations = Arc::new(vec![class(1), class(2)]);
        self.cases.insert(name.to_owned(), (image, labels, locations));
    }

    /// As [`Drawn::insert`], with the voxels of all labels but 3, as a data set with regions and an ignore label has.
    pub(crate) fn insert_annotated(&mut self, name: &str, image: Array4<f32>, labels: Array3<i16>) {
        let class = |class: ClassKey, inside: &dyn Fn(i16) -> bool| ClassLocations {
            class,
            voxels: labels
                .indexed_iter()
                .filter(|(_, found)| inside(**found))
                .map(|((z, y, x), _)| [z as u32, y as u32, x as u32])
                .collect(),
        };
        let locations = Arc::new(vec![
            class(ClassKey::Region(vec![1, 2]), &|label| label == 1 || label == 2),
            class(ClassKey::Label(2), &|label| label == 2),
            class(ClassKey::Annotated(vec![0, 1, 2]), &|label| label != 3),
        ]);
        self.cases.insert(name.to_owned(), (image, labels, locations));
    }

    pub(crate) fn get(&self, case: &str) -> Result<&(Array4<f32>, Array3<i16>, Locations), TrainError> {
        self.cases.get(case).ok_or_else(|| TrainError::Case {
            case: case.to_owned(),
            message: "there is no such case".to_owned(),
            source: None,
        })
    }
}

/// Noise from a recurrence, so that the drawing needs no generator.
fn draw([z, y, x]: [usize; 3], number: usize) -> (Array4<f32>, Array3<i16>) {
    let mut state = 12_345 + number as u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    let labels = Array3::from_shape_fn((z, y, x), |(_, j, i)| {
        let (j, i) = (j as i32, i as i32);
        let disc = (j - y as i32 * 2 / 3).pow(2) + (i - x as i32 * 2 / 3).pow(2) <= 16;
        match number {
            2 => 0,
            _ if disc => 2,
            _ if (2..8).contains(&j) && (2..8).contains(&i) => 1,
            _ => 0,
        }
    });
    let image = labels.mapv(|label| f32::from(label) * 1.5 - 1.0 + noise());
    (image.insert_axis(ndarray::Axis(0)), labels)
}

impl CaseSource for Drawn {
    fn shape(&self, case: &str) -> Result<[usize; 3], TrainError> {
        let (_, labels, _) = self.get(case)?;
        Ok(labels.dim().into())
    }

    fn locations(&self, case: &str) -> Result<Locations, TrainError> {
        Ok(self.get(case)?.2.clone())
    }

    fn read_previous(
        &self,
        case: &str,
        lower: [i64; 3],
        size: [usize; 3],
    ) -> Result<Option<Array3<i16>>, TrainError> {
        let (_, labels) = self.read_patch(case, lower, size)?;
        // The first stage takes the right half of every disc for a square.
        let middle = (size[2] / 2) as i64;
        let mistaken = |((_, _, x), label): ((usize, usize, usize), &i16)| {
            if *label == 2 && x as i64 > middle { 1 } else { *label }
        };
        let found = labels.indexed_iter().map(mistaken).collect();
        Ok(self.previous.then(|| Array3::from_shape_vec(labels.dim(), found).unwrap()))
    }

    fn read_patch(
        &self,
        case: &str,
        lower: [i64; 3],
        size: [usize; 3],
    ) -> Result<(Array4<f32>, Array3<i16>), TrainError> {
        let (image, labels, _) = self.get(case)?;
        let at = |d: usize, i: usize| usize::try_from(lower[d] + i as i64).unwrap_or(usize::MAX);
        let mut patch = Array4::zeros((image.dim().0, size[0], size[1], size[2]));
        let mut patch_labels = Array3::from_elem(size, -1);
        for ((z, y, x), label) in patch_labels.indexed_iter_mut() {
            let from = [at(0, z), at(1, y), at(2, x)];
            if let Some(found) = labels.get(from) {
                *label = *found;
                for c in 0..image.dim().0 {
                    patch[[c, z, y, x]] = image[[c, from[0], from[1], from[2]]];
                }
            }
        }
        Ok((patch, patch_labels))
    }
}

/// Plans with a two-dimensional network of three stages for patches of 16 x 16.
pub(crate) fn plans() -> Plans {
    serde_json::from_str(include_str!("plans.json")).unwrap()
}

/// Background and two labels, one channel.
pub(crate) fn dataset() -> DatasetJson {
    let dataset = serde_json::json!({
        "channel_names": {"0": "drawn"},
        "labels": {"background": 0, "square": 1, "disc": 2},
        "numTraining": 6,
        "file_ending": ".nii.gz"
    });
    serde_json::from_value(dataset).unwrap()
}

/// Few and short epochs with a learning rate that suits them.
pub(crate) fn options() -> TrainOptions {
    TrainOptions {
        epochs: 3,
        iterations_per_epoch: 6,
        val_iterations: 2,
        initial_lr: 0.05,
        optimiser: OptimiserKind::Sgd { momentum: 0.9 },
        loader_threads: 1,
        checkpoint_every: 1,
        seed: 7,
        ..TrainOptions::default()
    }
}

/// A training of the drawn cases into `folder`.
pub(crate) fn setup(folder: &Path, options: TrainOptions) -> TrainSetup {
    let names = |numbers: &[usize]| numbers.iter().map(|n| format!("case_{n}")).collect();
    TrainSetup {
        plans: plans(),
        configuration: "2d".to_owned(),
        dataset: dataset(),
        source: Arc::new(Drawn::new()),
        split: Split { train: names(&[3, 0, 1, 2]), val: names(&[4, 5]) },
        folder: folder.to_owned(),
        options,
        device: Device::Cpu,
    }
}
