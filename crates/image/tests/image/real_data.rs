//! Real images, where they are at hand.

use std::path::PathBuf;

use nnunet_image::reader_by_name;

use crate::nifti::table;

#[test]
fn hippocampus_images_are_read_as_simple_itk_reads_them() {
    let Some(root) = std::env::var_os("NNUNET_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: NNUNET_TEST_DATA is not set");
        return;
    };
    let folder = root.join("data/nnUNet_raw/Dataset004_Hippocampus");
    for row in table("hippocampus.tsv") {
        let image = reader_by_name(&row.reader).unwrap().read_images(&[folder.join(&row.file)]).unwrap();
        let (shape, geometry) = row.expected.unwrap();
        assert_eq!(image.data.shape(), shape, "{}", row.file);
        assert_eq!(image.geometry, geometry, "{}", row.file);
        let sum: f64 = image.data.iter().map(|&v| f64::from(v)).sum();
        let largest = image.data.iter().fold(f32::MIN, |a, &b| a.max(b));
        approx::assert_relative_eq!(sum, row.rest[0], max_relative = 1e-12);
        assert_eq!(f64::from(largest), row.rest[1], "{}", row.file);
    }
}

#[test]
fn a_hippocampus_segmentation_survives_a_copy() {
    let Some(root) = std::env::var_os("NNUNET_TEST_DATA").map(PathBuf::from) else {
        println!("skipped: NNUNET_TEST_DATA is not set");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let reader = reader_by_name("SimpleITKIO").unwrap();
    let path = root.join("data/nnUNet_raw/Dataset004_Hippocampus/labelsTr/hippocampus_001.nii.gz");
    let labels = reader.read_labels(&path).unwrap();
    let copy = folder.path().join("copy.nii.gz");
    reader.write_labels(&copy, &labels).unwrap();
    assert_eq!(reader.read_labels(&copy).unwrap(), labels);
}
