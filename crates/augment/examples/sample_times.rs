//! Samples of the default training augmentation on one thread.
//!
//! `cargo run --release -p nnunet-augment --example sample_times SAMPLES SEED Z Y X | Y X` prints the seconds of each
//! sample, one a line; `benches/augment.py` does the same with the reference, on the same arrays, and
//! `benches/augment_side_by_side` runs both in turn.

use std::time::Instant;

use ndarray::Array4;
use nnunet_augment::{Pipeline, PipelineConfig, Sample, Window, Workspace, sample_rng};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<Vec<usize>, _>>()?;
    let [samples, seed, patch @ ..] = numbers.as_slice() else {
        return Err("usage: sample_times SAMPLES SEED [Z] Y X".into());
    };
    let config = PipelineConfig::nnunet(patch, &[false]);
    let source = blobs(config.initial_patch_size());
    let pipeline = Pipeline::training(config);
    let window = Window::whole(source.shape()?);
    let (mut workspace, mut target) = (Workspace::default(), source.clone());
    for number in 0..*samples {
        let begun = Instant::now();
        let parameters = pipeline.draw(1, &mut sample_rng(*seed as u64, 0, number as u64));
        pipeline.apply_window(&source, &window, &parameters, &mut workspace, &mut target)?;
        println!("{:.6}", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Smooth intensities and two labels in large blobs.
fn blobs([z, y, x]: [usize; 3]) -> Sample {
    let image = Array4::from_shape_fn((1, z, y, x), |(_, z, y, x)| {
        (0.07 * z as f32).sin() + (0.05 * y as f32).cos() + (0.11 * x as f32).sin()
    });
    let labels = image.mapv(|v| i16::from(v > 0.5) + i16::from(v > 1.2));
    Sample { image, labels }
}
