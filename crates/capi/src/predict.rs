//! Predictions.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::path::PathBuf;
use std::sync::Arc;

use ndarray::ArrayView4;
use nnunet_image::{CaseReader, Geometry, Image, ImageError, reader_by_name};
use nnunet_infer::{CancelToken, CaseInput};

use crate::cancel::{CANCELS, Cancel};
use crate::edge::{Failure, Status, call, path, required, target, values};
use crate::model::{Loaded, MODELS, Model};
use crate::result::{Done, Outcome, RESULTS};

/// An image in memory.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ImageArray {
    /// Intensities: channels, each z, y, x, with x fastest.
    pub data: *const f32,
    /// Number of channels and voxels along z, y and x.
    pub shape: [usize; 4],
    /// Distance of neighbouring voxels along z, y and x in millimetres.
    pub spacing: [f64; 3],
}

/// Bytes of a file.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Bytes {
    /// The first byte.
    pub data: *const u8,
    /// Number of bytes.
    pub length: usize,
}

/// Called after each tile, from one thread at a time, which need not be the one that called; `user` is what was handed over
/// with it. The prediction is cancelled if it returns anything but 0.
pub type Progress = Option<unsafe extern "C" fn(user: *mut c_void, done: usize, total: usize) -> c_int>;

/// What goes on beside a prediction.
struct Beside {
    progress: Progress,
    user: *mut c_void,
    cancel: CancelToken,
}

// SAFETY: whoever hands over `user` with a callback is told that it is called from other threads, one at a time.
unsafe impl Send for Beside {}
unsafe impl Sync for Beside {}

impl Beside {
    fn new(progress: Progress, user: *mut c_void, cancel: *const Cancel) -> Result<Self, Failure> {
        let cancel =
            if cancel.is_null() { CancelToken::new() } else { CANCELS.get(cancel)?.as_ref().clone() };
        Ok(Self { progress, user, cancel })
    }

    /// # Errors
    /// What the model says, or that it was cancelled.
    fn predict(
        &self,
        model: &Loaded,
        image: Image,
        probabilities: bool,
        reader: Arc<dyn CaseReader>,
    ) -> Result<Done, Failure> {
        // One that the callback asks for ends this prediction alone.
        let own = CancelToken::new();
        let report = |progress: nnunet_image::Progress<'_>| {
            let stop = match self.progress {
                // SAFETY: the caller handed over a function for this.
                Some(call) => unsafe { call(self.user, progress.done, progress.total) != 0 },
                None => false,
            };
            if stop || self.cancel.is_cancelled() {
                own.cancel();
            }
        };
        if self.cancel.is_cancelled() {
            own.cancel();
        }
        let case = CaseInput { cancel: own.clone(), ..CaseInput::from(image) };
        let prediction = model
            .run(|predictor| predictor.predict_image(case, probabilities, &report))
            .map_err(Failure::predict)?;
        Ok(Done::new(prediction, reader))
    }
}

/// The reader that the model's plans name, or the first of this build for programs that leave it out.
fn reader(model: &Loaded) -> Result<Arc<dyn CaseReader>, Failure> {
    let name = &model.predictor.plans().image_reader_writer;
    reader_by_name(name).map_err(|error| Failure::input(&error))
}

/// A reader that writes the results of arrays, where there is one.
fn any_reader(model: &Loaded) -> Arc<dyn CaseReader> {
    let name = &model.predictor.plans().image_reader_writer;
    let found = reader_by_name(name).or_else(|_| reader_by_name("SimpleITKIO"));
    found.unwrap_or_else(|_| Arc::new(NoFiles))
}

/// Stands in where no codec is compiled in.
struct NoFiles;

impl NoFiles {
    fn refuse(path: &std::path::Path) -> ImageError {
        let reason = "this build reads and writes no files; build with the feature `nifti`".to_owned();
        ImageError::Format { path: path.to_owned(), reason }
    }
}

impl CaseReader for NoFiles {
    fn name(&self) -> &'static str {
        "none"
    }

    fn read_images(&self, channels: &[PathBuf]) -> Result<Image, ImageError> {
        Err(Self::refuse(channels.first().map_or("image".as_ref(), PathBuf::as_path)))
    }

    fn write_labels(&self, path: &std::path::Path, _: &nnunet_image::LabelMap) -> Result<(), ImageError> {
        Err(Self::refuse(path))
    }
}

impl ImageArray {
    /// # Safety
    /// `data` is null or can be read for as many values as the shape says.
    unsafe fn image(&self) -> Result<Image, Failure> {
        let voxels = self.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        let voxels = voxels.filter(|&n| n > 0).ok_or_else(|| {
            Failure::argument(format!("image.shape is {:?}, expected sizes of at least 1", self.shape))
        })?;
        if self.spacing.iter().any(|&mm| !(mm.is_finite() && mm > 0.0)) {
            let found = self.spacing;
            return Err(Failure::argument(format!(
                "image.spacing is {found:?} (z, y, x), expected lengths above 0 mm"
            )));
        }
        // SAFETY: the caller's.
        let data = unsafe { values(self.data, voxels, "image.data")? };
        let data = ArrayView4::from_shape(self.shape, data)
            .map_err(|error| Failure::argument(format!("image.shape: {error}")))?
            .to_owned();
        Ok(Image { data, geometry: Geometry { spacing: self.spacing, ..Geometry::default() } })
    }
}

/// What the functions that predict are asked beside the image.
struct Asked {
    probabilities: c_int,
    progress: Progress,
    user: *mut c_void,
    cancel: *const Cancel,
}

/// Predicts what `read` gives, with the reader that writes its results, and hands the result over.
///
/// # Safety
/// `asked.progress` is null or may be called with `asked.user` from other threads; `result` is null or can be written.
unsafe fn answer(
    model: *const Model,
    read: impl FnOnce(&Loaded) -> Result<(Image, Arc<dyn CaseReader>), Failure>,
    asked: Asked,
    result: *mut *mut Outcome,
) -> Status {
    call(|| {
        // SAFETY: the caller's.
        let result = unsafe { target(result, "result") }?;
        *result = std::ptr::null_mut();
        let model = MODELS.get(model)?;
        let (image, reader) = read(&model)?;
        let beside = Beside::new(asked.progress, asked.user, asked.cancel)?;
        *result = RESULTS.add(beside.predict(&model, image, asked.probabilities != 0, reader)?);
        Ok(())
    })
}

/// Segments an image in memory.
///
/// `probabilities` asks for them, too (1 or 0). `progress` and `cancel` may be null. `result` is to be freed with
/// `nnunet_result_free`.
///
/// # Safety
/// `image` is null or can be read, and so can its data for its shape; `progress` is null or may be called with `user` from
/// other threads; `result` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnunet_predict(
    model: *const Model,
    image: *const ImageArray,
    probabilities: c_int,
    progress: Progress,
    user: *mut c_void,
    cancel: *const Cancel,
    result: *mut *mut Outcome,
) -> Status {
    let read = |model: &Loaded| {
        // SAFETY: the caller's.
        let image = unsafe { required(image, "image")?.image() }?;
        Ok((image, any_reader(model)))
    };
    // SAFETY: the caller's.
    unsafe { answer(model, read, Asked { probabilities, progress, user, cancel }, result) }
}

/// Segments an image from files, one per channel, in order; they are read as the model's plans say.
///
/// The other arguments are those of `nnunet_predict`.
///
/// # Safety
/// `paths` is null or holds `count` pointers, each null or text in UTF-8 that ends with a zero; the rest as for
/// `nnunet_predict`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnunet_predict_files(
    model: *const Model,
    paths: *const *const c_char,
    count: usize,
    probabilities: c_int,
    progress: Progress,
    user: *mut c_void,
    cancel: *const Cancel,
    result: *mut *mut Outcome,
) -> Status {
    let read = |model: &Loaded| {
        // SAFETY: the caller's.
        let paths = unsafe { values(paths, count, "paths") }?;
        // SAFETY: the caller's.
        let paths: Vec<_> =
            paths.iter().map(|&text| unsafe { path(text, "a path") }).collect::<Result<_, _>>()?;
        let reader = reader(model)?;
        nnunet_image::check_channel_places(&*reader, &paths).map_err(|error| Failure::input(&error))?;
        let image = reader.read_images(&paths).map_err(|error| Failure::input(&error))?;
        Ok((image, reader))
    };
    // SAFETY: the caller's.
    unsafe { answer(model, read, Asked { probabilities, progress, user, cancel }, result) }
}

/// Segments an image from the bytes of NIfTI files, one per channel, in order; `.nii` and `.nii.gz` are told apart.
///
/// The other arguments are those of `nnunet_predict`.
///
/// # Safety
/// `channels` is null or can be read for `count` values, each of which is null or can be read for its length; the rest as
/// for `nnunet_predict`.
#[cfg(feature = "nifti")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nnunet_predict_nifti(
    model: *const Model,
    channels: *const Bytes,
    count: usize,
    probabilities: c_int,
    progress: Progress,
    user: *mut c_void,
    cancel: *const Cancel,
    result: *mut *mut Outcome,
) -> Status {
    let read = |model: &Loaded| {
        let mut files: Vec<(&str, &[u8])> = Vec::new();
        // SAFETY: the caller's.
        for file in unsafe { values(channels, count, "channels") }? {
            // SAFETY: the caller's.
            files.push(("image.nii", unsafe { values(file.data, file.length, "channels.data") }?));
        }
        let reader = any_reader(model);
        let image = reader.read_bytes(&files).map_err(|error| Failure::input(&error))?;
        Ok((image, reader))
    };
    // SAFETY: the caller's.
    unsafe { answer(model, read, Asked { probabilities, progress, user, cancel }, result) }
}
