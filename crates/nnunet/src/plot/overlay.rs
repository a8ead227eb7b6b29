//! Label maps laid over a slice, side by side.

use std::path::Path;

use ndarray::{ArrayView2, ArrayView3, Axis, s};

use super::{PlotError, encode_png, write_png};
use crate::label_colour;

const OPACITY: f32 = 0.55;
const TARGET_HEIGHT: usize = 360;
const GAP: usize = 8;

/// One picture in a row: a label map (z, y, x) to lay over the image, or none for the bare image.
pub type OverlayPanel<'a> = Option<ArrayView3<'a, i16>>;

/// How [`overlay_planes_in`] draws.
pub struct PlanesStyle<'a> {
    /// Colour of a label; labels without one are left bare.
    pub colour: &'a dyn Fn(i16) -> Option<[u8; 3]>,
    /// Slices are those with the most of this label; of all foreground if none.
    pub focus: Option<i16>,
    /// Pixels of the volume's longest side, at least 1.
    pub size: usize,
}

impl Default for PlanesStyle<'_> {
    /// [`label_colour`], all foreground, 220 pixels.
    fn default() -> Self {
        Self { colour: &label_colour, focus: None, size: 220 }
    }
}

/// Draws one axial slice of an image (z, y, x) once per panel, from left to right, into a PNG file.
///
/// The slice is the one with the most foreground in the first panel that has labels. Intensities are shown from the
/// 1st to the 99th percentile of the slice. `spacing` is (z, y, x) in millimetres and sets the aspect ratio.
///
/// # Errors
/// [`PlotError::Shape`] where a panel does not fit the image; otherwise what kept the file from being written.
pub fn overlay(
    image: ArrayView3<'_, f32>,
    spacing: [f64; 3],
    panels: &[OverlayPanel<'_>],
    path: &Path,
) -> Result<(), PlotError> {
    let shape = check(image, panels, path)?;
    let z =
        panels.iter().flatten().next().map_or(shape[0] / 2, |labels| fullest_slice(*labels, Axis(0), None));
    let scale = TARGET_HEIGHT as f64 / (shape[1] as f64 * spacing[1]);
    let width = ((shape[2] as f64 * spacing[2] * scale).round() as usize).clamp(1, 4 * TARGET_HEIGHT);
    let total = panels.len() * width + (panels.len() - 1) * GAP;
    let mut canvas = Canvas::new(total, TARGET_HEIGHT);
    let slice = image.index_axis(Axis(0), z);
    for (panel, labels) in panels.iter().enumerate() {
        let labels = labels.map(|l| l.index_axis_move(Axis(0), z));
        canvas.paint(slice, labels, &label_colour, [0, panel * (width + GAP)], [TARGET_HEIGHT, width]);
    }
    write_png(path, canvas.width, canvas.height, &canvas.rgb)
}

/// An image (z, y, x) in three planes, as the bytes of a PNG file: one row per panel, with an axial, a coronal and a sagittal
/// slice from left to right, at the same scale; z rises upwards.
///
/// Each slice is the one with the most foreground in the first panel that has labels. `spacing` is (z, y, x) in millimetres.
///
/// # Errors
/// [`PlotError::Shape`] where a panel does not fit the image; [`PlotError::Empty`] without voxels or panels.
pub fn overlay_planes(
    image: ArrayView3<'_, f32>,
    spacing: [f64; 3],
    panels: &[OverlayPanel<'_>],
) -> Result<Vec<u8>, PlotError> {
    overlay_planes_in(image, spacing, panels, &PlanesStyle::default())
}

/// As [`overlay_planes`], in colours, through a label and of a size that are chosen.
///
/// # Errors
/// As [`overlay_planes`].
pub fn overlay_planes_in(
    image: ArrayView3<'_, f32>,
    spacing: [f64; 3],
    panels: &[OverlayPanel<'_>],
    style: &PlanesStyle<'_>,
) -> Result<Vec<u8>, PlotError> {
    let shape = check(image, panels, Path::new("planes"))?;
    let extent: [f64; 3] = std::array::from_fn(|axis| shape[axis] as f64 * spacing[axis]);
    let scale = style.size.max(1) as f64 / extent.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let pixels = extent.map(|mm| ((mm * scale).round() as usize).max(1));
    // Rows and columns of the plane across each axis.
    let sizes = [[pixels[1], pixels[2]], [pixels[0], pixels[2]], [pixels[0], pixels[1]]];
    let height = sizes.iter().map(|size| size[0]).max().unwrap_or(1);
    let width = sizes.iter().map(|size| size[1]).sum::<usize>() + 2 * GAP;
    let mut canvas = Canvas::new(width, panels.len() * height + (panels.len() - 1) * GAP);
    let first = panels.iter().flatten().next();
    let mut left = 0;
    for (axis, size) in sizes.iter().enumerate() {
        let at = first.map_or(shape[axis] / 2, |labels| fullest_slice(*labels, Axis(axis), style.focus));
        let upright = |axis: usize| if axis == 0 { 1 } else { -1 };
        let mut slice = image.index_axis(Axis(axis), at);
        slice.slice_collapse(s![..;upright(axis), ..]);
        for (panel, labels) in panels.iter().enumerate() {
            let labels = labels.map(|l| l.index_axis_move(Axis(axis), at));
            let labels = labels.map(|l| l.slice_move(s![..;upright(axis), ..]));
            canvas.paint(slice, labels, style.colour, [panel * (height + GAP), left], *size);
        }
        left += size[1] + GAP;
    }
    encode_png(Path::new("planes"), canvas.width, canvas.height, &canvas.rgb)
}

/// Shape of the image, if all panels have it.
fn check(
    image: ArrayView3<'_, f32>,
    panels: &[OverlayPanel<'_>],
    path: &Path,
) -> Result<[usize; 3], PlotError> {
    let shape: [usize; 3] = image.dim().into();
    if shape.contains(&0) || panels.is_empty() {
        return Err(PlotError::Empty {
            path: path.to_owned(),
            what: "the image or the list of panels is empty",
        });
    }
    for labels in panels.iter().flatten() {
        let found: [usize; 3] = labels.dim().into();
        if found != shape {
            return Err(PlotError::Shape { labels: found, image: shape });
        }
    }
    Ok(shape)
}

/// An RGB picture, white at first.
struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, rgb: vec![255; width * height * 3] }
    }

    /// Paints a slice, scaled to `size` (rows, columns), with its corner at `at` (row, column).
    fn paint(
        &mut self,
        slice: ArrayView2<'_, f32>,
        labels: Option<ArrayView2<'_, i16>>,
        colour: &dyn Fn(i16) -> Option<[u8; 3]>,
        at: [usize; 2],
        size: [usize; 2],
    ) {
        let (low, high) = window(slice);
        let (rows, columns) = slice.dim();
        for row in 0..size[0] {
            let y = (row * rows / size[0]).min(rows - 1);
            for column in 0..size[1] {
                let x = (column * columns / size[1]).min(columns - 1);
                let grey = ((slice[[y, x]] - low) / (high - low).max(1e-6)).clamp(0.0, 1.0) * 255.0;
                let label = labels.map_or(0, |l| l[[y, x]]);
                let pixel = ((at[0] + row) * self.width + at[1] + column) * 3;
                self.rgb[pixel..pixel + 3].copy_from_slice(&blend(grey, colour(label)));
            }
        }
    }
}

fn blend(grey: f32, colour: Option<[u8; 3]>) -> [u8; 3] {
    let Some(colour) = colour else { return [grey as u8; 3] };
    colour.map(|c| (grey * (1.0 - OPACITY) + f32::from(c) * OPACITY) as u8)
}

/// Index of the slice along an axis with the most voxels of a label, or of foreground; the middle where there are none.
fn fullest_slice(labels: ArrayView3<'_, i16>, axis: Axis, focus: Option<i16>) -> usize {
    let counts = |label: i16| focus.map_or(label > 0, |focus| label == focus);
    let count = |at: usize| labels.index_axis(axis, at).iter().filter(|&&label| counts(label)).count();
    let fullest = (0..labels.len_of(axis)).map(|at| (count(at), std::cmp::Reverse(at))).max();
    match fullest {
        Some((count, std::cmp::Reverse(at))) if count > 0 => at,
        _ => labels.len_of(axis) / 2,
    }
}

/// 1st and 99th percentile of the finite values.
fn window(slice: ArrayView2<'_, f32>) -> (f32, f32) {
    let mut values: Vec<f32> = slice.iter().copied().filter(|v| v.is_finite()).collect();
    values.sort_by(f32::total_cmp);
    let at = |q: f64| values.get(((values.len().max(1) - 1) as f64 * q) as usize).copied().unwrap_or(0.0);
    (at(0.01), at(0.99))
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;

    use super::*;

    #[test]
    fn picks_the_slice_with_most_foreground_and_colours_it() {
        let mut labels = Array3::<i16>::zeros((3, 4, 4));
        labels[[1, 0, 0]] = 1;
        labels[[2, 0, 0]] = 2;
        labels[[2, 1, 1]] = 2;
        assert_eq!(fullest_slice(labels.view(), Axis(0), None), 2);
        assert_eq!(fullest_slice(labels.view(), Axis(0), Some(1)), 1);
        assert_eq!(fullest_slice(labels.view(), Axis(0), Some(7)), 1);
        assert_eq!(blend(100.0, label_colour(0)), [100, 100, 100]);
        assert_ne!(blend(100.0, label_colour(1)), blend(100.0, label_colour(2)));
    }

    #[test]
    fn three_planes_stand_upright_beside_each_other() {
        let mut image = Array3::<f32>::zeros((2, 3, 4));
        // The uppermost slice is bright.
        image.slice_mut(s![1, .., ..]).fill(1.0);
        let png = overlay_planes(image.view(), [2.0, 1.0, 1.0], &[None]).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (220 + 220 + 165 + 16, 220));
        let grey = |row: usize, column: usize| pixels[(row * info.width as usize + column) * 3];
        assert_eq!((grey(10, 300), grey(200, 300)), (255, 0), "the coronal plane is upside down");
        assert_eq!((grey(10, 500), grey(200, 500)), (255, 0), "the sagittal plane is upside down");
    }

    #[test]
    fn labels_of_another_shape_are_refused() {
        let image = Array3::<f32>::zeros((2, 3, 4));
        let labels = Array3::<i16>::zeros((2, 3, 5));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        let error = overlay(image.view(), [1.0; 3], &[Some(labels.view())], &path).unwrap_err();
        assert!(error.to_string().contains("[2, 3, 5]"), "{error}");
        assert!(!path.exists());
    }
}
