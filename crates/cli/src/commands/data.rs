//! From raw images to preprocessed cases.

use anyhow::{Result, bail};
use nnunet::fingerprint::Severity;
use nnunet::plan::{Choice, PlannerOptions, Plans};
use nnunet::preprocess::StoreFormat;
use nnunet::{Folders, Project};

use crate::args::{
    Datasets, FingerprintArgs, PlanAndPreprocessArgs, PlanArgs, PlannerArgs, PreprocessArgs,
    PreprocessCaseArgs,
};
use crate::commands::project;
use crate::ui::Ui;

pub(crate) fn verify(args: &Datasets, folders: &Folders, ui: Ui) -> Result<()> {
    for spec in &args.datasets {
        verify_one(&project(spec, folders)?, ui)?;
    }
    Ok(())
}

fn verify_one(project: &Project, ui: Ui) -> Result<()> {
    let stage = ui.stage("verify");
    let findings = project.verify(&|progress| stage.update(progress))?;
    stage.finish();
    let mut errors = 0;
    for finding in &findings {
        println!("{finding}");
        errors += usize::from(finding.severity == Severity::Error);
    }
    if errors > 0 {
        bail!("{}: {errors} of {} findings are errors", project.name(), findings.len());
    }
    println!("{}: sound", project.name());
    Ok(())
}

pub(crate) fn fingerprint(args: &FingerprintArgs, folders: &Folders, ui: Ui) -> Result<()> {
    for spec in &args.datasets.datasets {
        fingerprint_one(&project(spec, folders)?, args.clean, ui)?;
    }
    Ok(())
}

fn fingerprint_one(project: &Project, clean: bool, ui: Ui) -> Result<()> {
    let existing = if clean { None } else { project.existing_fingerprint()? };
    let fingerprint = match existing {
        Some(fingerprint) => {
            ui.say("the fingerprint that is there is kept (--clean extracts it anew)");
            fingerprint
        }
        None => {
            let stage = ui.stage("fingerprint");
            let fingerprint = project.fingerprint(&|progress| stage.update(progress))?;
            stage.finish();
            fingerprint
        }
    };
    ui.detail(&format!(
        "{} cases, median relative size after cropping {}",
        fingerprint.spacings.len(),
        fingerprint.median_relative_size_after_cropping
    ));
    println!("{}", project.preprocessed_folder()?.join("dataset_fingerprint.json").display());
    Ok(())
}

pub(crate) fn plan(args: &PlanArgs, folders: &Folders, ui: Ui) -> Result<()> {
    let options = planner_options(&args.planner)?;
    if let (Some(dataset), Some(fingerprint), Some(output)) =
        (&args.dataset_json, &args.fingerprint, &args.output)
    {
        let plans = nnunet::plan_from_files(dataset, fingerprint, &options)?;
        plans.write(output)?;
        if args.explain {
            print_choices(&nnunet::explain_from_files(dataset, fingerprint, &options)?);
        }
        println!("{}", output.display());
        return Ok(());
    }
    for spec in &args.datasets {
        let project = project(spec, folders)?;
        plan_one(&project, &options, ui)?;
        if args.explain {
            print_choices(&project.explain(&options)?);
        }
    }
    Ok(())
}

fn print_choices(choices: &[Choice]) {
    for choice in choices {
        println!("{choice}");
    }
}

fn plan_one(project: &Project, options: &PlannerOptions, ui: Ui) -> Result<Plans> {
    let plans = project.plan(options)?;
    for name in plans.configurations.keys() {
        let configuration = plans.configuration(name)?;
        ui.say(&format!(
            "{name}: patch {:?}, batch size {}, spacing {:?} mm",
            configuration.patch_size, configuration.batch_size, configuration.spacing
        ));
    }
    println!("{}", project.preprocessed_folder()?.join(format!("{}.json", plans.plans_name)).display());
    Ok(plans)
}

pub(crate) fn preprocess(args: &PreprocessArgs, folders: &Folders, ui: Ui) -> Result<()> {
    for spec in &args.datasets.datasets {
        let project = project(spec, folders)?;
        let plans = project.plans(&args.plans_name)?;
        preprocess_one(&project, &plans, &args.configurations, args.store, ui)?;
    }
    Ok(())
}

fn preprocess_one(
    project: &Project,
    plans: &Plans,
    wanted: &[String],
    store: StoreFormat,
    ui: Ui,
) -> Result<()> {
    let defaults = ["2d", "3d_fullres", "3d_lowres"].map(String::from);
    let wanted = if wanted.is_empty() { &defaults[..] } else { wanted };
    let (known, unknown): (Vec<_>, Vec<_>) =
        wanted.iter().partition(|name| plans.configurations.contains_key(*name));
    if known.is_empty() {
        bail!("{} has none of the configurations {wanted:?}", plans.plans_name);
    }
    for name in unknown.iter().filter(|_| wanted != defaults) {
        ui.say(&format!("{name}: not in {}, skipped", plans.plans_name));
    }
    for name in known {
        let stage = ui.stage(name);
        let store = project.preprocess_as(store, plans, name, &|progress| stage.update(progress))?;
        stage.finish();
        println!("{}", store.folder().display());
    }
    Ok(())
}

pub(crate) fn preprocess_case(args: &PreprocessCaseArgs, ui: Ui) -> Result<()> {
    let shape = nnunet::preprocess_case_to_npz(
        &args.plans,
        &args.dataset_json,
        &args.configuration,
        &args.images,
        args.seg.as_deref(),
        &args.output,
    )?;
    ui.detail(&format!("shape (c, z, y, x): {shape:?}"));
    println!("{}", args.output.display());
    Ok(())
}

pub(crate) fn plan_and_preprocess(args: &PlanAndPreprocessArgs, folders: &Folders, ui: Ui) -> Result<()> {
    let options = planner_options(&args.planner)?;
    for spec in &args.datasets.datasets {
        let project = project(spec, folders)?;
        if args.verify {
            verify_one(&project, ui)?;
        }
        fingerprint_one(&project, args.clean, ui)?;
        let plans = plan_one(&project, &options, ui)?;
        if !args.no_preprocessing {
            preprocess_one(&project, &plans, &args.configurations, args.store, ui)?;
        }
    }
    Ok(())
}

fn planner_options(args: &PlannerArgs) -> Result<PlannerOptions> {
    Ok(PlannerOptions {
        planner: args.planner.parse()?,
        preset: args.architecture.as_deref().map(str::parse).transpose()?,
        vram_gb: args.vram_gb,
        target_spacing: args.target_spacing.as_ref().map(|v| [v[0], v[1], v[2]]),
        suppress_transpose: args.suppress_transpose,
        plans_name: args.plans_name.clone(),
        ..PlannerOptions::default()
    })
}
