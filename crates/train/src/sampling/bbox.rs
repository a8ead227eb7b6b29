use rand::{Rng, RngExt};

/// Where the lower corner of a patch may lie in a case, per axis `[z, y, x]` in voxels.
///
/// `loaded` is the size that is cut out (enlarged for rotations), `patch` the size the network sees. Corners may be
/// negative and boxes may run past the end: what is outside is padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropRange {
    /// Smallest corner.
    pub lower: [i64; 3],
    /// Largest corner, inclusive.
    pub upper: [i64; 3],
    loaded: [i64; 3],
}

impl CropRange {
    /// The range for a case of the given shape (nnU-Net v2.8.1 behaviour).
    pub fn new(patch: [usize; 3], loaded: [usize; 3], shape: [usize; 3]) -> Self {
        let [patch, loaded, shape] = [patch, loaded, shape].map(|size| size.map(|n| n as i64));
        let (mut lower, mut upper) = ([0; 3], [0; 3]);
        for d in 0..3 {
            let need = (loaded[d] - patch[d]).max(loaded[d] - shape[d]);
            lower[d] = (-need).div_euclid(2);
            upper[d] = shape[d] + need.div_euclid(2) + need.rem_euclid(2) - loaded[d];
        }
        Self { lower, upper, loaded }
    }

    /// A corner drawn uniformly.
    pub fn random(&self, rng: &mut impl Rng) -> [i64; 3] {
        std::array::from_fn(|d| rng.random_range(self.lower[d]..=self.upper[d].max(self.lower[d])))
    }

    /// The corner that centres the patch at a voxel. There is no upper limit, as in nnU-Net v2.8.1.
    pub fn around(&self, voxel: [u32; 3]) -> [i64; 3] {
        std::array::from_fn(|d| self.lower[d].max(i64::from(voxel[d]) - self.loaded[d] / 2))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::CropRange;

    #[test]
    fn range_and_forced_corners_of_the_worked_example() {
        let range = CropRange::new([6; 3], [9; 3], [20, 5, 9]);
        assert_eq!((range.lower, range.upper), ([-2, -2, -2], [13, -2, 2]));
        assert_eq!(range.around([19, 0, 8]), [15, -2, 4]);
        assert_eq!(range.around([0, 4, 0]), [-2, 0, -2]);
    }

    #[test]
    fn random_corners_reach_both_ends() {
        let range = CropRange::new([6; 3], [9; 3], [20, 5, 9]);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let corners: Vec<_> = (0..500).map(|_| range.random(&mut rng)).collect();
        for d in 0..3 {
            assert_eq!(corners.iter().map(|c| c[d]).min(), Some(range.lower[d]));
            assert_eq!(corners.iter().map(|c| c[d]).max(), Some(range.upper[d]));
        }
    }

    #[test]
    fn an_image_smaller_than_the_patch_has_one_corner() {
        let range = CropRange::new([8; 3], [8; 3], [3, 8, 1]);
        assert_eq!((range.lower, range.upper), ([-3, 0, -4], [-2, 0, -3]));
    }

    #[test]
    fn slices_of_a_two_dimensional_configuration() {
        let range = CropRange::new([1, 6, 6], [1, 9, 9], [20, 6, 6]);
        assert_eq!((range.lower[0], range.upper[0]), (0, 19));
        assert_eq!(range.around([7, 0, 0])[0], 7);
    }
}
