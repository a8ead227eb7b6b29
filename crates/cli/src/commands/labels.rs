//! What is in label files: numbers, pictures, names.

use std::path::PathBuf;

use anyhow::{Context, Result};
use nnunet::fingerprint::json;
use nnunet::image::fs::write_atomic;
use nnunet::{CaseImages, CaseStatistics, LabelTable, StatisticsRequest};

use crate::args::{ColoursArgs, PreviewArgs, StatisticsArgs};
use crate::ui::Ui;

pub(crate) fn statistics(args: &StatisticsArgs, ui: Ui) -> Result<()> {
    let images = match &args.images {
        Some(folder) => CaseImages::Folder(folder.clone()),
        None if args.image.is_empty() => CaseImages::None,
        None => CaseImages::Files(args.image.clone()),
    };
    let request =
        StatisticsRequest { labels: args.labels.clone(), images, dataset_json: args.dataset_json.clone() };
    let stage = ui.stage("statistics");
    let report = nnunet::statistics(&request, &|progress| stage.update(progress))?;
    stage.finish();
    if let [case] = report.cases.as_slice() {
        print_case(case);
    }
    if let Some(path) = &args.output {
        json::write(path, &report)?;
        println!("{}", path.display());
    }
    if let Some(path) = &args.csv {
        let text = report.to_csv();
        write_atomic(path, |out| out.write_all(text.as_bytes()))
            .with_context(|| path.display().to_string())?;
        println!("{}", path.display());
    }
    Ok(())
}

fn print_case(case: &CaseStatistics) {
    for (name, label) in &case.labels {
        let volume = label.volume_ml.map(|ml| format!(", {ml:.3} ml")).unwrap_or_default();
        let means: Vec<String> =
            label.intensities.iter().filter_map(|i| i.mean).map(|mean| format!("{mean:.1}")).collect();
        let means = if means.is_empty() { String::new() } else { format!(", mean {}", means.join(" ")) };
        println!("{name}: {} voxels{volume}{means}", label.voxels);
    }
}

pub(crate) fn preview(args: &PreviewArgs) -> Result<()> {
    let table = match &args.dataset_json {
        Some(dataset) => LabelTable::read(dataset, args.codes.as_deref())?,
        // What the file itself says, if it is a NIfTI file that says something.
        None => nnunet::embedded_label_table(&args.labels).ok().flatten().unwrap_or_default(),
    };
    nnunet::preview(&args.image, &args.labels, &table, args.size.into(), &args.output)?;
    println!("{}", args.output.display());
    Ok(())
}

pub(crate) fn colours(args: &ColoursArgs) -> Result<()> {
    let table = LabelTable::read(&args.dataset_json, args.codes.as_deref())?;
    if let Some(prefix) = &args.output {
        let files = nnunet::write_label_sidecars(&table, prefix)?;
        for path in [&files.itk_snap, &files.slicer, &files.mitk, &files.json] {
            println!("{}", path.display());
        }
    }
    for path in nifti_files(&args.embed)? {
        nnunet::embed_label_table(&path, &table)?;
        println!("{}", path.display());
    }
    Ok(())
}

/// These files, and the NIfTI files of these folders.
fn nifti_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        for entry in std::fs::read_dir(path).with_context(|| path.display().to_string())? {
            let entry = entry.with_context(|| path.display().to_string())?;
            let name = entry.file_name().to_string_lossy().to_lowercase();
            if name.ends_with(".nii") || name.ends_with(".nii.gz") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
