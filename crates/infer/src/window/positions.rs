use crate::InferError;
use crate::options::check_step;

/// First voxels of the tiles along each axis of an image that is at least as large as the patch.
///
/// Along each axis, neighbours are at most `patch · step` apart; the first tile begins at 0, the last ends
/// with the image, and the others are spread evenly and rounded, halves to even (nnU-Net v2.8.1 behaviour).
/// Tiles are the product of the three lists.
///
/// # Errors
/// A step outside (0, 1], a patch without voxels, or an image that is smaller than the patch.
///
/// ```
/// let tiles = nnunet_infer::tile_positions([110, 129, 64], [64, 128, 64], 0.5).unwrap();
/// assert_eq!(tiles, [vec![0, 23, 46], vec![0, 1], vec![0]]);
/// ```
pub fn tile_positions(
    image: [usize; 3],
    patch: [usize; 3],
    step: f64,
) -> Result<[Vec<usize>; 3], InferError> {
    check_step(step)?;
    for (axis, name) in ["z", "y", "x"].into_iter().enumerate() {
        if patch[axis] == 0 || image[axis] < patch[axis] {
            return Err(InferError::PatchSize { axis: name, patch: patch[axis], image: image[axis] });
        }
    }
    Ok(std::array::from_fn(|axis| along_axis(image[axis], patch[axis], step)))
}

fn along_axis(image: usize, patch: usize, step: f64) -> Vec<usize> {
    let room = (image - patch) as f64;
    let intervals = (room / (patch as f64 * step)).ceil();
    if intervals == 0.0 {
        return vec![0];
    }
    let distance = room / intervals;
    (0..=intervals as usize).map(|i| (distance * i as f64).round_ties_even() as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_the_reference() {
        let cases: [(usize, usize, f64, &[usize]); 9] = [
            (110, 64, 0.5, &[0, 23, 46]),
            (129, 128, 0.5, &[0, 1]),
            (300, 128, 0.5, &[0, 57, 115, 172]),
            (101, 40, 0.5, &[0, 15, 30, 46, 61]),
            (130, 40, 0.5, &[0, 18, 36, 54, 72, 90]),
            (7, 4, 0.5, &[0, 2, 3]),
            (9, 4, 0.5, &[0, 2, 3, 5]),
            (100, 64, 1.0, &[0, 36]),
            (64, 64, 0.5, &[0]),
        ];
        for (image, patch, step, expected) in cases {
            assert_eq!(along_axis(image, patch, step), expected, "{image} / {patch} at {step}");
        }
    }

    #[test]
    fn steps_outside_the_unit_interval_are_refused() {
        for step in [0.0, -0.5, 1.01, f64::NAN, f64::INFINITY] {
            let error = tile_positions([8; 3], [4; 3], step).unwrap_err().to_string();
            assert!(error.contains("tile_step_size") && error.contains(&step.to_string()), "{error}");
        }
    }

    #[test]
    fn images_smaller_than_the_patch_are_refused() {
        let error = tile_positions([8, 3, 8], [4; 3], 0.5).unwrap_err().to_string();
        assert!(error.contains("axis y") && error.contains('3') && error.contains('4'), "{error}");
    }

    #[test]
    fn tiles_cover_every_voxel_and_stay_inside() {
        for image in 5..60 {
            for patch in 1..=5 {
                for step in [0.1, 0.33, 0.5, 0.77, 1.0] {
                    let positions = along_axis(image, patch, step);
                    assert_eq!((positions[0], positions[positions.len() - 1]), (0, image - patch));
                    let covered = positions.windows(2).all(|pair| pair[1] - pair[0] <= patch);
                    assert!(covered, "{image} / {patch} at {step}: {positions:?}");
                }
            }
        }
    }
}
