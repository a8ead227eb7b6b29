use ndarray::Array4;
use rand_chacha::ChaCha8Rng;

use crate::cascade::append_one_hot;
use crate::check::check_window;
use crate::spatial::{Affine, Between, Grid, crop, resample};
use crate::strong::{self, Stage, StrongParameters};
use crate::{AugmentError, Parameters, PipelineConfig, Sample, Window, Workspace, intensity, mirror};

/// Label of voxels outside the case or its nonzero mask; training sees them as background.
const OUTSIDE: i16 = -1;

/// The transforms of one configuration, for training or for validation.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    config: PipelineConfig,
    training: bool,
}

impl Pipeline {
    /// Everything: geometry, intensities, mirroring, masking, and −1 becomes background.
    pub fn training(config: PipelineConfig) -> Self {
        Self { config, training: true }
    }

    /// Only −1 becomes background; samples have the shape of the patch already.
    pub fn validation(config: PipelineConfig) -> Self {
        Self { config, training: false }
    }

    /// The settings.
    pub fn config(&self) -> &PipelineConfig {
        &self.config
    }

    pub(crate) fn is_training(&self) -> bool {
        self.training
    }

    /// Draws everything random about a sample with `channels` image channels.
    pub fn draw(&self, channels: usize, rng: &mut ChaCha8Rng) -> Parameters {
        if self.training { Parameters::draw(&self.config, channels, rng) } else { Parameters::default() }
    }

    /// Draws parameters and applies them.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn run(&self, sample: Sample, rng: &mut ChaCha8Rng) -> Result<Sample, AugmentError> {
        let parameters = self.draw(sample.image.shape()[0], rng);
        self.apply(sample, &parameters)
    }

    /// Applies drawn parameters to a sample of at least the patch's shape, usually
    /// [`PipelineConfig::initial_patch_size`]. The result has the shape of the patch.
    ///
    /// # Errors
    /// If the configuration is impossible, an axis of the sample is empty or shorter than the patch (for validation:
    /// different from the patch), image and labels differ in shape, or the number of channels is not that of the
    /// mask or of the parameters.
    pub fn apply(&self, mut sample: Sample, parameters: &Parameters) -> Result<Sample, AugmentError> {
        let loaded = sample.shape()?;
        let mut workspace = Workspace::default();
        let affine = self.check(&sample, loaded, parameters)?;
        let in_place = affine.is_none() && loaded == self.config.patch_size && is_standard(&sample);
        if in_place && self.config.cascade.is_none() {
            self.finish(&mut sample, parameters, &mut workspace);
            return Ok(sample);
        }
        let mut target = Sample { image: Array4::zeros((0, 0, 0, 0)), labels: Array4::zeros((0, 0, 0, 0)) };
        self.apply_window(&sample, &Window::whole(loaded), parameters, &mut workspace, &mut target)?;
        Ok(target)
    }

    /// The part of a loaded patch of shape `loaded` that a sample with these parameters reads.
    ///
    /// # Errors
    /// As [`apply`](Self::apply), for the shape.
    pub fn source_window(&self, parameters: &Parameters, loaded: [usize; 3]) -> Result<Window, AugmentError> {
        let affine = self.check_shape(loaded, parameters)?;
        Ok(Window::needed(affine.as_ref(), self.config.patch_size, loaded))
    }

    /// As [`apply`](Self::apply), for a sample that holds only the voxels of `window`, into a target whose arrays are
    /// reused if they have the right shape.
    ///
    /// # Errors
    /// As [`apply`](Self::apply), and if the sample does not have the shape of the window or the window does not hold
    /// all that is read.
    pub fn apply_window(
        &self,
        part: &Sample,
        window: &Window,
        parameters: &Parameters,
        workspace: &mut Workspace,
        target: &mut Sample,
    ) -> Result<(), AugmentError> {
        let shape = part.shape()?;
        let affine = self.check(part, window.loaded, parameters)?;
        check_window(shape, window, &Window::needed(affine.as_ref(), self.config.patch_size, window.loaded))?;
        let patch = self.config.patch_size;
        let further = self.config.cascade.as_ref().map_or(0, |cascade| cascade.labels.len());
        prepare(&mut target.image, part.image.shape()[0] + further, patch);
        prepare(&mut target.labels, part.labels.shape()[0], patch);
        self.sample_geometry(part, window, affine.as_ref(), parameters, workspace, target);
        self.finish(target, parameters, workspace);
        Ok(())
    }

    /// Rotation and scaling, or the central crop.
    pub(crate) fn sample_geometry(
        &self,
        part: &Sample,
        window: &Window,
        affine: Option<&Affine>,
        parameters: &Parameters,
        workspace: &mut Workspace,
        target: &mut Sample,
    ) {
        let patch = self.config.patch_size;
        let (image, labels) = (part.image.as_standard_layout(), part.labels.as_standard_layout());
        let (Some(image), Some(labels)) = (image.as_slice(), labels.as_slice()) else { return };
        let targets = (target.image.as_slice_mut(), target.labels.as_slice_mut());
        let (Some(image_target), Some(labels_target)) = targets else { return };
        match affine {
            Some(affine) => {
                let in_plane = self.config.in_plane();
                let field = parameters.elastic.as_ref().map(|elastic| elastic.field(patch, in_plane));
                let grid = Grid { affine, field: field.as_ref(), window, patch };
                let how = |nearest| if nearest { Between::Nearest } else { Between::Linear };
                let (nearest_image, nearest_labels) = (self.config.nearest_image, self.config.nearest_labels);
                let (mut rows_image, mut rows_labels) = ((image, image_target), (labels, labels_target));
                // What rows cannot do is done voxel by voxel, and they are left without work.
                if field.is_some() || nearest_image {
                    grid.image(rows_image.0, rows_image.1, how(nearest_image));
                    rows_image = (&[], &mut []);
                }
                if field.is_some() || nearest_labels {
                    grid.labels(rows_labels.0, rows_labels.1, how(nearest_labels));
                    rows_labels = (&[], &mut []);
                }
                resample(affine, window, patch, rows_image, rows_labels, &mut workspace.rows);
            }
            None => {
                let needed = Window::needed(None, patch, window.loaded);
                let start = [0, 1, 2].map(|k| needed.start[k] - window.start[k]);
                crop(image, window.shape, start, image_target, patch);
                crop(labels, window.shape, start, labels_target, patch);
            }
        }
    }

    /// Everything after geometry, in place on a sample in standard layout whose image has room for the channels of a
    /// cascade.
    fn finish(&self, sample: &mut Sample, parameters: &Parameters, workspace: &mut Workspace) {
        let patch = self.config.patch_size;
        let further = self.config.cascade.as_ref().map_or(0, |cascade| cascade.labels.len());
        let slices = (sample.image.as_slice_mut(), sample.labels.as_slice_mut());
        let (Some(image), Some(labels)) = slices else { return };
        let own = image.len() - further * patch.iter().product::<usize>();
        let image = &mut image[..own];
        if self.training {
            self.transform(image, labels, parameters, workspace);
        }
        labels.iter_mut().for_each(|label| *label = if *label == OUTSIDE { 0 } else { *label });
        if let Some(cascade) = &self.config.cascade {
            let drawn = parameters.cascade.clone().unwrap_or_default();
            append_one_hot(sample, cascade, &drawn, self.config.dims == 2);
        }
    }

    /// Everything of training between geometry and the removal of −1.
    fn transform(
        &self,
        image: &mut [f32],
        labels: &mut [i16],
        parameters: &Parameters,
        workspace: &mut Workspace,
    ) {
        let patch = self.config.patch_size;
        let voxels = patch.iter().product();
        if let Some(strong) = &parameters.strong {
            strong::orient(image, patch, strong);
            strong::orient(labels, patch, strong);
        }
        self.change_intensities(image, parameters, workspace);
        mirror::mirror(image, patch, parameters.mirror);
        mirror::mirror(labels, patch, parameters.mirror);
        if let Some(pairs) = self.config.left_right.as_ref().filter(|pairs| parameters.mirror[pairs.axis]) {
            pairs.exchange(labels);
        }
        if let Some(strong) = &parameters.strong {
            for (c, channel) in image.chunks_exact_mut(voxels).enumerate() {
                strong::after_mirroring(channel, patch, c, self.config.dims == 2, strong);
            }
        }
        self.mask(image, labels);
    }

    fn change_intensities(&self, image: &mut [f32], parameters: &Parameters, workspace: &mut Workspace) {
        let voxels = self.config.patch_size.iter().product();
        let strong = parameters.strong.as_deref();
        // The default adds noise before it blurs, the stronger set after.
        if let Some(strong) = strong {
            for (c, channel) in image.chunks_exact_mut(voxels).enumerate() {
                self.change_strongly(channel, c, Stage::Median, strong);
                self.blur(channel, c, parameters, workspace);
            }
        }
        if let Some(noise) = &parameters.noise {
            intensity::add_noise(image, noise);
        }
        for (c, channel) in image.chunks_exact_mut(voxels).enumerate() {
            if strong.is_none() {
                self.blur(channel, c, parameters, workspace);
            }
            self.change_channel(channel, c, parameters, workspace);
        }
    }

    fn blur(&self, channel: &mut [f32], c: usize, parameters: &Parameters, workspace: &mut Workspace) {
        if let Some(sigmas) = parameters.blur.as_ref().and_then(|blur| blur[c]) {
            let mut sigmas = sigmas.map(Some);
            if self.config.dims == 2 {
                sigmas[0] = None;
            }
            intensity::blur(channel, self.config.patch_size, sigmas, &mut workspace.blur);
        }
    }

    fn change_strongly(&self, channel: &mut [f32], c: usize, stage: Stage, strong: &StrongParameters) {
        strong::around_intensities(channel, self.config.patch_size, c, self.config.dims == 2, stage, strong);
    }

    /// The transforms of one channel after noise and blur.
    fn change_channel(
        &self,
        channel: &mut [f32],
        c: usize,
        parameters: &Parameters,
        workspace: &mut Workspace,
    ) {
        let strong = parameters.strong.as_deref();
        if let Some(factors) = &parameters.brightness {
            intensity::brighten(channel, factors[c]);
        }
        if let Some(factors) = &parameters.contrast {
            intensity::contrast(channel, factors[c], true);
        }
        if let Some(strong) = strong {
            self.change_strongly(channel, c, Stage::Contrast, strong);
        }
        if let Some(factor) = parameters.low_resolution.as_ref().and_then(|factors| factors[c]) {
            let along_z = if self.config.in_plane() { 1.0 } else { factor };
            let (shape, factors) = (self.config.patch_size, [along_z, factor, factor]);
            intensity::low_resolution(channel, shape, factors, &mut workspace.low_resolution);
        }
        let again = strong.and_then(|strong| strong.gamma_inverted.as_ref());
        for exponents in parameters.gamma_inverted.iter().chain(again) {
            intensity::gamma(channel, exponents[c], true);
        }
        if let Some(exponents) = &parameters.gamma {
            intensity::gamma(channel, exponents[c], false);
        }
    }

    /// Sets the flagged image channels to 0 where the first label channel is below 0.
    fn mask(&self, image: &mut [f32], labels: &[i16]) {
        let voxels = self.config.patch_size.iter().product();
        for (channel, &masked) in image.chunks_exact_mut(voxels).zip(&self.config.mask_channels) {
            if masked {
                for (v, &label) in channel.iter_mut().zip(labels) {
                    *v = if label < 0 { 0.0 } else { *v };
                }
            }
        }
    }
}

/// Gives `array` the shape of the patch; it stays where it is if it has it.
fn prepare<T: Clone + Default>(array: &mut Array4<T>, channels: usize, [z, y, x]: [usize; 3]) {
    if array.dim() != (channels, z, y, x) || !array.is_standard_layout() {
        *array = Array4::from_elem((channels, z, y, x), T::default());
    }
}

fn is_standard(sample: &Sample) -> bool {
    sample.image.is_standard_layout() && sample.labels.is_standard_layout()
}
