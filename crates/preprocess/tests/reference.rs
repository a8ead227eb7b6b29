//! Preprocessed arrays against those of nnU-Net v2.8.1, for drawn and real cases.
//!
//! Tolerance: intensities within 1e-4 of the channel's standard deviation at 99.99% of the voxels, labels equal at 99.99%.

use std::path::{Path, PathBuf};

use nnunet_image::npz::{read_npz_f32, read_npz_i16};
use nnunet_image::reader_by_name;
use nnunet_plan::{DatasetJson, Plans};
use nnunet_preprocess::preprocess_case;

/// The worst shares of voxels that are off: intensities, labels.
fn compare(folder: &Path) -> (f64, f64) {
    let plans = Plans::read(&folder.join("plans.json")).unwrap();
    let name = std::fs::read_to_string(folder.join("config")).unwrap();
    let configuration = plans.configuration(name.trim()).unwrap();
    let dataset = DatasetJson::read(&folder.join("dataset.json")).unwrap();
    let reader = reader_by_name(&plans.image_reader_writer).unwrap();
    let channels = dataset.channel_names.len();
    let images: Vec<PathBuf> = (0..channels).map(|c| folder.join(format!("img_{c:04}.nii.gz"))).collect();
    let image = reader.read_images(&images).unwrap();
    let labels = reader.read_labels(&folder.join("seg.nii.gz")).unwrap();
    let rules = dataset.label_rules().unwrap();
    let case = preprocess_case(image, Some(labels), &plans, &configuration, &rules).unwrap();

    let expected = read_npz_f32(&folder.join("expected.npz"), "data").unwrap();
    assert_eq!(case.data.shape(), expected.shape(), "{}", folder.display());
    let mut off: f64 = 0.0;
    for (found, expected) in case.data.outer_iter().zip(expected.outer_iter()) {
        let n = expected.len() as f64;
        let mean = expected.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let std =
            (expected.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt().max(1e-12);
        let wrong =
            found.iter().zip(expected.iter()).filter(|(a, b)| f64::from((*a - *b).abs()) > 1e-4 * std);
        off = off.max(wrong.count() as f64 / n);
    }
    let expected = read_npz_i16(&folder.join("expected.npz"), "seg").unwrap();
    let wrong = case.seg.iter().zip(expected.iter()).filter(|(a, b)| a != b).count();
    (off, wrong as f64 / expected.len() as f64)
}

fn compare_all(folder: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let case = entry.unwrap().path();
        if case.is_dir() {
            let (data, seg) = compare(&case);
            assert!(
                data <= 1e-4 && seg <= 1e-4,
                "{}: data {data:.2e}, seg {seg:.2e} of the voxels off",
                case.display()
            );
            count += 1;
        }
    }
    count
}

#[test]
fn reference_arrays_are_reproduced() {
    let Some(data) = std::env::var_os("NNUNET_TEST_DATA") else {
        println!("skipped: NNUNET_TEST_DATA is not set");
        return;
    };
    assert!(compare_all(&Path::new(&data).join("golden/preprocess")) >= 20);
}

#[test]
fn committed_arrays_are_reproduced() {
    assert!(compare_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")) >= 2);
}
