//! Samples per second of the training pipeline on one thread, and the time of each transform alone.
//!
//! `cargo run --release -p nnunet-augment --example throughput [samples] [z y x | y x]`

use std::time::Instant;

use ndarray::Array4;
use nnunet_augment::{Noise, Parameters, Pipeline, PipelineConfig, Sample, Window, Workspace, sample_rng};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<Vec<usize>, _>>()?;
    let samples = numbers.first().copied().unwrap_or(200);
    let patches =
        if numbers.len() > 2 { vec![numbers[1..].to_vec()] } else { vec![vec![128; 3], vec![40, 56, 40]] };
    for patch in patches {
        let config = PipelineConfig::nnunet(&patch, &[false]);
        let loaded = config.initial_patch_size();
        let pipeline = Pipeline::training(config);
        let source = blobs(loaded);
        println!("patch {patch:?} from {loaded:?}, one channel");

        let mut bench = Bench {
            pipeline: &pipeline,
            source: &source,
            workspace: Workspace::default(),
            target: source.clone(),
        };
        let start = Instant::now();
        for i in 0..samples {
            bench.apply(&pipeline.draw(1, &mut sample_rng(1, 0, i as u64)))?;
        }
        println!("  {:9.1} samples/s", samples as f64 / start.elapsed().as_secs_f64());
        for (name, parameters) in singles() {
            println!("  {:9.3} ms {name}", bench.milliseconds(&parameters)?);
        }
    }
    Ok(())
}

struct Bench<'a> {
    pipeline: &'a Pipeline,
    source: &'a Sample,
    workspace: Workspace,
    target: Sample,
}

impl Bench<'_> {
    fn apply(&mut self, parameters: &Parameters) -> Result<(), Box<dyn std::error::Error>> {
        let window = Window::whole(self.source.shape()?);
        Ok(self.pipeline.apply_window(
            self.source,
            &window,
            parameters,
            &mut self.workspace,
            &mut self.target,
        )?)
    }

    /// Median of seven runs.
    fn milliseconds(&mut self, parameters: &Parameters) -> Result<f64, Box<dyn std::error::Error>> {
        let mut times = [0.0; 7];
        for time in &mut times {
            let start = Instant::now();
            self.apply(parameters)?;
            *time = start.elapsed().as_secs_f64() * 1e3;
        }
        times.sort_by(f64::total_cmp);
        Ok(times[3])
    }
}

/// A sample with smooth intensities and two labels in large blobs.
fn blobs([z, y, x]: [usize; 3]) -> Sample {
    let image = Array4::from_shape_fn((1, z, y, x), |(_, z, y, x)| {
        (0.07 * z as f32).sin() + (0.05 * y as f32).cos() + (0.11 * x as f32).sin()
    });
    let labels = image.mapv(|v| i16::from(v > 0.5) + i16::from(v > 1.2));
    Sample { image, labels }
}

fn singles() -> Vec<(&'static str, Parameters)> {
    let default = Parameters::default;
    vec![
        ("crop (in all below too)", default()),
        ("rotation", Parameters { rotation: Some([0.3, -0.2, 0.4]), ..default() }),
        ("scaling", Parameters { scaling: Some([1.2; 3]), ..default() }),
        ("noise", Parameters { noise: Some(Noise { standard_deviation: 0.05, seed: 1 }), ..default() }),
        ("blur", Parameters { blur: Some(vec![Some([0.95; 3])]), ..default() }),
        ("brightness", Parameters { brightness: Some(vec![1.1]), ..default() }),
        ("contrast", Parameters { contrast: Some(vec![1.1]), ..default() }),
        ("low resolution", Parameters { low_resolution: Some(vec![Some(0.7)]), ..default() }),
        ("gamma", Parameters { gamma: Some(vec![1.2]), ..default() }),
        ("mirror", Parameters { mirror: [true; 3], ..default() }),
    ]
}
