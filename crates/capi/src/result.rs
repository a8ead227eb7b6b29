//! Results.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::sync::Arc;
#[cfg(feature = "nifti")]
use std::sync::OnceLock;

use ndarray::Array4;
use nnunet_image::{CaseReader, LabelMap};
use nnunet_infer::Prediction;

use crate::edge::{Failure, Status, call, path, target};
use crate::handles::Handles;

/// A segmented image.
#[derive(Debug)]
pub struct Outcome {
    _opaque: (),
}

pub(crate) static RESULTS: Handles<Done> = Handles::new("result");

/// What a handle of a result stands for. Arrays are contiguous.
pub(crate) struct Done {
    labels: LabelMap,
    probabilities: Option<Array4<f32>>,
    reader: Arc<dyn CaseReader>,
    /// As `.nii` and as `.nii.gz`, once they were asked for.
    #[cfg(feature = "nifti")]
    files: [OnceLock<Vec<u8>>; 2],
}

impl Done {
    pub(crate) fn new(prediction: Prediction, reader: Arc<dyn CaseReader>) -> Self {
        let Prediction { mut labels, probabilities } = prediction;
        if !labels.data.is_standard_layout() {
            labels.data = labels.data.as_standard_layout().into_owned();
        }
        let probabilities = probabilities
            .map(|p| if p.is_standard_layout() { p } else { p.as_standard_layout().into_owned() });
        Self {
            labels,
            probabilities,
            reader,
            #[cfg(feature = "nifti")]
            files: Default::default(),
        }
    }
}

/// The labels, one per voxel of the image, x fastest, and the number of voxels along z, y and x.
///
/// The array belongs to the result and is freed with it. `shape` may be null.
///
/// # Safety
/// `labels` is null or can be written; `shape` is null or can be written for 3 values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnunet_result_labels(
    result: *const Outcome,
    labels: *mut *const i16,
    shape: *mut [usize; 3],
) -> Status {
    call(|| {
        let done = RESULTS.get(result)?;
        // SAFETY: the caller's.
        unsafe {
            *target(labels, "labels")? = done.labels.data.as_ptr();
            if let Some(shape) = shape.as_mut() {
                *shape = done.labels.data.dim().into();
            }
        }
        Ok(())
    })
}

/// The probabilities of labels (the background first) or regions, one per voxel of the image, and the numbers of classes and
/// voxels along z, y and x.
///
/// The array belongs to the result and is freed with it. `shape` may be null. It is an error if the prediction was not asked
/// for them.
///
/// # Safety
/// `probabilities` is null or can be written; `shape` is null or can be written for 4 values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnunet_result_probabilities(
    result: *const Outcome,
    probabilities: *mut *const f32,
    shape: *mut [usize; 4],
) -> Status {
    call(|| {
        let done = RESULTS.get(result)?;
        let Some(found) = &done.probabilities else {
            return Err(Failure::argument("the prediction was not asked for probabilities"));
        };
        // SAFETY: the caller's.
        unsafe {
            *target(probabilities, "probabilities")? = found.as_ptr();
            if let Some(shape) = shape.as_mut() {
                *shape = found.dim().into();
            }
        }
        Ok(())
    })
}

/// Writes the labels with the geometry of the image, in the format that the model's plans use; for images from an array,
/// distances alone are right.
///
/// # Safety
/// `file` is null or text in UTF-8 that ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnunet_result_write(result: *const Outcome, file: *const c_char) -> Status {
    call(|| {
        let done = RESULTS.get(result)?;
        // SAFETY: the caller's.
        let file = unsafe { path(file, "file") }?;
        done.reader.write_labels(&file, &done.labels).map_err(|error| Failure::input(&error))
    })
}

/// The labels as the bytes of a NIfTI file; `compressed` (1 or 0) asks for `.nii.gz`.
///
/// The bytes belong to the result and are freed with it.
///
/// # Safety
/// `data` and `length` are null or can be written.
#[cfg(feature = "nifti")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnunet_result_nifti(
    result: *const Outcome,
    compressed: std::ffi::c_int,
    data: *mut *const u8,
    length: *mut usize,
) -> Status {
    call(|| {
        let done = RESULTS.get(result)?;
        // SAFETY: the caller's.
        let (data, length) = unsafe { (target(data, "data")?, target(length, "length")?) };
        let (file, name) = match compressed {
            0 => (&done.files[0], "labels.nii"),
            _ => (&done.files[1], "labels.nii.gz"),
        };
        if file.get().is_none() {
            let bytes = done.reader.labels_to_bytes(name, &done.labels);
            let _ = file.set(bytes.map_err(|error| Failure::input(&error))?);
        }
        let bytes = file.get().map(Vec::as_slice).unwrap_or_default();
        (*data, *length) = (bytes.as_ptr(), bytes.len());
        Ok(())
    })
}

/// Frees a result and its arrays. Null is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn nnunet_result_free(result: *mut Outcome) -> Status {
    call(|| RESULTS.remove(result))
}
