//! What is needed to apply drawn parameters elsewhere than here, such as to images in the memory of a graphics card: labels
//! stay here, and every number that the transforms of images take can be asked for.

use ndarray::Array4;

use crate::intensity::{gaussian_weights, interpolation_taps};
use crate::spatial::Affine;
use crate::{AugmentError, Parameters, Pipeline, Sample, Window, Workspace, mirror};

/// The map from voxels of the patch to coordinates of the loaded patch: `matrix · (voxel − patch centre) + centre`, axes z, y, x.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AffineMap {
    /// Rows z, y, x.
    pub matrix: [[f64; 3]; 3],
    /// The middle of the loaded patch, in voxels.
    pub centre: [f64; 3],
}

/// Two voxels of an axis and the weight of the second: what a voxel becomes that is interpolated between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tap {
    /// Voxel of the first.
    pub low: usize,
    /// Voxel of the second.
    pub high: usize,
    /// Weight of the second; the first has the rest.
    pub weight: f32,
}

impl Pipeline {
    /// Whether all that this pipeline does to images is rotation, scaling, noise, blur, brightness, contrast, low
    /// resolution, gamma and mirroring, interpolated linearly: what a device with those transforms can take over.
    pub fn is_plain(&self) -> bool {
        let config = self.config();
        config.elastic.probability == 0.0
            && config.strong.is_none()
            && config.cascade.is_none()
            && !config.nearest_image
    }

    /// Where the voxels of the patch come from; none if the patch is the central crop.
    ///
    /// # Errors
    /// As [`Pipeline::apply`], for the shape.
    pub fn map(
        &self,
        parameters: &Parameters,
        loaded: [usize; 3],
    ) -> Result<Option<AffineMap>, AugmentError> {
        Ok(self.check_shape(loaded, parameters)?.as_ref().map(Affine::map))
    }

    /// What [`Pipeline::apply_window`] does to labels up to mirroring, included; −1 is kept, so that images can be masked.
    ///
    /// # Errors
    /// As there.
    pub fn apply_to_labels(
        &self,
        labels: Array4<i16>,
        window: &Window,
        parameters: &Parameters,
        workspace: &mut Workspace,
    ) -> Result<Array4<i16>, AugmentError> {
        let (channels, z, y, x) = labels.dim();
        let part = Sample { image: Array4::zeros((0, z, y, x)), labels };
        let affine = self.check_shape(window.loaded, parameters)?;
        let patch = self.config().patch_size;
        let needed = Window::needed(affine.as_ref(), patch, window.loaded);
        crate::check::check_window([z, y, x], window, &needed)?;
        let [z, y, x] = patch;
        let mut target =
            Sample { image: Array4::zeros((0, z, y, x)), labels: Array4::zeros((channels, z, y, x)) };
        self.sample_geometry(&part, window, affine.as_ref(), parameters, workspace, &mut target);
        if let Some(labels) = target.labels.as_slice_mut() {
            mirror::mirror(labels, patch, parameters.mirror);
            let pairs = self.config().left_right.as_ref();
            if let Some(pairs) = pairs.filter(|pairs| parameters.mirror[pairs.axis]) {
                pairs.exchange(labels);
            }
        }
        Ok(target.labels)
    }

    /// Weights of the blur of a channel along axes z, y, x, from the middle outwards; empty where an axis is not blurred. None
    /// if the channel is not blurred.
    pub fn blur_weights(&self, parameters: &Parameters, channel: usize) -> Option<[Vec<f32>; 3]> {
        let sigmas = (*parameters.blur.as_ref()?.get(channel)?)?;
        let mut weights = sigmas.map(gaussian_weights);
        if self.config().dims == 2 {
            weights[0].clear();
        }
        Some(weights)
    }

    /// Between which voxels those of a channel of low resolution are interpolated, for each voxel along axes z, y, x. None if
    /// the channel keeps its resolution.
    pub fn low_resolution_taps(&self, parameters: &Parameters, channel: usize) -> Option<[Vec<Tap>; 3]> {
        let factor = (*parameters.low_resolution.as_ref()?.get(channel)?)?;
        let along_z = if self.config().in_plane() { 1.0 } else { factor };
        let [z, y, x] = self.config().patch_size;
        Some([(z, along_z), (y, factor), (x, factor)].map(|(length, f)| interpolation_taps(length, f)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PipelineConfig, sample_rng};

    #[test]
    fn labels_alone_are_those_of_the_whole_sample() {
        let config = PipelineConfig::nnunet(&[6, 8, 7], &[true]);
        let loaded = config.initial_patch_size();
        let [z, y, x] = loaded;
        let pipeline = Pipeline::training(config);
        for number in 0..20 {
            let labels = Array4::from_shape_fn((1, z, y, x), |(_, z, y, x)| ((z * y + x) % 5) as i16 - 1);
            let image = Array4::ones((1, z, y, x));
            let parameters = pipeline.draw(1, &mut sample_rng(1, 2, number));
            let alone = pipeline
                .apply_to_labels(
                    labels.clone(),
                    &Window::whole(loaded),
                    &parameters,
                    &mut Workspace::default(),
                )
                .unwrap();
            let whole = pipeline.apply(Sample { image, labels }, &parameters).unwrap();
            assert_eq!(alone.mapv(|label| label.max(0)), whole.labels);
            assert!(alone.iter().any(|&label| label < 0));
        }
    }
}
