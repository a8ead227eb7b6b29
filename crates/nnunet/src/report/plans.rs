//! The plans, and why they are as they are.

use nnunet_fingerprint::Fingerprint;
use nnunet_plan::{Choice, PlannerOptions, Plans, explain_plans, plan_experiment};

use super::found::Model;
use super::html::Page;
use crate::Error;

/// One section for each plans file among the models of a data set.
pub(super) fn section(
    page: &mut Page,
    models: &[Model],
    fingerprint: Option<&Fingerprint>,
) -> Result<(), Error> {
    let mut told: Vec<&str> = Vec::new();
    for model in models {
        if told.contains(&model.plans.plans_name.as_str()) {
            continue;
        }
        told.push(&model.plans.plans_name);
        page.heading(2, &format!("Plans {}", model.plans.plans_name));
        configurations(page, &model.plans)?;
        let Some(fingerprint) = fingerprint else { continue };
        match choices(model, fingerprint) {
            Some(choices) => explain(page, &choices),
            None => page.note(
                "The planner, run again on this fingerprint with its defaults, makes other plans: these were made with \
                 options of their own or changed by hand, so they are not explained here.",
            ),
        }
    }
    Ok(())
}

fn configurations(page: &mut Page, plans: &Plans) -> Result<(), Error> {
    let mut rows = Vec::new();
    for name in plans.configurations.keys() {
        let configuration = plans.configuration(name)?;
        rows.push(vec![
            name.clone(),
            format!("{:?}", configuration.patch_size),
            configuration.batch_size.to_string(),
            format!("{:?}", configuration.spacing),
            format!("{:?}", configuration.median_image_size_in_voxels),
            configuration.normalization_schemes.join(", "),
        ]);
    }
    page.note(&format!(
        "Made by {}, images read by {}.",
        plans.experiment_planner_used, plans.image_reader_writer
    ));
    let head = ["configuration", "patch", "batch", "spacing (mm)", "median case (voxels)", "normalisation"];
    page.table(&head, &rows);
    Ok(())
}

/// Why the plans are as they are; `None` if the planner with its defaults does not choose the same patches, batches and
/// spacings.
fn choices(model: &Model, fingerprint: &Fingerprint) -> Option<Vec<Choice>> {
    let plans = &model.plans;
    let options = PlannerOptions {
        planner: plans.experiment_planner_used.parse().ok()?,
        dataset_name: plans.dataset_name.clone(),
        image_reader_writer: plans.image_reader_writer.clone(),
        plans_name: Some(plans.plans_name.clone()),
        ..PlannerOptions::default()
    };
    let again = plan_experiment(fingerprint, &model.dataset, &options).ok()?;
    let same = plans.configurations.keys().all(|name| {
        let (Ok(found), Ok(made)) = (plans.configuration(name), again.configuration(name)) else {
            return false;
        };
        let close = |a: &[f64], b: &[f64]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs())
        };
        found.patch_size == made.patch_size
            && found.batch_size == made.batch_size
            && close(&found.spacing, &made.spacing)
    });
    if !same {
        return None;
    }
    explain_plans(fingerprint, &model.dataset, &options).ok()
}

fn explain(page: &mut Page, choices: &[Choice]) {
    page.heading(3, "Why these numbers");
    for choice in choices {
        page.choice(
            &choice.what,
            &[
                ("value", &choice.value),
                ("rule", &choice.rule),
                ("numbers", &choice.numbers),
                ("changes", &choice.changes),
            ],
        );
    }
}
