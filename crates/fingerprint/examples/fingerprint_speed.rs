//! Extracts the fingerprint of a data set's folder and prints it as JSON beside the time that it took.
//!
//! usage: fingerprint_speed FOLDER

use std::path::Path;
use std::time::Instant;

use nnunet_fingerprint::{Dataset, extract_fingerprint};
use nnunet_image::reader_for;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: fingerprint_speed FOLDER")?;
    let start = Instant::now();
    let dataset = Dataset::open(Path::new(&folder))?;
    let reader = reader_for(&dataset.json.file_ending, None)?;
    let fingerprint = extract_fingerprint(&dataset, reader.as_ref(), &|_| {})?;
    println!("{}", serde_json::to_string(&fingerprint)?);
    eprintln!("{:.2} s", start.elapsed().as_secs_f64());
    Ok(())
}
