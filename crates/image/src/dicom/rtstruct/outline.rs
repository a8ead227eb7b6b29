//! Outlines of labels in a slice, as polygons along the borders of its pixels.
//!
//! Polygons run a hundredth of a pixel inside the borders: those of neighbouring labels do not touch, those of pixels that share a
//! corner alone stay apart, and points that are rounded to whole pixels end in pixels of the label. Holes are joined to what is
//! around them by a channel without width (the keyhole technique of DICOM PS3.3, C.8.8.6.3), which runs between pixel centres.

use std::collections::HashMap;

use ndarray::ArrayView2;

/// From the centre of a pixel to its outline, in pixels.
const HALF: f64 = 0.49;
/// Row and column of a step along the top, right, bottom and left side of a pixel that lies to the right hand.
const STEPS: [[isize; 2]; 4] = [[0, 1], [1, 0], [0, -1], [-1, 0]];
const RIGHT: u8 = 1;
const BOTTOM: u8 = 2;
const LEFT: u8 = 3;

/// A polygon: points as (x, y) in pixels, the centre of the first pixel being (0, 0).
pub(super) type Polygon = Vec<[f64; 2]>;

/// A side of a pixel of the label with another value beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Edge {
    row: isize,
    column: isize,
    side: u8,
}

/// The first and last row and column of a label.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    rows: [usize; 2],
    columns: [usize; 2],
}

impl Extent {
    pub(super) fn of(row: usize, column: usize) -> Self {
        Self { rows: [row; 2], columns: [column; 2] }
    }

    pub(super) fn add(&mut self, row: usize, column: usize) {
        self.rows = [self.rows[0].min(row), self.rows[1].max(row)];
        self.columns = [self.columns[0].min(column), self.columns[1].max(column)];
    }
}

/// One label of a slice.
struct Label<'a> {
    slice: ArrayView2<'a, i16>,
    label: i16,
}

impl Label<'_> {
    fn has(&self, [row, column]: [isize; 2]) -> bool {
        self.slice.get([row as usize, column as usize]) == Some(&self.label)
    }

    /// The next edge around the label, and the point between them if the outline turns there. Pixels that share a corner alone
    /// are not joined.
    fn next(&self, edge: Edge) -> (Edge, Option<[f64; 2]>) {
        let Edge { row, column, side } = edge;
        let along = STEPS[usize::from(side)];
        let out = STEPS[usize::from(side + 3) % 4];
        let ahead = [row + along[0], column + along[1]];
        let beyond = [ahead[0] + out[0], ahead[1] + out[1]];
        let to = |[row, column]: [isize; 2], side| Edge { row, column, side };
        if !self.has(ahead) {
            let corner = corner([row, column], [out[0] + along[0], out[1] + along[1]]);
            return (to([row, column], (side + 1) % 4), Some(corner));
        }
        if !self.has(beyond) {
            return (to(ahead, side), None);
        }
        let corner = corner(ahead, [out[0] - along[0], out[1] - along[1]]);
        (to(beyond, (side + 3) % 4), Some(corner))
    }

    /// Where a channel that runs to the left from above the first pixel of a hole meets another outline: the edge that begins
    /// there, and the point. Pixels above and to the left of that pixel are of the label.
    fn channel(&self, hole: Edge) -> (Edge, [f64; 2]) {
        let row = hole.row - 1;
        let mut column = hole.column;
        loop {
            if !self.has([row + 1, column]) {
                return (Edge { row, column, side: BOTTOM }, corner([row, column + 1], [1, -1]));
            }
            if !self.has([row, column - 1]) {
                return (Edge { row, column, side: LEFT }, corner([row, column], [1, -1]));
            }
            column -= 1;
        }
    }
}

/// The point near a corner of a pixel.
fn corner([row, column]: [isize; 2], towards: [isize; 2]) -> [f64; 2] {
    [column as f64 + HALF * towards[1] as f64, row as f64 + HALF * towards[0] as f64]
}

/// A hole: its edges from the one that begins at its first pixel, and the channel to it.
struct Hole {
    edges: Vec<Edge>,
    from: [f64; 2],
}

/// The polygons around a label in a slice, one for each group of pixels that share sides, from the top left.
pub(super) fn outlines(slice: ArrayView2<'_, i16>, label: i16, extent: Extent) -> Vec<Polygon> {
    let label = Label { slice, label };
    let ([top, bottom], [left, right]) = (extent.rows, extent.columns);
    let width = right - left + 1;
    // Every loop has the top side of a pixel.
    let mut seen = vec![false; width * (bottom - top + 1)];
    let mut outer: Vec<Vec<Edge>> = Vec::new();
    let mut holes = HashMap::<Edge, Hole>::new();
    for row in top..=bottom {
        for column in left..=right {
            let at = [row as isize, column as isize];
            let known = seen[(row - top) * width + column - left];
            if known || !label.has(at) || label.has([at[0] - 1, at[1]]) {
                continue;
            }
            let (edges, turns) = around(&label, at);
            for edge in edges.iter().filter(|edge| edge.side == 0) {
                seen[(edge.row as usize - top) * width + edge.column as usize - left] = true;
            }
            if turns > 0 {
                outer.push(edges);
            } else {
                let (edge, hole) = hole(&label, edges);
                holes.insert(edge, hole);
            }
        }
    }
    outer.into_iter().map(|edges| polygon(&label, &edges, &holes)).collect()
}

/// The edges of the loop that begins with the top side of a pixel, and how often it turns right more than left.
fn around(label: &Label<'_>, [row, column]: [isize; 2]) -> (Vec<Edge>, i64) {
    let start = Edge { row, column, side: 0 };
    let mut edges = Vec::new();
    let mut turns = 0;
    let mut edge = start;
    loop {
        edges.push(edge);
        let (next, point) = label.next(edge);
        if point.is_some() {
            turns += if next.side == (edge.side + 1) % 4 { 1 } else { -1 };
        }
        if next == start {
            return (edges, turns);
        }
        edge = next;
    }
}

/// A hole, and the edge at whose beginning its channel starts.
fn hole(label: &Label<'_>, mut edges: Vec<Edge>) -> (Edge, Hole) {
    // The pixel to the left of the first pixel of the hole.
    let first = edges.iter().enumerate().filter(|(_, edge)| edge.side == RIGHT);
    let first = first.min_by_key(|(_, edge)| (edge.row, edge.column)).map_or(0, |(number, _)| number);
    edges.rotate_left(first);
    let (edge, from) = label.channel(edges[0]);
    (edge, Hole { edges, from })
}

/// What is being walked around, how far, and where to come back to.
type Way<'a> = (&'a [Edge], usize, Option<[f64; 2]>);

/// Walks around an outline and into the holes on the way; holes may be many, one behind the other.
fn polygon(label: &Label<'_>, outer: &[Edge], holes: &HashMap<Edge, Hole>) -> Polygon {
    let mut points: Polygon = Vec::new();
    let add = |points: &mut Polygon, point: [f64; 2]| {
        if points.last() != Some(&point) {
            points.push(point);
        }
    };
    let mut ways: Vec<Way<'_>> = vec![(outer, 0, None)];
    let mut came_back = false;
    while let Some((edges, at, back)) = ways.pop() {
        let Some(&edge) = edges.get(at) else {
            if let Some(back) = back {
                add(&mut points, back);
            }
            came_back = true;
            continue;
        };
        if let (Some(hole), false) = (holes.get(&edge), came_back) {
            ways.push((edges, at, back));
            add(&mut points, hole.from);
            if let Some(&last) = hole.edges.last()
                && let (_, Some(point)) = label.next(last)
            {
                add(&mut points, point);
            }
            ways.push((&hole.edges, 0, Some(hole.from)));
            continue;
        }
        came_back = false;
        if let (_, Some(point)) = label.next(edge) {
            add(&mut points, point);
        }
        ways.push((edges, at + 1, back));
    }
    points
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn drawn(rows: &[&str]) -> Vec<Polygon> {
        let columns = rows[0].len();
        let value = |(row, column): (usize, usize)| i16::from(rows[row].as_bytes()[column] == b'#');
        let slice = Array2::from_shape_fn((rows.len(), columns), value);
        let mut extent: Option<Extent> = None;
        for ((row, column), _) in slice.indexed_iter().filter(|(_, value)| **value == 1) {
            extent.get_or_insert(Extent::of(row, column)).add(row, column);
        }
        outlines(slice.view(), 1, extent.unwrap())
    }

    #[test]
    fn a_pixel_is_a_square() {
        let square = vec![[1.49, -0.49], [1.49, 0.49], [0.51, 0.49], [0.51, -0.49]];
        assert_eq!(drawn(&[".#."]), [square]);
    }

    #[test]
    fn pixels_that_share_a_corner_are_apart_and_bends_stay_inside() {
        let polygons = drawn(&["#.", ".#"]);
        assert_eq!(polygons.len(), 2);
        assert!(polygons[0].contains(&[0.49, 0.49]) && polygons[1].contains(&[0.51, 0.51]));
        let [bent] = drawn(&["#.", "##"]).try_into().unwrap();
        assert_eq!(bent.len(), 6);
        assert!(bent.contains(&[0.49, 0.51]), "{bent:?}");
    }

    #[test]
    fn a_hole_is_reached_by_a_channel_between_the_centres() {
        let [ring] = drawn(&["###", "#.#", "###"]).try_into().unwrap();
        // Four corners outside, the end of the channel twice, five points around the hole.
        assert_eq!(ring.len(), 11);
        let ends = ring.iter().filter(|point| **point == [-0.49, 0.49]).count();
        assert_eq!(ends, 2, "{ring:?}");
        assert_eq!(ring.iter().filter(|point| **point == [0.49, 0.49]).count(), 2, "{ring:?}");
    }

    #[test]
    fn holes_beside_each_other_are_joined_one_to_the_next() {
        let [bar] = drawn(&["#######", "#.#.#.#", "#######"]).try_into().unwrap();
        assert!(bar.iter().all(|[x, y]| (-0.5..6.5).contains(x) && (-0.5..2.5).contains(y)));
        let joint = bar.iter().filter(|point| **point == [1.51, 0.49]).count();
        assert_eq!(joint, 2, "{bar:?}");
        // A slice full of holes does not nest calls.
        let row = |hole: bool, n: usize| (0..n).map(|x| if hole && x % 2 == 1 { '.' } else { '#' }).collect();
        let rows: Vec<String> = (0..401).map(|y| row(y % 2 == 1, 401)).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        assert_eq!(drawn(&rows).len(), 1);
    }
}
