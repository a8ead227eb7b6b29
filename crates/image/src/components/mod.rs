//! Connected components.

mod forest;
mod runs;

use ndarray::{Array3, ArrayView3, ArrayViewMut3};
use rayon::prelude::*;

use runs::Runs;

/// Which neighbours of a voxel are connected to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Connectivity {
    /// Those that share a face: 6.
    Faces,
    /// Those that share a face or an edge: 18.
    Edges,
    /// Those that share a face, an edge or a corner: 26; within a single slice these are 8.
    #[default]
    Corners,
}

/// The connected components of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Components {
    /// Number of the component of each voxel, from 1 on in the order of their first voxels; 0 is background.
    pub labels: Array3<u32>,
    /// Voxels of each component; that of component `i` stands at `i - 1`.
    pub sizes: Vec<u64>,
}

/// Components of equal labels: neighbours that carry the same label are connected, 0 is background.
///
/// Rows are taken apart into runs of equal labels, slabs of planes in parallel; the memory beside the result grows with the
/// number of runs.
///
/// ```
/// use ndarray::array;
/// use nnunet_image::{Connectivity, connected_components};
///
/// let labels = array![[[1i16, 0, 1], [0, 1, 2]]];
/// let components = connected_components(labels.view(), Connectivity::Corners);
/// assert_eq!(components.labels, array![[[1, 0, 1], [0, 1, 2]]]);
/// assert_eq!(components.sizes, [3, 1]);
/// assert_eq!(connected_components(labels.view(), Connectivity::Faces).sizes, [1, 1, 1, 1]);
/// ```
pub fn connected_components(labels: ArrayView3<'_, i16>, connectivity: Connectivity) -> Components {
    components_of(labels, |label| label, connectivity)
}

/// Components of the true voxels of a mask.
pub fn mask_components(mask: ArrayView3<'_, bool>, connectivity: Connectivity) -> Components {
    components_of(mask, i16::from, connectivity)
}

fn components_of<T: Copy + Send + Sync>(
    array: ArrayView3<'_, T>,
    value: impl Fn(T) -> i16 + Sync,
    connectivity: Connectivity,
) -> Components {
    let runs = Runs::new(array, value, connectivity);
    let (_, height, width) = array.dim();
    let mut labels = Array3::<u32>::zeros(array.dim());
    if let Some(values) = labels.as_slice_mut() {
        let planes = values.par_chunks_mut((height * width).max(1)).enumerate();
        planes.for_each(|(z, plane)| {
            for (row, run) in runs.of_plane(z) {
                let start = row * width;
                plane[start + run.start as usize..start + run.end as usize].fill(run.component + 1);
            }
        });
    }
    Components { labels, sizes: runs.sizes }
}

/// Keeps, of the voxels whose label `within` accepts, the largest connected component (all of that size, if several are), and
/// sets the others of them to 0. Labels among those accepted are not told apart.
///
/// Returns how many voxels were set to 0.
///
/// ```
/// use ndarray::array;
/// use nnunet_image::{Connectivity, keep_largest_components};
///
/// let mut labels = array![[[1i16, 1, 0, 2, 0, 3]]];
/// let removed = keep_largest_components(labels.view_mut(), |label| label < 3, Connectivity::Corners);
/// assert_eq!((labels, removed), (array![[[1i16, 1, 0, 0, 0, 3]]], 1));
/// ```
pub fn keep_largest_components(
    mut labels: ArrayViewMut3<'_, i16>,
    within: impl Fn(i16) -> bool + Sync,
    connectivity: Connectivity,
) -> u64 {
    let runs = Runs::new(labels.view(), |label| i16::from(label != 0 && within(label)), connectivity);
    let Some(&largest) = runs.sizes.iter().max() else { return 0 };
    let mut removed = 0;
    for (z, mut plane) in labels.outer_iter_mut().enumerate() {
        for (row, run) in runs.of_plane(z) {
            if runs.sizes[run.component as usize] < largest {
                for x in run.start..run.end {
                    plane[[row, x as usize]] = 0;
                }
                removed += u64::from(run.end - run.start);
            }
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, array};
    use proptest::prelude::*;

    use super::*;

    /// Flood fill, voxel by voxel.
    fn slow(labels: &Array3<i16>, connectivity: Connectivity) -> Components {
        let [nz, ny, nx]: [usize; 3] = labels.dim().into();
        let reach = match connectivity {
            Connectivity::Faces => 1,
            Connectivity::Edges => 2,
            Connectivity::Corners => 3,
        };
        let mut result = Components { labels: Array3::zeros(labels.dim()), sizes: Vec::new() };
        for (first, &label) in labels.indexed_iter() {
            if label == 0 || result.labels[first] != 0 {
                continue;
            }
            let number = result.sizes.len() as u32 + 1;
            let (mut stack, mut size) = (vec![first], 0);
            result.labels[first] = number;
            while let Some((z, y, x)) = stack.pop() {
                size += 1;
                for offset in 0..27usize {
                    let d = [offset / 9, offset / 3 % 3, offset % 3];
                    let moved = d.iter().filter(|&&v| v != 1).count();
                    let to = [z + d[0], y + d[1], x + d[2]];
                    let inside = (0..3).all(|a| to[a] >= 1 && to[a] <= [nz, ny, nx][a]);
                    if moved == 0 || moved > reach || !inside {
                        continue;
                    }
                    let to = (to[0] - 1, to[1] - 1, to[2] - 1);
                    if labels[to] == label && result.labels[to] == 0 {
                        result.labels[to] = number;
                        stack.push(to);
                    }
                }
            }
            result.sizes.push(size);
        }
        result
    }

    proptest! {
        #[test]
        fn components_are_those_of_a_flood_fill(
            shape in prop::array::uniform3(1usize..9),
            seed in 0u64..1 << 40,
            labels in 1i16..4,
            density in 1u64..9,
        ) {
            let mut state = seed;
            let map = Array3::from_shape_fn(shape, |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if (state >> 33) % 10 < density { (state >> 40) as i16 % labels + 1 } else { 0 }
            });
            for connectivity in [Connectivity::Faces, Connectivity::Edges, Connectivity::Corners] {
                let expected = slow(&map, connectivity);
                prop_assert_eq!(&connected_components(map.view(), connectivity), &expected);
                let turned = map.view().permuted_axes([2, 0, 1]);
                let found = connected_components(turned, connectivity);
                prop_assert_eq!(found, slow(&turned.as_standard_layout().into_owned(), connectivity));
            }
        }
    }

    #[test]
    fn all_components_of_the_largest_size_are_kept() {
        // Worked example of the reference: labels 1 and 2 jointly.
        let drawing =
            array![[[1i16, 1, 0, 2, 0], [0, 0, 0, 0, 0], [1, 0, 2, 2, 0], [0, 0, 0, 0, 0], [1, 1, 0, 0, 0]]];
        let mut kept = drawing.clone();
        assert_eq!(keep_largest_components(kept.view_mut(), |l| l == 1 || l == 2, Connectivity::Corners), 2);
        let expected =
            array![[[1i16, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 2, 2, 0], [0, 0, 0, 0, 0], [1, 1, 0, 0, 0]]];
        assert_eq!(kept, expected);
        // Nothing to keep, nothing to remove.
        let mut same = drawing.clone();
        assert_eq!(keep_largest_components(same.view_mut(), |l| l == 7, Connectivity::Corners), 0);
        assert_eq!(same, drawing);
    }

    #[test]
    fn empty_arrays_have_no_components() {
        for shape in [(0, 3, 3), (3, 0, 3), (3, 3, 0)] {
            let found = connected_components(Array3::zeros(shape).view(), Connectivity::Corners);
            assert!(found.sizes.is_empty());
        }
        let mask = array![[[true, false, true]]];
        assert_eq!(mask_components(mask.view(), Connectivity::Corners).sizes, [1, 1]);
    }
}
