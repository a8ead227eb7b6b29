//! Folders that nnU-Net preprocessed; `golden/make_b2nd.py` made the files.
#![cfg(feature = "blosc2")]

use std::path::{Path, PathBuf};

use nnunet_preprocess::{ClassKey, Store};

const SHAPE: [usize; 4] = [2, 9, 14, 11];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/b2nd")
}

fn index([c, z, y, x]: [usize; 4]) -> usize {
    c * 31 + z * 17 + y * 5 + x * 3
}

/// What the script put there.
fn expected(case: &str, at: [usize; 4]) -> f32 {
    let i = index(at);
    match case {
        "whole_numbers" => (i % 23) as f32,
        "noise" => f32::from_bits(((i as u64 * 1_103_515_245 + 12_345) % (1 << 31)) as u32),
        "empty" => 0.0,
        _ => ((i as f64) + 1.0).sqrt() as f32,
    }
}

fn label(case: &str, [z, y, x]: [usize; 3]) -> i16 {
    (index([0, z, y, x]) % 3) as i16 * if case == "zstandard" { 200 } else { 1 }
}

#[test]
fn cases_are_what_nnunet_saved() {
    let store = Store::open(&golden()).unwrap();
    assert_eq!(store.identifiers(), ["empty", "many", "noise", "smooth", "whole_numbers", "zstandard"]);
    for case in store.identifiers() {
        assert_eq!(store.shape(case).unwrap(), SHAPE);
        let found = store.load(case).unwrap();
        for ((c, z, y, x), value) in found.data.indexed_iter() {
            let expected = expected(case, [c, z, y, x]);
            assert_eq!(value.to_bits(), expected.to_bits(), "{case} {:?}", [c, z, y, x]);
        }
        for ((z, y, x), &found) in found.seg.indexed_iter() {
            assert_eq!(found, label(case, [z, y, x]), "{case} {:?}", [z, y, x]);
        }
    }
}

#[test]
fn boxes_are_parts_of_the_whole() {
    let store = Store::open(&golden()).unwrap();
    for (lower, size) in [([-2, 3, 4], [5, 6, 20]), ([7, 13, 10], [1, 1, 1]), ([20, 0, 0], [2, 2, 2])] {
        let (image, seg) = store.read_patch("many", lower, size).unwrap();
        for ((c, z, y, x), &value) in image.indexed_iter() {
            let at = [z as i64 + lower[0], y as i64 + lower[1], x as i64 + lower[2]];
            let inside = (0..3).all(|axis| (0..SHAPE[axis + 1] as i64).contains(&at[axis]));
            let at = at.map(|n| n as usize);
            let wanted = if inside { expected("many", [c, at[0], at[1], at[2]]) } else { 0.0 };
            assert_eq!(value, wanted);
            assert_eq!(seg[[z, y, x]], if inside { label("many", at) } else { -1 });
        }
    }
}

#[test]
fn properties_are_those_of_the_pickle() {
    let properties = Store::open(&golden()).unwrap().properties("smooth").unwrap();
    assert_eq!(properties.spacing, [2.5, 0.75, 0.5]);
    assert_eq!(properties.geometry.origin, [1.0, -2.0, 3.5]);
    assert_eq!(properties.geometry.direction[0], [0.0, -1.0, 0.0]);
    assert_eq!((properties.bbox.start, properties.bbox.end), ([0, 2, 3], [9, 16, 14]));
    assert_eq!(properties.shape_before_cropping, [10, 20, 30]);
    let classes = &properties.class_locations;
    let keys: Vec<&ClassKey> = classes.iter().map(|class| &class.class).collect();
    let (one, two, both) = (ClassKey::Label(1), ClassKey::Label(2), ClassKey::Region(vec![1, 2]));
    assert_eq!(keys, [&one, &two, &both, &ClassKey::Label(3)]);
    assert!(classes[3].voxels.is_empty() && classes[2].voxels.len() == 5);
    for class in &classes[..2] {
        assert!(!class.voxels.is_empty());
        let at = |[z, y, x]: [u32; 3]| label("smooth", [z, y, x].map(|n| n as usize));
        assert!(class.voxels.iter().all(|&voxel| class.class == ClassKey::Label(at(voxel))));
    }
}

#[test]
fn damage_is_an_error_or_other_numbers() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["smooth", "zstandard", "many"] {
        for rest in [".pkl", ".b2nd", "_seg.b2nd"] {
            std::fs::copy(
                golden().join(format!("{name}{rest}")),
                folder.path().join(format!("{name}{rest}")),
            )
            .unwrap();
        }
    }
    let store = Store::open(folder.path()).unwrap();
    let mut refused = 0;
    for name in ["smooth", "zstandard", "many"] {
        for rest in [".b2nd", "_seg.b2nd", ".pkl"] {
            let path = folder.path().join(format!("{name}{rest}"));
            let whole = std::fs::read(&path).unwrap();
            let mut state = 7u64;
            for trial in 0..250usize {
                let mut bytes = whole.clone();
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Headers and the table at the end more often than what lies between.
                let random = (state >> 33) as usize;
                let at = match trial % 3 {
                    0 => random % bytes.len(),
                    1 => random % bytes.len().min(320),
                    _ => bytes.len() - 1 - random % bytes.len().min(200),
                };
                match trial % 5 {
                    0 => bytes.truncate(at),
                    1 => bytes[at] = 0xff,
                    _ => bytes[at] ^= 1 << (random % 8),
                }
                std::fs::write(&path, &bytes).unwrap();
                if let Err(error) = store.load(name) {
                    assert!(error.to_string().contains(name), "{error}");
                    refused += 1;
                }
            }
            std::fs::write(&path, &whole).unwrap();
        }
        assert!(store.load(name).is_ok());
    }
    assert!(refused > 400, "{refused}");
}
