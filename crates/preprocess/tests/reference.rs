//! Preprocessed arrays against those of nnU-Net v2.8.1, for drawn and real cases.
//!
//! Tolerance: intensities within 1e-4 of the channel's standard deviation at 99.99% of the voxels, labels equal at 99.99%.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nnunet_image::npz::{read_npz_f32, read_npz_i16};
use nnunet_image::reader_by_name;
use nnunet_plan::{DatasetJson, Plans};
use nnunet_preprocess::{
    ClassKey, PreprocessedCase, append_one_hot, preprocess_cascade_case, preprocess_case,
};

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
    if wrong == 0 {
        // One other label changes all later draws.
        check_locations(folder, &case);
    }
    // Ties between labels in half precision may fall either way; one voxel is more than 0.01% of the smallest cases.
    let wrong = wrong.saturating_sub(1);
    (off, wrong as f64 / expected.len() as f64)
}

/// Class locations, where a case has them: per class their number and, per axis, the sum of coordinate times position.
fn check_locations(folder: &Path, case: &PreprocessedCase) {
    let Ok(text) = std::fs::read_to_string(folder.join("locations.json")) else { return };
    let expected: BTreeMap<String, [i64; 4]> = serde_json::from_str(&text).unwrap();
    let locations = &case.properties.class_locations;
    assert_eq!(locations.len(), expected.len(), "{}", folder.display());
    for location in locations {
        let list = |labels: &[i16]| {
            let text = labels.iter().map(i16::to_string).collect::<Vec<_>>().join(", ");
            format!("({text}{})", if labels.len() == 1 { "," } else { "" })
        };
        let key = match &location.class {
            ClassKey::Label(label) => label.to_string(),
            ClassKey::Region(labels) | ClassKey::Annotated(labels) => list(labels),
        };
        let mut found = [location.voxels.len() as i64, 0, 0, 0];
        for (i, voxel) in location.voxels.iter().enumerate() {
            (0..3).for_each(|axis| found[axis + 1] += i64::from(voxel[axis]) * (i as i64 + 1));
        }
        assert_eq!(Some(&found), expected.get(&key), "{} {key}", folder.display());
    }
}

fn compare_all(folder: &Path) -> usize {
    let (mut count, mut problems) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let case = entry.unwrap().path();
        if case.join("plans.json").is_file() {
            let (data, seg) = compare(&case);
            if data > 1e-4 || seg > 1e-4 {
                problems
                    .push(format!("{}: data {data:.2e}, seg {seg:.2e} of the voxels off", case.display()));
            }
            count += 1;
        }
    }
    assert!(problems.is_empty(), "{} of {count} differ:\n{}", problems.len(), problems.join("\n"));
    println!("{count} cases are equal");
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

/// A cascade's second stage sees the first one's prediction as further channels.
#[test]
fn the_previous_stage_follows_the_image_as_channels() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/case_19_zero_border");
    let plans = Plans::read(&folder.join("plans.json")).unwrap();
    let name = std::fs::read_to_string(folder.join("config")).unwrap();
    let configuration = plans.configuration(name.trim()).unwrap();
    let dataset = DatasetJson::read(&folder.join("dataset.json")).unwrap();
    let rules = dataset.label_rules().unwrap();
    let reader = reader_by_name(&plans.image_reader_writer).unwrap();
    let channels = dataset.channel_names.len();
    let images: Vec<PathBuf> = (0..channels).map(|c| folder.join(format!("img_{c:04}.nii.gz"))).collect();
    let image = reader.read_images(&images).unwrap();
    let previous = reader.read_labels(&folder.join("seg.nii.gz")).unwrap();
    let case = preprocess_cascade_case(image, previous, &plans, &configuration, &rules).unwrap();
    let expected = read_npz_i16(&folder.join("expected.npz"), "seg").unwrap();
    assert!(case.seg.iter().eq(expected.iter()));
    assert_eq!(case.data.dim().0, channels + 2);
    for (channel, label) in [(channels, 1), (channels + 1, 2)] {
        let channel = case.data.index_axis(ndarray::Axis(0), channel);
        assert!(channel.iter().zip(&case.seg).all(|(v, l)| *v == if *l == label { 1.0 } else { 0.0 }));
        assert!(channel.iter().any(|v| *v == 1.0));
    }
    assert!(case.properties.class_locations.is_empty());
    let other = ndarray::Array3::zeros((1, 1, 1));
    assert!(append_one_hot(case.data, other.view(), &[1]).unwrap_err().to_string().contains("[1, 1, 1]"));
}
