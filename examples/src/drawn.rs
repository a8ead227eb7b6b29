//! A drawn abdomen: four organs in a body, with noise, a bias field, varying spacing and varying orientation.
//!
//! The anatomy is defined in millimetres and then sampled on the grid of each case, so that spacing and orientation
//! change the array and its header together, as they do between scanners.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ndarray::{Array3, Array4};
use nnunet::image::{self, Geometry, Image, LabelMap};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use rayon::prelude::*;

/// Names of the labels in the order of their values, background first.
pub const LABELS: [&str; 5] = ["background", "liver", "kidney", "aorta", "tumour"];

/// What to draw.
#[derive(Debug, Clone)]
pub struct DrawnDataset {
    /// Labelled cases in `imagesTr` and `labelsTr`.
    pub training_cases: usize,
    /// Further cases in `imagesTs`, with their labels in `labelsTs`.
    pub test_cases: usize,
    /// Edge of the imaged cube in millimetres; organs scale with it.
    pub field_of_view: f64,
    /// The same seed draws the same files.
    pub seed: u64,
}

impl Default for DrawnDataset {
    fn default() -> Self {
        Self { training_cases: 20, test_cases: 4, field_of_view: 56.0, seed: 7 }
    }
}

/// One ellipsoid: centre, half axes and tilt about the z axis, in millimetres and radians.
struct Ellipsoid {
    centre: [f64; 3],
    radii: [f64; 3],
    tilt: f64,
}

impl Ellipsoid {
    /// Draws an ellipsoid around a nominal one given in fractions of the field of view (x, y, z).
    fn draw(rng: &mut impl Rng, fov: f64, centre: [f64; 3], radii: [f64; 3]) -> Self {
        Self {
            centre: centre.map(|c| fov * (c + rng.random_range(-0.03..0.03))),
            radii: radii.map(|r| fov * r * rng.random_range(0.85..1.15)),
            tilt: rng.random_range(-0.3..0.3),
        }
    }

    fn contains(&self, p: [f64; 3]) -> bool {
        let (sin, cos) = self.tilt.sin_cos();
        let d = [p[0] - self.centre[0], p[1] - self.centre[1], p[2] - self.centre[2]];
        let q = [cos * d[0] + sin * d[1], cos * d[1] - sin * d[0], d[2]];
        q.iter().zip(self.radii).map(|(v, r)| (v / r).powi(2)).sum::<f64>() <= 1.0
    }
}

/// The organs of one case.
struct Anatomy {
    body: Ellipsoid,
    liver: Ellipsoid,
    kidneys: [Ellipsoid; 2],
    tumour: Ellipsoid,
    aorta_radius: f64,
    aorta_bend: f64,
    fov: f64,
}

impl Anatomy {
    fn draw(rng: &mut impl Rng, fov: f64) -> Self {
        let liver = Ellipsoid::draw(rng, fov, [-0.17, -0.06, 0.08], [0.20, 0.22, 0.26]);
        let mut tumour = Ellipsoid::draw(rng, fov, [-0.17, -0.06, 0.08], [0.10, 0.10, 0.11]);
        tumour.centre[2] += fov * rng.random_range(-0.08..0.08);
        Self {
            body: Ellipsoid::draw(rng, fov, [0.0, 0.0, 0.0], [0.46, 0.42, 0.9]),
            liver,
            kidneys: [
                Ellipsoid::draw(rng, fov, [-0.2, 0.24, -0.18], [0.09, 0.09, 0.17]),
                Ellipsoid::draw(rng, fov, [0.22, 0.2, -0.1], [0.09, 0.10, 0.17]),
            ],
            tumour,
            aorta_radius: fov * rng.random_range(0.055..0.075),
            aorta_bend: fov * rng.random_range(-0.05..0.05),
            fov,
        }
    }

    /// Label at a point in millimetres (x, y, z) from the centre of the field of view, and its mean intensity.
    fn at(&self, p: [f64; 3]) -> (i16, f32) {
        let bend = self.aorta_bend * (std::f64::consts::PI * p[2] / self.fov).cos();
        let (dx, dy) = (p[0] - 0.05 * self.fov - bend, p[1] - 0.12 * self.fov);
        if self.tumour.contains(p) && self.liver.contains(p) {
            (4, 250.0)
        } else if self.liver.contains(p) {
            (1, 110.0)
        } else if dx.hypot(dy) <= self.aorta_radius {
            (3, 190.0)
        } else if self.kidneys.iter().any(|kidney| kidney.contains(p)) {
            (2, 150.0)
        } else if self.body.contains(p) {
            (0, 40.0)
        } else {
            (0, -60.0)
        }
    }
}

/// Draws one case: an image of one channel and its label map on the same grid.
pub fn draw_case(fov: f64, seed: u64) -> Result<(Image, LabelMap)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let anatomy = Anatomy::draw(&mut rng, fov);
    let spacing = [rng.random_range(1.7..2.3), rng.random_range(1.4..1.8), rng.random_range(1.4..1.8)];
    let shape = spacing.map(|s| (fov / s).round() as usize);
    let geometry = draw_geometry(&mut rng, spacing, shape);
    let bias: [f64; 6] = std::array::from_fn(|_| rng.random_range(-0.25..0.25));
    let noise = Normal::new(0.0f32, 9.0)?;

    let mut data = Array4::<f32>::zeros((1, shape[0], shape[1], shape[2]));
    let mut labels = Array3::<i16>::zeros(shape);
    for ((z, y, x), label) in labels.indexed_iter_mut() {
        let p = physical_point(&geometry, [z, y, x]);
        let (value, mean) = anatomy.at(p);
        let u = p.map(|v| v / fov);
        let field = 1.0
            + bias[0] * u[0]
            + bias[1] * u[1]
            + bias[2] * u[2]
            + bias[3] * u[0] * u[1]
            + bias[4] * u[1] * u[2]
            + bias[5] * u[0] * u[0];
        *label = value;
        data[[0, z, y, x]] = mean * field as f32 + noise.sample(&mut rng);
    }
    Ok((Image { data, geometry: geometry.clone() }, LabelMap { data: labels, geometry }))
}

/// A grid centred on the origin of physical space: axes flipped at random and turned a little about z.
fn draw_geometry(rng: &mut impl Rng, spacing: [f64; 3], shape: [usize; 3]) -> Geometry {
    let (sin, cos) = rng.random_range(-0.15f64..0.15).sin_cos();
    let flip: [f64; 3] =
        std::array::from_fn(|axis| if axis < 2 && rng.random_bool(0.5) { -1.0 } else { 1.0 });
    let direction =
        [[cos * flip[0], -sin * flip[1], 0.0], [sin * flip[0], cos * flip[1], 0.0], [0.0, 0.0, flip[2]]];
    let mut geometry = Geometry { spacing, direction, ..Geometry::default() };
    let half = shape.map(|n| (n as f64 - 1.0) / 2.0);
    let centre = offset(&geometry, half);
    geometry.origin = centre.map(|v| -v);
    geometry
}

/// Displacement in millimetres (x, y, z) of an index displacement (z, y, x).
fn offset(geometry: &Geometry, index: [f64; 3]) -> [f64; 3] {
    let step =
        [index[2] * geometry.spacing[2], index[1] * geometry.spacing[1], index[0] * geometry.spacing[0]];
    geometry.direction.map(|row| row[0] * step[0] + row[1] * step[1] + row[2] * step[2])
}

fn physical_point(geometry: &Geometry, index: [usize; 3]) -> [f64; 3] {
    let moved = offset(geometry, index.map(|i| i as f64));
    std::array::from_fn(|axis| geometry.origin[axis] + moved[axis])
}

/// Draws a whole data set into `raw/DatasetNNN_Name` and returns that folder.
///
/// # Errors
/// A folder or file that cannot be written.
pub fn write_dataset(raw: &Path, name: &str, spec: &DrawnDataset) -> Result<PathBuf> {
    let folder = raw.join(name);
    for sub in ["imagesTr", "labelsTr", "imagesTs", "labelsTs"] {
        let path = folder.join(sub);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    let reader = image::reader_for(".nii.gz", None)?;
    (0..spec.training_cases + spec.test_cases).into_par_iter().try_for_each(|case| -> Result<()> {
        let seed = spec.seed.wrapping_mul(10_007).wrapping_add(case as u64);
        let (drawn, labels) = draw_case(spec.field_of_view, seed)?;
        let split = if case < spec.training_cases { "Tr" } else { "Ts" };
        let id = format!("case_{case:03}");
        image::write_image(&folder.join(format!("images{split}/{id}_0000.nii.gz")), &drawn)?;
        reader.write_labels(&folder.join(format!("labels{split}/{id}.nii.gz")), &labels)?;
        Ok(())
    })?;
    let labels: serde_json::Map<String, serde_json::Value> =
        LABELS.iter().enumerate().map(|(value, name)| (name.to_string(), value.into())).collect();
    let json = serde_json::json!({
        "channel_names": {"0": "CT-like"},
        "labels": labels,
        "numTraining": spec.training_cases,
        "file_ending": ".nii.gz",
    });
    std::fs::write(folder.join("dataset.json"), serde_json::to_string_pretty(&json)?)
        .with_context(|| format!("cannot write {}", folder.join("dataset.json").display()))?;
    Ok(folder)
}
