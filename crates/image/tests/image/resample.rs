//! Resampling: worked numbers of the reference, slow and simple versions, and what must always hold.

use ndarray::{Array1, Array3, Array4, ArrayView3, array};
use nnunet_image::{
    ImageError, ResampleOptions, SeparateZ, resample_image, resample_labels, resampled_shape,
};
use proptest::prelude::*;

fn never(options: ResampleOptions) -> ResampleOptions {
    ResampleOptions { separate_z: SeparateZ::Never, ..options }
}

fn image(data: Array3<f32>, new_shape: [usize; 3], options: ResampleOptions) -> Array3<f32> {
    let data = data.insert_axis(ndarray::Axis(0));
    let out = resample_image(data.view(), new_shape, [1.0; 3], [1.0; 3], &never(options)).unwrap();
    out.index_axis_move(ndarray::Axis(0), 0)
}

fn labels(data: ArrayView3<'_, i16>, new_shape: [usize; 3]) -> Array3<i16> {
    resample_labels(data, new_shape, [1.0; 3], [1.0; 3], &ResampleOptions::labels()).unwrap()
}

fn close(found: impl IntoIterator<Item = f32>, expected: &[f32]) {
    for (found, &expected) in found.into_iter().zip(expected) {
        approx::assert_relative_eq!(found, expected, max_relative = 1e-6);
    }
}

#[test]
fn shapes_round_half_to_even() {
    let shape = |size, spacing| resampled_shape([size, 1, 1], [spacing, 1.0, 1.0], [1.0; 3])[0];
    assert_eq!([shape(5, 0.5), shape(5, 1.5), shape(5, 2.5), shape(10, 0.05)], [2, 8, 12, 0]);
}

#[test]
fn a_line_becomes_a_clipped_spline() {
    let line = Array1::from(vec![0.0, 1.0, 4.0, 2.0]).into_shape_with_order((1, 1, 4)).unwrap();
    let found = image(line.clone(), [1, 1, 6], ResampleOptions::image());
    close(found, &[0.0, 0.144_709_59, 1.544_308_3, 3.790_628_2, 3.274_519, 1.788_788_1]);
    let found = image(line, [1, 1, 6], ResampleOptions::probabilities());
    close(found, &[0.0, 0.5, 1.5, 3.5, 3.0, 2.0]);
}

#[test]
fn planes_and_volumes_become_splines() {
    let plane = array![[[0.0, 10.0, 20.0, 30.0], [0.0, 10.0, 20.0, 30.0], [5.0, 5.0, 5.0, 5.0]]];
    let found = image(plane, [1, 6, 3], ResampleOptions::image());
    close(found.row_of(0), &[1.178_493_3, 14.739_779, 28.301_067]);
    close(found.row_of(5), &[5.381_043, 4.028_845_3, 2.676_647_7]);
    let volume = Array3::from_shape_fn((3, 3, 3), |(z, y, x)| ((9 * z + 3 * y + x).pow(2) % 17) as f32);
    let found = image(volume, [4, 3, 2], ResampleOptions::image());
    let plane = |z| found.index_axis(ndarray::Axis(0), z).iter().copied().collect::<Vec<_>>();
    close(plane(0), &[0.0, 3.365_299, 11.067_31, 9.911_661, 5.194_312, 15.231_51]);
    close(plane(3), &[0.338_323_6, 8.256_773, 14.893_49, 2.342_53, 15.297_19, 13.939_08]);
}

/// Row `y` of the first slice.
trait RowOf {
    fn row_of(&self, y: usize) -> Vec<f32>;
}

impl RowOf for Array3<f32> {
    fn row_of(&self, y: usize) -> Vec<f32> {
        self.slice(ndarray::s![0, y, ..]).to_vec()
    }
}

#[test]
fn labels_of_lines_and_planes() {
    assert_eq!(labels(array![[[0i16, 1]]].view(), [1, 1, 3]), array![[[0i16, 1, 1]]]);
    assert_eq!(labels(array![[[0i16, 1, 2, 3]]].view(), [1, 1, 2]), array![[[1i16, 3]]]);
    assert_eq!(
        labels(array![[[1i16, 2], [3, 1]]].view(), [1, 3, 3]),
        array![[[1i16, 2, 2], [3, 1, 1], [3, 1, 1]]]
    );
    let grid = array![[[0i16, 0, 1, 1], [0, 2, 2, 1], [3, 3, 2, 0], [-1, 3, 0, 0]]];
    assert_eq!(labels(grid.view(), [1, 2, 2]), array![[[0i16, 1], [3, 0]]]);
    let expected = array![[[0i16, 0, 1, 1, 1], [3, 3, 2, 2, 0], [-1, 3, 3, 0, 0]]];
    assert_eq!(labels(grid.view(), [1, 3, 5]), expected);
    let expected = array![[
        [0i16, 0, 0, 1, 1, 1],
        [0, 0, 2, 2, 1, 1],
        [0, 2, 2, 2, 2, 1],
        [3, 3, 3, 2, 2, 0],
        [-1, 3, 3, 0, 0, 0],
        [-1, 3, 3, 0, 0, 0]
    ]];
    assert_eq!(labels(grid.view(), [1, 6, 6]), expected);
}

#[test]
fn slices_are_resampled_in_the_plane_and_picked_along_the_coarse_axis() {
    let grid = array![[[0i16, 1], [1, 1]], [[2, 2], [2, 2]], [[0, 0], [3, 0]]];
    let found =
        resample_labels(grid.view(), [5, 3, 3], [5.0, 1.0, 1.0], [3.0, 0.7, 0.7], &ResampleOptions::labels());
    let (first, last) =
        (array![[0i16, 1, 1], [1, 1, 1], [1, 1, 1]], array![[0i16, 0, 0], [3, 0, 0], [3, 0, 0]]);
    let found = found.unwrap();
    let slices: Vec<_> = found.outer_iter().collect();
    assert_eq!((slices[0], slices[1]), (first.view(), first.view()));
    assert!(slices[2].iter().all(|&label| label == 2));
    assert_eq!((slices[3], slices[4]), (last.view(), last.view()));
}

/// Whether an axis is resampled on its own shows in values that only nearest neighbours keep.
fn separate(spacing: [f64; 3], new_spacing: [f64; 3], separate_z: SeparateZ) -> Option<usize> {
    let options = ResampleOptions { separate_z, order: 1, ..ResampleOptions::image() };
    (0..3).find(|&axis| {
        let mut new_shape = [2; 3];
        new_shape[axis] = 3;
        let ramp = Array4::from_shape_fn((1, 2, 2, 2), |(_, z, y, x)| [z, y, x][axis] as f32);
        let out = resample_image(ramp.view(), new_shape, spacing, new_spacing, &options).unwrap();
        out.iter().all(|&v| v == 0.0 || v == 1.0)
    })
}

#[test]
fn the_coarse_axis_is_found() {
    let auto = |spacing, new| separate(spacing, new, SeparateZ::Auto);
    assert_eq!(auto([3.0, 1.0, 1.0], [1.0; 3]), None);
    assert_eq!(auto([3.0001, 1.0, 1.0], [1.0; 3]), Some(0));
    assert_eq!(auto([1.0; 3], [4.0, 1.0, 1.0]), Some(0));
    assert_eq!(
        auto([0.24, 1.25, 1.25], [4.0, 1.0, 1.0]),
        None,
        "two coarse axes; the new spacing is not asked"
    );
    assert_eq!(auto([2.0, 2.0, 0.5], [1.0; 3]), None);
    assert_eq!(auto([1.0, 2.0, 4.0], [1.0; 3]), Some(2));
    assert_eq!(auto([999.0, 1.0, 1.0], [999.0, 1.0, 1.0]), Some(0));
    assert_eq!(separate([1.0, 1.5, 1.0], [9.0, 1.0, 1.0], SeparateZ::Always), Some(1));
    assert_eq!(separate([9.0, 1.0, 1.0], [9.0, 1.0, 1.0], SeparateZ::Never), None);
}

#[test]
fn what_cannot_be_resampled_is_said() {
    let data = Array4::<f32>::zeros((1, 2, 2, 2));
    let run = |shape, spacing: f64, options: ResampleOptions| {
        resample_image(data.view(), shape, [spacing; 3], [1.0; 3], &options).unwrap_err().to_string()
    };
    assert!(run([0, 2, 2], 1.0, ResampleOptions::image()).contains("empty"));
    assert!(run([3, 2, 2], 0.0, ResampleOptions::image()).contains("spacing"));
    assert!(run([3, 2, 2], f64::NAN, ResampleOptions::image()).contains("spacing"));
    assert!(
        run([3, 2, 2], 1.0, ResampleOptions { order: 6, ..ResampleOptions::image() }).contains("order 6")
    );
    let labels = Array3::<i16>::zeros((1, 1, 2));
    let cubic = resample_labels(labels.view(), [1, 1, 3], [1.0; 3], [1.0; 3], &ResampleOptions::image());
    assert!(matches!(cubic, Err(ImageError::Resample(_))));
}

/// Whatever the order in which axes are taken and whatever the layout of the input, the result is the same.
#[test]
fn shrinking_and_growing_axes_are_taken_in_any_order() {
    let value = |z: usize, y: usize, x: usize| ((7 * z + 13 * y * y + 5 * x * z) % 29) as f32;
    let volume = Array3::from_shape_fn((9, 10, 11), |(z, y, x)| value(z, y, x));
    for shape in [[3, 10, 11], [3, 14, 15], [3, 7, 8], [12, 5, 6], [12, 14, 6], [9, 4, 20], [2, 40, 3]] {
        let found = nnunet_image::resample(volume.view(), shape, 3, true).unwrap();
        // The same with the axes turned, which puts another axis first.
        let turned = volume.view().permuted_axes([2, 0, 1]);
        let again = nnunet_image::resample(turned, [shape[2], shape[0], shape[1]], 3, true).unwrap();
        let again = again.permuted_axes([1, 2, 0]);
        for (a, b) in found.iter().zip(&again) {
            assert!((a - b).abs() < 1e-5, "{shape:?}: {a} {b}");
        }
    }
}

/// The definition: per label an indicator, interpolated linearly with taps beyond the border moved onto it.
fn labels_slowly(data: &Array3<i16>, new_shape: [usize; 3]) -> Array3<i16> {
    let shape: [usize; 3] = data.dim().into();
    let taps = |axis: usize, k: usize| {
        let c = (k as f64 + 0.5) * (shape[axis] as f64 / new_shape[axis] as f64) - 0.5;
        let last = (shape[axis] - 1) as f64;
        let low = 1.0 - (c - c.floor());
        let nearest = (c.clamp(0.0, last) + 0.5).floor().min(last) as usize;
        let index = [c.floor(), c.floor() + 1.0].map(|i| i.clamp(0.0, last) as usize);
        (index, [low, 1.0 - low], nearest)
    };
    Array3::from_shape_fn(new_shape, |(z, y, x)| {
        let [(iz, wz, nz), (iy, wy, ny), (ix, wx, nx)] = [taps(0, z), taps(1, y), taps(2, x)];
        let score = |label: i16| {
            let mut sum = 0.0;
            for tap in 0..8 {
                let [a, b, c] = [tap / 4, tap / 2 % 2, tap % 2];
                let indicator = if data[[iz[a], iy[b], ix[c]]] == label { 1.0 } else { 0.0 };
                sum += indicator * wz[a] * wy[b] * wx[c];
            }
            f64::min(sum, 1.0)
        };
        let mut all: Vec<i16> = data.iter().copied().collect();
        all.sort_unstable();
        all.dedup();
        let best = all.iter().map(|&label| score(label)).fold(0.0, f64::max);
        let nearest = data[[nz, ny, nx]];
        if score(nearest) == best {
            nearest
        } else {
            *all.iter().find(|&&label| score(label) == best).unwrap()
        }
    })
}

/// Volumes of such values, and a shape to give them.
fn volume<T: Clone + std::fmt::Debug + 'static>(
    values: impl Strategy<Value = T> + Clone + 'static,
) -> impl Strategy<Value = (Array3<T>, [usize; 3])> {
    (prop::array::uniform3(1usize..7), prop::array::uniform3(1usize..9)).prop_flat_map(
        move |(shape, new_shape)| {
            prop::collection::vec(values.clone(), shape.iter().product::<usize>())
                .prop_map(move |values| (Array3::from_shape_vec(shape, values).unwrap(), new_shape))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn labels_are_those_of_the_definition((data, new_shape) in volume(-1i16..4)) {
        prop_assert_eq!(labels(data.view(), new_shape), labels_slowly(&data, new_shape));
    }

    #[test]
    fn images_stay_in_their_range_and_constants_stay((data, new_shape) in volume(-900.0f32..900.0), order in 0u8..3) {
        let order = [0, 1, 3][usize::from(order)];
        let options = ResampleOptions { order, ..ResampleOptions::image() };
        let low = data.iter().copied().fold(f32::INFINITY, f32::min);
        let high = data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let constant = Array3::from_elem(data.dim(), high);
        let found = image(data, new_shape, options);
        prop_assert!(found.iter().all(|v| (low..=high).contains(v)));
        prop_assert!(image(constant, new_shape, options).iter().all(|&v| v == high));
    }

    #[test]
    fn the_number_of_threads_changes_nothing((data, new_shape) in volume(-900.0f32..900.0), separate: bool) {
        let data = data.insert_axis(ndarray::Axis(0));
        let spacing = if separate { [4.0, 1.0, 1.0] } else { [1.0; 3] };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| resample_image(data.view(), new_shape, spacing, [1.0; 3], &ResampleOptions::image()).unwrap())
        };
        prop_assert_eq!(run(1), run(3));
    }

    #[test]
    fn the_same_shape_gives_the_same_image((data, _) in volume(-900.0f32..900.0)) {
        let shape = data.dim().into();
        prop_assert_eq!(image(data.clone(), shape, ResampleOptions::image()), data);
    }
}
