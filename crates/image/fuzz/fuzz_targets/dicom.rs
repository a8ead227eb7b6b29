#![no_main]

use libfuzzer_sys::fuzz_target;
use nnunet_image::read_dicom_files;

fuzz_target!(|bytes: &[u8]| {
    nnunet_image_fuzz::with_file("a.dcm", bytes, |path| {
        if let Ok(image) = read_dicom_files(&[path.to_owned()]) {
            assert!(image.data.len() <= bytes.len() * 2048);
        }
    });
});
