//! Pages to an array.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_json::Value;
use tiff::TiffError;
use tiff::decoder::{Decoder, Limits};

use super::Stack;
use super::pages::Page;
use crate::ImageError;

/// Voxels beyond this are taken for a lie.
const MOST_VOXELS: usize = 1 << 32;
/// Pages beyond this are taken for a lie.
const MOST_PAGES: usize = 1 << 20;
/// No compression of the format does better than this.
const BEST_RATIO: u64 = 4096;

/// Reads all pages that have size and type of the first.
pub(crate) fn read(path: &Path) -> Result<Stack, ImageError> {
    let failed = |e: TiffError| ImageError::format(path, format!("cannot decode the TIFF data: {e}"));
    let io = |e| ImageError::io(path, e);
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if about.is_dir() {
        return Err(io(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
    }
    let length = about.len();
    let mut limits = Limits::default();
    let most = usize::try_from(length.saturating_mul(BEST_RATIO)).unwrap_or(usize::MAX);
    limits.decoding_buffer_size = most.min(MOST_VOXELS * 8);
    limits.intermediate_buffer_size = most.min(MOST_VOXELS);
    let mut decoder = Decoder::new(BufReader::new(file)).map_err(failed)?.with_limits(limits);
    let first = Page::of(&mut decoder).map_err(failed)?;
    first.check(path)?;
    let wanted = first.wanted_pages(path)?;
    let mut values = Vec::new();
    let (mut pages, mut seen, mut stored) = (0usize, 0usize, 0u64);
    loop {
        let page = Page::of(&mut decoder).map_err(failed)?;
        if page.same_kind(&first) {
            // Strips do not overlap in sound files; where they do, a small file could stand for any amount of data.
            stored = stored.saturating_add(page.stored);
            if stored > length {
                let reason =
                    format!("truncated: the pages promise {stored} bytes of data, the file has {length}");
                return Err(ImageError::format(path, reason));
            }
            page.read(path, &mut decoder, &mut values, MOST_VOXELS)?;
            pages += 1;
        }
        seen += 1;
        if wanted == Some(pages) || !decoder.more_images() {
            break;
        }
        if seen == MOST_PAGES {
            return Err(ImageError::format(path, format!("more than {MOST_PAGES} pages")));
        }
        decoder.next_image().map_err(failed)?;
    }
    let shape = first.shape(path, pages)?;
    Ok(Stack { shape, values })
}

impl Page {
    /// Pages that the description of the first page asks for, if it does.
    fn wanted_pages(&self, path: &Path) -> Result<Option<usize>, ImageError> {
        let Some(shape) = self.described_shape() else { return Ok(None) };
        let voxels = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        let each = self.voxels();
        match voxels.filter(|n| *n > 0 && n % each == 0) {
            Some(voxels) => Ok(Some(voxels / each)),
            None => {
                let reason = format!("its description says shape {shape:?}, a page has {each} values");
                Err(ImageError::format(path, reason))
            }
        }
    }

    /// The shape that tifffile writes as `{"shape": [2, 3, 4]}`.
    fn described_shape(&self) -> Option<Vec<usize>> {
        let value: Value = serde_json::from_str(self.description.as_deref()?).ok()?;
        let sizes = value.get("shape")?.as_array()?;
        sizes.iter().map(|size| usize::try_from(size.as_u64()?).ok()).collect()
    }

    /// Shape of the array that `pages` pages make.
    fn shape(&self, path: &Path, pages: usize) -> Result<Vec<usize>, ImageError> {
        if let Some(shape) = self.described_shape() {
            let expected = shape.iter().product::<usize>();
            if expected != pages * self.voxels() {
                let reason = format!(
                    "its description says shape {shape:?}, found {pages} pages of {} values",
                    self.voxels()
                );
                return Err(ImageError::format(path, reason));
            }
            return Ok(shape);
        }
        let mut shape = self.page_shape();
        if let Some(stacks) = self.described_stacks() {
            // Axes of length 1 do not count; the others stand in the order of the file.
            let longer: Vec<usize> = stacks.into_iter().filter(|&n| n > 1).collect();
            let expected = longer.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
            if longer.len() > 1 || expected != Some(pages) {
                let reason = format!(
                    "its description says stacks of {longer:?} pages, found {pages}; expected one stack"
                );
                return Err(ImageError::format(path, reason));
            }
        }
        if pages > 1 {
            shape.insert(0, pages);
        }
        Ok(shape)
    }

    /// Sizes of the axes that pages are counted along, as ImageJ or OME describe them.
    fn described_stacks(&self) -> Option<Vec<usize>> {
        let text = self.description.as_deref()?;
        if text.starts_with("ImageJ=") {
            let value = |key: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
                line.and_then(|n| n.trim().parse().ok()).unwrap_or(1)
            };
            let known = [value("frames"), value("slices"), value("channels")];
            return Some(if known == [1; 3] { vec![value("images")] } else { known.to_vec() });
        }
        if text.contains("<OME") {
            let value = |key: &str| {
                let rest = text.split_once(&format!("{key}=\"")).map(|(_, rest)| rest);
                rest.and_then(|rest| rest.split('"').next()?.parse().ok()).unwrap_or(1)
            };
            let colours = if self.samples > 1 { 1 } else { value("SizeC") };
            return Some(vec![value("SizeT"), value("SizeZ"), colours]);
        }
        None
    }
}
