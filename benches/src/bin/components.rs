//! Connected components of a label map.
//!
//! `cargo run --release -p nnunet-benches --bin components FILE.npz [REPEATS]` reads the array `labels` (16-bit integers, three
//! axes) and prints, for each repeat, the seconds for components of equal labels across corners, and their number.
//! `benches/components.py` draws such a file and times cc3d on it.

use std::time::Instant;

use anyhow::{Context, Result};
use nnunet::image::npz::read_npz_i16;
use nnunet::image::{Connectivity, connected_components};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().context("give the .npz file of a label map")?;
    let repeats: usize = arguments.next().map_or(Ok(3), |n| n.parse())?;
    let labels = read_npz_i16(file.as_ref(), "labels")?.into_dimensionality::<ndarray::Ix3>()?;
    for _ in 0..repeats {
        let begun = Instant::now();
        let components = connected_components(labels.view(), Connectivity::Corners);
        println!("{:.3} s, {} components", begun.elapsed().as_secs_f64(), components.sizes.len());
    }
    Ok(())
}
