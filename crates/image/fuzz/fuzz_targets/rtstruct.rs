#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nnunet_image::{DicomSource, RoiOverlap, dicom_series, read_dicom_rtstruct, read_dicom_source};

/// The series that the seeds are about.
static SOURCE: LazyLock<DicomSource> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/dicom/reversed");
    let series = dicom_series(&folder).expect("the drawn series");
    read_dicom_source(&series[0].files).expect("the drawn series")
});

fuzz_target!(|bytes: &[u8]| {
    nnunet_image_fuzz::with_file("a.dcm", bytes, |path| {
        match read_dicom_rtstruct(path).and_then(|read| read.to_labels(&SOURCE, RoiOverlap::Last)) {
            Ok(labels) => assert_eq!(labels.data.dim(), SOURCE.shape().into()),
            Err(error) => assert!(error.to_string().contains("a.dcm")),
        }
    });
});
