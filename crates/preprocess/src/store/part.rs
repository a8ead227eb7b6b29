//! Boxes of arrays.

use crate::npy::{self, Npy};

/// The part of a box that lies inside an array.
pub(crate) struct Part {
    space: [usize; 3],
    size: [usize; 3],
    /// Per axis: first voxel in the array, first voxel in the box, number of voxels.
    overlap: [[usize; 3]; 3],
}

impl Part {
    pub(crate) fn new(space: [usize; 3], lower: [i64; 3], size: [usize; 3]) -> Self {
        let overlap = std::array::from_fn(|a| {
            let (from, to) = (lower[a].max(0), lower[a].saturating_add(size[a] as i64).min(space[a] as i64));
            if from >= to {
                return [0; 3];
            }
            [from as usize, (from - lower[a]) as usize, (to - from) as usize]
        });
        Self { space, size, overlap }
    }

    /// Fills `out` (channels, size) where it overlaps; a block of rows of one plane is read at a time.
    pub(crate) fn read<T: npy::Element, U>(
        &self,
        npy: &Npy,
        channels: usize,
        out: &mut [U],
        convert: impl Fn(T) -> U,
    ) -> std::io::Result<()> {
        let [[z0, bz, nz], [y0, by, ny], [x0, bx, nx]] = self.overlap;
        if nz * ny * nx == 0 {
            return Ok(());
        }
        let [sz, sy, sx] = self.space;
        let mut rows = Vec::new();
        for channel in 0..channels {
            for z in 0..nz {
                let first = ((channel * sz + z0 + z) * sy + y0) * sx + x0;
                npy.read::<T>(first, (ny - 1) * sx + nx, &mut rows)?;
                for y in 0..ny {
                    let to = ((channel * self.size[0] + bz + z) * self.size[1] + by + y) * self.size[2] + bx;
                    let row = &rows[y * sx..y * sx + nx];
                    out[to..to + nx].iter_mut().zip(row).for_each(|(to, &from)| *to = convert(from));
                }
            }
        }
        Ok(())
    }
}
