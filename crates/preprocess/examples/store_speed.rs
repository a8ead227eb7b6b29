//! Reads random patches from a store of preprocessed cases and prints how long it took.
//!
//! usage: store_speed FOLDER [PATCHES [EDGE]]

use std::path::Path;
use std::time::Instant;

use nnunet_preprocess::Store;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().ok_or("usage: store_speed FOLDER [PATCHES [EDGE]]")?;
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (patches, edge) = (number(1, 200)?, number(2, 128)?);
    let store = Store::open(Path::new(folder))?;
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize % below.max(1)) as i64
    };
    let start = Instant::now();
    let mut sum = 0.0;
    for _ in 0..patches {
        let case = &store.identifiers()[random(store.identifiers().len()) as usize];
        let [_, z, y, x] = store.shape(case)?;
        let lower = [z, y, x].map(|n| random((n + 1).saturating_sub(edge)));
        let (image, labels) = store.read_patch(case, lower, [edge; 3])?;
        sum += f64::from(image[[0, 0, 0, 0]]) + f64::from(labels[[0, 0, 0]]);
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{patches} patches in {seconds:.2} s, {:.0} per second (sum {sum})", patches as f64 / seconds);
    Ok(())
}
