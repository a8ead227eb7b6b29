//! Only the heuristics: from a data set, or from its fingerprint alone, to plans, with the reason for each number.
//!
//! ```text
//! cargo run --release --example heuristics_only                                   # a data set drawn in memory
//! cargo run --release --example heuristics_only -- dataset.json dataset_fingerprint.json
//! ```
//!
//! A program that only wants this depends on `nnunet-plan`, which has no images, codecs or networks in its tree.

use std::path::Path;

use anyhow::{Result, bail};
use nnunet::fingerprint::json;
use nnunet::plan::{DatasetJson, Fingerprint, Planner, PlannerOptions, explain_plans, plan_experiment};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (dataset, fingerprint): (DatasetJson, Fingerprint) = match arguments.as_slice() {
        [] => invented()?,
        [dataset, fingerprint] => {
            (DatasetJson::read(Path::new(dataset))?, json::read(Path::new(fingerprint))?)
        }
        _ => bail!("usage: heuristics_only [DATASET_JSON FINGERPRINT]"),
    };

    for choice in explain_plans(&fingerprint, &dataset, &PlannerOptions::default())? {
        println!("{choice}\n");
    }

    println!("What the planners would choose for 3d_fullres (2d where there is none):");
    for planner in [Planner::Default, Planner::ResEncM, Planner::ResEncL, Planner::ResEncXl] {
        let plans =
            plan_experiment(&fingerprint, &dataset, &PlannerOptions { planner, ..Default::default() })?;
        let name = if plans.configurations.contains_key("3d_fullres") { "3d_fullres" } else { "2d" };
        let configuration = plans.configuration(name)?;
        println!(
            "  {:<24} patch {:?}, batch size {}, {} stages",
            plans.plans_name,
            configuration.patch_size,
            configuration.batch_size,
            configuration.architecture.resolve()?.num_stages()
        );
    }
    Ok(())
}

/// A CT data set with thick slices, as a fingerprint would describe it.
fn invented() -> Result<(DatasetJson, Fingerprint)> {
    let dataset = serde_json::from_str(
        r#"{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "tumour": 2},
            "numTraining": 131, "file_ending": ".nii.gz"}"#,
    )?;
    let fingerprint = serde_json::from_str(
        r#"{"foreground_intensity_properties_per_channel": {"0": {"max": 1000.0, "mean": 99.5, "median": 101.0,
            "min": -970.0, "percentile_00_5": -15.0, "percentile_99_5": 197.0, "std": 39.4}},
            "median_relative_size_after_cropping": 1.0,
            "shapes_after_crop": [[110, 512, 512], [140, 512, 512], [90, 512, 512]],
            "spacings": [[5.0, 0.78, 0.78], [5.0, 0.70, 0.70], [5.0, 0.84, 0.84]]}"#,
    )?;
    Ok((dataset, fingerprint))
}
