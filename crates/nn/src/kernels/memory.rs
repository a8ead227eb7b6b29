//! Memory for activations that is used again instead of being mapped and cleared by the system each time.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Blocks from this size on are kept.
const BIG: usize = 1 << 20;
/// Alignment of big blocks: what the system's allocator gives without being asked, so that its fresh zeros cost nothing.
const ALIGN: usize = 16;
/// Most blocks that are kept at a time.
const SLOTS: usize = 128;

/// A global allocator that keeps big blocks for the next request of about their size.
///
/// Training and prediction allocate the same few activations over and over. The system's allocator hands blocks of more
/// than 32 MB back at once, and mapping them anew costs a page fault for every 4096 bytes, about a fifth of the time of a
/// training iteration. A binary that runs networks opts in with
///
/// ```
/// use nnunet_nn::RecyclingAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: RecyclingAllocator = RecyclingAllocator::new(2 << 30);
///
/// fn main() {
///     assert_eq!(vec![0.0f32; 1 << 20].len(), 1 << 20);
/// }
/// ```
///
/// At most the given number of bytes is kept; the blocks that wait longest go first. Small blocks are the system's.
pub struct RecyclingAllocator {
    kept: Mutex<Kept>,
    limit: AtomicUsize,
}

impl std::fmt::Debug for RecyclingAllocator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecyclingAllocator").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Free blocks, the one that waits longest first.
struct Kept {
    blocks: [Block; SLOTS],
    count: usize,
    bytes: usize,
}

#[derive(Clone, Copy)]
struct Block {
    start: *mut u8,
    size: usize,
}

// SAFETY: a kept block belongs to nobody else, and the mutex gives it to one thread at a time.
unsafe impl Send for Block {}

impl Kept {
    fn remove(&mut self, i: usize) -> Block {
        let block = self.blocks[i];
        self.blocks.copy_within(i + 1..self.count, i);
        self.count -= 1;
        self.bytes -= block.size;
        block
    }

    /// The block of this size that was freed last.
    fn take(&mut self, size: usize) -> Option<Block> {
        let i = self.blocks[..self.count].iter().rposition(|block| block.size == size)?;
        Some(self.remove(i))
    }
}

/// The layout that a request for a big block is rounded up to: at most an eighth more, so that similar requests share blocks.
fn rounded(layout: Layout) -> Option<Layout> {
    if layout.size() < BIG || layout.align() > ALIGN || layout.size() > isize::MAX as usize / 2 {
        return None;
    }
    let step = (1usize << layout.size().ilog2()) / 8;
    Layout::from_size_align(layout.size().next_multiple_of(step), ALIGN).ok()
}

impl RecyclingAllocator {
    /// An allocator that keeps at most `limit` bytes of free blocks.
    pub const fn new(limit: usize) -> Self {
        let none = Block { start: std::ptr::null_mut(), size: 0 };
        Self {
            kept: Mutex::new(Kept { blocks: [none; SLOTS], count: 0, bytes: 0 }),
            limit: AtomicUsize::new(limit),
        }
    }

    /// Keeps at most `limit` bytes of free blocks from now on; those that wait longest go until no more are kept.
    ///
    /// A program whose commands differ begins with 0, which keeps nothing, and raises it where activations come and go.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        loop {
            let oldest = {
                let mut kept = self.kept();
                if kept.bytes <= limit {
                    return;
                }
                kept.remove(0)
            };
            release(oldest);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a free block; those that wait longest give way.
    fn keep(&self, block: Block) {
        let limit = self.limit.load(Ordering::Relaxed);
        if block.size > limit {
            return release(block);
        }
        loop {
            let oldest = {
                let mut kept = self.kept();
                if kept.count < SLOTS && kept.bytes + block.size <= limit {
                    let count = kept.count;
                    kept.blocks[count] = block;
                    kept.count += 1;
                    kept.bytes += block.size;
                    return;
                }
                kept.remove(0)
            };
            release(oldest);
        }
    }
}

/// Gives a big block back to the system.
fn release(block: Block) {
    if let Ok(layout) = Layout::from_size_align(block.size, ALIGN) {
        // SAFETY: big blocks come from the system's allocator with this layout, and this one belongs to nobody any more.
        unsafe { System.dealloc(block.start, layout) }
    }
}

// SAFETY: every block comes from the system's allocator with the layout that `rounded` gives (or with its own), at least as
// large and aligned as asked for, and goes back with the same; a block is either in use or kept, never both. Nothing here
// panics or allocates.
unsafe impl GlobalAlloc for RecyclingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match rounded(layout) {
            // SAFETY: the caller's.
            None => unsafe { System.alloc(layout) },
            Some(big) => match self.kept().take(big.size()) {
                Some(block) => block.start,
                // SAFETY: the size is not zero.
                None => unsafe { System.alloc(big) },
            },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match rounded(layout) {
            // SAFETY: the caller's.
            None => unsafe { System.alloc_zeroed(layout) },
            Some(big) => match self.kept().take(big.size()) {
                Some(block) => {
                    // SAFETY: the block has at least this size.
                    unsafe { block.start.write_bytes(0, layout.size()) };
                    block.start
                }
                // SAFETY: the size is not zero.
                None => unsafe { System.alloc_zeroed(big) },
            },
        }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        match rounded(layout) {
            // SAFETY: small blocks came from the system's allocator with this layout.
            None => unsafe { System.dealloc(start, layout) },
            Some(big) => self.keep(Block { start, size: big.size() }),
        }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's: `size` with the alignment of `layout` is a valid layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (rounded(layout), rounded(wanted)) {
            // SAFETY: the block is the system's own.
            (None, None) => unsafe { System.realloc(start, layout, size) },
            (Some(old), Some(new)) if old == new => start,
            // SAFETY: as for the three functions above; both blocks have the bytes that are copied.
            _ => unsafe {
                let moved = self.alloc(wanted);
                if !moved.is_null() {
                    moved.copy_from_nonoverlapping(start, layout.size().min(size));
                    self.dealloc(start, layout);
                }
                moved
            },
        }
    }
}
