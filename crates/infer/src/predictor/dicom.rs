use std::path::PathBuf;

use ndarray::Array4;
use nnunet_image::{
    AxisCode, DicomSource, DicomVolume, Image, LabelMap, Progress, place_labels, read_dicom_channels,
    reorient_image, reorient_labels,
};

use super::Predictor;
use super::case::CaseInput;
use crate::{CancelToken, InferError};

/// A segmented DICOM series.
#[derive(Debug, Clone)]
pub struct DicomPrediction {
    /// One label per voxel of the (first) series.
    pub labels: LabelMap,
    /// Probabilities of labels (including background) or regions, `(channel, z, y, x)` on the grid of the series.
    pub probabilities: Option<Array4<f32>>,
    /// What files about the segmentation refer to.
    pub source: DicomSource,
}

impl Predictor {
    /// Segments a DICOM series, or several with the same voxels: the files of one series per channel of the model, in the order of
    /// its channels; files in any order.
    ///
    /// `previous` is the segmentation of the previous stage where the model continues one, on any grid with the voxels of the
    /// series. `progress` counts tiles.
    ///
    /// ```no_run
    /// use std::path::Path;
    ///
    /// use candle_core::Device;
    /// use nnunet_image::{DicomFolder, DicomSegment, DicomSelector, SegOptions, write_dicom_seg};
    /// use nnunet_infer::{Predictor, PredictorOptions};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let model = Path::new("nnUNetTrainer__nnUNetPlans__3d_fullres");
    /// let predictor = Predictor::open(model, None, None, PredictorOptions::default(), Device::Cpu)?;
    /// let folder = Path::new("studies");
    /// let found = DicomFolder::read_below(folder)?;
    /// let series = found.choose(Some(&DicomSelector("T1 post*".to_owned())), folder)?;
    /// let result = predictor.predict_dicom(&[series.files.clone()], None, false, &|_| {})?;
    /// let segments = vec![DicomSegment::new(1, "Anterior"), DicomSegment::new(2, "Posterior")];
    /// write_dicom_seg(Path::new("seg.dcm"), &result.labels, &result.source, &SegOptions::new(segments))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A series that cannot be read, series with different voxels, a previous stage with other voxels, or what
    /// [`Predictor::predict_image`] refuses.
    pub fn predict_dicom(
        &self,
        channels: &[Vec<PathBuf>],
        previous: Option<LabelMap>,
        with_probabilities: bool,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<DicomPrediction, InferError> {
        let (input, source) = self.dicom_input(channels, previous)?;
        let found = self.predict_image(input, with_probabilities, progress)?;
        let geometry = found.labels.geometry.clone();
        let labels = place_labels(&found.labels, source.geometry(), source.shape())?;
        let to = AxisCode::of(source.geometry())?;
        let turned = |data| Ok::<_, InferError>(reorient_image(Image { data, geometry }, to)?.data);
        let probabilities = found.probabilities.map(turned).transpose()?;
        Ok(DicomPrediction { labels, probabilities, source })
    }

    /// Reads what [`Predictor::predict_dicom`] segments as a case, in the orientation that the model's images have, and what
    /// files about it refer to.
    ///
    /// # Errors
    /// As [`Predictor::predict_dicom`], but for what is wrong with values.
    pub fn dicom_input(
        &self,
        channels: &[Vec<PathBuf>],
        previous: Option<LabelMap>,
    ) -> Result<(CaseInput, DicomSource), InferError> {
        let DicomVolume { mut image, source } = read_dicom_channels(channels)?;
        let mut previous =
            previous.map(|labels| place_labels(&labels, source.geometry(), source.shape())).transpose()?;
        if self.plans.image_reader_writer.ends_with("WithReorient") {
            let axes = AxisCode::of(&image.geometry)?;
            image = reorient_image(image, AxisCode::RAS)?;
            image.geometry.file_axes = Some(axes);
            previous = previous.map(|labels| reorient_labels(labels, AxisCode::RAS)).transpose()?;
        }
        Ok((CaseInput { image, previous, region: None, cancel: CancelToken::new() }, source))
    }
}
