//! Training with a bar per epoch.

use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Result, bail};
use nnunet::image::Progress;
use nnunet::nn::DeviceSpec;
use nnunet::train::{
    Cluster, Control, EpochRecord, IterationInfo, Launch, Phase, StopToken, TrainCallback, TrainOptions,
    local_cluster,
};
use nnunet::{Folders, TrainReport, TrainRequest};

use crate::args::TrainArgs;
use crate::commands::evaluate::print_scores;
use crate::commands::{device_spec, project};
use crate::ui::{Stage, Ui};

/// Bytes of activations that are kept for the next ones: mapping memory anew costs up to a third of an iteration.
const KEPT: usize = 1 << 30;
/// The same where memory is worth more than time.
const KEPT_RECOMPUTING: usize = 1 << 28;

pub(crate) fn train(args: &TrainArgs, folders: &Folders, ui: Ui) -> Result<()> {
    crate::ALLOCATOR.set_limit(if args.recompute { KEPT_RECOMPUTING } else { KEPT });
    let stop = StopToken::default();
    stop_on_interrupt(stop.clone())?;
    let work = |cluster: &Cluster, device| train_share(args, folders, ui, (cluster, &stop), device);
    let report = match args.gpus {
        Some(gpus) if gpus > 1 => on_gpus(gpus as usize, args, &work)?,
        _ => {
            let cluster = Cluster::from_environment()?;
            let result = device_of(args, &cluster).and_then(|device| work(&cluster, device));
            if let Err(error) = &result {
                cluster.leave(&format!("{error:#}"));
            }
            let report = result?;
            if !cluster.is_first() {
                return Ok(());
            }
            report
        }
    };
    let Some(scores) = report.validation else {
        bail!("stopped before the end of training; continue with --resume");
    };
    print_scores(&scores);
    println!("{}", report.fold_folder.display());
    Ok(())
}

/// Where this rank computes: several ranks of one machine that leave the choice open take one CUDA device each.
fn device_of(args: &TrainArgs, cluster: &Cluster) -> Result<DeviceSpec> {
    let asked = match args.gpus {
        Some(_) => only_device(args, 0)?,
        None => device_spec(&args.compute)?,
    };
    Ok(match (asked, Launch::local_rank()) {
        (DeviceSpec::Auto, Some(rank)) if cluster.size() > 1 && cfg!(feature = "cuda") => {
            DeviceSpec::Cuda(rank)
        }
        _ => asked,
    })
}

/// The CUDA device of this number, for `--gpus`.
fn only_device(args: &TrainArgs, number: usize) -> Result<DeviceSpec> {
    match device_spec(&args.compute)? {
        DeviceSpec::Auto | DeviceSpec::Cuda(0) => Ok(DeviceSpec::Cuda(number)),
        other => bail!("--gpus takes the CUDA devices from number 0 on, so --device {other} contradicts it"),
    }
}

/// One rank for each of the first CUDA devices, in threads of this process. A rank that fails ends the process: the others may
/// wait for its device.
fn on_gpus(
    gpus: usize,
    args: &TrainArgs,
    work: &(dyn Fn(&Cluster, DeviceSpec) -> Result<TrainReport> + Sync),
) -> Result<TrainReport> {
    only_device(args, 0)?;
    if Cluster::from_environment()?.size() > 1 {
        bail!("--gpus {gpus} with several processes: start one for each device, without --gpus");
    }
    let rank =
        |cluster: &Cluster| -> Result<TrainReport> { work(cluster, only_device(args, cluster.rank())?) };
    // The first to fail has the last word.
    let ending = Mutex::new(());
    let end = |cluster: &Cluster, error: &anyhow::Error| {
        let _last = ending.lock();
        eprintln!("error: cuda:{} of {gpus} devices: {error:#}", cluster.rank());
        std::process::exit(1);
    };
    std::thread::scope(|scope| {
        let mut clusters = local_cluster(gpus).into_iter();
        let first = clusters.next().unwrap_or_default();
        for cluster in clusters {
            scope.spawn(move || {
                if let Err(error) = rank(&cluster) {
                    end(&cluster, &error);
                }
            });
        }
        rank(&first).inspect_err(|error| end(&first, error))
    })
}

/// The work of one rank.
fn train_share(
    args: &TrainArgs,
    folders: &Folders,
    ui: Ui,
    (cluster, stop): (&Cluster, &StopToken),
    device: DeviceSpec,
) -> Result<TrainReport> {
    let project = project(&args.dataset, folders)?;
    let request = TrainRequest {
        plans_name: args.plans_name.clone(),
        configuration: args.configuration.clone(),
        fold: args.fold.parse()?,
        options: TrainOptions { cluster: cluster.clone(), stop: stop.clone(), ..options(args)? },
        device,
        resume: args.resume,
        validate_only: args.validate_only,
        save_probabilities: args.save_probabilities,
    };
    let mut bars = Bars { ui, stage: None, pace: Pace::new(&request.options) };
    let validation = ui.stage("validation");
    let report = project.train(&request, &mut bars, &|progress| validation.update(progress))?;
    if report.validation.is_some() {
        validation.finish();
    }
    Ok(report)
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

fn options(args: &TrainArgs) -> Result<TrainOptions> {
    let defaults = TrainOptions::named(&args.trainer)?;
    let number = |given: Option<u32>, default: usize| given.map_or(default, |n| n as usize);
    Ok(TrainOptions {
        epochs: number(args.epochs, defaults.epochs),
        iterations_per_epoch: number(args.iterations, defaults.iterations_per_epoch),
        val_iterations: number(args.val_iterations, defaults.val_iterations),
        batch_size: args.batch_size.map(|n| n as usize).or(defaults.batch_size),
        early_stopping: args.early_stopping.map(|n| n as usize),
        seed: args.seed,
        pretrained: args.pretrained.clone(),
        precision: args.compute.precision.into(),
        recompute: args.recompute,
        augment_on_device: args.augment_on_device,
        ..defaults
    })
}

/// Shows the iterations of an epoch as a bar and each finished epoch as a line.
struct Bars {
    ui: Ui,
    stage: Option<(Phase, Stage)>,
    pace: Pace,
}

/// How fast training goes, and how long it still takes.
struct Pace {
    begun: Instant,
    iterations: usize,
    samples: usize,
    /// Iterations of an epoch, validation included.
    per_epoch: usize,
    /// Moving average of the pseudo Dice after the last epoch.
    dice: Option<f32>,
}

impl Pace {
    fn new(options: &TrainOptions) -> Self {
        let per_epoch = options.iterations_per_epoch + options.val_iterations;
        Self { begun: Instant::now(), iterations: 0, samples: 0, per_epoch, dice: None }
    }

    /// Counts an iteration; loss, Dice, speed and time left as text.
    fn count(&mut self, info: &IterationInfo) -> String {
        if self.iterations == 0 {
            self.begun = Instant::now();
        }
        self.iterations += 1;
        self.samples += info.samples;
        let mut text = format!("loss {:.4}", info.loss);
        if let Some(dice) = self.dice {
            text += &format!(", Dice {dice:.4}");
        }
        // The first iteration only starts the clock.
        let (seconds, counted) = (self.begun.elapsed().as_secs_f64(), self.iterations - 1);
        if counted > 0 && seconds > 0.0 {
            let speed = (self.samples - info.samples) as f64 / seconds;
            let within = match info.phase {
                Phase::Train => info.iteration + 1,
                Phase::Validate => self.per_epoch - info.iterations + info.iteration + 1,
            };
            let left = (info.epochs - info.epoch) * self.per_epoch - within;
            text +=
                &format!(", {speed:.1} samples/s, {} left", duration(left as f64 * seconds / counted as f64));
        }
        text
    }
}

/// `2 d 3 h`, `3 h 20 min`, `20 min` or `12 s`.
fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0 | 1 => format!("{seconds:.0} s"),
        2..120 => format!("{minutes} min"),
        120..2880 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", minutes / 1440, minutes % 1440 / 60),
    }
}

impl TrainCallback for Bars {
    fn on_start(&mut self, records: &[EpochRecord]) {
        self.pace.dice = records.last().map(|record| record.ema_fg_dice);
    }

    fn on_iteration(&mut self, info: &IterationInfo) {
        let current = self.stage.as_ref().is_some_and(|(phase, _)| *phase == info.phase);
        if !current {
            self.finish_stage();
            let what = if info.phase == Phase::Train { "epoch" } else { "  validation" };
            let stage = self.ui.stage(&format!("{what} {}/{}", info.epoch + 1, info.epochs));
            self.stage = Some((info.phase, stage));
        }
        let item = self.pace.count(info);
        if let Some((_, stage)) = &self.stage {
            stage.update(Progress { done: info.iteration + 1, total: info.iterations, item: &item });
        }
    }

    fn on_epoch_end(&mut self, record: &EpochRecord) -> Control {
        self.finish_stage();
        self.pace.dice = Some(record.ema_fg_dice);
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

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_said_as_people_do() {
        let said = [9.6, 119.0, 600.0, 12_000.0, 400_000.0].map(duration);
        assert_eq!(said, ["10 s", "2 min", "10 min", "3 h 20 min", "4 d 15 h"]);
    }
}
