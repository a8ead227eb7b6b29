//! Postprocessing: whether it helps to keep only the largest component.

mod determine;
mod file;

use std::path::Path;

use ndarray::ArrayViewMut3;
use nnunet_fingerprint::Class;
use nnunet_image::{CaseReader, Connectivity, Progress, keep_largest_components};
use rayon::prelude::*;

pub use determine::{PostprocessingReport, determine_postprocessing};

use crate::InferError;
use crate::folder::{create, files};

/// What is done to segmentations after prediction: steps, each of which keeps the largest component of some labels.
///
/// ```
/// use ndarray::array;
/// use nnunet_fingerprint::Class;
/// use nnunet_infer::{KeepLargest, Postprocessing};
///
/// let mut labels = array![[[1i16, 1, 0, 2, 0, 1]]];
/// let postprocessing = Postprocessing { steps: vec![KeepLargest::Of(Class::Label(1))] };
/// postprocessing.apply(labels.view_mut());
/// assert_eq!(labels, array![[[1i16, 1, 0, 2, 0, 0]]]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Postprocessing {
    /// The steps, in order.
    pub steps: Vec<KeepLargest>,
}

/// Whose largest component is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepLargest {
    /// That of the union of classes.
    OfAll(Vec<Class>),
    /// That of one class.
    Of(Class),
}

impl KeepLargest {
    /// The classes whose union counts.
    pub fn classes(&self) -> &[Class] {
        match self {
            Self::OfAll(classes) => classes,
            Self::Of(class) => std::slice::from_ref(class),
        }
    }
}

impl Postprocessing {
    /// Sets what is not in the largest components to 0, step by step. All components of the largest size stay; voxels are
    /// connected across faces, edges and corners.
    pub fn apply(&self, mut labels: ArrayViewMut3<'_, i16>) {
        for step in &self.steps {
            let within = |label: i16| step.classes().iter().any(|class| class.labels().contains(&label));
            keep_largest_components(labels.view_mut(), within, Connectivity::Corners);
        }
    }

    /// Applies it to every segmentation of a folder, several at a time, and writes the results under the same names.
    ///
    /// Returns the files that failed; the others were written all the same.
    ///
    /// # Errors
    /// The folder has no segmentation, or the output folder cannot be created.
    pub fn apply_to_folder(
        &self,
        input: &Path,
        output: &Path,
        reader: &dyn CaseReader,
        file_ending: &str,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Vec<(String, InferError)>, InferError> {
        let names = files(input, file_ending)?;
        if names.is_empty() {
            let (folder, ending) = (input.to_owned(), file_ending.to_owned());
            return Err(InferError::NoPredictions { folder, ending });
        }
        create(output)?;
        let done = std::sync::atomic::AtomicUsize::new(0);
        let one = |name: &String| -> Result<(), InferError> {
            let mut labels = reader.read_labels(&input.join(name))?;
            self.apply(labels.data.view_mut());
            Ok(reader.write_labels(&output.join(name), &labels)?)
        };
        let failed = names.par_iter().filter_map(|name| {
            let result = one(name);
            let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            progress(Progress { done, total: names.len(), item: name });
            Some((name.clone(), result.err()?))
        });
        Ok(failed.collect())
    }
}
