//! Measures of labels against SimpleITK's and NumPy's, and against themselves on other numbers of threads.

use ndarray::{Array3, Array4};
use nnunet_fingerprint::{Class, json};
use nnunet_image::Geometry;
use nnunet_infer::{LabelStatistics, label_statistics};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    shape: [usize; 3],
    spacing: [f64; 3],
    origin: [f64; 3],
    direction: [[f64; 3]; 3],
    labels: Vec<i16>,
    image: Vec<f32>,
    classes: Vec<Measured>,
}

#[derive(Deserialize)]
struct Measured {
    labels: Vec<i16>,
    voxels: u64,
    volume_ml: f64,
    centroid_mm: [f64; 3],
    first: [usize; 3],
    last: [usize; 3],
    mean: f64,
    sd: f64,
    min: f64,
    max: f64,
    median: f64,
}

struct Case {
    labels: Array3<i16>,
    image: Array4<f32>,
    geometry: Geometry,
    classes: Vec<Class>,
    expected: Vec<Measured>,
}

fn golden() -> Case {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/statistics.json");
    let Golden { shape, spacing, origin, direction, labels, image, classes } =
        json::read(path.as_ref()).unwrap();
    let [z, y, x] = shape;
    let class = |labels: &[i16]| match labels {
        [one] => Class::Label(*one),
        several => Class::Region(several.to_vec()),
    };
    Case {
        labels: Array3::from_shape_vec(shape, labels).unwrap(),
        // A second channel, to see that channels are kept apart.
        image: Array4::from_shape_vec(
            (2, z, y, x),
            [image.clone(), image.iter().map(|v| 2.0 * v).collect()].concat(),
        )
        .unwrap(),
        geometry: Geometry { spacing, origin, direction, ..Geometry::default() },
        classes: classes.iter().map(|c| class(&c.labels)).collect(),
        expected: classes,
    }
}

fn measure(case: &Case) -> Vec<LabelStatistics> {
    label_statistics(case.labels.view(), Some(case.image.view()), &case.geometry, &case.classes).unwrap()
}

fn near(what: &str, found: Option<f64>, expected: f64) {
    let found = found.unwrap();
    assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{what}: {found}, expected {expected}");
}

#[test]
fn measures_are_those_of_simpleitk_and_numpy() {
    let case = golden();
    for (found, expected) in measure(&case).iter().zip(&case.expected) {
        assert_eq!((&found.labels, found.voxels), (&expected.labels, expected.voxels));
        near("volume", found.volume_ml, expected.volume_ml);
        let bounds = found.bounding_box.unwrap();
        assert_eq!((bounds.first, bounds.last), (expected.first, expected.last));
        for axis in 0..3 {
            near("centroid", found.centroid_mm.map(|c| c[axis]), expected.centroid_mm[axis]);
        }
        for (channel, factor) in [(0, 1.0), (1, 2.0)] {
            let intensity = &found.intensities[channel];
            near("mean", intensity.mean, factor * expected.mean);
            near("sd", intensity.sd, factor * expected.sd);
            near("minimum", intensity.min, factor * expected.min);
            near("maximum", intensity.max, factor * expected.max);
            near("median", intensity.median, factor * expected.median);
            assert_eq!(intensity.not_finite, 0);
        }
    }
}

#[test]
fn one_thread_measures_what_four_do() {
    let case = golden();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| measure(&case))
    };
    assert_eq!(with(1), with(4));
}
