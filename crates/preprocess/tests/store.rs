//! The store of preprocessed cases: what is written comes back, damage is found, a killed run is taken up again.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use ndarray::{Array3, Array4};
use nnunet_fingerprint::Dataset;
use nnunet_image::{CaseReader, Geometry, Image, LabelMap, reader_by_name, write_image};
use nnunet_plan::Plans;
use nnunet_preprocess::{Store, StoreFormat, preprocess_dataset, preprocess_dataset_as};

const CONFIGURATION: &str = "3d_fullres";

/// A data set of three cases and plans that fit it.
fn drawn(folder: &Path) -> (Dataset, Plans) {
    let raw = folder.join("Dataset001_Drawn");
    let reader = reader_by_name("SimpleITKIO").unwrap();
    for sub in ["imagesTr", "labelsTr"] {
        std::fs::create_dir_all(raw.join(sub)).unwrap();
    }
    for case in 0..3usize {
        let data =
            Array4::from_shape_fn((1, 8, 9 + case, 10), |(_, z, y, x)| (z * y + 3 * x + case) as f32 + 1.0);
        let labels = Array3::from_shape_fn((8, 9 + case, 10), |(z, y, x)| i16::from(z > 2 && y > 3 && x > 4));
        let geometry = Geometry { spacing: [1.5, 1.0, 1.0], ..Geometry::default() };
        let image = Image { data, geometry: geometry.clone() };
        write_image(&raw.join(format!("imagesTr/case_{case}_0000.nii.gz")), &image).unwrap();
        let map = LabelMap { data: labels, geometry };
        reader.write_labels(&raw.join(format!("labelsTr/case_{case}.nii.gz")), &map).unwrap();
    }
    let described = r#"{"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1}, "numTraining": 3,
        "file_ending": ".nii.gz"}"#;
    std::fs::write(raw.join("dataset.json"), described).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/case_19_zero_border/plans.json");
    let mut plans = Plans::read(&golden).unwrap();
    let mut configuration = plans.configurations.values().next().unwrap().clone();
    for (key, value) in [
        ("spacing", serde_json::json!([1.0, 1.0, 1.0])),
        ("patch_size", serde_json::json!([8, 8, 8])),
        ("normalization_schemes", serde_json::json!(["ZScoreNormalization"])),
        ("use_mask_for_norm", serde_json::json!([false])),
    ] {
        configuration.insert(key.to_owned(), value);
    }
    plans.transpose_forward = [0, 1, 2];
    plans.transpose_backward = [0, 1, 2];
    plans.configurations.insert(CONFIGURATION.to_owned(), configuration);
    let dataset = Dataset::open(&raw).unwrap();
    // File times may be as coarse as a clock tick, in which the whole test would fit.
    let earlier = SystemTime::now() - Duration::from_secs(60);
    for path in dataset.cases.iter().flat_map(|case| case.images.iter().chain([&case.label])) {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(earlier).unwrap();
    }
    (dataset, plans)
}

/// Counts the images that are read, and fails from a given one on.
struct Counting<R> {
    inner: R,
    read: AtomicUsize,
}

impl CaseReader for Counting<std::sync::Arc<dyn CaseReader>> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn read_images(&self, channels: &[std::path::PathBuf]) -> Result<Image, nnunet_image::ImageError> {
        if channels[0].to_string_lossy().contains("imagesTr") {
            self.read.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.read_images(channels)
    }

    fn write_labels(&self, path: &Path, labels: &LabelMap) -> Result<(), nnunet_image::ImageError> {
        self.inner.write_labels(path, labels)
    }
}

fn reader() -> Counting<std::sync::Arc<dyn CaseReader>> {
    Counting { inner: reader_by_name("SimpleITKIO").unwrap(), read: AtomicUsize::new(0) }
}

#[test]
fn damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, plans) = drawn(folder.path());
    let store =
        preprocess_dataset(&dataset, &reader(), &plans, CONFIGURATION, folder.path(), &|_| {}).unwrap();
    assert_eq!(store.identifiers(), ["case_0", "case_1", "case_2"]);
    for id in store.identifiers() {
        store.verify(id).unwrap();
    }
    for file in ["case_1.npy", "case_1_seg.npy", "case_1_classes.npy"] {
        let path = store.folder().join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 4;
        for (damaged, word) in [(&flipped[..], "checksum"), (&whole[..whole.len() - 3], "bytes")] {
            std::fs::write(&path, damaged).unwrap();
            let error = store.verify("case_1").unwrap_err().to_string();
            assert!(error.contains("case_1") && error.contains(file) && error.contains(word), "{error}");
        }
        std::fs::write(&path, whole).unwrap();
    }
    store.verify("case_1").unwrap();
}

#[test]
fn a_killed_run_is_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, plans) = drawn(folder.path());
    let run = |reader: &dyn CaseReader, plans: &Plans| {
        preprocess_dataset(&dataset, reader, plans, CONFIGURATION, folder.path(), &|_| {}).unwrap()
    };
    let store = run(&reader(), &plans);
    let first = store.load("case_2").unwrap();
    // As a kill leaves it: under construction, one case missing, one half written, one of another program.
    let identifier = store.folder().file_name().unwrap().to_string_lossy().into_owned();
    let building = folder.path().join(format!(".{identifier}.part"));
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(store.folder().join("store.json")).unwrap()).unwrap();
    let interrupted = || {
        std::fs::rename(folder.path().join(&identifier), &building).unwrap();
        std::fs::remove_file(building.join("store.json")).unwrap();
        let settings = serde_json::json!({"settings": manifest["settings"], "format": "Npy"});
        std::fs::write(building.join("settings.json"), settings.to_string()).unwrap();
        std::fs::remove_file(building.join("case_0.json")).unwrap();
        std::fs::write(building.join("case_1.npy"), "half").unwrap();
        std::fs::write(building.join(".tmp123"), "").unwrap();
    };
    interrupted();
    let again = reader();
    let store = run(&again, &plans);
    assert_eq!(again.read.load(Ordering::Relaxed), 2, "only what was missing or damaged is read again");
    assert_eq!(store.load("case_2").unwrap(), first);
    let files = std::fs::read_dir(store.folder()).unwrap().count();
    assert_eq!(files, 3 * 4 + 1, "four files per case and the manifest");
    assert!(!building.exists());
    // With other settings, nothing is taken over.
    interrupted();
    let mut other = plans.clone();
    let changed = other.configurations.get_mut(CONFIGURATION).unwrap();
    changed.insert("spacing".to_owned(), serde_json::json!([1.0, 1.0, 2.0]));
    let again = reader();
    run(&again, &other);
    assert_eq!(again.read.load(Ordering::Relaxed), 3);
}

#[test]
fn patches_are_parts_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, plans) = drawn(folder.path());
    let store =
        preprocess_dataset(&dataset, &reader(), &plans, CONFIGURATION, folder.path(), &|_| {}).unwrap();
    let case = store.load("case_0").unwrap();
    let (_, z, y, x) = case.data.dim();
    assert_eq!(store.shape("case_0").unwrap(), [1, z, y, x]);
    let lower = [-2, 3, 5];
    let (data, seg) = store.read_patch("case_0", lower, [6, 9, 4]).unwrap();
    for ((pz, py, px), &label) in seg.indexed_iter() {
        let at = [pz as i64 + lower[0], py as i64 + lower[1], px as i64 + lower[2]];
        let inside = (0..3).all(|axis| at[axis] >= 0 && at[axis] < [z, y, x][axis] as i64);
        let [z, y, x] = at.map(|v| v.max(0) as usize);
        let expected = if inside { (case.data[[0, z, y, x]], case.seg[[z, y, x]]) } else { (0.0, -1) };
        assert_eq!((data[[0, pz, py, px]], label), expected);
    }
}

#[test]
fn a_compressed_store_holds_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, plans) = drawn(folder.path());
    let run = |format| {
        let out = folder.path().join(format!("{format:?}"));
        std::fs::create_dir_all(&out).unwrap();
        preprocess_dataset_as(format, &dataset, &reader(), &plans, CONFIGURATION, &out, &|_| {}).unwrap()
    };
    let (plain, store) = (run(StoreFormat::Npy), run(StoreFormat::Zarr));
    for id in store.identifiers() {
        store.verify(id).unwrap();
        assert_eq!(store.load(id).unwrap(), plain.load(id).unwrap());
        assert_eq!(store.shape(id).unwrap(), plain.shape(id).unwrap());
        for (lower, size) in [([-2, 3, 5], [6, 9, 4]), ([9, -3, 2], [8, 30, 3]), ([50, 0, 0], [2, 2, 2])] {
            assert_eq!(
                store.read_patch(id, lower, size).unwrap(),
                plain.read_patch(id, lower, size).unwrap()
            );
        }
    }
    assert_eq!(Store::open(store.folder()).unwrap().identifiers(), plain.identifiers());
}

#[test]
fn damage_to_a_compressed_store_is_found_by_every_read() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, plans) = drawn(folder.path());
    let store = preprocess_dataset_as(
        StoreFormat::Zarr,
        &dataset,
        &reader(),
        &plans,
        CONFIGURATION,
        folder.path(),
        &|_| {},
    );
    let store = store.unwrap();
    let [_, z, y, x] = store.shape("case_1").unwrap();
    for name in ["case_1.zarr/c/0/0/0/0", "case_1_seg.zarr/c/0/0/0/0"] {
        let path = store.folder().join(name);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(&path, damaged).unwrap();
            let error = store.read_patch("case_1", [0; 3], [z, y, x]).unwrap_err().to_string();
            assert!(error.contains("case_1") && error.contains("checksum"), "byte {at}: {error}");
        }
        for length in [0, 3, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(store.read_patch("case_1", [0; 3], [z, y, x]).is_err(), "{length} bytes");
        }
        std::fs::write(&path, whole).unwrap();
    }
    let described = store.folder().join("case_1.zarr/zarr.json");
    let whole = std::fs::read_to_string(&described).unwrap();
    for (from, to) in
        [("float32", "int16"), ("\"shape\": [\n    1", "\"shape\": [\n    0"), ("sharding_indexed", "bytes")]
    {
        assert!(whole.contains(from), "{from}: {whole}");
        std::fs::write(&described, whole.replacen(from, to, 1)).unwrap();
        let error = store.read_patch("case_1", [0; 3], [z, y, x]).unwrap_err().to_string();
        assert!(error.contains("case_1"), "{error}");
    }
    std::fs::write(&described, whole).unwrap();
    store.verify("case_1").unwrap();
}

#[test]
fn a_killed_run_into_a_compressed_store_is_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, plans) = drawn(folder.path());
    let run = |reader: &dyn CaseReader| {
        let out = folder.path();
        preprocess_dataset_as(StoreFormat::Zarr, &dataset, reader, &plans, CONFIGURATION, out, &|_| {})
            .unwrap()
    };
    let store = run(&reader());
    let first = store.load("case_2").unwrap();
    let name = store.folder().file_name().unwrap().to_string_lossy().into_owned();
    let building = folder.path().join(format!(".{name}.part"));
    let manifest = std::fs::read_to_string(store.folder().join("store.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    std::fs::rename(store.folder(), &building).unwrap();
    std::fs::remove_file(building.join("store.json")).unwrap();
    let settings = serde_json::json!({"settings": manifest["settings"], "format": "Zarr"});
    std::fs::write(building.join("settings.json"), settings.to_string()).unwrap();
    std::fs::remove_file(building.join("case_0.json")).unwrap();
    std::fs::remove_file(building.join("case_1.zarr/c/0/0/0/0")).unwrap();
    let again = reader();
    let store = run(&again);
    assert_eq!(again.read.load(Ordering::Relaxed), 2, "only what was missing is read again");
    assert_eq!(store.load("case_2").unwrap(), first);
    store.identifiers().iter().for_each(|id| store.verify(id).unwrap());
    assert_eq!(std::fs::read_dir(store.folder()).unwrap().count(), 3 * 4 + 1);
}
