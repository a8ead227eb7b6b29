//! The public interface against SimpleITK, nibabel and nnU-Net (golden files, see `tests/golden/make.py`), against slow
//! and simple versions of itself, and against broken files.

mod crop;
#[cfg(all(feature = "dicom", feature = "nrrd", feature = "nifti", feature = "npz"))]
mod dicom;
#[cfg(all(feature = "dicom", feature = "nifti", feature = "npz"))]
mod dicom_more;
#[cfg(feature = "nifti")]
mod errors;
#[cfg(feature = "nifti")]
mod extension;
#[cfg(all(
    feature = "nifti",
    feature = "nrrd",
    feature = "metaimage",
    feature = "gipl",
    feature = "natural",
    feature = "npz"
))]
mod formats;
#[cfg(all(
    feature = "nifti",
    feature = "nrrd",
    feature = "metaimage",
    feature = "gipl",
    feature = "natural"
))]
mod mutations;
#[cfg(feature = "nifti")]
mod nifti;
#[cfg(feature = "nifti")]
mod real_data;
mod resample;
#[cfg(feature = "npz")]
mod resample_golden;
#[cfg(all(feature = "dicom", feature = "nifti"))]
mod rtstruct;
#[cfg(all(feature = "dicom", feature = "nifti"))]
mod seg;
#[cfg(all(feature = "dicom", feature = "nifti", feature = "npz"))]
mod seg_of_others;

/// A file or folder of the golden data.
#[cfg(any(feature = "nifti", feature = "npz"))]
fn golden(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}
