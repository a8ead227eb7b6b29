//! Cropping to the non-zero region.

use ndarray::{Array3, Array4, ArrayView3, ArrayView4, Axis, Slice, Zip};

/// A box of voxels, half-open: `start <= index < end` per axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundingBox {
    /// First index along z, y, x.
    pub start: [usize; 3],
    /// One past the last index along z, y, x.
    pub end: [usize; 3],
}

impl BoundingBox {
    /// Extent along z, y, x.
    pub fn shape(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.end[axis] - self.start[axis])
    }
}

/// What [`crop_to_nonzero`] gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Cropped {
    /// The image inside the box, unchanged.
    pub image: Array4<f32>,
    /// Labels inside the box; −1 where the label is 0 and the voxel lies outside the non-zero mask.
    pub labels: Array3<i16>,
    /// The box in the uncropped array.
    pub bbox: BoundingBox,
}

/// Voxels that are not zero in at least one channel (NaN counts as not zero), with holes filled.
///
/// A hole is a region of zero voxels that faces (6-neighbours) do not connect to the outside of the array.
pub fn nonzero_mask(data: ArrayView4<'_, f32>) -> Array3<bool> {
    let (_, z, y, x) = data.dim();
    let mut mask = Array3::from_elem((z, y, x), false);
    for channel in data.outer_iter() {
        Zip::from(&mut mask).and(&channel).for_each(|m, &v| *m |= v != 0.0);
    }
    fill_holes(&mut mask);
    mask
}

/// What is known of a voxel while holes are sought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    Foreground,
    Outside,
}

/// Floods the background from the borders, run by run along x; what is not reached is a hole.
fn fill_holes(mask: &mut Array3<bool>) {
    let (nz, ny, nx) = mask.dim();
    let mut flood = Flood {
        states: mask.iter().map(|&v| if v { State::Foreground } else { State::Unknown }).collect(),
        shape: [nz, ny, nx],
        seeds: Vec::new(),
    };
    for row in 0..nz * ny {
        let (z, y) = (row / ny, row % ny);
        let on_border = z == 0 || z + 1 == nz || y == 0 || y + 1 == ny;
        if on_border {
            flood.seed_runs(row * nx, row * nx + nx);
        } else {
            flood.seed_runs(row * nx, row * nx + 1.min(nx));
            flood.seed_runs(row * nx + nx.saturating_sub(1), row * nx + nx);
        }
        flood.run();
    }
    mask.iter_mut().zip(flood.states).for_each(|(value, state)| *value = state != State::Outside);
}

struct Flood {
    states: Vec<State>,
    shape: [usize; 3],
    seeds: Vec<usize>,
}

impl Flood {
    /// Remembers one voxel of each run of unknown voxels in this part of a row.
    fn seed_runs(&mut self, start: usize, end: usize) {
        let mut inside = false;
        for (offset, &state) in self.states[start..end].iter().enumerate() {
            if state == State::Unknown && !inside {
                self.seeds.push(start + offset);
            }
            inside = state == State::Unknown;
        }
    }

    /// Marks everything that the seeds reach through faces.
    fn run(&mut self) {
        let [nz, ny, nx] = self.shape;
        while let Some(seed) = self.seeds.pop() {
            if self.states[seed] != State::Unknown {
                continue;
            }
            let (row, column) = (seed / nx, seed % nx);
            let line = &self.states[row * nx..][..nx];
            let unknown = |state: &&State| **state == State::Unknown;
            let start = column - line[..column].iter().rev().take_while(unknown).count();
            let end = column + line[column..].iter().take_while(unknown).count();
            self.states[row * nx + start..row * nx + end].fill(State::Outside);
            let (z, y) = (row / ny, row % ny);
            let neighbours = [
                (y > 0, row.wrapping_sub(1)),
                (y + 1 < ny, row + 1),
                (z > 0, row.wrapping_sub(ny)),
                (z + 1 < nz, row + ny),
            ];
            for (exists, neighbour) in neighbours {
                if exists {
                    self.seed_runs(neighbour * nx + start, neighbour * nx + end);
                }
            }
        }
    }
}

/// Tight box around the true voxels; the whole array if there is none.
pub fn bounding_box(mask: ArrayView3<'_, bool>) -> BoundingBox {
    let (mut start, mut end) = ([usize::MAX; 3], [0; 3]);
    for (z, plane) in mask.outer_iter().enumerate() {
        for (y, row) in plane.outer_iter().enumerate() {
            let Some(first) = row.iter().position(|&v| v) else { continue };
            let last = row.iter().rposition(|&v| v).unwrap_or(first);
            for (axis, [low, high]) in [[z, z], [y, y], [first, last]].into_iter().enumerate() {
                start[axis] = low.min(start[axis]);
                end[axis] = (high + 1).max(end[axis]);
            }
        }
    }
    if end[0] == 0 {
        return BoundingBox { start: [0; 3], end: mask.dim().into() };
    }
    BoundingBox { start, end }
}

/// Tight box around the voxels that are not zero in at least one channel; the whole image if there is none.
///
/// Filling holes does not change it, so this is the box of [`nonzero_mask`] without the mask.
pub fn nonzero_box(image: ArrayView4<'_, f32>) -> BoundingBox {
    let (mut start, mut end) = ([usize::MAX; 3], [0; 3]);
    for channel in image.outer_iter() {
        for (z, plane) in channel.outer_iter().enumerate() {
            for (y, row) in plane.outer_iter().enumerate() {
                let Some(first) = row.iter().position(|&v| v != 0.0) else { continue };
                let last = row.iter().rposition(|&v| v != 0.0).unwrap_or(first);
                for (axis, [low, high]) in [[z, z], [y, y], [first, last]].into_iter().enumerate() {
                    start[axis] = low.min(start[axis]);
                    end[axis] = (high + 1).max(end[axis]);
                }
            }
        }
    }
    if end[0] == 0 {
        let (_, z, y, x) = image.dim();
        return BoundingBox { start: [0; 3], end: [z, y, x] };
    }
    BoundingBox { start, end }
}

/// Crops image and labels to the box around the non-zero mask, as nnU-Net does.
///
/// Labels of 0 outside the mask become −1, others are kept. Without labels the result has 0 inside the mask and −1
/// outside.
///
/// # Panics
/// The labels do not have the shape of the image; callers compare the shapes of what they read.
pub fn crop_to_nonzero(image: ArrayView4<'_, f32>, labels: Option<ArrayView3<'_, i16>>) -> Cropped {
    let mask = nonzero_mask(image);
    let bbox = bounding_box(mask.view());
    let mask = cut(mask.view(), &bbox);
    let labels = match labels {
        Some(labels) => {
            let mut labels = cut(labels, &bbox).to_owned();
            Zip::from(&mut labels).and(mask).for_each(|label, &inside| {
                if *label == 0 && !inside {
                    *label = -1;
                }
            });
            labels
        }
        None => mask.map(|&inside| if inside { 0 } else { -1 }),
    };
    let mut view = image;
    for axis in 0..3 {
        view.slice_axis_inplace(Axis(axis + 1), Slice::from(bbox.start[axis]..bbox.end[axis]));
    }
    Cropped { image: view.as_standard_layout().into_owned(), labels, bbox }
}

fn cut<'a, T>(mut array: ArrayView3<'a, T>, bbox: &BoundingBox) -> ArrayView3<'a, T> {
    for axis in 0..3 {
        array.slice_axis_inplace(Axis(axis), Slice::from(bbox.start[axis]..bbox.end[axis]));
    }
    array
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_cavity_is_filled_and_a_tunnel_is_not() {
        let mut image = Array4::<f32>::zeros((1, 5, 5, 5));
        image.slice_mut(ndarray::s![0, 1..4, 1..4, 1..4]).fill(2.0);
        image[[0, 2, 2, 2]] = 0.0;
        assert!(nonzero_mask(image.view())[[2, 2, 2]], "closed cavity");
        image[[0, 1, 2, 2]] = 0.0;
        assert!(!nonzero_mask(image.view())[[2, 2, 2]], "open to one face");
    }

    #[test]
    fn a_cavity_that_is_open_only_across_an_edge_is_filled() {
        let mut image = Array4::<f32>::ones((1, 4, 4, 4));
        image.slice_mut(ndarray::s![0, .., .., 0]).fill(0.0);
        image[[0, 1, 1, 2]] = 0.0;
        assert!(nonzero_mask(image.view())[[1, 1, 2]]);
    }

    #[test]
    fn a_winding_background_is_reached_and_a_closed_one_is_not() {
        let drawing = [
            "#########",
            "#.......#",
            "#.#####.#",
            "#.#...#.#",
            "#.#.#.#.#",
            "#.#...#.#",
            "#.#####.#",
            "#.......#",
            "####.####",
        ];
        let mut image = Array4::<f32>::ones((1, 3, 9, 9));
        for (y, row) in drawing.iter().enumerate() {
            for (x, pixel) in row.chars().enumerate() {
                image[[0, 1, y, x]] = if pixel == '#' { 7.0 } else { 0.0 };
            }
        }
        let mask = nonzero_mask(image.view());
        assert!(!mask[[1, 1, 4]] && !mask[[1, 7, 1]], "open through the gap in the last row");
        assert!(mask[[1, 3, 3]] && mask[[1, 5, 4]], "closed");
    }

    #[test]
    fn one_slice_has_no_holes() {
        let mut image = Array4::<f32>::ones((1, 1, 3, 3));
        image[[0, 0, 1, 1]] = 0.0;
        assert!(!nonzero_mask(image.view())[[0, 1, 1]]);
    }

    #[test]
    fn labels_outside_the_mask_become_minus_one_unless_they_are_labelled() {
        let image = array![[[[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, f32::NAN, 0.0], [0.0, -1.0, 0.0, 0.0]]]];
        let labels = array![[[0i16, 0, 0, 0], [0, 1, 0, 0], [0, 0, 3, 0]]];
        let cropped = crop_to_nonzero(image.view(), Some(labels.view()));
        assert_eq!(cropped.bbox, BoundingBox { start: [0, 1, 1], end: [1, 3, 3] });
        assert_eq!(nonzero_box(image.view()), cropped.bbox);
        assert_eq!(cropped.labels, array![[[1i16, 0], [0, 3]]]);
        let unlabelled = crop_to_nonzero(image.view(), None);
        assert_eq!(unlabelled.labels, array![[[0i16, 0], [0, -1]]]);
        assert_eq!(unlabelled.image.dim(), (1, 1, 2, 2));
    }

    #[test]
    fn an_image_of_zeros_keeps_its_shape() {
        let cropped = crop_to_nonzero(Array4::<f32>::zeros((2, 2, 3, 4)).view(), None);
        assert_eq!(cropped.bbox.shape(), [2, 3, 4]);
        assert_eq!(nonzero_box(Array4::<f32>::zeros((2, 2, 3, 4)).view()), cropped.bbox);
        assert!(cropped.labels.iter().all(|&label| label == -1));
    }
}
