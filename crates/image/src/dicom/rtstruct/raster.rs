//! Polygons to pixels: a pixel is inside if its centre is, by the even-odd rule over all polygons together, or if its centre lies
//! on an outline.

use super::outline::Polygon;

/// How near an outline a centre lies on it, in pixels.
const ON: f64 = 0.01;

/// The pixels of one slice that polygons hold.
pub(super) struct Raster {
    rows: usize,
    columns: usize,
    /// Whether the number of crossings to the left of a pixel changes there, `columns + 1` per row.
    turns: Vec<bool>,
    on: Vec<bool>,
}

impl Raster {
    pub(super) fn new([rows, columns]: [usize; 2]) -> Self {
        Self { rows, columns, turns: vec![false; rows * (columns + 1)], on: vec![false; rows * columns] }
    }

    /// Adds a closed polygon.
    pub(super) fn add(&mut self, polygon: &Polygon) {
        let ends = polygon.iter().skip(1).chain(polygon.first());
        for (&from, &to) in polygon.iter().zip(ends) {
            // One order for both ways along the same line, so that ways there and back cancel.
            let (low, high) = if (from[1], from[0]) <= (to[1], to[0]) { (from, to) } else { (to, from) };
            self.cross(low, high);
            self.touch(low, high);
        }
    }

    /// The first row and the one behind the last from `low` to `high`.
    fn span(low: f64, high: f64, count: usize) -> std::ops::Range<usize> {
        let most = count as f64;
        low.ceil().clamp(0.0, most) as usize..(high.floor() + 1.0).clamp(0.0, most) as usize
    }

    fn cross(&mut self, low: [f64; 2], high: [f64; 2]) {
        for row in Self::span(low[1], high[1], self.rows) {
            let y = row as f64;
            if y >= high[1] {
                continue;
            }
            let x = low[0] + (y - low[1]) / (high[1] - low[1]) * (high[0] - low[0]);
            let column = (x.floor() + 1.0).clamp(0.0, self.columns as f64) as usize;
            self.turns[row * (self.columns + 1) + column] ^= true;
        }
    }

    fn touch(&mut self, low: [f64; 2], high: [f64; 2]) {
        let [dx, dy] = [high[0] - low[0], high[1] - low[1]];
        for row in Self::span(low[1] - ON, high[1] + ON, self.rows) {
            let y = row as f64;
            // The part of the line in reach of the row.
            let at = |y: f64| if dy > 0.0 { ((y - low[1]) / dy).clamp(0.0, 1.0) } else { 0.0 };
            let (a, b) = if dy > ON { (at(y - ON), at(y + ON)) } else { (0.0, 1.0) };
            let (a, b) = (low[0] + a * dx, low[0] + b * dx);
            for column in Self::span(a.min(b) - ON, a.max(b) + ON, self.columns) {
                let way = [column as f64 - low[0], y - low[1]];
                let length = dx * dx + dy * dy;
                let t = if length > 0.0 { (way[0] * dx + way[1] * dy) / length } else { 0.0 };
                let t = t.clamp(0.0, 1.0);
                let off = [way[0] - t * dx, way[1] - t * dy];
                if off[0] * off[0] + off[1] * off[1] <= ON * ON {
                    self.on[row * self.columns + column] = true;
                }
            }
        }
    }

    /// Row and column of each pixel inside.
    pub(super) fn inside(&self) -> impl Iterator<Item = [usize; 2]> {
        (0..self.rows).flat_map(move |row| {
            let mut inside = false;
            (0..self.columns).filter_map(move |column| {
                inside ^= self.turns[row * (self.columns + 1) + column];
                (inside || self.on[row * self.columns + column]).then_some([row, column])
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::super::outline::{Extent, outlines};
    use super::*;

    fn pixels(polygons: &[Polygon]) -> Vec<[usize; 2]> {
        let mut raster = Raster::new([4, 5]);
        polygons.iter().for_each(|polygon| raster.add(polygon));
        raster.inside().collect()
    }

    #[test]
    fn centres_decide_and_centres_on_the_outline_count() {
        let triangle = vec![[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]];
        assert_eq!(pixels(&[triangle]), [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0]]);
        let small = vec![[0.6, 0.6], [1.4, 0.6], [1.4, 1.4], [0.6, 1.4]];
        assert_eq!(pixels(&[small]), [[1, 1]]);
        assert_eq!(pixels(&[vec![[1.0, 2.0]]]), [[2, 1]]);
        assert_eq!(pixels(&[vec![[1.0, 1.0], [3.0, 3.0]]]), [[1, 1], [2, 2], [3, 3]]);
        assert_eq!(pixels(&[vec![[0.2, 0.2], [0.8, 0.2], [0.5, 0.8]]]), [[0usize; 2]; 0]);
    }

    #[test]
    fn polygons_in_polygons_are_holes_and_those_outside_are_cut() {
        let square = |a: f64, b: f64| vec![[a, a], [b, a], [b, b], [a, b]];
        assert_eq!(pixels(&[square(-1e300, 1e300), square(0.5, 1e9)]).len(), 8);
        assert_eq!(pixels(&[square(-0.5, 2.5), square(0.5, 1.5)]).len(), 8);
        assert_eq!(pixels(&[square(-9.0, -2.0), square(f64::MIN, f64::MAX)]).len(), 20);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn outlines_give_back_their_pixels(
            (rows, columns, most, drawn) in (1..13usize, 1..13usize, 2..5i16).prop_flat_map(|(rows, columns, most)| {
                (Just(rows), Just(columns), Just(most), proptest::collection::vec(0..most, rows * columns))
            }),
            turn in 0.0..6.3f64,
        ) {
            let slice = Array2::from_shape_vec((rows, columns), drawn).unwrap();
            for label in 1..most {
                let mut raster = Raster::new([rows, columns]);
                let whole = Extent::of(0, 0);
                let mut extent = whole;
                extent.add(rows - 1, columns - 1);
                for polygon in outlines(slice.view(), label, extent) {
                    prop_assert!(polygon.len() >= 4);
                    // Every point rounds to a pixel of the label.
                    prop_assert!(polygon.iter().all(|[x, y]| slice[[y.round() as usize, x.round() as usize]] == label));
                    // Through another frame and back, as files do it, with the loss of digits.
                    let (s, c) = turn.sin_cos();
                    let there = polygon.iter().map(|[x, y]| [(c * x - s * y) * 0.7 + 31.0, (s * x + c * y) * 0.7]);
                    let kept = there.map(|point| point.map(|v| (v * 1e4).round() / 1e4));
                    let back = kept.map(|[x, y]| ((x - 31.0) / 0.7, y / 0.7)).map(|(x, y)| [c * x + s * y, c * y - s * x]);
                    raster.add(&back.collect());
                }
                let mut found = Array2::<i16>::zeros((rows, columns));
                raster.inside().for_each(|at| found[at] = label);
                prop_assert_eq!(found, slice.mapv(|value| if value == label { label } else { 0 }));
            }
        }
    }
}
