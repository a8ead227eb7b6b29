//! Training with a bar per epoch.

use anyhow::{Result, bail};
use nnunet::image::Progress;
use nnunet::train::{Control, EpochRecord, IterationInfo, Phase, StopToken, TrainCallback, TrainOptions};
use nnunet::{Folders, TrainRequest};

use crate::args::TrainArgs;
use crate::commands::evaluate::print_scores;
use crate::commands::{device_spec, project};
use crate::ui::{Stage, Ui};

pub(crate) fn train(args: &TrainArgs, folders: &Folders, ui: Ui) -> Result<()> {
    let project = project(&args.dataset, folders)?;
    let request = TrainRequest {
        plans_name: args.plans_name.clone(),
        configuration: args.configuration.clone(),
        fold: args.fold.parse()?,
        options: options(args),
        device: device_spec(&args.compute)?,
        resume: args.resume,
        validate_only: args.validate_only,
        save_probabilities: args.save_probabilities,
    };
    stop_on_interrupt(request.options.stop.clone())?;
    let mut bars = Bars { ui, stage: None };
    let validation = ui.stage("validation");
    let report = project.train(&request, &mut bars, &|progress| validation.update(progress))?;
    let Some(scores) = report.validation else {
        bail!("stopped before the end of training; continue with --resume");
    };
    validation.finish();
    print_scores(&scores);
    println!("{}", report.fold_folder.display());
    Ok(())
}

/// The first interrupt lets the iteration end and keeps the state, the second ends the program at once.
fn stop_on_interrupt(stop: StopToken) -> Result<()> {
    ctrlc::set_handler(move || {
        if stop.is_stopped() {
            std::process::exit(130);
        }
        eprintln!("stopping after this iteration; press again to stop now");
        stop.stop();
    })?;
    Ok(())
}

fn options(args: &TrainArgs) -> TrainOptions {
    let defaults = TrainOptions::default();
    let number = |given: Option<u32>, default: usize| given.map_or(default, |n| n as usize);
    TrainOptions {
        epochs: number(args.epochs, defaults.epochs),
        iterations_per_epoch: number(args.iterations, defaults.iterations_per_epoch),
        val_iterations: number(args.val_iterations, defaults.val_iterations),
        batch_size: args.batch_size.map(|n| n as usize),
        seed: args.seed,
        pretrained: args.pretrained.clone(),
        precision: args.compute.precision.into(),
        ..defaults
    }
}

/// Shows the iterations of an epoch as a bar and each finished epoch as a line.
struct Bars {
    ui: Ui,
    stage: Option<(Phase, Stage)>,
}

impl TrainCallback for Bars {
    fn on_iteration(&mut self, info: &IterationInfo) {
        let current = self.stage.as_ref().is_some_and(|(phase, _)| *phase == info.phase);
        if !current {
            self.finish_stage();
            let what = if info.phase == Phase::Train { "epoch" } else { "  validation" };
            let stage = self.ui.stage(&format!("{what} {}/{}", info.epoch + 1, info.epochs));
            self.stage = Some((info.phase, stage));
        }
        if let Some((_, stage)) = &self.stage {
            let item = format!("loss {:.4}", info.loss);
            stage.update(Progress { done: info.iteration + 1, total: info.iterations, item: &item });
        }
    }

    fn on_epoch_end(&mut self, record: &EpochRecord) -> Control {
        self.finish_stage();
        let dice: Vec<String> = record.dice_per_class.iter().map(|d| format!("{d:.4}")).collect();
        self.ui.say(&format!(
            "epoch {}: lr {:.5}, loss {:.4}, validation loss {:.4}, pseudo Dice [{}], {:.1} s",
            record.epoch,
            record.lr,
            record.train_loss,
            record.val_loss,
            dice.join(", "),
            record.seconds
        ));
        Control::Continue
    }

    fn log(&mut self, line: &str) {
        self.ui.detail(line);
    }
}

impl Bars {
    fn finish_stage(&mut self) {
        if let Some((_, stage)) = self.stage.take() {
            stage.finish();
        }
    }
}
