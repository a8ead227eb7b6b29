//! Connected components of a channel, voxels touching at faces, edges or corners.

/// Number of each voxel's component, 0 outside; components are numbered from 1 in the order of their first voxels.
/// The second value has their sizes.
pub(super) fn components(channel: &[f32], [depth, height, width]: [usize; 3]) -> (Vec<u32>, Vec<usize>) {
    let mut numbers = vec![0u32; channel.len()];
    let mut parents: Vec<u32> = vec![0];
    for z in 0..depth {
        for y in 0..height {
            for x in 0..width {
                let index = (z * height + y) * width + x;
                if channel[index] == 0.0 {
                    continue;
                }
                let mut number = 0;
                let mut meet = |at: usize| {
                    let other = numbers[at];
                    if other != 0 {
                        let other = root(&mut parents, other);
                        number = if number == 0 { other } else { join(&mut parents, number, other) };
                    }
                };
                earlier_neighbours([z, y, x], [height, width], &mut meet);
                if number == 0 {
                    number = parents.len() as u32;
                    parents.push(number);
                }
                numbers[index] = number;
            }
        }
    }
    renumber(&mut numbers, &mut parents)
}

/// Calls `meet` with the neighbours that come before a voxel.
fn earlier_neighbours([z, y, x]: [usize; 3], [height, width]: [usize; 2], meet: &mut impl FnMut(usize)) {
    let (left, right) = (x.saturating_sub(1), (x + 1).min(width - 1));
    if x > 0 {
        meet((z * height + y) * width + left);
    }
    if y > 0 {
        (left..=right).for_each(|x| meet((z * height + y - 1) * width + x));
    }
    if z > 0 {
        for y in y.saturating_sub(1)..=(y + 1).min(height - 1) {
            (left..=right).for_each(|x| meet(((z - 1) * height + y) * width + x));
        }
    }
}

fn root(parents: &mut [u32], mut number: u32) -> u32 {
    while parents[number as usize] != number {
        let next = parents[parents[number as usize] as usize];
        parents[number as usize] = next;
        number = next;
    }
    number
}

/// The smaller of two roots becomes the root of both.
fn join(parents: &mut [u32], a: u32, b: u32) -> u32 {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b) as usize] = a.min(b);
    a.min(b)
}

fn renumber(numbers: &mut [u32], parents: &mut [u32]) -> (Vec<u32>, Vec<usize>) {
    let mut names = vec![0u32; parents.len()];
    let mut sizes = Vec::new();
    for number in numbers.iter_mut().filter(|number| **number != 0) {
        let name = &mut names[root(parents, *number) as usize];
        if *name == 0 {
            sizes.push(0);
            *name = sizes.len() as u32;
        }
        *number = *name;
        sizes[*name as usize - 1] += 1;
    }
    (numbers.to_vec(), sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_connect_and_bridges_join() {
        #[rustfmt::skip]
        let channel = [
            1., 0., 1., 0., 0.,
            1., 0., 1., 0., 1.,
            0., 1., 0., 0., 0.,

            0., 0., 0., 0., 0.,
            0., 0., 0., 0., 0.,
            0., 0., 0., 1., 0.,
        ];
        let (numbers, sizes) = components(&channel, [2, 3, 5]);
        #[rustfmt::skip]
        assert_eq!(numbers, [
            1, 0, 1, 0, 0,
            1, 0, 1, 0, 1,
            0, 1, 0, 0, 0,

            0, 0, 0, 0, 0,
            0, 0, 0, 0, 0,
            0, 0, 0, 1, 0,
        ]);
        assert_eq!(sizes, [7]);
        let (numbers, sizes) = components(&channel[..15], [1, 3, 5]);
        assert_eq!((numbers[0], numbers[9], sizes), (1, 2, vec![5, 1]));
    }
}
