//! Why each number of the plans was chosen.

use std::fmt;

use nnunet_fingerprint::{DatasetJson, Fingerprint};
use serde::Serialize;

use crate::configure::{Common, Fit};
use crate::experiment::{LOWRES_COVERAGE, common, plan_experiment};
use crate::spacing::{ANISOTROPY, argmax, fullres_target, median_per_axis, median_shape, transpose};
use crate::{Configuration, Normalization, PlanError, PlannerOptions, Plans};

/// One decision: what was chosen, by which rule, from which numbers, and what would change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// What was decided, with its configuration.
    pub what: String,
    /// What was chosen.
    pub value: String,
    /// The rule, as nnU-Net has it.
    pub rule: String,
    /// The numbers that went in.
    pub numbers: String,
    /// What would change the choice.
    pub changes: String,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.what, self.value)?;
        writeln!(f, "  rule     {}", self.rule)?;
        writeln!(f, "  numbers  {}", self.numbers)?;
        write!(f, "  changes  {}", self.changes)
    }
}

/// Plans a data set as [`plan_experiment`] does and tells why: the choices for the whole data set, then those of each
/// configuration.
///
/// ```
/// use nnunet_plan::{DatasetJson, Fingerprint, PlannerOptions, explain_plans};
///
/// let dataset: DatasetJson = serde_json::from_str(
///     r#"{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1},
///         "numTraining": 3, "file_ending": ".nii.gz"}"#,
/// ).unwrap();
/// let fingerprint: Fingerprint = serde_json::from_str(
///     r#"{"foreground_intensity_properties_per_channel": {}, "median_relative_size_after_cropping": 1.0,
///         "shapes_after_crop": [[20, 200, 200]], "spacings": [[6, 1, 1]]}"#,
/// ).unwrap();
/// let choices = explain_plans(&fingerprint, &dataset, &PlannerOptions::default()).unwrap();
/// assert!(choices[0].to_string().starts_with("target spacing: [6.0, 1.0, 1.0] mm"));
/// ```
///
/// # Errors
/// As [`plan_experiment`].
pub fn explain_plans(
    fingerprint: &Fingerprint,
    dataset: &DatasetJson,
    options: &PlannerOptions,
) -> Result<Vec<Choice>, PlanError> {
    let plans = plan_experiment(fingerprint, dataset, options)?;
    let common = common(fingerprint, dataset, options, &plans.plans_name);
    let mut choices = vec![
        target_spacing(fingerprint, options),
        axis_order(fingerprint, &plans, options),
        normalisation(fingerprint, dataset),
    ];
    let has_lowres = plans.configurations.contains_key("3d_lowres");
    for name in plans.configurations.keys().filter(|name| *name != "3d_cascade_fullres") {
        let configuration = plans.configuration(name)?;
        let (spacing, median) = (&configuration.spacing, &configuration.median_image_size_in_voxels);
        let voxels = case_voxels(&plans, name, spacing)? * dataset.num_training as f64;
        let fit = common.fit(name, spacing, median, voxels)?;
        choices.extend([
            patch(name, &configuration, &fit, options, &common),
            network(name, &configuration, &fit, &common),
            batch(name, &fit, &common),
        ]);
    }
    choices.push(stages(&plans, has_lowres)?);
    Ok(choices)
}

fn full_of(plans: &Plans) -> &'static str {
    if plans.configurations.contains_key("3d_fullres") { "3d_fullres" } else { "2d" }
}

/// Voxels of the median case as the batch size counts them: slices count as whole cases, a low resolution exactly.
fn case_voxels(plans: &Plans, name: &str, spacing: &[f64]) -> Result<f64, PlanError> {
    let full = plans.configuration(full_of(plans))?;
    let median = &full.median_image_size_in_voxels;
    if name != "3d_lowres" {
        return Ok(median.iter().product());
    }
    Ok(full.spacing.iter().zip(spacing).zip(median).map(|((full, low), n)| full / low * n).product())
}

fn target_spacing(fingerprint: &Fingerprint, options: &PlannerOptions) -> Choice {
    let (median, size) = (median_per_axis(&fingerprint.spacings), median_shape(fingerprint));
    let chosen = options.target_spacing.unwrap_or_else(|| fullres_target(fingerprint));
    let worst = argmax(median);
    let others: Vec<usize> = (0..3).filter(|&axis| axis != worst).collect();
    let coarsest = median[others[0]].max(median[others[1]]);
    let smallest = size[others[0]].min(size[others[1]]);
    let changes = match options.target_spacing {
        Some(_) => "without --target-spacing it follows from the data set".to_owned(),
        None => format!(
            "the axis {} is {:.2} times as coarse as the next and has {:.2} times its voxels; above {ANISOTROPY} and below \
             {:.2} it gets the 10th percentile. --target-spacing overrides it",
            ["z", "y", "x"][worst],
            median[worst] / coarsest,
            size[worst] / smallest,
            1.0 / ANISOTROPY
        ),
    };
    Choice {
        what: "target spacing".to_owned(),
        value: format!("{chosen:?} mm (z, y, x as read)"),
        rule: "the median over the cases; for a much coarser axis with few voxels the 10th percentile, not finer than the \
               others"
            .to_owned(),
        numbers: format!("median spacing {median:?} mm, median shape after cropping {size:?}"),
        changes,
    }
}

fn axis_order(fingerprint: &Fingerprint, plans: &Plans, options: &PlannerOptions) -> Choice {
    let target = options.target_spacing.unwrap_or_else(|| fullres_target(fingerprint));
    let usual = transpose(target).0;
    let forced = plans.transpose_forward != usual;
    Choice {
        what: "order of the axes".to_owned(),
        value: format!("{:?}", plans.transpose_forward),
        rule: "the axis with the largest target spacing comes first, so that slices are cut across it"
            .to_owned(),
        numbers: format!("target spacing {target:?} mm"),
        changes: if forced {
            format!("without --suppress-transpose it is {usual:?}")
        } else {
            "another target spacing; --suppress-transpose keeps the order of the files".to_owned()
        },
    }
}

fn normalisation(fingerprint: &Fingerprint, dataset: &DatasetJson) -> Choice {
    let schemes: Vec<String> = dataset
        .channel_names
        .values()
        .map(|name| format!("{name:?} → {}", Normalization::for_channel(name).class_name()))
        .collect();
    let size = fingerprint.median_relative_size_after_cropping;
    let masked = if size < 0.75 { "inside the non-zero mask" } else { "over the whole image" };
    Choice {
        what: "normalisation".to_owned(),
        value: format!("{} ({masked} where it is ZScoreNormalization)", schemes.join(", ")),
        rule: "by the name of the channel in dataset.json: CT, noNorm, rescale_to_0_1, rgb_to_0_1, anything else is \
               z-score; within the mask if cropping to non-zero keeps less than 0.75 of the voxels"
            .to_owned(),
        numbers: format!("median share of voxels that cropping keeps: {size:.3}"),
        changes: "other channel names".to_owned(),
    }
}

fn patch(
    name: &str,
    configuration: &Configuration,
    fit: &Fit,
    options: &PlannerOptions,
    common: &Common<'_>,
) -> Choice {
    let initial: Vec<String> = fit.initial.iter().map(|n| format!("{n}")).collect();
    let gb = options.vram_gb.unwrap_or_else(|| common.planner.memory_gb());
    Choice {
        what: format!("{name}, patch size"),
        value: format!("{:?}", fit.topology.patch),
        rule: "a cube of equal millimetres, no larger than the median case; made smaller along the axis that is largest \
               relative to the median case until the network's estimate fits; a multiple of what the poolings divide"
            .to_owned(),
        numbers: format!(
            "spacing {:?} mm, median case {:?}, first patch [{}], made smaller {} times; estimate {:.0} of at most {:.0} \
             values ({gb} GB), divisible by {:?}",
            configuration.spacing,
            configuration.median_image_size_in_voxels,
            initial.join(", "),
            fit.steps,
            fit.cost,
            fit.room,
            fit.topology.divisor
        ),
        changes: if fit.steps == 0 {
            "larger images; the memory target does not limit it".to_owned()
        } else {
            "--vram-gb: more memory, larger patches; then a coarser --target-spacing".to_owned()
        },
    }
}

fn network(name: &str, configuration: &Configuration, fit: &Fit, common: &Common<'_>) -> Choice {
    let text = |lists: &[Vec<usize>]| {
        lists.iter().map(|l| l.iter().map(usize::to_string).collect::<String>()).collect::<Vec<_>>().join(" ")
    };
    Choice {
        what: format!("{name}, network"),
        value: format!(
            "{}{} stages, strides {}, kernels {}",
            common.preset.map_or_else(String::new, |preset| format!("{}, ", preset.name())),
            fit.topology.strides.len(),
            text(&fit.topology.strides),
            text(&fit.topology.kernels)
        ),
        rule: "an axis is halved as long as it has 8 voxels and its spacing is below twice the finest; its kernels are 3 \
               from the stage on where its spacing is below twice the finest, 1 before"
            .to_owned(),
        numbers: format!("patch {:?}, spacing {:?} mm", configuration.patch_size, configuration.spacing),
        changes: "another patch size or spacing; --planner resenc-m, resenc-l or resenc-xl for residual encoders; \
                  --architecture for published networks"
            .to_owned(),
    }
}

fn batch(name: &str, fit: &Fit, common: &Common<'_>) -> Choice {
    let limit = if fit.batch_of_data < 2.0 && fit.batch == 2 {
        "no batch is smaller than 2"
    } else if fit.batch_of_memory <= fit.batch_of_data {
        "memory decides: --vram-gb changes it"
    } else {
        "the data set's size decides: more cases would change it, more memory would not"
    };
    Choice {
        what: format!("{name}, batch size"),
        value: fit.batch.to_string(),
        rule: format!(
            "what the memory target has room for, but no more than {} % of the voxels of the data set, at least 2",
            common.planner.coverage() * 100.0
        ),
        numbers: format!("memory: {}, data set: {}", fit.batch_of_memory, fit.batch_of_data),
        changes: limit.to_owned(),
    }
}

/// Whether there are a low resolution and a cascade.
fn stages(plans: &Plans, has_lowres: bool) -> Result<Choice, PlanError> {
    let full = plans.configuration(full_of(plans))?;
    let patch: usize = full.patch_size.iter().product();
    let median: f64 = full.median_image_size_in_voxels.iter().product();
    let share = patch as f64 / median;
    let value = match (full_of(plans), has_lowres) {
        ("2d", _) => "2d alone",
        (_, true) => "3d_lowres and 3d_cascade_fullres beside 2d and 3d_fullres",
        (_, false) => "2d and 3d_fullres",
    };
    let changes = match (full_of(plans), has_lowres) {
        ("2d", _) => "cases of more than one slice".to_owned(),
        (_, true) => {
            format!("a patch of at least {LOWRES_COVERAGE} of the median case: smaller images or more memory")
        }
        (_, false) if share >= LOWRES_COVERAGE => {
            format!("a patch below {LOWRES_COVERAGE} of the median case: larger images or less memory")
        }
        (_, false) => "a lower resolution with less than half the voxels".to_owned(),
    };
    Ok(Choice {
        what: "configurations".to_owned(),
        value: value.to_owned(),
        rule: format!(
            "one slice per case: 2d alone; a low resolution is added where the patch covers less than {LOWRES_COVERAGE} of \
             the median case and half the voxels suffice"
        ),
        numbers: format!("the patch covers {share:.3} of the median case"),
        changes,
    })
}
