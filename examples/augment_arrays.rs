//! Only the augmentation, on arrays of your own:
//!
//! ```text
//! cargo run --release --example augment_arrays -- pictures
//! ```
//!
//! Draws a volume with labels, augments it twelve times, prints what was drawn and leaves one picture per sample. A program that
//! only wants this depends on `nnunet-augment`, which needs ndarray and nothing that knows of networks or files.

use std::path::PathBuf;

use anyhow::{Context, Result};
use ndarray::{Array3, Axis};
use nnunet::augment::{Pipeline, PipelineConfig, Sample, sample_rng};
use nnunet::plot::overlay;
use nnunet_examples::drawn::draw_case;

const SAMPLES: u64 = 12;

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).context("usage: augment_arrays PICTURE_FOLDER")?);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;

    // Arrays are [channel, z, y, x]; any source will do.
    let (image, labels) = draw_case(96.0, 5)?;
    let mut intensities = image.data;
    let (mean, std) = (intensities.mean().unwrap_or(0.0), intensities.std(0.0));
    intensities.mapv_inplace(|v| (v - mean) / std);
    let sample = Sample { image: intensities, labels: labels.data.insert_axis(Axis(0)) };

    // nnU-Net's pipeline for a patch of this size; the one channel was not normalised within a mask.
    let pipeline = Pipeline::training(PipelineConfig::nnunet(&[40, 48, 48], &[false]));
    for index in 0..SAMPLES {
        // The key (seed, epoch, sample) makes the same sample on every machine and any number of threads.
        let mut rng = sample_rng(42, 0, index);
        let parameters = pipeline.draw(1, &mut rng);
        println!("sample {index}: {parameters:?}");
        let augmented = pipeline.apply(sample.clone(), &parameters)?;
        let shown: Array3<f32> = augmented.image.index_axis(Axis(0), 0).to_owned();
        let labels: Array3<i16> = augmented.labels.index_axis(Axis(0), 0).to_owned();
        let picture = folder.join(format!("sample_{index:02}.png"));
        overlay(shown.view(), [1.0; 3], &[None, Some(labels.view())], &picture)?;
    }
    println!("{SAMPLES} pictures in {}", folder.display());
    Ok(())
}
