//! Times of resampling, one JSON line per measurement.
//!
//! usage: resample_speed resample|labels FOLDER [ROUNDS]
//!
//! `resample`: a CT-like volume of 512×512×200 (`volume.f32` in FOLDER, drawn by `benches/data_steps.py`) to 0.7 times its
//! spacing, cubic; `labels`: 100 slices of `labels.i16`. `RAYON_NUM_THREADS` limits the threads.

use std::path::Path;
use std::time::Instant;

use nnunet_image::{ResampleOptions, resample_image, resample_labels, resampled_shape};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, folder, rest @ ..] = arguments.as_slice() else {
        return Err("usage: resample_speed resample|labels FOLDER [ROUNDS]".into());
    };
    let rounds: usize = rest.first().map_or(Ok(3), |text| text.parse())?;
    for _ in 0..rounds {
        let [seconds, cpu] = match what.as_str() {
            "resample" => resample(Path::new(folder))?,
            "labels" => labels(Path::new(folder))?,
            other => return Err(format!("unknown step {other:?}").into()),
        };
        println!(
            "{{\"step\": \"{what}\", \"seconds\": {seconds:.4}, \"cpu\": {cpu:.2}, \"peak_mb\": {}}}",
            peak_mb()
        );
    }
    Ok(())
}

const SHAPE: [usize; 3] = [200, 512, 512];
const SPACING: [f64; 3] = [1.5, 0.8, 0.8];

fn read<T>(path: &Path, bytes: usize, convert: impl Fn(&[u8]) -> T) -> Result<Vec<T>> {
    let raw = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(raw.chunks_exact(bytes).map(convert).collect())
}

fn resample(folder: &Path) -> Result<[f64; 2]> {
    let values = read(&folder.join("volume.f32"), 4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))?;
    let data = ndarray::Array4::from_shape_vec((1, SHAPE[0], SHAPE[1], SHAPE[2]), values)?;
    let target = SPACING.map(|s| s * 0.7);
    let shape = resampled_shape(SHAPE, SPACING, target);
    let start = (Instant::now(), cpu_seconds());
    let out = resample_image(data.view(), shape, SPACING, target, &ResampleOptions::image())?;
    let seconds = [start.0.elapsed().as_secs_f64(), cpu_seconds() - start.1];
    assert!(out.dim() == (1, shape[0], shape[1], shape[2]));
    Ok(seconds)
}

fn labels(folder: &Path) -> Result<[f64; 2]> {
    let shape = [100, SHAPE[1], SHAPE[2]];
    let values = read(&folder.join("labels.i16"), 2, |b| i16::from_le_bytes([b[0], b[1]]))?;
    let data = ndarray::Array3::from_shape_vec(shape, values)?;
    let target = SPACING.map(|s| s * 0.7);
    let new_shape = resampled_shape(shape, SPACING, target);
    let start = (Instant::now(), cpu_seconds());
    let out = resample_labels(data.view(), new_shape, SPACING, target, &ResampleOptions::labels())?;
    let seconds = [start.0.elapsed().as_secs_f64(), cpu_seconds() - start.1];
    assert!(<[usize; 3]>::from(out.dim()) == new_shape);
    Ok(seconds)
}

/// Processor time of the process so far, in seconds (Linux, where a tick is a hundredth).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Largest resident memory of the process so far, in MB (Linux).
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
