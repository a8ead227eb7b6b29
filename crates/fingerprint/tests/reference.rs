//! Fingerprints and splits against those that nnU-Net v2.8.1 made of the same data: the files are equal, text for text.

use std::path::{Path, PathBuf};

use nnunet_fingerprint::{Dataset, Fingerprint, create_splits, extract_fingerprint, json};
use nnunet_image::reader_for;

/// The JSON of the fingerprint of a data set.
fn fingerprint(folder: &Path) -> (Dataset, String) {
    let dataset = Dataset::open(folder).unwrap();
    let reader =
        reader_for(&dataset.json.file_ending, dataset.cases[0].images.first().map(PathBuf::as_path)).unwrap();
    let fingerprint = extract_fingerprint(&dataset, reader.as_ref(), &|_| ()).unwrap();
    let text = json::to_string(&fingerprint).unwrap();
    (dataset, text)
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn committed_data_sets_have_the_references_fingerprint() {
    for name in ["two_channels", "one_empty"] {
        let expected = std::fs::read_to_string(golden(name).join("dataset_fingerprint.json")).unwrap();
        assert_eq!(fingerprint(&golden(name)).1, expected, "{name}");
    }
}

#[test]
fn a_fingerprint_does_not_depend_on_the_number_of_threads() {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let three = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let folder = golden("one_empty");
    assert_eq!(one.install(|| fingerprint(&folder)).1, three.install(|| fingerprint(&folder)).1);
}

#[test]
fn the_hippocampus_has_the_references_fingerprint_and_splits() {
    let Some(data) = std::env::var_os("NNUNET_TEST_DATA") else {
        println!("skipped: NNUNET_TEST_DATA is not set");
        return;
    };
    let data = PathBuf::from(data);
    let read = |name: &str| std::fs::read_to_string(data.join("golden/hippocampus").join(name)).unwrap();
    let (dataset, text) = fingerprint(&data.join("data/nnUNet_raw/Dataset004_Hippocampus"));
    assert_eq!(text, read("dataset_fingerprint.json"));
    let again: Fingerprint = serde_json::from_str(&text).unwrap();
    assert_eq!(json::to_string(&again).unwrap(), text, "read and written again");
    let ids: Vec<String> = dataset.cases.iter().map(|case| case.id.clone()).collect();
    assert_eq!(json::to_string(&create_splits(&ids).unwrap()).unwrap(), read("splits_final.json"));
}
