//! A picture of one segmentation.

use std::path::Path;

use ndarray::Axis;
use nnunet_image::fs::write_atomic;
use nnunet_infer::count_labels;

use crate::plot::{PlanesStyle, overlay_planes_in};
use crate::statistics::read_case;
use crate::{Error, LabelTable};

/// Draws an image with its labels as PNG: an axial, a coronal and a sagittal slice, each the one with the most of the largest label.
///
/// `size` is the number of pixels of the volume's longest side. Colours are those of the table, and the default ones for labels that
/// it lacks. Of several channels in the file, the first is drawn.
///
/// # Errors
/// A file that cannot be read, an image on another grid than the labels, or a picture that cannot be written.
pub fn preview(
    image: &Path,
    labels: &Path,
    table: &LabelTable,
    size: usize,
    output: &Path,
) -> Result<(), Error> {
    let (segmentation, read) = read_case(labels, &[image.to_owned()], None)?;
    let Some(read) = read else {
        return Err(Error::Invalid(format!("{}: there is no image", image.display())));
    };
    let intensities = read.data.index_axis_move(Axis(0), 0);
    let counts = count_labels(segmentation.data.view());
    let largest = counts.into_iter().filter(|(label, _)| *label > 0).max_by_key(|(label, n)| (*n, -label));
    let mut spacing = segmentation.geometry.spacing;
    if segmentation.geometry.dims == 2 {
        spacing[0] = spacing[1];
    }
    let colour = |label: i16| table.colour(label);
    let style = PlanesStyle { colour: &colour, focus: largest.map(|(label, _)| label), size };
    let png = overlay_planes_in(intensities.view(), spacing, &[Some(segmentation.data.view())], &style)?;
    write_atomic(output, |out| out.write_all(&png)).map_err(|e| Error::io(output, e))
}
