//! One case: transpose, crop, normalise, resample.

use ndarray::{Array3, Array4, ArrayView3, Axis};
use nnunet_image::{
    BoundingBox, Geometry, Image, LabelMap, Method, ResampleOptions, SeparateZ, crop_to_nonzero,
    resample_image, resample_labels, resampled_shape, transpose_image, transpose_labels,
};
use nnunet_plan::{Configuration, LabelRules, Plans, ResamplingKwargs};

use crate::{ClassLocations, PreprocessError, class_locations, normalize};

/// What is needed to bring a prediction back to the original image.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseProperties {
    /// Geometry of the image as it was read.
    pub geometry: Geometry,
    /// Spacing of the image as it was read, (z, y, x) in millimetres.
    pub spacing: [f64; 3],
    /// Shape after transposing, before cropping.
    pub shape_before_cropping: [usize; 3],
    /// The box that was cut out of the transposed image.
    pub bbox: BoundingBox,
    /// Shape after cropping, before resampling.
    pub shape_after_cropping: [usize; 3],
    /// Voxels of each class; none without a segmentation.
    pub class_locations: Vec<ClassLocations>,
}

/// A case as networks see it.
#[derive(Debug, Clone, PartialEq)]
pub struct PreprocessedCase {
    /// Normalised intensities (channel, z, y, x) on the grid of the configuration.
    pub data: Array4<f32>,
    /// Labels (z, y, x) on the same grid; −1 outside the non-zero mask. Without a segmentation, 0 inside and −1 outside.
    pub seg: Array3<i16>,
    /// The way back.
    pub properties: CaseProperties,
}

/// Preprocesses one case for a configuration, with or without its segmentation.
///
/// The order is nnU-Net's: transpose, crop to non-zero, normalise, resample.
///
/// # Errors
/// Another number of channels than the plans have, a segmentation of another shape or with a label that the data set does
/// not declare, or a resampling function that is not supported.
pub fn preprocess_case(
    image: Image,
    labels: Option<LabelMap>,
    plans: &Plans,
    configuration: &Configuration,
    rules: &LabelRules,
) -> Result<PreprocessedCase, PreprocessError> {
    let with_labels = labels.is_some();
    let mut case = run(image, labels, plans, configuration, rules)?;
    if with_labels {
        case.properties.class_locations = class_locations(case.seg.view(), rules);
    }
    Ok(case)
}

/// Preprocesses one case for the second stage of a cascade: `previous` is what the first stage predicted, on the grid of the
/// image as it was read.
///
/// The prediction takes the way of a segmentation, and one channel of zeros and ones for every foreground label, ascending,
/// follows the channels of the image. `seg` of the result is the prediction.
///
/// # Errors
/// As [`preprocess_case`].
pub fn preprocess_cascade_case(
    image: Image,
    previous: LabelMap,
    plans: &Plans,
    configuration: &Configuration,
    rules: &LabelRules,
) -> Result<PreprocessedCase, PreprocessError> {
    let mut case = run(image, Some(previous), plans, configuration, rules)?;
    case.data = append_one_hot(case.data, case.seg.view(), rules.foreground_labels())?;
    Ok(case)
}

/// Appends to an image (channel, z, y, x) one channel per label, 1 where `seg` (z, y, x) has it and 0 elsewhere.
///
/// A cascade gives its second stage the first one's prediction in this form, with
/// [`LabelRules::foreground_labels`]; −1 belongs to none of them.
///
/// # Errors
/// The shapes differ.
pub fn append_one_hot(
    data: Array4<f32>,
    seg: ArrayView3<'_, i16>,
    labels: &[i16],
) -> Result<Array4<f32>, PreprocessError> {
    let (channels, z, y, x) = data.dim();
    if seg.dim() != (z, y, x) {
        let text = format!(
            "the previous stage's segmentation has shape {:?} (z, y, x), the image has {:?}",
            seg.shape(),
            [z, y, x]
        );
        return Err(PreprocessError::Mismatch(text));
    }
    let data = data.as_standard_layout().into_owned();
    let (mut values, _) = data.into_raw_vec_and_offset();
    values.reserve_exact(labels.len() * seg.len());
    for &label in labels {
        values.extend(seg.iter().map(|&l| if l == label { 1.0 } else { 0.0 }));
    }
    Array4::from_shape_vec((channels + labels.len(), z, y, x), values)
        .map_err(|e| PreprocessError::Mismatch(e.to_string()))
}

/// All steps but the class locations.
fn run(
    image: Image,
    labels: Option<LabelMap>,
    plans: &Plans,
    configuration: &Configuration,
    rules: &LabelRules,
) -> Result<PreprocessedCase, PreprocessError> {
    check(&image, labels.as_ref(), configuration, rules)?;
    let Image { data, geometry } = image;
    let transposed = if plans.transpose_forward == [0, 1, 2] {
        data
    } else {
        transpose_image(data.view(), plans.transpose_forward)
    };
    let labels = labels.map(|labels| transpose_labels(labels.data.view(), plans.transpose_forward));
    let spacing = plans.transpose_forward.map(|axis| geometry.spacing[axis]);
    let shape_before_cropping = spatial(&transposed);
    let cropped = crop_to_nonzero(transposed.view(), labels.as_ref().map(|labels| labels.view()));
    drop((transposed, labels));
    let (mut image, seg) = (cropped.image, cropped.labels);
    normalize_channels(&mut image, &seg, plans, configuration)?;

    let shape_after_cropping = spatial(&image);
    let target = target_spacing(configuration, spacing);
    let new_shape = resampled_shape(shape_after_cropping, spacing, target);
    let data = match resampling(&configuration.resampling_fn_data, &configuration.resampling_fn_data_kwargs)?
    {
        Some(options) => resample_image(image.view(), new_shape, spacing, target, &options)?,
        None => image,
    };
    let seg = match resampling(&configuration.resampling_fn_seg, &configuration.resampling_fn_seg_kwargs)? {
        Some(options) => resample_labels(seg.view(), new_shape, spacing, target, &options)?,
        None => seg,
    };
    let properties = CaseProperties {
        spacing: geometry.spacing,
        geometry,
        shape_before_cropping,
        bbox: cropped.bbox,
        shape_after_cropping,
        class_locations: Vec::new(),
    };
    Ok(PreprocessedCase { data, seg, properties })
}

/// Target spacing (z, y, x); a 2-D configuration keeps the spacing of the case along its first axis.
pub(crate) fn target_spacing(configuration: &Configuration, spacing: [f64; 3]) -> [f64; 3] {
    match *configuration.spacing.as_slice() {
        [y, x] => [spacing[0], y, x],
        [z, y, x] => [z, y, x],
        _ => spacing,
    }
}

fn spatial(image: &Array4<f32>) -> [usize; 3] {
    let (_, z, y, x) = image.dim();
    [z, y, x]
}

fn check(
    image: &Image,
    labels: Option<&LabelMap>,
    configuration: &Configuration,
    rules: &LabelRules,
) -> Result<(), PreprocessError> {
    let (channels, expected) = (image.data.dim().0, configuration.normalization_schemes.len());
    if channels != expected {
        let text = format!("the image has {channels} channels, the plans expect {expected}");
        return Err(PreprocessError::Mismatch(text));
    }
    if spatial(&image.data).contains(&0) {
        let text = format!("the image is empty: its shape is {:?} (z, y, x)", spatial(&image.data));
        return Err(PreprocessError::Mismatch(text));
    }
    let Some(labels) = labels else { return Ok(()) };
    let shape: [usize; 3] = labels.data.dim().into();
    if shape != spatial(&image.data) {
        let text = format!(
            "the segmentation has shape {shape:?} (z, y, x), the image has {:?}",
            spatial(&image.data)
        );
        return Err(PreprocessError::Mismatch(text));
    }
    let declared = |label: i16| rules.all_labels().contains(&label) || rules.ignore_label() == Some(label);
    let mut last = 0;
    for (voxel, &label) in labels.data.indexed_iter() {
        if label != last && !declared(label) {
            let text = format!(
                "the segmentation holds label {label} at voxel (z, y, x) = {voxel:?}; dataset.json names {:?}",
                rules.all_labels()
            );
            return Err(PreprocessError::Mismatch(text));
        }
        last = label;
    }
    Ok(())
}

fn normalize_channels(
    image: &mut Array4<f32>,
    seg: &Array3<i16>,
    plans: &Plans,
    configuration: &Configuration,
) -> Result<(), PreprocessError> {
    for (channel, scheme) in configuration.normalizations()?.into_iter().enumerate() {
        let masked = configuration.use_mask_for_norm.get(channel).copied().unwrap_or(false);
        let mask = masked.then(|| seg.view());
        let properties = plans.foreground_intensity_properties_per_channel.get(&channel.to_string());
        normalize(image.index_axis_mut(Axis(0), channel), scheme, mask, properties)?;
    }
    Ok(())
}

/// Options for a resampling function of the plans; none if it leaves arrays as they are.
///
/// # Errors
/// A function that is not supported.
pub fn resampling(
    function: &str,
    kwargs: &ResamplingKwargs,
) -> Result<Option<ResampleOptions>, PreprocessError> {
    let separate_z = match kwargs.force_separate_z {
        None => SeparateZ::Auto,
        Some(true) => SeparateZ::Always,
        Some(false) => SeparateZ::Never,
    };
    let anisotropy_threshold = kwargs.separate_z_anisotropy_threshold;
    let options = |method, order, order_z| {
        Ok(Some(ResampleOptions { method, order, order_z, separate_z, anisotropy_threshold }))
    };
    match function {
        "no_resampling_hack" => Ok(None),
        "resample_data_or_seg_to_shape" => options(Method::Spline, kwargs.order, kwargs.order_z),
        "resample_torch_fornnunet" => {
            options(Method::Torch { memory_efficient: kwargs.memefficient_seg_resampling }, 1, 0)
        }
        other => Err(PreprocessError::Mismatch(format!(
            "the plans name a resampling function {other:?}, which is not supported"
        ))),
    }
}
