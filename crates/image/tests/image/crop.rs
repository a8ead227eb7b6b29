//! Cropping and turning, against slow and simple versions.

use ndarray::{Array3, Array4, Axis};
use nnunet_image::{bounding_box, crop_to_nonzero, nonzero_mask, transpose_image, transpose_labels};
use proptest::prelude::*;

/// Sweeps over the volume until nothing changes.
fn mask_slowly(data: &Array4<f32>) -> Array3<bool> {
    let foreground = data.fold_axis(Axis(0), false, |any, &v| *any || v != 0.0);
    let shape: [usize; 3] = foreground.dim().into();
    let mut outside = Array3::from_elem(shape, false);
    loop {
        let before = outside.clone();
        for (at, &inside) in foreground.indexed_iter() {
            let at: [usize; 3] = at.into();
            let reached = (0..3).any(|axis| {
                let step = |by: isize| {
                    let moved = at[axis] as isize + by;
                    let mut next = at;
                    next[axis] = moved.max(0) as usize;
                    moved < 0 || moved as usize >= shape[axis] || before[next]
                };
                step(-1) || step(1)
            });
            outside[at] |= !inside && reached;
        }
        if outside == before {
            return outside.mapv(|v| !v);
        }
    }
}

fn image() -> impl Strategy<Value = Array4<f32>> {
    let shape = (1usize..3, 1usize..7, 1usize..7, 1usize..7);
    (shape, 1u32..10).prop_flat_map(|(shape, zeros)| {
        let value = (0u32..10, -2.0f32..2.0).prop_map(move |(draw, v)| if draw < zeros { 0.0 } else { v });
        prop::collection::vec(value, shape.0 * shape.1 * shape.2 * shape.3)
            .prop_map(move |values| Array4::from_shape_vec(shape, values).unwrap())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn holes_are_what_the_outside_does_not_reach(data in image()) {
        prop_assert_eq!(nonzero_mask(data.view()), mask_slowly(&data));
    }

    #[test]
    fn the_box_is_tight_and_the_crop_is_what_it_holds(data in image()) {
        let mask = nonzero_mask(data.view());
        let bbox = bounding_box(mask.view());
        let inside = |at: [usize; 3]| (0..3).all(|axis| (bbox.start[axis]..bbox.end[axis]).contains(&at[axis]));
        let marked: Vec<[usize; 3]> = mask.indexed_iter().filter(|(_, m)| **m).map(|(at, _)| at.into()).collect();
        prop_assert!(marked.iter().all(|&at| inside(at)));
        for axis in 0..3 {
            let touched = |edge: usize| marked.is_empty() || marked.iter().any(|at| at[axis] == edge);
            prop_assert!(touched(bbox.start[axis]) && touched(bbox.end[axis] - 1));
        }
        let labels = mask.mapv(|_| 0i16);
        let cropped = crop_to_nonzero(data.view(), Some(labels.view()));
        prop_assert_eq!(&cropped, &crop_to_nonzero(data.view(), None));
        prop_assert_eq!(cropped.labels.dim(), cropped.bbox.shape().into());
        for ((z, y, x), &label) in cropped.labels.indexed_iter() {
            let at = [z + bbox.start[0], y + bbox.start[1], x + bbox.start[2]];
            prop_assert_eq!(label, if mask[at] { 0 } else { -1 });
            for channel in 0..data.dim().0 {
                prop_assert_eq!(cropped.image[[channel, z, y, x]], data[[channel, at[0], at[1], at[2]]]);
            }
        }
    }

    #[test]
    fn turning_there_and_back_changes_nothing(data in image(), axes in Just(vec![0usize, 1, 2]).prop_shuffle()) {
        let axes: [usize; 3] = axes.try_into().unwrap();
        let mut back = [0; 3];
        for (i, &axis) in axes.iter().enumerate() {
            back[axis] = i;
        }
        let turned = transpose_image(data.view(), axes);
        prop_assert!(turned.is_standard_layout());
        prop_assert_eq!(&transpose_image(turned.view(), back), &data);
        let labels = data.index_axis(Axis(0), 0).mapv(|v| (10.0 * v) as i16);
        prop_assert_eq!(transpose_labels(transpose_labels(labels.view(), axes).view(), back), labels);
    }
}
