//! The whole method in a few minutes: draws a labelled data set, then does everything that nnU-Net does with it.
//!
//! `cargo run --release --example quickstart` leaves a folder `nnunet-quickstart` with the images, the plans, the
//! trained model, the predictions, and pictures of the result.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use nnunet::fingerprint::Fold;
use nnunet::image::{Progress, reader_for};
use nnunet::infer::Summary;
use nnunet::plan::PlannerOptions;
use nnunet::plot::{CurvePoint, overlay, training_curve};
use nnunet::train::{Control, EpochRecord, IterationInfo, TrainCallback, TrainOptions};
use nnunet::{Folders, PredictRequest, Project, TrainRequest};
use nnunet_examples::drawn::{DrawnDataset, LABELS, write_dataset};

const NAME: &str = "Dataset900_Drawn";
const MARKER: &str = ".drawn-by-quickstart";

/// Training frees activations and asks for the same again; mapping them anew takes up to a third of the time.
#[global_allocator]
static ALLOCATOR: nnunet::nn::RecyclingAllocator = nnunet::nn::RecyclingAllocator::new(1 << 30);

fn main() -> Result<()> {
    let root = fresh_folder(Path::new("nnunet-quickstart"))?;
    let folders = Folders::below(&root);
    let raw = root.join("nnUNet_raw");

    step("Drawing 20 training and 4 test cases with four organs");
    let dataset = write_dataset(&raw, NAME, &DrawnDataset::default())?;
    println!("  {}", dataset.display());

    step("Checking, fingerprinting and planning");
    let project = Project::find(NAME, folders)?;
    let findings = project.verify(&|_| {})?;
    if let Some(finding) = findings.first() {
        bail!("the drawn data set is not sound: {finding}");
    }
    project.fingerprint(&|_| {})?;
    let plans = project.plan(&PlannerOptions::default())?;
    let configuration = plans.configuration("3d_fullres")?;
    println!(
        "  3d_fullres: patch {:?}, batch size {}, spacing {:.2?} mm, {} resolution stages",
        configuration.patch_size,
        configuration.batch_size,
        configuration.spacing,
        configuration.architecture.resolve()?.num_stages()
    );

    step("Preprocessing");
    let bar = bar("cases");
    project.preprocess(&plans, "3d_fullres", &|p| show(&bar, p))?;
    bar.finish();

    step("Training fold 0, then predicting its validation cases");
    let (report, curve) = train(&project)?;
    let curve_file = root.join("training_curve.png");
    training_curve(&curve, "3d_fullres, fold 0", &curve_file)?;

    step("Predicting the test cases with the trained model");
    let predictions = root.join("predictions");
    predict(&dataset, &report.model_folder, &predictions)?;
    let test = nnunet::evaluate(
        &dataset.join("labelsTs"),
        &predictions,
        &dataset.join("dataset.json"),
        true,
        &predictions.join("summary.json"),
    )?;
    let pictures = draw_overlays(&dataset, &predictions, &root)?;

    let validation = report.validation.context("training was stopped")?;
    print_table(&validation, &test);
    println!("\nWhere everything is:");
    println!("  model           {}", report.model_folder.display());
    println!("  predictions     {}", predictions.display());
    println!("  training curve  {}", curve_file.display());
    for picture in pictures {
        println!("  overlay         {}  (image, reference, prediction)", picture.display());
    }
    Ok(())
}

/// An empty folder of ours; one that an earlier run left is replaced, any other is refused.
fn fresh_folder(root: &Path) -> Result<PathBuf> {
    if root.exists() {
        if !root.join(MARKER).is_file() {
            bail!("{} exists and is not from an earlier quickstart; move it away", root.display());
        }
        std::fs::remove_dir_all(root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    std::fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
    std::fs::write(root.join(MARKER), "")?;
    Ok(root.canonicalize()?)
}

fn train(project: &Project) -> Result<(nnunet::TrainReport, Vec<CurvePoint>)> {
    let options =
        TrainOptions { epochs: 10, iterations_per_epoch: 24, val_iterations: 4, ..TrainOptions::default() };
    let total = options.epochs * (options.iterations_per_epoch + options.val_iterations);
    let mut callback = Shown { bar: bar("iterations"), curve: Vec::new() };
    callback.bar.set_length(total as u64);
    let request = TrainRequest { options, ..TrainRequest::new("3d_fullres", Fold::Index(0)) };
    let validation = bar("validation cases");
    let report = project.train(&request, &mut callback, &|p| show(&validation, p))?;
    validation.finish();
    Ok((report, callback.curve))
}

/// One bar over all iterations, one line per epoch, and the curve for the picture.
struct Shown {
    bar: ProgressBar,
    curve: Vec<CurvePoint>,
}

impl TrainCallback for Shown {
    fn on_iteration(&mut self, info: &IterationInfo) {
        self.bar.inc(1);
        self.bar.set_message(format!("loss {:.3}", info.loss));
    }

    fn on_epoch_end(&mut self, record: &EpochRecord) -> Control {
        self.curve.push(CurvePoint::from(record));
        self.bar.suspend(|| {
            println!(
                "  epoch {:2}: loss {:7.4}, validation loss {:7.4}, pseudo Dice {:.3}, {:.1} s",
                record.epoch, record.train_loss, record.val_loss, record.mean_fg_dice, record.seconds
            );
        });
        Control::Continue
    }
}

fn predict(dataset: &Path, model: &Path, output: &Path) -> Result<()> {
    let request = PredictRequest::new(&[dataset.join("imagesTs")], model, output);
    let bar = bar("cases");
    let report = nnunet::predict(&request, &|_| {}, &|p| show(&bar, p))?;
    bar.finish();
    if let Some((case, error)) = report.failed.into_iter().next() {
        return Err(error).with_context(|| format!("case {case}"));
    }
    Ok(())
}

/// Image, reference and prediction side by side, for each test case.
fn draw_overlays(dataset: &Path, predictions: &Path, root: &Path) -> Result<Vec<PathBuf>> {
    let reader = reader_for(".nii.gz", None)?;
    let mut names: Vec<_> = std::fs::read_dir(dataset.join("labelsTs"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    let mut pictures = Vec::new();
    for name in names {
        let case = name.trim_end_matches(".nii.gz");
        let image = reader.read_images(&[dataset.join(format!("imagesTs/{case}_0000.nii.gz"))])?;
        let reference = reader.read_labels(&dataset.join("labelsTs").join(&name))?;
        let prediction = reader.read_labels(&predictions.join(&name))?;
        let picture = root.join(format!("overlay_{case}.png"));
        let panels = [None, Some(reference.data.view()), Some(prediction.data.view())];
        let slices = image.data.index_axis(ndarray::Axis(0), 0);
        overlay(slices, image.geometry.spacing, &panels, &picture)?;
        pictures.push(picture);
    }
    Ok(pictures)
}

fn print_table(validation: &Summary, test: &Summary) {
    println!("\nDice              validation    test");
    for (value, name) in LABELS.iter().enumerate().skip(1) {
        let dice = |summary: &Summary| summary.mean.get(&value.to_string()).map_or(f64::NAN, |m| m.dice);
        println!("  {name:<14}  {:10.3}  {:6.3}", dice(validation), dice(test));
    }
    let mean = |summary: &Summary| summary.foreground_mean.dice;
    println!("  {:<14}  {:10.3}  {:6.3}", "mean", mean(validation), mean(test));
}

fn step(title: &str) {
    println!("\n{title}");
}

fn bar(unit: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("  {bar:40} {pos}/{len} {prefix}  {elapsed} < {eta}  {msg}");
    let bar = ProgressBar::new(0).with_prefix(unit);
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}

fn show(bar: &ProgressBar, progress: Progress<'_>) {
    bar.set_length(progress.total as u64);
    bar.set_position(progress.done as u64);
    bar.set_message(progress.item.to_owned());
}
