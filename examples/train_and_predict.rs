//! Train and predict from Rust, on a data set of yours:
//!
//! ```text
//! cargo run --release --example train_and_predict -- path/to/Dataset004_Hippocampus output
//! ```
//!
//! The first argument is a raw data set in nnU-Net's layout, the second a folder for everything that comes out.

use std::path::Path;

use anyhow::{Context, Result};
use nnunet::fingerprint::Fold;
use nnunet::plan::PlannerOptions;
use nnunet::train::TrainOptions;
use nnunet::{Folders, PredictRequest, Project, TrainRequest};

/// Training frees activations and asks for the same again; mapping them anew takes up to a third of the time.
#[global_allocator]
static ALLOCATOR: nnunet::nn::RecyclingAllocator = nnunet::nn::RecyclingAllocator::new(1 << 30);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dataset = arguments.next().context("usage: train_and_predict DATASET_FOLDER OUTPUT_FOLDER")?;
    let output = arguments.next().context("usage: train_and_predict DATASET_FOLDER OUTPUT_FOLDER")?;
    let output = Path::new(&output);

    // From the raw images to the configuration that suits them, and to preprocessed cases.
    let project = Project::find(&dataset, Folders::below(output))?;
    project.fingerprint(&|_| {})?;
    let plans = project.plan(&PlannerOptions::default())?;
    project.preprocess(&plans, "3d_fullres", &|p| println!("preprocessed {}/{}", p.done, p.total))?;

    // A short training; the defaults are nnU-Net's 1000 epochs of 250 iterations. `&mut ()` is a silent callback.
    let options =
        TrainOptions { epochs: 4, iterations_per_epoch: 25, val_iterations: 5, ..Default::default() };
    let request = TrainRequest { options, ..TrainRequest::new("3d_fullres", Fold::Index(0)) };
    let report = project.train(&request, &mut (), &|p| println!("validated {}/{}", p.done, p.total))?;
    if let Some(scores) = report.validation {
        println!("mean foreground Dice of fold 0: {:.3}", scores.foreground_mean.dice);
    }

    // The model folder predicts new images.
    let images = project.raw_folder()?.join("imagesTr");
    let request = PredictRequest::new(&[images], &report.model_folder, &output.join("predictions"));
    let report =
        nnunet::predict(&request, &|line| println!("{line}"), &|p| println!("{}/{}", p.done, p.total))?;
    println!("{} cases predicted, {} failed", report.predicted, report.failed.len());
    Ok(())
}
