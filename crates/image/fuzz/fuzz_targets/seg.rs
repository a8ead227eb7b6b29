#![no_main]

use libfuzzer_sys::fuzz_target;
use nnunet_image::read_dicom_seg;

fuzz_target!(|bytes: &[u8]| {
    nnunet_image_fuzz::with_file("a.dcm", bytes, |path| {
        match read_dicom_seg(path).and_then(|seg| seg.to_labels()) {
            // Slices that are left out of a file are limited by a number, not by the file.
            Ok(labels) => assert!(labels.data.len() <= (1 << 28) + bytes.len() * 2048),
            Err(error) => assert!(error.to_string().contains("a.dcm")),
        }
    });
});
