//! Segment one image with a model folder, in nnU-Net's layout, of nnU-Net's or ours:
//!
//! ```text
//! cargo run --release --example segment_file -- MODEL_FOLDER image_0000.nii.gz labels.nii.gz
//! ```
//!
//! A model with several channels takes one file per channel, in order, before the output. The labels are written in the
//! geometry of the image; a picture of them, `labels.png`, stands beside.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ndarray::Axis;
use nnunet::image::reader_by_name;
use nnunet::infer::{Predictor, PredictorOptions};
use nnunet::nn::{Compute, DeviceSpec, device};
use nnunet::plan::Plans;
use nnunet::plot::overlay;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [model, images @ .., output] = arguments.as_slice() else {
        bail!("usage: segment_file MODEL_FOLDER IMAGE... OUTPUT");
    };
    if images.is_empty() {
        bail!("usage: segment_file MODEL_FOLDER IMAGE... OUTPUT");
    }

    // Load once; a Predictor can be called any number of times, from any number of threads.
    let Compute { device, accelerator, message } = device(&DeviceSpec::Auto)?;
    println!("{message}");
    let options = PredictorOptions { accelerator, ..PredictorOptions::default() };
    let predictor = Predictor::open(model, None, None, options, device)
        .with_context(|| format!("cannot use the model in {}", model.display()))?;

    // Images are read as in training, so that axes and intensities are the same.
    let plans = Plans::read(&model.join("plans.json"))?;
    let reader = reader_by_name(&plans.image_reader_writer)?;
    let image = reader.read_images(images)?;
    let shown = image.data.index_axis(Axis(0), 0).to_owned();
    let prediction =
        predictor.predict_image(image, false, &|p| println!("{} {}/{}", p.item, p.done, p.total))?;
    reader.write_labels(output, &prediction.labels)?;

    for (value, name) in label_names(&predictor) {
        let voxels = prediction.labels.data.iter().filter(|&&label| label == value).count();
        let ml = voxels as f64 * prediction.labels.geometry.spacing.iter().product::<f64>() / 1000.0;
        println!("{name}: {ml:.2} ml");
    }
    let picture = picture_beside(output);
    let spacing = prediction.labels.geometry.spacing;
    overlay(shown.view(), spacing, &[None, Some(prediction.labels.data.view())], &picture)?;
    println!("labels   {}\npicture  {}", output.display(), picture.display());
    Ok(())
}

/// Names of the labels that segmentations hold.
fn label_names(predictor: &Predictor) -> Vec<(i16, String)> {
    let rules = predictor.label_rules();
    let named = rules.names().iter().filter_map(|(name, value)| match value.labels() {
        [label] if *label != 0 => Some((*label as i16, name.clone())),
        _ => None,
    });
    named.collect()
}

fn picture_beside(labels: &Path) -> PathBuf {
    let name = labels.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.trim_end_matches(".gz").trim_end_matches(".nii");
    labels.with_file_name(format!("{stem}.png"))
}
