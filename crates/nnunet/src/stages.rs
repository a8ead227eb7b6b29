//! What the stages of a cascade hand to each other: label maps on the grid of the next stage's preprocessed cases, as
//! `<model folder>/predicted_next_stage/<next configuration>/<case>.npy`.

use std::path::Path;

use ndarray::{Array3, ArrayView4, Axis, Zip};
use nnunet_image::{ResampleOptions, resample_image};
use nnunet_infer::Predictor;
use nnunet_plan::{Configuration, LabelRules, Names, Plans};
use nnunet_preprocess::{
    CaseProperties, PreprocessError, PreprocessedCase, PreviousStage, Store, append_one_hot, resampling,
};

use crate::{Error, Project};

/// A stage that continues this one.
pub(crate) struct NextStage {
    store: Store,
    handed_over: PreviousStage,
}

impl Project {
    /// The stages that continue `configuration` and whose cases are preprocessed; `log` hears of the others.
    pub(crate) fn next_stages(
        &self,
        plans: &Plans,
        configuration: &Configuration,
        model_folder: &Path,
        log: &mut dyn FnMut(&str),
    ) -> Result<Vec<NextStage>, Error> {
        let names = match &configuration.next_stage {
            None => Vec::new(),
            Some(Names::One(name)) => vec![name.clone()],
            Some(Names::Many(names)) => names.clone(),
        };
        let mut stages = Vec::new();
        for name in names {
            let next = plans.configuration(&name)?;
            match Store::open(&self.preprocessed_folder()?.join(&next.data_identifier)) {
                Ok(store) => {
                    stages.push(NextStage { store, handed_over: PreviousStage::new(model_folder, &name) });
                }
                Err(error) => log(&format!("nothing is handed over to {name}: {error}")),
            }
        }
        Ok(stages)
    }

    /// The previous stage's segmentations, which must be there for all `cases`.
    pub(crate) fn previous_stage<'a>(
        &self,
        trainer: &str,
        plans_name: &str,
        configuration: &str,
        previous: &str,
        mut cases: impl Iterator<Item = &'a String>,
    ) -> Result<PreviousStage, Error> {
        let folder = self.model_folder_of(trainer, plans_name, previous)?;
        let stage = PreviousStage::new(&folder, configuration);
        match cases.find(|case| !stage.has(case)) {
            None => Ok(stage),
            Some(case) => Err(Error::Missing {
                what: "a segmentation of the previous stage",
                path: stage.folder().join(format!("{case}.npy")),
                hint: "train every fold of the previous stage first; its validation writes them",
            }),
        }
    }
}

/// Writes the segmentation that a case's logits `(channel, z, y, x)` give for every stage that continues this one.
pub(crate) fn hand_over(
    stages: &[NextStage],
    predictor: &Predictor,
    case: &str,
    logits: ArrayView4<'_, f32>,
    properties: &CaseProperties,
) -> Result<(), Error> {
    let plans = predictor.plans();
    let configuration = plans.configuration(predictor.configuration_name())?;
    for stage in stages.iter().filter(|stage| stage.store.identifiers().iter().any(|id| id == case)) {
        let [_, z, y, x] = stage.store.shape(case)?;
        let spacing = stage_spacing(plans, &configuration, properties)?;
        let labels = stage_labels(logits, [z, y, x], spacing, &configuration, predictor.label_rules())?;
        stage.handed_over.write(case, labels.view())?;
    }
    Ok(())
}

/// Spacing of the logits; a 2-D configuration leaves the first axis as it is in the image.
fn stage_spacing(
    plans: &Plans,
    configuration: &Configuration,
    properties: &CaseProperties,
) -> Result<[f64; 3], Error> {
    match *configuration.spacing.as_slice() {
        [y, x] => Ok([properties.spacing[plans.transpose_forward[0]], y, x]),
        [z, y, x] => Ok([z, y, x]),
        _ => {
            Err(Error::Invalid(format!("the spacing {:?} has not two or three axes", configuration.spacing)))
        }
    }
}

/// Labels `(z, y, x)` of logits `(channel, z, y, x)` resampled to `shape`, one channel at a time.
///
/// As in nnU-Net v2.8.1, both spacings of the resampling are that of the logits.
fn stage_labels(
    logits: ArrayView4<'_, f32>,
    shape: [usize; 3],
    spacing: [f64; 3],
    configuration: &Configuration,
    rules: &LabelRules,
) -> Result<Array3<i16>, Error> {
    let function = &configuration.resampling_fn_probabilities;
    let options = resampling(function, &configuration.resampling_fn_probabilities_kwargs)?;
    let options = options.unwrap_or_else(ResampleOptions::probabilities);
    let order = rules.regions_class_order();
    let mut labels = Array3::<i16>::zeros(shape);
    let mut best = Array3::from_elem(shape, f32::NEG_INFINITY);
    for (number, channel) in logits.axis_iter(Axis(0)).enumerate() {
        let channel = resample_image(channel.insert_axis(Axis(0)), shape, spacing, spacing, &options)?;
        let channel = channel.index_axis(Axis(0), 0);
        match order {
            // The largest logit, the first of several.
            None => Zip::from(&mut labels).and(&mut best).and(channel).for_each(|label, best, &value| {
                if value > *best {
                    (*label, *best) = (number as i16, value);
                }
            }),
            // Whatever is more probable than not, the last of several.
            Some(order) => Zip::from(&mut labels).and(channel).for_each(|label, &value| {
                if value > 0.0 {
                    *label = order[number];
                }
            }),
        }
    }
    Ok(labels)
}

/// Loads a case with one further channel for each foreground label of the previous stage.
pub(crate) fn load_with_previous(
    store: &Store,
    previous: &PreviousStage,
    labels: &[i16],
    case: &str,
) -> Result<PreprocessedCase, PreprocessError> {
    let mut loaded = store.load(case)?;
    let (_, z, y, x) = loaded.data.dim();
    let segmentation = previous.read_patch(case, [z, y, x], [0; 3], [z, y, x])?;
    loaded.data = append_one_hot(loaded.data, segmentation.view(), labels)?;
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;

    fn configuration() -> Configuration {
        let plans = include_str!("../../train/tests/engine/plans.json");
        serde_json::from_str::<Plans>(plans).unwrap().configuration("2d").unwrap()
    }

    fn rules(text: &str) -> LabelRules {
        serde_json::from_str::<nnunet_fingerprint::DatasetJson>(text).unwrap().label_rules().unwrap()
    }

    /// Logits that are decided between voxels: the middle of three, resampled from two, is a tie of labels.
    #[test]
    fn labels_follow_the_resampled_logits() {
        let logits = Array4::from_shape_vec((3, 1, 1, 2), vec![1.0, 0.0, 0.0, 1.0, -1.0, -1.0]).unwrap();
        let decide = |logits: &Array4<f32>, width, rules: &LabelRules| {
            stage_labels(logits.view(), [1, 1, width], [1.0; 3], &configuration(), rules).unwrap()
        };
        let labels = rules(
            r#"{"channel_names": {"0": "x"}, "labels": {"background": 0, "a": 1, "b": 2}, "numTraining": 1,
            "file_ending": ".nii.gz"}"#,
        );
        assert_eq!(decide(&logits, 2, &labels).as_slice().unwrap(), [0, 1]);
        assert_eq!(decide(&logits, 4, &labels).as_slice().unwrap(), [0, 0, 1, 1]);
        let regions = rules(
            r#"{"channel_names": {"0": "x"}, "labels": {"background": 0, "all": [1, 2], "b": [2]},
            "regions_class_order": [1, 2], "numTraining": 1, "file_ending": ".nii.gz"}"#,
        );
        let logits = Array4::from_shape_vec((2, 1, 1, 3), vec![1.0, 2.0, -1.0, -1.0, 0.5, 0.0]).unwrap();
        assert_eq!(decide(&logits, 3, &regions).as_slice().unwrap(), [1, 2, 0]);
    }
    /// Isotropic, anisotropic and unchanged spacings against the reference; one voxel in two hundred may be decided by
    /// rounding.
    #[test]
    fn labels_are_the_reference_s() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../tests/golden/stages.json")).unwrap();
        let numbers = |value: &serde_json::Value| -> Vec<f64> {
            value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
        };
        let lengths = |value| -> [usize; 3] {
            numbers(value).iter().map(|&v| v as usize).collect::<Vec<_>>().try_into().unwrap()
        };
        let labels = rules(
            r#"{"channel_names": {"0": "x"}, "labels": {"background": 0, "a": 1, "b": 2}, "numTraining": 1,
            "file_ending": ".nii.gz"}"#,
        );
        let regions = rules(
            r#"{"channel_names": {"0": "x"}, "labels": {"background": 0, "a": [1, 2, 3], "b": [2, 3], "c": [3]},
            "regions_class_order": [1, 2, 3], "numTraining": 1, "file_ending": ".nii.gz"}"#,
        );
        for case in golden.as_array().unwrap() {
            let ([z, y, x], target) = (lengths(&case["shape"]), lengths(&case["target"]));
            let spacing: [f64; 3] = numbers(&case["spacing"]).try_into().unwrap();
            let count = z * y * x;
            let wave = |i: usize| ((0.31 + 0.23 * (i / count) as f64) * (i % count) as f64).sin() as f32;
            let logits = Array4::from_shape_vec((3, z, y, x), (0..3 * count).map(wave).collect()).unwrap();
            for (name, rules) in [("labels", &labels), ("regions", &regions)] {
                let found = stage_labels(logits.view(), target, spacing, &configuration(), rules).unwrap();
                let expected = numbers(&case[name]);
                let wrong = found.iter().zip(&expected).filter(|(a, b)| f64::from(**a) != **b).count();
                assert!(wrong * 200 <= expected.len(), "{name} at {spacing:?}: {wrong} differ");
            }
        }
    }
}
