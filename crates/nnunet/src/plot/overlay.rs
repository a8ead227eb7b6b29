//! Label maps laid over a slice, side by side.

use std::path::Path;

use ndarray::{ArrayView2, ArrayView3, Axis};

use super::{PlotError, write_png};

/// Colours of the labels 1, 2, …; the list starts again after its end.
const COLOURS: [[u8; 3]; 10] = [
    [230, 60, 60],
    [60, 170, 75],
    [70, 110, 230],
    [245, 200, 50],
    [170, 70, 200],
    [60, 200, 220],
    [245, 130, 50],
    [220, 110, 180],
    [140, 200, 90],
    [150, 110, 70],
];
const OPACITY: f32 = 0.55;
const TARGET_HEIGHT: usize = 360;
const GAP: usize = 8;

/// One picture in a row: a label map (z, y, x) to lay over the image, or none for the bare image.
pub type OverlayPanel<'a> = Option<ArrayView3<'a, i16>>;

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
    let z = panels.iter().flatten().next().map_or(shape[0] / 2, |labels| fullest_slice(*labels));
    let slice = image.index_axis(Axis(0), z);
    let (low, high) = window(slice);
    let scale = TARGET_HEIGHT as f64 / (shape[1] as f64 * spacing[1]);
    let height = TARGET_HEIGHT;
    let width = ((shape[2] as f64 * spacing[2] * scale).round() as usize).clamp(1, 4 * TARGET_HEIGHT);
    let total = panels.len() * width + (panels.len() - 1) * GAP;
    let mut rgb = vec![255u8; total * height * 3];
    for (panel, labels) in panels.iter().enumerate() {
        let labels = labels.map(|l| l.index_axis_move(Axis(0), z));
        for row in 0..height {
            let y = (row * shape[1] / height).min(shape[1] - 1);
            for column in 0..width {
                let x = (column * shape[2] / width).min(shape[2] - 1);
                let grey = ((slice[[y, x]] - low) / (high - low).max(1e-6)).clamp(0.0, 1.0) * 255.0;
                let label = labels.map_or(0, |l| l[[y, x]]);
                let at = (row * total + panel * (width + GAP) + column) * 3;
                rgb[at..at + 3].copy_from_slice(&blend(grey, label));
            }
        }
    }
    write_png(path, total, height, &rgb)
}

fn blend(grey: f32, label: i16) -> [u8; 3] {
    if label <= 0 {
        return [grey as u8; 3];
    }
    let colour = COLOURS[(label as usize - 1) % COLOURS.len()];
    colour.map(|c| (grey * (1.0 - OPACITY) + f32::from(c) * OPACITY) as u8)
}

/// Index of the slice along z with the most foreground voxels.
fn fullest_slice(labels: ArrayView3<'_, i16>) -> usize {
    let count = |z: usize| labels.index_axis(Axis(0), z).iter().filter(|&&l| l > 0).count();
    (0..labels.dim().0).max_by_key(|&z| (count(z), std::cmp::Reverse(z))).unwrap_or(0)
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
        assert_eq!(fullest_slice(labels.view()), 2);
        assert_eq!(blend(100.0, 0), [100, 100, 100]);
        assert_ne!(blend(100.0, 1), blend(100.0, 2));
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
