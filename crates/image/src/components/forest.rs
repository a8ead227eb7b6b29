//! Disjoint sets.

/// Sets of numbers; the smallest of a set is its root, and every parent is smaller than its child.
pub(super) struct Forest(pub(super) Vec<u32>);

impl Forest {
    /// So many sets of one.
    pub(super) fn new(len: usize) -> Self {
        Self((0..len as u32).collect())
    }

    pub(super) fn root(&mut self, mut at: u32) -> u32 {
        while self.0[at as usize] != at {
            let parent = self.0[at as usize];
            // Halving the path keeps later searches short.
            self.0[at as usize] = self.0[parent as usize];
            at = self.0[at as usize];
        }
        at
    }

    pub(super) fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        if a < b {
            self.0[b as usize] = a;
        } else {
            self.0[a as usize] = b;
        }
    }
}
