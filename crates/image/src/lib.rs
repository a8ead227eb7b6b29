//! Medical images with their geometry, and what nnU-Net does to them before anything is learnt.
//!
//! - [`Image`], [`LabelMap`], [`Geometry`]: arrays `(channel, z, y, x)` with spacing `[z, y, x]` in millimetres, origin and
//!   direction.
//! - [`CaseReader`]: reads the channels of a case, reads and writes segmentations; [`reader_for`] and
//!   [`reader_by_name`] choose one.
//! - [`connected_components`], [`keep_largest_components`]: components of label maps.
//! - [`resample`], [`resample_image`], [`resample_labels`]: resampling with nnU-Net's numbers;
//!   [`resample_to_spacing`]: the same with the geometry; [`crop_to_nonzero`].
//! - [`AxisCode`], [`reorient_image`], [`reorient_labels`]: which way axes point, and turning images to RAS, LPS and the like.
//! - [`fs::write_atomic`]: files that are whole or absent.
//!
//! ```
//! use ndarray::Array4;
//! use nnunet_image::{ResampleOptions, resample_image, resampled_shape};
//!
//! let ct = Array4::<f32>::zeros((1, 20, 64, 64));
//! let (spacing, target) = ([5.0, 0.8, 0.8], [2.5, 1.0, 1.0]);
//! let shape = resampled_shape([20, 64, 64], spacing, target);
//! assert_eq!(shape, [40, 51, 51]);
//! let resampled = resample_image(ct.view(), shape, spacing, target, &ResampleOptions::image()).unwrap();
//! assert_eq!(resampled.dim(), (1, 40, 51, 51));
//! ```
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `nifti` | yes | NIfTI-1 and NIfTI-2: `.nii`, `.nii.gz` (`SimpleITKIO`, `NibabelIO` and both `…WithReorient`) |
//! | `nrrd` | yes | NRRD: `.nrrd`, `.nhdr` (`SimpleITKIO`) |
//! | `metaimage` | yes | MetaImage: `.mha`, `.mhd` (`SimpleITKIO`) |
//! | `gipl` | yes | GIPL: `.gipl`, `.gipl.gz` (`SimpleITKIO`) |
//! | `tiff` | yes | TIFF stacks with a JSON file for their spacing: `.tif`, `.tiff` (`Tiff3DIO`) |
//! | `natural` | yes | 2-D `.png`, `.bmp` and `.tif`, grey or in colour (`NaturalImage2DIO`) |
//! | `dicom` | no | DICOM series as input: `read_dicom_series`, `read_dicom_volume`, `dicom_series`; DICOM SEG: `write_dicom_seg`, `read_dicom_seg`; RTSTRUCT: `write_dicom_rtstruct`, `read_dicom_rtstruct` |
//! | `dicom-jpeg2000` | no | JPEG 2000 in DICOM files |
//! | `npz` | yes | NumPy archives (`npz`) |
//!
//! All codecs are pure Rust. Reading takes memory for the values that a file really holds: a header that promises more is
//! refused when they do not come, an image may have 2³² voxels at most.

mod components;
// What formats share is not used whole by each of them.
#[cfg_attr(not(all(feature = "nifti", feature = "nrrd", feature = "metaimage")), allow(dead_code))]
mod channels;
mod crop;
#[cfg(feature = "dicom")]
mod dicom;
mod error;
pub mod fs;
mod geometry;
#[cfg(feature = "stored")]
#[cfg_attr(not(all(feature = "nifti", feature = "nrrd", feature = "metaimage")), allow(dead_code))]
mod itk;
#[cfg(feature = "natural")]
mod natural;
#[cfg(feature = "nifti")]
mod nifti;
#[cfg(feature = "npz")]
pub mod npz;
mod orient;
mod reader;
mod resample;
#[cfg(feature = "stored")]
#[cfg_attr(not(all(feature = "nifti", feature = "nrrd", feature = "metaimage")), allow(dead_code))]
mod stored;
#[cfg(feature = "tiff")]
mod tiff;
mod transpose;

pub use channels::{channel_geometries, check_channel_places};
pub use components::{
    Components, Connectivity, connected_components, keep_largest_components, mask_components,
};
pub use crop::{BoundingBox, Cropped, bounding_box, crop_to_nonzero, nonzero_box, nonzero_mask};
#[cfg(feature = "dicom")]
pub use dicom::{
    DicomCode, DicomFolder, DicomRoi, DicomSeg, DicomSegment, DicomSelector, DicomSeries, DicomSource,
    DicomStructures, DicomTime, DicomVolume, RoiOverlap, SegOptions, dicom_seg_step, dicom_series,
    dicom_series_below, is_dicom, is_dicom_rtstruct, place_labels, read_dicom_channels, read_dicom_files,
    read_dicom_rtstruct, read_dicom_seg, read_dicom_series, read_dicom_source, read_dicom_volume,
    segment_terms, write_dicom_rtstruct, write_dicom_seg, write_dicom_seg_fractional, write_dicom_seg_steps,
};
pub use error::ImageError;
pub use geometry::{Geometry, Image, LabelMap, Progress};
#[cfg(feature = "stored")]
pub use itk::write_image;
#[cfg(feature = "nifti")]
pub use nifti::{NiftiExtension, nifti_extensions, set_nifti_extensions};
pub use orient::{AxisCode, reorient_image, reorient_labels};
pub use reader::{CaseReader, Parts, reader_by_name, reader_for};
pub use resample::{
    Method, ResampleOptions, SeparateZ, resample, resample_image, resample_labels,
    resample_labels_to_spacing, resample_to_spacing, resampled_shape,
};
pub use transpose::{transpose_image, transpose_labels};

/// The code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
