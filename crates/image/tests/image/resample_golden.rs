//! Resampling against nnU-Net's own function.

use ndarray::{Array3, Array4, ArrayD, Ix3, Ix4};
use nnunet_image::npz::{read_npz_f32, read_npz_i16};
use nnunet_image::{ResampleOptions, SeparateZ, resample_image, resample_labels};

use crate::golden;

const CASES: usize = 10;

/// Spacing, new spacing and options of one case.
fn parameters(key: &str) -> ([f64; 3], [f64; 3], ResampleOptions) {
    let p: Vec<f64> = read_npz_f32(&golden("resample.npz"), &format!("{key}_p"))
        .unwrap()
        .iter()
        .map(|&v| f64::from(v))
        .collect();
    let separate_z = [SeparateZ::Auto, SeparateZ::Always, SeparateZ::Never][p[6] as usize];
    let options = ResampleOptions { separate_z, order: p[7] as u8, ..ResampleOptions::image() };
    ([p[0], p[1], p[2]], [p[3], p[4], p[5]], options)
}

fn images(key: &str) -> (Array4<f32>, Array4<f32>) {
    let read = |part: &str| -> ArrayD<f32> {
        read_npz_f32(&golden("resample.npz"), &format!("{key}_{part}")).unwrap()
    };
    let shaped = |array: ArrayD<f32>| array.into_dimensionality::<Ix4>().unwrap();
    (shaped(read("in")), shaped(read("out")))
}

#[test]
fn cubic_images_agree_to_a_few_units_in_the_last_place() {
    for case in 0..CASES {
        let key = format!("image_{case}");
        let (input, expected) = images(&key);
        let (spacing, new_spacing, options) = parameters(&key);
        let (_, z, y, x) = expected.dim();
        let found = resample_image(input.view(), [z, y, x], spacing, new_spacing, &options).unwrap();
        // Between the axes, values are rounded to single precision.
        let largest = input.fold(1f32, |largest, v| largest.max(v.abs()));
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() <= 2.0 * f32::EPSILON * largest, "{key}: {a} {b}");
        }
    }
}

#[test]
fn linear_images_agree_to_the_bit() {
    for case in 0..CASES {
        let key = format!("linear_{case}");
        let (input, expected) = images(&key);
        let (spacing, new_spacing, options) = parameters(&key);
        let (_, z, y, x) = expected.dim();
        let found = resample_image(input.view(), [z, y, x], spacing, new_spacing, &options).unwrap();
        assert_eq!(found, expected, "{key}");
    }
}

#[test]
fn labels_agree_everywhere() {
    for case in 0..CASES {
        let key = format!("labels_{case}");
        let read = |part: &str| -> Array3<i16> {
            let array = read_npz_i16(&golden("resample.npz"), &format!("{key}_{part}")).unwrap();
            array.into_dimensionality::<Ix4>().unwrap().index_axis_move(ndarray::Axis(0), 0)
        };
        let (input, expected) = (read("in"), read("out"));
        let (spacing, new_spacing, options) = parameters(&key);
        let found =
            resample_labels(input.view(), expected.dim().into(), spacing, new_spacing, &options).unwrap();
        assert_eq!(found.into_dimensionality::<Ix3>().unwrap(), expected, "{key}");
    }
}

/// Every order against scikit-image, with and without clipping; `make_orders.py` says how the volume is made.
#[test]
fn every_order_agrees_with_scikit_image() {
    let value = |i: usize| ((7 * i * i + 3 * i) % 41) as f32 - 11.0;
    let volume = Array3::from_shape_fn((5, 6, 7), |(z, y, x)| value((z * 6 + y) * 7 + x));
    let text = std::fs::read_to_string(golden("orders.tsv")).unwrap();
    assert_eq!(text.lines().count(), 36);
    for line in text.lines() {
        let numbers: Vec<f32> = line.split('\t').map(|n| n.parse().unwrap()).collect();
        let (order, clip) = (numbers[0] as u8, numbers[1] == 1.0);
        let shape = [2, 3, 4].map(|i| numbers[i] as usize);
        let found = nnunet_image::resample(volume.view(), shape, order, clip).unwrap();
        assert_eq!(<[usize; 3]>::from(found.dim()), shape);
        for (found, expected) in found.iter().zip(&numbers[5..]) {
            let tolerance = 2e-6 * expected.abs().max(10.0);
            assert!((found - expected).abs() <= tolerance, "order {order}, {shape:?}: {found} {expected}");
        }
    }
    let error = nnunet_image::resample(volume.view(), [1, 1, 1], 6, true).unwrap_err().to_string();
    assert!(error.contains("order 6"), "{error}");
}
