//! From a fingerprint to plans.

use indexmap::IndexMap;
use nnunet_fingerprint::{DatasetJson, Fingerprint};
use serde_json::{Map, Value, json};

use crate::configure::{Common, Planned};
use crate::spacing::{fullres_target, median_per_axis, median_shape, resampled_median, transpose};
use crate::{PlanError, Planner, Plans, Preset};

/// A low-resolution configuration is planned where the patch covers less than this of the median case.
pub(crate) const LOWRES_COVERAGE: f64 = 0.25;
/// Factor by which the spacing grows until the patch covers enough.
const LOWRES_STEP: f64 = 1.03;

/// What to plan with.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlannerOptions {
    /// Which planner decides.
    pub planner: Planner,
    /// A published network in the place of the planner's; strides and kernels stay, its features are the publication's.
    pub preset: Option<Preset>,
    /// Memory target in GB; the planner's own if none.
    pub vram_gb: Option<f64>,
    /// Target spacing in millimetres, in the axis order of the images.
    pub target_spacing: Option<[f64; 3]>,
    /// Keep the axis order of the images instead of putting the coarsest axis first.
    pub suppress_transpose: bool,
    /// Name of the plans; the planner's own if none.
    pub plans_name: Option<String>,
    /// `DatasetNNN_Name`, to be recorded.
    pub dataset_name: String,
    /// Name of the reader and writer, to be recorded.
    pub image_reader_writer: String,
}

impl PlannerOptions {
    /// The name of the plans: the one that was given, or the planner's own, followed by that of the published network.
    pub fn plans_name(&self) -> String {
        let own = self.planner.plans_name();
        let name = self.preset.map_or_else(|| own.to_owned(), |preset| format!("{own}_{}", preset.name()));
        self.plans_name.clone().unwrap_or(name)
    }
}

/// Decides patch sizes, networks, batch sizes and resampling for a data set, as nnU-Net does.
///
/// # Errors
/// An empty fingerprint, spacings that are not above 0, or a memory target that no patch is small enough for.
pub fn plan_experiment(
    fingerprint: &Fingerprint,
    dataset: &DatasetJson,
    options: &PlannerOptions,
) -> Result<Plans, PlanError> {
    check(fingerprint)?;
    let sound = |value: &f64| value.is_finite() && *value > 0.0;
    if let Some(s) = options.target_spacing.filter(|s| !s.iter().all(sound)) {
        return Err(PlanError::Option(format!("target spacing {s:?} mm, expected lengths above 0")));
    }
    if let Some(gb) = options.vram_gb.filter(|gb| !sound(gb)) {
        return Err(PlanError::Option(format!("memory target {gb} GB, expected a number above 0")));
    }
    let planner = options.planner;
    let plans_name = options.plans_name();
    let target = options.target_spacing.unwrap_or_else(|| fullres_target(fingerprint));
    let (forward, backward) =
        if options.suppress_transpose { ([0, 1, 2], [0, 1, 2]) } else { transpose(target) };
    let turn = |values: [f64; 3]| forward.map(|axis| values[axis]);
    let spacing = turn(target);
    let median = turn(resampled_median(fingerprint, target));
    if median.contains(&0.0) {
        let text = format!("at the target spacing {spacing:?} mm the median case has the shape {median:?}");
        return Err(PlanError::Fingerprint(text));
    }
    let common = common(fingerprint, dataset, options, &plans_name);
    let configurations = configurations(&common, spacing, median)?;
    let median_shape = turn(median_shape(fingerprint)).map(|n| n.round_ties_even());
    Ok(Plans {
        dataset_name: options.dataset_name.clone(),
        original_median_spacing_after_transp: turn(median_per_axis(&fingerprint.spacings)).to_vec(),
        original_median_shape_after_transp: median_shape.map(|n| n as u64).to_vec(),
        image_reader_writer: options.image_reader_writer.clone(),
        transpose_forward: forward,
        transpose_backward: backward,
        configurations,
        experiment_planner_used: planner.class_name().to_owned(),
        label_manager: "LabelManager".to_owned(),
        foreground_intensity_properties_per_channel: fingerprint
            .foreground_intensity_properties_per_channel
            .clone(),
        other: Map::new(),
        plans_name,
    })
}

/// What is decided once for all configurations.
pub(crate) fn common<'a>(
    fingerprint: &Fingerprint,
    dataset: &'a DatasetJson,
    options: &PlannerOptions,
    plans_name: &'a str,
) -> Common<'a> {
    let planner = options.planner;
    Common {
        planner,
        preset: options.preset,
        memory: options.vram_gb.map_or(1.0, |gb| gb / planner.memory_gb()),
        dataset,
        plans_name,
        relative_size: fingerprint.median_relative_size_after_cropping,
    }
}

fn check(fingerprint: &Fingerprint) -> Result<(), PlanError> {
    let (shapes, spacings) = (&fingerprint.shapes_after_crop, &fingerprint.spacings);
    if shapes.is_empty() || shapes.len() != spacings.len() {
        let text =
            format!("{} shapes and {} spacings, expected one each per case", shapes.len(), spacings.len());
        return Err(PlanError::Fingerprint(text));
    }
    if let Some((case, s)) =
        spacings.iter().enumerate().find(|(_, s)| s.iter().any(|v| !v.is_finite() || *v <= 0.0))
    {
        let text = format!("case number {case} has the spacing {s:?} mm, expected lengths above 0");
        return Err(PlanError::Fingerprint(text));
    }
    Ok(())
}

fn configurations(
    common: &Common<'_>,
    spacing: [f64; 3],
    median: [f64; 3],
) -> Result<IndexMap<String, Map<String, Value>>, PlanError> {
    let cases = common.dataset.num_training as f64;
    let voxels = median.iter().product::<f64>() * cases;
    let set = |planned: Planned, batch_dice: bool| {
        let mut map = planned.json;
        map.insert("batch_dice".to_owned(), json!(batch_dice));
        map
    };
    let mut all = IndexMap::new();
    let flat = common.configure("2d", &spacing[1..], &median[1..], json!(median[1..]), voxels)?;
    all.insert("2d".to_owned(), set(flat, true));
    if median[0] == 1.0 {
        return Ok(all);
    }
    let full = common.configure("3d_fullres", &spacing, &median, json!(median), voxels)?;
    match lowres(common, spacing, median, &full)? {
        None => {
            all.insert("3d_fullres".to_owned(), set(full, false));
        }
        Some(low) => {
            let mut low = set(low, false);
            low.insert("next_stage".to_owned(), json!("3d_cascade_fullres"));
            all.insert("3d_lowres".to_owned(), low);
            all.insert("3d_fullres".to_owned(), set(full, true));
            let cascade = [("inherits_from", "3d_fullres"), ("previous_stage", "3d_lowres")];
            let cascade = cascade.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
            all.insert("3d_cascade_fullres".to_owned(), cascade);
        }
    }
    Ok(all)
}

/// A coarser configuration whose patch covers a quarter of the median case, if full resolution does not and the coarser
/// image has less than half the voxels.
fn lowres(
    common: &Common<'_>,
    full_spacing: [f64; 3],
    full_median: [f64; 3],
    full: &Planned,
) -> Result<Option<Planned>, PlanError> {
    let product = |patch: &[usize]| patch.iter().map(|&n| n as f64).product::<f64>();
    let full_voxels: f64 = full_median.iter().product();
    let (mut spacing, mut voxels, mut patch) = (full_spacing, full_voxels, product(&full.patch));
    let mut planned = None;
    while patch / voxels < LOWRES_COVERAGE {
        let coarsest = spacing.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let fine = spacing.map(|s| coarsest / s > 2.0);
        for axis in 0..3 {
            if fine[axis] || !fine.contains(&true) {
                spacing[axis] *= LOWRES_STEP;
            }
        }
        let exact: [f64; 3] = std::array::from_fn(|a| full_spacing[a] / spacing[a] * full_median[a]);
        voxels = exact.iter().product();
        let median = exact.map(|n| n.round_ties_even());
        let cases = common.dataset.num_training as f64;
        let median_json = json!(median.map(|n| n as u64));
        let next = common.configure("3d_lowres", &spacing, &median, median_json, voxels * cases)?;
        patch = product(&next.patch);
        planned = Some(next);
    }
    Ok(planned.filter(|_| full_voxels / voxels >= 2.0))
}
