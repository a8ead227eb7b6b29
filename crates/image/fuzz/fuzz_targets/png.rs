#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| nnunet_image_fuzz::read("a.png", bytes, &["NaturalImage2DIO"]));
