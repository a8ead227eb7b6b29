/// Adds `strength` times the Laplacian, borders repeated; `planar` leaves z out.
pub(super) fn sharpen(channel: &mut [f32], shape: [usize; 3], strength: f64, planar: bool) {
    let source = channel.to_vec();
    let [depth, height, width] = shape;
    let strength = strength as f32;
    let line = |z: usize, y: usize| &source[(z * height + y) * width..][..width];
    for z in 0..depth {
        let (back, front) = (line_of(z, depth).0, line_of(z, depth).1);
        for y in 0..height {
            let (up, down) = line_of(y, height);
            let (here, up, down) = (line(z, y), line(z, up), line(z, down));
            let (back, front) = (line(back, y), line(front, y));
            let target = &mut channel[(z * height + y) * width..][..width];
            for (x, value) in target.iter_mut().enumerate() {
                let (left, right) = line_of(x, width);
                let mut laplacian = 4.0 * here[x] - here[left] - here[right] - up[x] - down[x];
                if !planar {
                    laplacian += 2.0 * here[x] - back[x] - front[x];
                }
                *value = strength * laplacian + here[x];
            }
        }
    }
}

/// The neighbours along an axis, the voxel itself at the ends.
fn line_of(i: usize, length: usize) -> (usize, usize) {
    (i.saturating_sub(1), (i + 1).min(length - 1))
}
