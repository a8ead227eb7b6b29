//! One drawn slice through every transform, as pictures and the page that shows them.
//!
//! `cargo run --release -p nnunet-augment --example gallery docs` writes `docs/augmentation.md` and the pictures in
//! `docs/augmentation/`. White lines are the borders of labels.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use ndarray::Array4;
use nnunet_augment::{
    Bump, Cascade, CascadeParameters, Elastic, LeftRight, Noise, Operation, Operator, Parameters, Pipeline,
    PipelineConfig, Rectangle, Removal, Sample, StrongParameters, sample_rng,
};

const SIZE: usize = 128;
/// Pictures in a row of the page.
const COLUMNS: usize = 5;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let docs = PathBuf::from(std::env::args().nth(1).ok_or("usage: gallery DOCS_FOLDER")?);
    let pictures = docs.join("augmentation");
    std::fs::create_dir_all(&pictures)?;
    let mut page = String::from(INTRODUCTION);
    for (title, entries) in
        [("nnU-Net's default", default_set()), ("Beyond the default", further()), ("Cascades", cascades())]
    {
        let _ = write!(page, "\n## {title}\n\n");
        for row in entries.chunks(COLUMNS) {
            let cells =
                |cell: &dyn Fn(&Entry) -> String| row.iter().map(cell).collect::<Vec<_>>().join(" | ");
            let pictures = cells(&|e| format!("![{}](augmentation/{}.png)", e.name, e.file()));
            let captions = cells(&|e| format!("**{}** {}", e.name, e.text));
            let rule = row.iter().map(|_| "---").collect::<Vec<_>>().join(" | ");
            let _ = write!(page, "| {pictures} |\n| {rule} |\n| {captions} |\n\n");
        }
        for entry in &entries {
            let sample = entry.pipeline.apply(slice(entry.pipeline.config()), &entry.parameters)?;
            write_picture(&pictures.join(format!("{}.png", entry.file())), &sample)?;
        }
    }
    std::fs::write(docs.join("augmentation.md"), page.trim_end().to_owned() + "\n")?;
    Ok(())
}

const INTRODUCTION: &str = "# Augmentation, transform by transform

One slice, drawn and noisy, with two labels whose borders are white. Every picture shows what one set of drawn parameters does;
the values stand below. The transforms of a sample are applied in the order of the pictures. This page and its pictures
are written by `cargo run --release -p nnunet-augment --example gallery docs`.
";

/// One picture.
struct Entry {
    name: &'static str,
    text: &'static str,
    pipeline: Pipeline,
    parameters: Parameters,
}

impl Entry {
    fn new(name: &'static str, text: &'static str, parameters: Parameters) -> Self {
        Self { name, text, pipeline: Pipeline::training(config()), parameters }
    }

    fn strong(name: &'static str, text: &'static str, strong: StrongParameters) -> Self {
        Self::new(name, text, Parameters { strong: Some(Box::new(strong)), ..Parameters::default() })
    }

    fn with(self, change: impl FnOnce(&mut PipelineConfig)) -> Self {
        let mut config = self.pipeline.config().clone();
        change(&mut config);
        Self { pipeline: Pipeline::training(config), ..self }
    }

    fn file(&self) -> String {
        self.name.to_lowercase().replace([' ', ','], "-")
    }
}

fn config() -> PipelineConfig {
    PipelineConfig::nnunet(&[SIZE, SIZE], &[false])
}

fn default_set() -> Vec<Entry> {
    let d = Parameters::default;
    let scaled = |factor| Parameters { scaling: Some([factor; 3]), ..d() };
    let noise = Noise { standard_deviation: 0.1, seed: 1 };
    vec![
        Entry::new("original", "the central crop", d()),
        Entry::new("rotation", "0.6 rad", Parameters { rotation: Some([0.6, 0.0, 0.0]), ..d() }),
        Entry::new("zoom in", "factor 0.7", scaled(0.7)),
        Entry::new("zoom out", "factor 1.4: zeros and background around", scaled(1.4)),
        Entry::new("noise", "standard deviation 0.1", Parameters { noise: Some(noise), ..d() }),
        Entry::new("blur", "sigma 1", Parameters { blur: Some(vec![Some([1.0; 3])]), ..d() }),
        Entry::new("brightness", "factor 0.75", Parameters { brightness: Some(vec![0.75]), ..d() }),
        Entry::new("contrast", "factor 1.25", Parameters { contrast: Some(vec![1.25]), ..d() }),
        Entry::new("low resolution", "half", Parameters { low_resolution: Some(vec![Some(0.5)]), ..d() }),
        Entry::new("inverted gamma", "0.7", Parameters { gamma_inverted: Some(vec![0.7]), ..d() }),
        Entry::new("gamma", "1.5", Parameters { gamma: Some(vec![1.5]), ..d() }),
        Entry::new("mirroring", "x", Parameters { mirror: [false, false, true], ..d() }),
        Entry {
            parameters: Pipeline::training(config()).draw(1, &mut sample_rng(5, 0, 3)),
            ..Entry::new("together", "one draw of everything", d())
        },
    ]
}

fn further() -> Vec<Entry> {
    let d = Parameters::default;
    let s = StrongParameters::default;
    let elastic = Elastic { sigma: [0.0, 10.0, 10.0], magnitude: [0.0, 9.0, 9.0], seed: 4 };
    let bump = Bump { centre: [0.0, 40.0, 90.0], sigma: [1.0, 30.0, 30.0] };
    let axes = |scaling| Parameters { scaling: Some(scaling), ..d() };
    let mirrored = Parameters { mirror: [false, false, true], ..d() };
    let boxes = vec![
        Rectangle { start: [0, 20, 30], size: [1, 30, 40] },
        Rectangle { start: [0, 70, 60], size: [1, 14, 38] },
    ];
    let turned = Parameters { rotation: Some([0.6, 0.0, 0.0]), ..d() };
    vec![
        Entry::new("elastic", "sigma 10, up to 9 voxels", Parameters { elastic: Some(elastic), ..d() }),
        Entry::new("factors per axis", "y 0.7, x 1.2", axes([1.0, 0.7, 1.2])),
        Entry::new("nearest neighbours", "image and labels", turned).with(|config| {
            config.nearest_image = true;
            config.nearest_labels = true;
        }),
        Entry::new("left and right", "x mirrored, labels 1 and 2 exchanged", mirrored)
            .with(|config| config.left_right = Some(LeftRight { axis: 2, pairs: vec![[1, 2]] })),
        Entry::strong(
            "quarter turn",
            "from y to x",
            StrongParameters { quarter_turns: Some((1, 2, 1)), ..s() },
        ),
        Entry::strong(
            "axis order",
            "y and x exchanged",
            StrongParameters { axis_order: Some([0, 2, 1]), ..s() },
        ),
        Entry::strong(
            "median filter",
            "window of 6",
            StrongParameters { median: Some(vec![Some(6)]), ..s() },
        ),
        Entry::strong("shift", "0.5 brighter", StrongParameters { shift: Some(vec![Some(0.5)]), ..s() }),
        Entry::strong(
            "contrast, free",
            "factor 2, range not kept",
            StrongParameters { contrast: Some(vec![Some(2.0)]), ..s() },
        ),
        Entry::strong(
            "blank rectangles",
            "their mean",
            StrongParameters { rectangles: Some(vec![boxes]), ..s() },
        ),
        Entry::strong(
            "brightness gradient",
            "a bump of height 3",
            StrongParameters { gradient: Some(vec![Some((bump, 3.0))]), ..s() },
        ),
        Entry::strong(
            "local gamma",
            "0.3 under a bump",
            StrongParameters { local_gamma: Some(vec![Some((bump, 0.3))]), ..s() },
        ),
        Entry::strong("sharpening", "strength 1", StrongParameters { sharpen: Some(vec![Some(1.0)]), ..s() }),
    ]
}

/// What a cascade's second stage sees of the first.
fn cascades() -> Vec<Entry> {
    let d = Parameters::default;
    let cascade = |operations: Vec<Operation>, removals: Vec<Removal>| Parameters {
        cascade: Some(CascadeParameters { operations, removals }),
        ..d()
    };
    let operation = |operator| vec![Operation { channel: 0, operator, radius: 6.0 }];
    let second = |entry: Entry| entry.with(|config| config.cascade = Some(Cascade::nnunet(vec![1, 2])));
    vec![
        second(Entry::new("previous stage", "label 1 of the first stage", d())),
        second(Entry::new("dilated", "radius 6", cascade(operation(Operator::Dilate), vec![]))),
        second(Entry::new("eroded", "radius 6", cascade(operation(Operator::Erode), vec![]))),
        second(Entry::new("opened", "radius 6", cascade(operation(Operator::Open), vec![]))),
        second(Entry::new(
            "component removed",
            "the upper one",
            cascade(vec![], vec![Removal { channel: 0, choice: 0.0 }]),
        )),
    ]
}

/// A body with two organs and a vessel, drawn for the loaded patch of a configuration.
fn slice(config: &PipelineConfig) -> Sample {
    let [_, height, width] = config.initial_patch_size();
    let mut state = 9u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    // Coordinates in parts of the patch, the middle of the slice being 0.
    let at = |y: usize, x: usize| {
        let part = |i: usize, n: usize| (i as f32 - n as f32 / 2.0) / SIZE as f32;
        (part(y, height), part(x, width))
    };
    let inside = |(y, x): (f32, f32), [cy, cx, ry, rx]: [f32; 4]| {
        ((y - cy) / ry).powi(2) + ((x - cx) / rx).powi(2) <= 1.0
    };
    let label = |p| {
        if inside(p, [-0.08, -0.17, 0.2, 0.14]) || inside(p, [0.26, -0.12, 0.06, 0.05]) {
            1
        } else if inside(p, [0.0, 0.2, 0.13, 0.09]) {
            2
        } else {
            0
        }
    };
    let value = |p: (f32, f32)| {
        let body = if inside(p, [0.0, 0.0, 0.44, 0.48]) { 0.0 } else { -1.6 };
        let vessel = if inside(p, [0.22, 0.05, 0.05, 0.05]) { 1.1 } else { 0.0 };
        body + vessel + [0.0, 0.8, 0.45][label(p) as usize] + 0.25 * (9.0 * p.0).sin() * (7.0 * p.1).cos()
    };
    let mut sample = Sample {
        image: Array4::from_shape_fn((1, 1, height, width), |(.., y, x)| value(at(y, x)) + 0.12 * noise()),
        labels: Array4::from_shape_fn((1, 1, height, width), |(.., y, x)| label(at(y, x))),
    };
    if config.cascade.is_some() {
        let previous = sample.labels.clone();
        sample.labels = ndarray::concatenate![ndarray::Axis(0), sample.labels, previous];
    }
    sample
}

/// The last image channel of a cascade, otherwise the image, with the borders of the labels.
fn write_picture(path: &Path, sample: &Sample) -> Result<(), Error> {
    let of_previous = sample.image.dim().0 > 1;
    let grey = |y: usize, x: usize| {
        if of_previous {
            return (sample.image[[1, 0, y, x]] * 200.0) as u8;
        }
        let label = sample.labels[[0, 0, y, x]];
        let differs = |y: usize, x: usize| y < SIZE && x < SIZE && sample.labels[[0, 0, y, x]] != label;
        if differs(y + 1, x) || differs(y, x + 1) {
            return 255;
        }
        // Sixteen steps of grey keep the files small.
        let v = (sample.image[[0, 0, y, x]] + 2.2) / 4.4;
        ((v.clamp(0.0, 1.0) * 15.0).round() * 16.0) as u8
    };
    let pixels: Vec<u8> = (0..SIZE * SIZE).map(|i| grey(i / SIZE, i % SIZE)).collect();
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), SIZE as u32, SIZE as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(())
}
