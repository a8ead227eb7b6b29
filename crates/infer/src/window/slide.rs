use half::f16;
use ndarray::{ArrayView4, s};
use nnunet_image::{BoundingBox, Progress};
use rayon::prelude::*;

use super::mirror::{Flip, add_flipped, copy_flipped};
use super::sums::{Sums, Tile};
use crate::logits::{Logits, Values};
use crate::{
    Accumulator, CancelToken, InferError, PredictorOptions, gaussian_importance_map, tile_positions,
};

/// What is slid over an image.
pub(crate) trait TileNetwork: Sync {
    /// Logits `(z, y, x, class)` of a tile of `shape` (channel, z, y, x).
    fn forward(&self, tile: Vec<f32>, shape: [usize; 4]) -> Result<Vec<f32>, InferError>;
}

/// How a network is slid over images.
pub(crate) struct Window<'a> {
    /// Patch of the network; the z axis of a 2-D network's has length 1.
    pub(crate) patch: [usize; 3],
    /// A 2-D network: every slice by itself.
    pub(crate) planar: bool,
    /// Number of classes that the network tells apart.
    pub(crate) heads: usize,
    /// The mirrored versions of a tile to average.
    pub(crate) flips: &'a [Flip],
    pub(crate) options: &'a PredictorOptions,
    /// The voxels whose logits are wanted; none for all.
    pub(crate) region: Option<BoundingBox>,
    pub(crate) cancel: &'a CancelToken,
}

/// Logits of a preprocessed image `(channel, z, y, x)`, averaged over mirrored versions, tiles and networks.
///
/// An image smaller than the patch is thought to lie in its middle, surrounded by zeros. With a region, the logits are those
/// of its voxels alone: the same as without, from the tiles that reach them.
pub(crate) fn slide<N: TileNetwork>(
    window: &Window<'_>,
    image: ArrayView4<'_, f32>,
    networks: &[N],
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Logits, InferError> {
    let plan = TilePlan::new(window, image.dim())?;
    if window.options.accumulator == Accumulator::F32 || networks.len() == 1 {
        let report = |done| progress(Progress { done, total: plan.origins.len(), item: "" });
        return plan.run(window, image, networks, &report);
    }
    let (count, tiles) = (networks.len(), plan.origins.len());
    let mut mean: Option<Logits> = None;
    for (number, network) in networks.iter().enumerate() {
        let report =
            |done| progress(Progress { done: number * tiles + done, total: count * tiles, item: "" });
        let fold = plan.run(window, image, std::slice::from_ref(network), &report)?;
        match &mut mean {
            None => mean = Some(fold),
            Some(mean) => add_halves(mean, &fold),
        }
    }
    let mut mean = mean.ok_or(InferError::NoNetwork)?;
    if let Values::F16(values) = &mut mean.values {
        values.par_iter_mut().for_each(|v| *v = f16::from_f32(v.to_f32() / count as f32));
    }
    Ok(mean)
}

/// Sum of folds, rounded to half precision as nnU-Net v2.8.1 does.
fn add_halves(sum: &mut Logits, fold: &Logits) {
    if let (Values::F16(sum), Values::F16(fold)) = (&mut sum.values, &fold.values) {
        let add = |(a, b): (&mut f16, &f16)| *a = f16::from_f32(a.to_f32() + b.to_f32());
        sum.par_iter_mut().zip(fold).for_each(add);
    }
}

/// Where the tiles of one image begin, in voxels of the image; negative where the image is smaller than the
/// patch.
pub(super) struct TilePlan {
    pub(super) region: BoundingBox,
    channels: usize,
    pub(super) origins: Vec<[isize; 3]>,
    pub(super) importance: Option<Vec<f32>>,
}

impl TilePlan {
    pub(super) fn new(window: &Window<'_>, dim: (usize, usize, usize, usize)) -> Result<Self, InferError> {
        let (channels, shape) = (dim.0, [dim.1, dim.2, dim.3]);
        if channels == 0 || shape.contains(&0) || window.patch.contains(&0) {
            return Err(InferError::EmptyImage { shape, patch: window.patch });
        }
        let padded: [usize; 3] = std::array::from_fn(|axis| shape[axis].max(window.patch[axis]));
        let mut positions = tile_positions(padded, window.patch, window.options.tile_step_size)?;
        if window.planar {
            positions[0] = (0..padded[0]).collect();
        }
        let below: [usize; 3] = std::array::from_fn(|axis| (padded[axis] - shape[axis]) / 2);
        let [zs, ys, xs] = positions;
        let whole = BoundingBox { start: [0; 3], end: shape };
        let region = window.region.unwrap_or(whole);
        if (0..3).any(|axis| region.start[axis] >= region.end[axis] || region.end[axis] > shape[axis]) {
            let (found, expected) = (region.end.to_vec(), shape.to_vec());
            return Err(InferError::Shape { what: "the region", found, expected });
        }
        let mut origins = Vec::with_capacity(zs.len() * ys.len() * xs.len());
        for &z in &zs {
            for &y in &ys {
                for &x in &xs {
                    let at = [z, y, x];
                    let origin: [isize; 3] =
                        std::array::from_fn(|axis| at[axis] as isize - below[axis] as isize);
                    let reaches = (0..3).all(|axis| {
                        origin[axis] < region.end[axis] as isize
                            && origin[axis].saturating_add_unsigned(window.patch[axis])
                                > region.start[axis] as isize
                    });
                    if reaches {
                        origins.push(origin);
                    }
                }
            }
        }
        let importance = window
            .options
            .use_gaussian
            .then(|| gaussian_importance_map(window.patch).into_raw_vec_and_offset().0);
        Ok(Self { region, channels, origins, importance })
    }

    fn run<N: TileNetwork>(
        &self,
        window: &Window<'_>,
        image: ArrayView4<'_, f32>,
        networks: &[N],
        done: &dyn Fn(usize),
    ) -> Result<Logits, InferError> {
        if networks.is_empty() {
            return Err(InferError::NoNetwork);
        }
        let voxels: usize = window.patch.iter().product();
        let mut sums = Sums::new(window.options.accumulator, self.region.shape(), window.heads)?;
        let mut tile = vec![0.0; self.channels * voxels];
        let mut mean = vec![0.0; window.heads * voxels];
        for (number, &origin) in self.origins.iter().enumerate() {
            window.cancel.check()?;
            cut(image, origin, window.patch, &mut tile);
            self.average(window, &tile, networks, &mut mean)?;
            let origin = std::array::from_fn(|axis| origin[axis] - self.region.start[axis] as isize);
            let tile = Tile { logits: &mean, patch: window.patch, origin };
            sums.add(&tile, self.importance.as_deref());
            done(number + 1);
        }
        sums.finish(self.region.start)
    }

    /// Mean of the logits of a tile over mirrored versions and networks.
    fn average<N: TileNetwork>(
        &self,
        window: &Window<'_>,
        tile: &[f32],
        networks: &[N],
        mean: &mut [f32],
    ) -> Result<(), InferError> {
        let [z, y, x] = window.patch;
        mean.fill(0.0);
        for network in networks {
            for &flip in window.flips {
                let mut input = vec![0.0; tile.len()];
                copy_flipped(tile, &mut input, window.patch, 1, flip);
                let logits = network.forward(input, [self.channels, z, y, x])?;
                if logits.len() != mean.len() {
                    return Err(InferError::NetworkOutput { found: logits.len(), expected: mean.len() });
                }
                add_flipped(&logits, mean, window.patch, window.heads, flip);
            }
        }
        let count = (networks.len() * window.flips.len()) as f32;
        if count > 1.0 {
            mean.iter_mut().for_each(|value| *value /= count);
        }
        Ok(())
    }
}

/// Copies a patch out of an image, with zeros where it is outside.
fn cut(image: ArrayView4<'_, f32>, origin: [isize; 3], patch: [usize; 3], tile: &mut [f32]) {
    tile.fill(0.0);
    let (_, depth, height, width) = image.dim();
    let [pz, py, px] = patch;
    let range = |axis: usize, size: usize| {
        let limit = |v: isize| v.clamp(0, size as isize) as usize;
        limit(origin[axis])..limit(origin[axis].saturating_add_unsigned(patch[axis]))
    };
    let (zs, ys, xs) = (range(0, depth), range(1, height), range(2, width));
    let local = |axis: usize, at: usize| (at as isize - origin[axis]) as usize;
    for (channel, volume) in image.outer_iter().enumerate() {
        for z in zs.clone() {
            for y in ys.clone() {
                let start = ((channel * pz + local(0, z)) * py + local(1, y)) * px + local(2, xs.start);
                let row = volume.slice(s![z, y, xs.clone()]);
                tile[start..start + row.len()].iter_mut().zip(row).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array4, Axis};

    use super::super::flips;
    use super::*;

    /// Multiplies the first channel by a pattern that is fixed within the patch.
    struct Pattern;

    impl TileNetwork for Pattern {
        fn forward(&self, tile: Vec<f32>, [_, z, y, x]: [usize; 4]) -> Result<Vec<f32>, InferError> {
            let mut out = Vec::new();
            for (voxel, value) in tile.iter().take(z * y * x).enumerate() {
                let (k, j, i) = (voxel / (y * x), voxel / x % y, voxel % x);
                let pattern = |head: usize| ((11 * head + 3 * k + 5 * j + 7 * i) % 16) as f32 / 8.0 - 1.0;
                out.extend([value * pattern(0), value * pattern(1)]);
            }
            Ok(out)
        }
    }

    /// Answers with multiples of the voxel's two channels.
    struct Linear(f32);

    impl TileNetwork for Linear {
        fn forward(&self, tile: Vec<f32>, [_, z, y, x]: [usize; 4]) -> Result<Vec<f32>, InferError> {
            let n = z * y * x;
            Ok((0..n).flat_map(|i| [self.0 * tile[i], tile[n + i], tile[i] - tile[n + i]]).collect())
        }
    }

    fn golden(bytes: &[u8], shape: (usize, usize, usize, usize)) -> Array4<f32> {
        let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Array4::from_shape_vec(shape, values).unwrap()
    }

    fn image(channels: usize, [z, y, x]: [usize; 3]) -> Array4<f32> {
        let values = (0..channels * z * y * x).map(|i| (i * 37 % 61) as f32 / 16.0 - 2.0).collect();
        Array4::from_shape_vec((channels, z, y, x), values).unwrap()
    }

    fn like_the_reference(
        shape: [usize; 3],
        patch: [usize; 3],
        axes: &[usize],
        gaussian: bool,
        bytes: &[u8],
    ) {
        let options = PredictorOptions {
            accumulator: Accumulator::F16,
            use_gaussian: gaussian,
            ..PredictorOptions::default()
        };
        let flips = flips(axes);
        let window = Window {
            patch,
            planar: patch[0] == 1,
            heads: 2,
            flips: &flips,
            options: &options,
            region: None,
            cancel: &CancelToken::new(),
        };
        let found = slide(&window, image(1, shape).view(), &[Pattern], &|_| {}).unwrap().to_array();
        assert_eq!(found, golden(bytes, (2, shape[0], shape[1], shape[2])));
    }

    #[test]
    fn half_precision_sums_equal_the_reference_bit_by_bit() {
        let golden = include_bytes!("../../tests/golden/window_3d.f32");
        like_the_reference([11, 9, 14], [8, 12, 6], &[0, 1, 2], true, golden);
        let golden = include_bytes!("../../tests/golden/window_2d.f32");
        like_the_reference([3, 13, 9], [1, 8, 10], &[1, 2], true, golden);
        let golden = include_bytes!("../../tests/golden/window_flat.f32");
        like_the_reference([10, 9, 8], [6, 6, 6], &[1], false, golden);
    }

    #[test]
    fn a_network_that_looks_at_single_voxels_does_not_see_the_tiles() {
        let image = image(2, [9, 17, 12]);
        let [a, b] = [0, 1].map(|c| image.index_axis(Axis(0), c));
        for (patch, step, accumulator, tolerance) in [
            ([4, 8, 8], 0.5, Accumulator::F32, 1e-5),
            ([12, 8, 5], 0.3, Accumulator::F32, 1e-5),
            ([1, 8, 16], 1.0, Accumulator::F32, 1e-5),
            ([4, 8, 8], 0.5, Accumulator::F16, 0.2),
        ] {
            let options =
                PredictorOptions { tile_step_size: step, accumulator, ..PredictorOptions::default() };
            let flips = flips(&[1, 2]);
            let window = Window {
                patch,
                planar: patch[0] == 1,
                heads: 3,
                flips: &flips,
                options: &options,
                region: None,
                cancel: &CancelToken::new(),
            };
            // Two networks: means of their logits.
            let found =
                slide(&window, image.view(), &[Linear(2.0), Linear(4.0)], &|_| {}).unwrap().to_array();
            let expected = [a.mapv(|v| 3.0 * v), b.to_owned(), &a - &b];
            for (found, expected) in found.outer_iter().zip(&expected) {
                let worst = (&found - expected).iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                assert!(worst < tolerance, "{patch:?}: {worst}");
            }
        }
    }

    #[test]
    fn a_region_has_the_logits_of_the_whole() {
        let image = image(1, [11, 9, 14]);
        let flips = flips(&[0, 1, 2]);
        for accumulator in [Accumulator::F32, Accumulator::F16] {
            let options = PredictorOptions { accumulator, ..PredictorOptions::default() };
            let cancel = CancelToken::new();
            let predict = |region| {
                let patch = [8, 12, 6];
                let window = Window {
                    patch,
                    planar: false,
                    heads: 2,
                    flips: &flips,
                    options: &options,
                    region,
                    cancel: &cancel,
                };
                slide(&window, image.view(), &[Pattern], &|_| {}).map(|logits| logits.to_array())
            };
            let whole = predict(None).unwrap();
            for (start, end) in [([2, 3, 4], [5, 8, 14]), ([10, 0, 0], [11, 1, 1]), ([0, 0, 0], [11, 9, 14])]
            {
                let part = predict(Some(BoundingBox { start, end })).unwrap();
                let expected =
                    whole.slice(s![.., start[0]..end[0], start[1]..end[1], start[2]..end[2]]).to_owned();
                assert_eq!(part, expected);
            }
            let outside = predict(Some(BoundingBox { start: [0; 3], end: [11, 10, 14] })).unwrap_err();
            assert!(matches!(outside, InferError::Shape { .. }), "{outside}");
        }
    }

    #[test]
    fn a_cancelled_prediction_ends_before_the_next_tile() {
        let options = PredictorOptions::default();
        let flips = flips(&[]);
        let cancel = CancelToken::new();
        let window = Window {
            patch: [4; 3],
            planar: false,
            heads: 3,
            flips: &flips,
            options: &options,
            region: None,
            cancel: &cancel,
        };
        let tiles = std::sync::atomic::AtomicUsize::new(0);
        let stop = |_: Progress<'_>| {
            tiles.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            cancel.cancel();
        };
        let error = slide(&window, image(2, [9, 9, 9]).view(), &[Linear(1.0)], &stop).unwrap_err();
        assert!(matches!(error, InferError::Cancelled), "{error}");
        assert_eq!(tiles.into_inner(), 1);
    }

    #[test]
    fn every_tile_is_reported() {
        let options = PredictorOptions { accumulator: Accumulator::F16, ..PredictorOptions::default() };
        let flips = flips(&[]);
        let window = Window {
            patch: [4; 3],
            planar: false,
            heads: 3,
            flips: &flips,
            options: &options,
            region: None,
            cancel: &CancelToken::new(),
        };
        let seen = std::sync::Mutex::new(Vec::new());
        let progress = |p: Progress<'_>| seen.lock().unwrap().push((p.done, p.total));
        slide(&window, image(2, [4, 4, 6]).view(), &[Linear(1.0), Linear(1.0)], &progress).unwrap();
        assert_eq!(*seen.lock().unwrap(), [(1, 4), (2, 4), (3, 4), (4, 4)]);
    }

    #[test]
    fn logits_that_are_not_finite_are_an_error_with_their_place() {
        let options = PredictorOptions::default();
        let flips = flips(&[]);
        let window = Window {
            patch: [2, 4, 4],
            planar: false,
            heads: 3,
            flips: &flips,
            options: &options,
            region: None,
            cancel: &CancelToken::new(),
        };
        let mut image = image(2, [4, 5, 6]);
        for bad in [f32::NAN, f32::INFINITY] {
            image[[1, 2, 3, 4]] = bad;
            let error = slide(&window, image.view(), &[Linear(1.0)], &|_| {}).unwrap_err();
            assert!(matches!(error, InferError::NotFinite { voxel: [2, 3, 4] }), "{error}");
        }
    }

    #[test]
    fn wrong_networks_and_empty_images_are_errors() {
        let options = PredictorOptions::default();
        let flips = flips(&[]);
        let window = Window {
            patch: [2, 4, 4],
            planar: false,
            heads: 5,
            flips: &flips,
            options: &options,
            region: None,
            cancel: &CancelToken::new(),
        };
        let slid =
            |image: Array4<f32>, networks: &[Linear]| slide(&window, image.view(), networks, &|_| {}).err();
        let image = image(2, [4, 5, 6]);
        let error = slid(image.clone(), &[Linear(1.0)]);
        assert!(matches!(error, Some(InferError::NetworkOutput { found: 96, expected: 160 })), "{error:?}");
        assert!(matches!(slid(image, &[]), Some(InferError::NoNetwork)));
        let error = slid(Array4::zeros((2, 0, 5, 6)), &[Linear(1.0)]);
        assert!(matches!(error, Some(InferError::EmptyImage { .. })), "{error:?}");
    }
}
