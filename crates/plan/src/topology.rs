//! How a patch is pooled: strides, kernels and the patch size that they ask for.

/// Smallest edge of a feature map.
const MIN_EDGE: f64 = 4.0;

/// Strides and kernels of all stages, for 2 or 3 axes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Topology {
    pub(crate) strides: Vec<Vec<usize>>,
    pub(crate) kernels: Vec<Vec<usize>>,
    /// The patch, rounded up to what the poolings divide.
    pub(crate) patch: Vec<usize>,
    /// What each axis must be divisible by.
    pub(crate) divisor: Vec<usize>,
}

impl Topology {
    /// Pools each axis as long as it is large enough and not much coarser than the others.
    ///
    /// Axes with spacing below twice the smallest are pooled together and get kernels of 3; a coarser axis waits until
    /// the others have caught up.
    pub(crate) fn new(spacing: &[f64], patch: &[f64]) -> Self {
        let axes = patch.len();
        let (mut spacing, mut size) = (spacing.to_vec(), patch.to_vec());
        let (mut kernel, mut pools) = (vec![1; axes], vec![0u32; axes]);
        let mut strides = vec![vec![1; axes]];
        let mut kernels = Vec::new();
        loop {
            let large: Vec<usize> = (0..axes).filter(|&a| size[a] >= 2.0 * MIN_EDGE).collect();
            let Some(finest) = large.iter().map(|&a| spacing[a]).reduce(f64::min) else { break };
            let pooled: Vec<usize> = large.into_iter().filter(|&a| spacing[a] / finest < 2.0).collect();
            if let [only] = pooled[..]
                && size[only] < 3.0 * MIN_EDGE
            {
                break;
            }
            let finest = spacing.iter().copied().fold(f64::INFINITY, f64::min);
            for a in 0..axes {
                if kernel[a] != 3 && spacing[a] / finest < 2.0 {
                    kernel[a] = 3;
                }
            }
            let mut stride = vec![1; axes];
            for &a in &pooled {
                stride[a] = 2;
                pools[a] += 1;
                spacing[a] *= 2.0;
                size[a] = (size[a] / 2.0).ceil();
            }
            strides.push(stride);
            kernels.push(kernel.clone());
        }
        kernels.push(vec![3; axes]);
        let divisor: Vec<usize> = pools.iter().map(|&n| 1usize << n).collect();
        let patch = patch.iter().zip(&divisor).map(|(p, &d)| (p / d as f64).ceil() as usize * d).collect();
        Self { strides, kernels, patch, divisor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lists: &[Vec<usize>]) -> String {
        let one = |list: &Vec<usize>| list.iter().map(usize::to_string).collect::<String>();
        lists.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    // Values of the reference.
    #[test]
    fn topologies_are_the_references() {
        let t = Topology::new(&[1.0; 3], &[128.0; 3]);
        assert_eq!(text(&t.strides), "111 222 222 222 222 222");
        assert_eq!(t.patch, [128, 128, 128]);
        let t = Topology::new(&[5.0, 1.5625, 1.5625], &[9.0, 256.0, 216.0]);
        assert_eq!(text(&t.strides), "111 122 222 122 122 122");
        assert_eq!(text(&t.kernels), "133 333 333 333 333 333");
        assert_eq!(t.patch, [10, 256, 224]);
        let t = Topology::new(&[2.0, 1.0, 1.0], &[64.0; 3]);
        assert_eq!(text(&t.strides), "111 122 222 222 222");
        let t = Topology::new(&[1.999, 1.0, 1.0], &[64.0; 3]);
        assert_eq!(text(&t.kernels), "333 333 333 333 333");
        let t = Topology::new(&[10.0, 1.0, 1.0], &[40.0, 8.0, 8.0]);
        assert_eq!(text(&t.strides), "111 122 211 211");
        assert_eq!(text(&t.kernels), "133 133 133 333");
        let t = Topology::new(&[1.0; 3], &[11.0, 7.0, 7.0]);
        assert_eq!(text(&t.strides), "111");
        let t = Topology::new(&[1.0; 3], &[127.5, 100.5, 7.5]);
        assert_eq!(text(&t.strides), "111 221 221 221 221");
        assert_eq!(t.patch, [128, 112, 8]);
    }
}
