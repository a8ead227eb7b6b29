//! Train from Rust with a callback that watches the curves and stops early:
//!
//! ```text
//! cargo run --release --example train_with_callback -- OUTPUT_FOLDER [TARGET_DICE]
//! ```
//!
//! Draws a small data set, trains on it until the moving average of the pseudo Dice reaches the target, and leaves the
//! training curve as a picture. A training that was stopped can be taken up with `resume`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use nnunet::fingerprint::Fold;
use nnunet::plan::PlannerOptions;
use nnunet::plot::{CurvePoint, training_curve};
use nnunet::train::{Control, EpochRecord, TrainCallback, TrainOptions};
use nnunet::{Folders, Project, TrainRequest};
use nnunet_examples::drawn::{DrawnDataset, write_dataset};

const NAME: &str = "Dataset900_Drawn";

/// Prints every epoch, keeps the curve, and stops once the network is good enough.
struct GoodEnough {
    target: f32,
    curve: Vec<CurvePoint>,
}

impl TrainCallback for GoodEnough {
    fn on_epoch_end(&mut self, record: &EpochRecord) -> Control {
        println!(
            "epoch {}: loss {:.4}, pseudo Dice {:.3}, moving average {:.3}",
            record.epoch, record.train_loss, record.mean_fg_dice, record.ema_fg_dice
        );
        self.curve.push(CurvePoint::from(record));
        if record.ema_fg_dice >= self.target {
            println!("{:.3} is reached: stopping", self.target);
            return Control::Stop;
        }
        Control::Continue
    }
}

fn main() -> Result<()> {
    let usage = "usage: train_with_callback OUTPUT_FOLDER [TARGET_DICE]";
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().context(usage)?);
    let target = match arguments.next() {
        Some(text) => text.parse().with_context(|| format!("TARGET_DICE: {text:?} is not a number"))?,
        None => 0.2,
    };
    let folders = Folders::below(&root);
    let raw = folders.raw.clone().context(usage)?;
    if raw.join(NAME).exists() {
        bail!("{} exists: give a folder that is empty or new", raw.join(NAME).display());
    }
    let drawn = DrawnDataset { training_cases: 6, test_cases: 0, field_of_view: 40.0, seed: 11 };
    write_dataset(&raw, NAME, &drawn)?;

    let project = Project::find(NAME, folders)?;
    project.fingerprint(&|_| {})?;
    let plans = project.plan(&PlannerOptions::default())?;
    project.preprocess(&plans, "3d_fullres", &|_| {})?;

    let options = TrainOptions {
        epochs: 20,
        iterations_per_epoch: 8,
        val_iterations: 2,
        batch_size: Some(2),
        ..TrainOptions::default()
    };
    let request = TrainRequest { options, ..TrainRequest::new("3d_fullres", Fold::Index(0)) };
    let mut callback = GoodEnough { target, curve: Vec::new() };
    let report = project.train(&request, &mut callback, &|_| {})?;

    match report.validation {
        Some(scores) => println!("all epochs trained; Dice of the fold {:.3}", scores.foreground_mean.dice),
        None => println!("stopped early; continue with TrainRequest {{ resume: true, .. }}"),
    }
    let picture = root.join("training_curve.png");
    training_curve(&callback.curve, "until it is good enough", &picture)?;
    println!("curve  {}\nmodel  {}", picture.display(), report.model_folder.display());
    Ok(())
}
