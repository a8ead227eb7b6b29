//! The recycling allocator, at work as the global allocator of this test.

use std::hint::black_box;
use std::sync::Mutex;

use nnunet_nn::RecyclingAllocator;

const LIMIT: usize = 64 << 20;

#[global_allocator]
static ALLOCATOR: RecyclingAllocator = RecyclingAllocator::new(LIMIT);

/// What is kept belongs to the process: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

fn place(block: &Vec<u8>) -> usize {
    black_box(block).as_ptr() as usize
}

#[test]
fn a_block_of_about_the_size_is_used_again_and_zeroed_where_asked() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let first = black_box(vec![7u8; 5_000_000]);
    let start = place(&first);
    assert_eq!(start % 16, 0);
    drop(first);
    let second = black_box(vec![0u8; 5_010_000]);
    assert_eq!(place(&second), start);
    assert!(second.iter().all(|v| *v == 0));
    let other = black_box(vec![0u8; 5_000_000]);
    assert_ne!(place(&other), start);
}

#[test]
fn growing_and_shrinking_keep_the_values() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut values: Vec<u32> = Vec::new();
    for i in 0..3_000_000 {
        values.push(i);
    }
    assert!(values.iter().enumerate().all(|(i, v)| i == *v as usize));
    for length in [1_000_000, 300_000, 10] {
        values.truncate(length);
        values.shrink_to_fit();
        assert!(values.len() == length && values.iter().enumerate().all(|(i, v)| i == *v as usize));
    }
}

#[test]
fn many_threads_never_share_a_block() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            scope.spawn(move || {
                for round in 0..60usize {
                    let n = (1 << 20) + (round % 5) * 300_000;
                    let block = black_box(vec![thread; n]);
                    std::thread::yield_now();
                    assert!(block.iter().all(|v| *v == thread));
                }
            });
        }
    });
}

/// Resident memory of this process in bytes.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
#[cfg(target_os = "linux")]
fn no_more_than_the_limit_is_kept() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let before = resident();
    let blocks: Vec<Vec<u8>> = (0..40).map(|i| black_box(vec![1u8; (8 << 20) + i * (1 << 20)])).collect();
    assert!(resident() > before + 8 * LIMIT);
    drop(blocks);
    assert!(resident() < before + LIMIT + (32 << 20));
    drop(black_box(vec![1u8; 2 * LIMIT]));
    assert!(resident() < before + LIMIT + (32 << 20));
}

#[test]
#[cfg(target_os = "linux")]
fn a_lower_limit_gives_back_what_is_kept() {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    ALLOCATOR.set_limit(0);
    let before = resident();
    let fill = || drop(black_box(vec![1u8; LIMIT / 2]));
    fill();
    assert!(resident() < before + LIMIT / 4);
    ALLOCATOR.set_limit(LIMIT);
    fill();
    assert!(resident() >= before + LIMIT / 4);
    ALLOCATOR.set_limit(1 << 20);
    assert!(resident() < before + LIMIT / 4);
    ALLOCATOR.set_limit(LIMIT);
}
