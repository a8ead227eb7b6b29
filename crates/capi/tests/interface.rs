//! The functions as C sees them: what they give, and what they say when they are misused.
#![allow(unsafe_code)]

mod common;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};

use candle_core::Device;
use ndarray::Array4;
use nnunet_capi::*;
use nnunet_image::{Geometry, Image, LabelMap, reader_by_name};
use nnunet_infer::{Predictor, PredictorOptions};

fn last_error() -> String {
    // SAFETY: the text stays until the next failure of this thread.
    unsafe { CStr::from_ptr(nnunet_last_error()) }.to_str().unwrap().to_owned()
}

fn refused(status: Status, expected: Status, parts: &[&str]) {
    let text = last_error();
    assert_eq!(status, expected, "{text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{text}: expected {parts:?}");
}

/// A model folder, and its model.
fn opened(options: *const Options) -> (tempfile::TempDir, *mut Model) {
    let folder = tempfile::tempdir().unwrap();
    common::write_model(folder.path());
    let path = CString::new(folder.path().to_str().unwrap()).unwrap();
    let mut model = null_mut();
    // SAFETY: text, options and target are there.
    let status = unsafe { nnunet_model_open(path.as_ptr(), options, &mut model) };
    assert_eq!(status, Status::Ok, "{}", last_error());
    (folder, model)
}

fn array(data: &Array4<f32>) -> ImageArray {
    let (c, z, y, x) = data.dim();
    ImageArray { data: data.as_ptr(), shape: [c, z, y, x], spacing: [2.0, 1.0, 1.0] }
}

fn labels(result: *const Outcome) -> Vec<i16> {
    let (mut labels, mut shape) = (null(), [0; 3]);
    // SAFETY: both can be written; the labels stay as long as the result.
    unsafe {
        assert_eq!(nnunet_result_labels(result, &mut labels, &mut shape), Status::Ok, "{}", last_error());
        std::slice::from_raw_parts(labels, shape.iter().product()).to_vec()
    }
}

fn expected(folder: &std::path::Path, data: Array4<f32>) -> LabelMap {
    let predictor = Predictor::open(folder, None, None, PredictorOptions::default(), Device::Cpu).unwrap();
    let geometry = Geometry { spacing: [2.0, 1.0, 1.0], ..Geometry::default() };
    predictor.predict_image(Image { data, geometry }, false, &|_| {}).unwrap().labels
}

/// Counts tiles, and cancels after as many as `limit` says.
struct Counter {
    seen: usize,
    total: usize,
    limit: usize,
}

unsafe extern "C" fn count(user: *mut c_void, done: usize, total: usize) -> c_int {
    // SAFETY: it is the counter that was handed over.
    let counter = unsafe { &mut *user.cast::<Counter>() };
    (counter.seen, counter.total) = (done, total);
    c_int::from(done >= counter.limit)
}

#[test]
fn arrays_give_the_predictors_labels_and_probabilities() {
    let mut options = std::mem::MaybeUninit::<Options>::uninit();
    // SAFETY: the options can be written, and are whole afterwards.
    let options = unsafe {
        assert_eq!(nnunet_options_init(options.as_mut_ptr()), Status::Ok);
        Options { threads: 2, ..options.assume_init() }
    };
    let (folder, model) = opened(&options);
    let data = common::image();
    let mut counter = Counter { seen: 0, total: 0, limit: usize::MAX };
    let user = (&raw mut counter).cast();
    let mut result = null_mut();
    let (mut probabilities, mut shape) = (null(), [0; 4]);
    // SAFETY: everything is there and as long as it says.
    let classes = unsafe {
        let status = nnunet_predict(model, &array(&data), 1, Some(count), user, null(), &mut result);
        assert_eq!(status, Status::Ok, "{}", last_error());
        assert_eq!(nnunet_result_probabilities(result, &mut probabilities, &mut shape), Status::Ok);
        std::slice::from_raw_parts(probabilities, shape.iter().product())
    };
    assert_eq!(shape, [3, 12, 20, 18]);
    assert!(counter.seen == counter.total && counter.total > 1, "{} of {}", counter.seen, counter.total);
    let found = labels(result);
    assert_eq!(found, expected(folder.path(), data).data.iter().copied().collect::<Vec<_>>());
    for (voxel, &label) in found.iter().enumerate() {
        let p = |class: usize| classes[class * found.len() + voxel];
        assert!((0..3).all(|class| p(label as usize) >= p(class)));
    }
    assert_eq!(nnunet_result_free(result), Status::Ok);
    assert_eq!(nnunet_model_free(model), Status::Ok);
}

#[test]
fn a_model_says_what_it_is() {
    let (_folder, model) = opened(null());
    let (mut channels, mut json): (usize, *const c_char) = (0, null());
    // SAFETY: both can be written; the text stays as long as the model.
    let text = unsafe {
        assert_eq!(nnunet_model_channels(model, &mut channels), Status::Ok);
        assert_eq!(nnunet_model_describe(model, &mut json), Status::Ok);
        CStr::from_ptr(json).to_str().unwrap()
    };
    let about: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(channels, 1);
    assert_eq!(about["labels"]["b"], 2);
    assert_eq!(about["patch_size"], serde_json::json!([8, 16, 16]));
    assert_eq!(nnunet_model_free(model), Status::Ok);
    // SAFETY: `json` can be written.
    refused(unsafe { nnunet_model_describe(model, &mut json) }, Status::Argument, &["model", "freed"]);
}

#[test]
fn nifti_bytes_give_what_files_give() {
    let (folder, model) = opened(null());
    let geometry = Geometry { spacing: [2.0, 1.0, 1.0], origin: [-4.0, 8.0, 20.0], ..Geometry::default() };
    let image = Image { data: common::image(), geometry };
    let at = |name: &str| folder.path().join(name);
    nnunet_image::write_image(&at("image.nii.gz"), &image).unwrap();
    let bytes = std::fs::read(at("image.nii.gz")).unwrap();
    let file = Bytes { data: bytes.as_ptr(), length: bytes.len() };
    let text = |name: &str| CString::new(at(name).to_str().unwrap()).unwrap();
    let (path, written) = (text("image.nii.gz"), text("labels.nii"));
    let (mut from_bytes, mut from_files) = (null_mut(), null_mut());
    let (mut data, mut length) = (null(), 0);
    // SAFETY: everything is there and as long as it says.
    let labels = unsafe {
        let status = nnunet_predict_nifti(model, &file, 1, 0, None, null_mut(), null(), &mut from_bytes);
        assert_eq!(status, Status::Ok, "{}", last_error());
        let paths = [path.as_ptr()];
        let status =
            nnunet_predict_files(model, paths.as_ptr(), 1, 0, None, null_mut(), null(), &mut from_files);
        assert_eq!(status, Status::Ok, "{}", last_error());
        assert_eq!(nnunet_result_write(from_files, written.as_ptr()), Status::Ok, "{}", last_error());
        assert_eq!(nnunet_result_nifti(from_bytes, 0, &mut data, &mut length), Status::Ok);
        std::slice::from_raw_parts(data, length).to_vec()
    };
    assert_eq!(labels, std::fs::read(at("labels.nii")).unwrap());
    let read = reader_by_name("SimpleITKIO").unwrap().read_labels(&at("labels.nii")).unwrap();
    assert_eq!(read.data, expected(folder.path(), image.data).data);
    assert_eq!(read.geometry.origin, [-4.0, 8.0, 20.0]);
    // SAFETY: both can be written.
    unsafe {
        assert_eq!(nnunet_result_nifti(from_bytes, 1, &mut data, &mut length), Status::Ok);
        assert_eq!(std::slice::from_raw_parts(data, 2), [0x1f, 0x8b]);
    }
    assert_eq!(nnunet_result_free(from_bytes), Status::Ok);
    assert_eq!(nnunet_result_free(from_files), Status::Ok);
    assert_eq!(nnunet_model_free(model), Status::Ok);
}

#[test]
fn a_model_can_come_from_bytes() {
    let (folder, model) = opened(null());
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let (plans, dataset) = (read("plans.json"), read("dataset.json"));
    let checkpoint = read("fold_0/checkpoint_final.safetensors");
    let load = |plans: &[u8], dataset: &[u8], checkpoint: &[u8], model: &mut *mut Model| {
        let ((p, np), (d, nd)) = ((plans.as_ptr(), plans.len()), (dataset.as_ptr(), dataset.len()));
        // SAFETY: the bytes are there.
        unsafe { nnunet_model_from_bytes(p, np, d, nd, checkpoint.as_ptr(), checkpoint.len(), null(), model) }
    };
    let mut loaded = null_mut();
    assert_eq!(load(&plans, &dataset, &checkpoint, &mut loaded), Status::Ok, "{}", last_error());
    let (data, mut a, mut b) = (common::image(), null_mut(), null_mut());
    // SAFETY: the array is there.
    unsafe {
        nnunet_predict(model, &array(&data), 0, None, null_mut(), null(), &mut a);
        nnunet_predict(loaded, &array(&data), 0, None, null_mut(), null(), &mut b);
    }
    assert_eq!(labels(a), labels(b));

    let status = load(b"{}", &dataset, &checkpoint, &mut loaded);
    refused(status, Status::Model, &["plans.json"]);
    assert!(loaded.is_null());
    refused(load(&plans, &[0xff, 0xfe], &checkpoint, &mut loaded), Status::Model, &["dataset.json"]);
    let cut = &checkpoint[..checkpoint.len() / 2];
    refused(load(&plans, &dataset, cut, &mut loaded), Status::Model, &["checkpoint", "safetensors"]);
    refused(load(&plans, &dataset, b"PK\x03\x04", &mut loaded), Status::Model, &["checkpoint", "PyTorch"]);
    refused(load(&plans, &dataset, &[], &mut loaded), Status::Model, &["checkpoint"]);
}

#[test]
fn predictions_are_cancelled_from_the_callback_or_a_token() {
    let (_folder, model) = opened(null());
    let data = common::image();
    let mut counter = Counter { seen: 0, total: 0, limit: 1 };
    let user = (&raw mut counter).cast();
    let (mut cancel, mut result) = (null_mut(), null_mut());
    // SAFETY: everything is there.
    unsafe {
        let status = nnunet_predict(model, &array(&data), 0, Some(count), user, null(), &mut result);
        refused(status, Status::Cancelled, &["cancel"]);
        assert!(result.is_null() && counter.seen == 1);

        assert_eq!(nnunet_cancel_new(&mut cancel), Status::Ok);
        let status = nnunet_predict(model, &array(&data), 0, None, null_mut(), cancel, &mut result);
        assert_eq!(status, Status::Ok, "{}", last_error());
        assert_eq!(nnunet_cancel_request(cancel), Status::Ok);
        let status = nnunet_predict(model, &array(&data), 0, None, null_mut(), cancel, &mut result);
        refused(status, Status::Cancelled, &["cancel"]);
    }
    assert_eq!(nnunet_cancel_free(cancel), Status::Ok);
    refused(nnunet_cancel_request(cancel), Status::Argument, &["cancellation", "freed"]);
}

#[test]
fn nulls_and_strangers_are_sentences() {
    let (_folder, model) = opened(null());
    let data = common::image();
    let image = array(&data);
    let mut result = null_mut();
    let mut options = Options {
        size: 0,
        tile_step_size: 0.5,
        memory_gb: 0.0,
        threads: 0,
        precision: 0,
        mirroring: 1,
        gaussian: 1,
    };
    let mut other = null_mut();
    // SAFETY: every pointer is null or there; handles are looked up, never followed.
    unsafe {
        let null_model = null_mut();
        refused(nnunet_model_open(null(), null(), &mut other), Status::Argument, &["folder is null"]);
        refused(nnunet_model_open(c"x".as_ptr(), null(), null_mut()), Status::Argument, &["model is null"]);
        refused(nnunet_model_open(c"\xff".as_ptr(), null(), &mut other), Status::Argument, &["UTF-8"]);
        refused(nnunet_model_open(c"x".as_ptr(), &options, &mut other), Status::Argument, &["options_init"]);
        options.size = size_of::<Options>();
        for (broken, part) in [
            (Options { precision: 9, ..options }, "precision is 9"),
            (Options { mirroring: 2, ..options }, "mirroring is 2"),
            (Options { threads: 5000, ..options }, "threads is 5000"),
        ] {
            refused(nnunet_model_open(c"x".as_ptr(), &broken, &mut other), Status::Argument, &[part]);
        }
        let wrong = Options { tile_step_size: 1.5, ..options };
        refused(
            nnunet_model_open(c"x".as_ptr(), &wrong, &mut other),
            Status::Model,
            &["tile_step_size", "1.5"],
        );

        let mut predict = |model: *const Model, image: *const ImageArray| {
            nnunet_predict(model, image, 0, None, null_mut(), null(), &mut result)
        };
        refused(predict(null_model, &image), Status::Argument, &["the model is null"]);
        refused(
            predict(std::ptr::without_provenance(0xdead), &image),
            Status::Argument,
            &["the model is none"],
        );
        refused(predict(model, null()), Status::Argument, &["image is null"]);
        let no_data = ImageArray { data: null(), ..image };
        refused(predict(model, &no_data), Status::Argument, &["image.data is null", "4320"]);
        let empty = ImageArray { shape: [1, 0, 20, 18], ..image };
        refused(predict(model, &empty), Status::Argument, &["image.shape"]);
        let huge = ImageArray { shape: [usize::MAX, 2, 2, 2], ..image };
        refused(predict(model, &huge), Status::Argument, &["image.shape"]);
        let flat = ImageArray { spacing: [1.0, f64::NAN, 1.0], ..image };
        refused(predict(model, &flat), Status::Argument, &["image.spacing", "NaN"]);
        let channels = ImageArray { shape: [2, 6, 20, 18], ..image };
        refused(predict(model, &channels), Status::Input, &["MRI"]);

        assert_eq!(predict(model, &image), Status::Ok);
        let mut probabilities = null();
        let status = nnunet_result_probabilities(result, &mut probabilities, null_mut());
        refused(status, Status::Argument, &["not asked for"]);
        refused(nnunet_result_labels(result, null_mut(), null_mut()), Status::Argument, &["labels is null"]);
        // A model is no result.
        refused(
            nnunet_result_write(model.cast(), c"x.nii".as_ptr()),
            Status::Argument,
            &["the result is none"],
        );
        refused(nnunet_result_write(result, c"/no/such/x.nii".as_ptr()), Status::Input, &["/no/such"]);
        let not_nifti = Bytes { data: b"hello".as_ptr(), length: 5 };
        let status = nnunet_predict_nifti(model, &not_nifti, 1, 0, None, null_mut(), null(), &mut result);
        refused(status, Status::Input, &["image.nii", "header"]);
        let status = nnunet_predict_nifti(model, null(), 1, 0, None, null_mut(), null(), &mut result);
        refused(status, Status::Argument, &["channels is null"]);
        let paths = [c"/no/such/image.nii.gz".as_ptr()];
        let status = nnunet_predict_files(model, paths.as_ptr(), 1, 0, None, null_mut(), null(), &mut result);
        refused(status, Status::Input, &["/no/such/image.nii.gz"]);
    }
    assert_eq!(nnunet_model_free(null_mut()), Status::Ok);
    assert_eq!(nnunet_result_free(null_mut()), Status::Ok);
    assert_eq!(nnunet_model_free(model), Status::Ok);
    refused(nnunet_model_free(model), Status::Argument, &["the model is none", "freed"]);
}

#[test]
fn errors_belong_to_their_thread() {
    // SAFETY: a null path is checked for.
    let status = unsafe { nnunet_model_open(null(), null(), &mut null_mut()) };
    refused(status, Status::Argument, &["folder"]);
    assert_eq!(std::thread::spawn(last_error).join().unwrap(), "");
    assert!(last_error().contains("folder"));
}
