//! Turn an image to an orientation and resample it to a spacing:
//!
//! ```text
//! cargo run --release --example resample_reorient -- image.nii.gz RAS 1.0 out.nii.gz
//! ```
//!
//! Without arguments, on an image that the program draws. Reads and writes NIfTI, NRRD and MetaImage by the file's ending; two
//! pictures, before and after, stand beside the output. A program that only wants this depends on `nnunet-image`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ndarray::Axis;
use nnunet::image::{
    AxisCode, Image, ResampleOptions, reader_for, reorient_image, resample_to_spacing, write_image,
};
use nnunet::plot::overlay_planes;
use nnunet_examples::drawn::draw_case;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (image, to, spacing, output) = match arguments.as_slice() {
        [] => (draw_case(120.0, 3)?.0, AxisCode::RAS, 1.0, PathBuf::from("resampled.nii.gz")),
        [input, to, spacing, output] => {
            let input = PathBuf::from(input);
            let name = input.to_string_lossy().into_owned();
            let ending = [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"].into_iter().find(|e| name.ends_with(e));
            let ending =
                ending.with_context(|| format!("{name}: expected .nii.gz, .nii, .nrrd, .mha or .mhd"))?;
            let image = reader_for(ending, Some(&input))?.read_images(&[input])?;
            let spacing = spacing.parse().with_context(|| format!("spacing {spacing:?} is not a number"))?;
            (image, to.parse()?, spacing, PathBuf::from(output))
        }
        _ => bail!("usage: resample_reorient [IMAGE ORIENTATION SPACING OUTPUT]"),
    };

    describe("read", &image)?;
    picture(&image, &output, "before")?;
    let turned = reorient_image(image, to)?;
    describe("turned", &turned)?;
    let result = resample_to_spacing(&turned, [spacing; 3], &ResampleOptions::image())?;
    describe("resampled", &result)?;
    picture(&result, &output, "after")?;
    write_image(&output, &result)?;
    println!("{}", output.display());
    Ok(())
}

fn describe(what: &str, image: &Image) -> Result<()> {
    let (_, z, y, x) = image.data.dim();
    let code = AxisCode::of(&image.geometry)?;
    println!("{what}: {z} × {y} × {x} voxels (z, y, x) of {:.3?} mm, axes {code}", image.geometry.spacing);
    Ok(())
}

/// Three planes as a picture beside the output.
fn picture(image: &Image, output: &Path, when: &str) -> Result<()> {
    let name = output.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.split('.').next().unwrap_or("image").to_owned();
    let path = output.with_file_name(format!("{stem}_{when}.png"));
    let png = overlay_planes(image.data.index_axis(Axis(0), 0), image.geometry.spacing, &[None])?;
    std::fs::write(&path, png).with_context(|| format!("cannot write {}", path.display()))?;
    println!("  {}", path.display());
    Ok(())
}
