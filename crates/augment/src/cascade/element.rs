//! Structuring elements as the reference draws them.

/// For each row (z, y) of the element the run of x that belongs to it, relative to the centre and inclusive.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Element {
    pub(super) rows: Vec<Row>,
}

/// The voxels `(z, y, first..=last)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    pub(super) z: i64,
    pub(super) y: i64,
    pub(super) run: (i64, i64),
}

impl Element {
    /// A ball of ⌊2r + 1⌋ equally spaced points per axis; elements of even size are off-centre.
    pub(super) fn ball(radius: f64) -> Self {
        let count = (2.0 * radius + 1.0) as usize;
        let step = (2.0 * radius) / (count.max(2) - 1) as f64;
        let points: Vec<f64> = (0..count).map(|i| i as f64 * step + -radius).collect();
        Self::new(&points, &points, radius)
    }

    /// A disc in the plane of y and x: the points −r, −r + 1, … below r + 1.
    pub(super) fn disc(radius: f64) -> Self {
        let count = (2.0 * radius + 1.0).ceil() as usize;
        let points: Vec<f64> = (0..count).map(|i| -radius + i as f64).collect();
        Self::new(&[0.0], &points, radius)
    }

    fn new(depth: &[f64], points: &[f64], radius: f64) -> Self {
        let centre = |count: usize| (count as i64 - 1).div_euclid(2);
        let middle = centre(points.len());
        let mut rows = Vec::new();
        for (z, dz) in depth.iter().enumerate() {
            for (y, dy) in points.iter().enumerate() {
                let inside = |dx: &f64| dx * dx + dy * dy + dz * dz <= radius * radius;
                let first = points.iter().position(inside);
                let last = points.iter().rposition(inside);
                if let (Some(first), Some(last)) = (first, last) {
                    let run = (first as i64 - middle, last as i64 - middle);
                    rows.push(Row { z: z as i64 - centre(depth.len()), y: y as i64 - middle, run });
                }
            }
        }
        Self { rows }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> i64 {
        self.rows.iter().map(|row| row.run.1 - row.run.0 + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_the_reference_s_voxels() {
        for (radius, count) in [(1.3, 7), (1.5, 8), (2.0, 33), (2.7, 56), (3.6, 160)] {
            assert_eq!(Element::ball(radius).count(), count, "ball of radius {radius}");
        }
        for (radius, count) in [(1.3, 4), (1.9, 9), (2.7, 22)] {
            assert_eq!(Element::disc(radius).count(), count, "disc of radius {radius}");
        }
    }
}
