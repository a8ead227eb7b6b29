//! Thousands of damaged files of every format: each gives an error or an image, and no more values than its bytes can stand for.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use nnunet_image::reader_by_name;

use crate::golden;

/// Values that a file of so many bytes can stand for: what deflate makes of one byte, each bit a pixel.
fn most(bytes: usize) -> usize {
    9000 * (bytes + 64)
}

/// Numbers from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

const LIES: [&str; 12] = [
    "0",
    "-1",
    "nan",
    "inf",
    "1e999",
    "4294967296",
    "1152921504606846976",
    "99999999999999999999",
    "-9223372036854775808",
    "65535",
    "",
    "%d",
];

/// One change: bits, bytes, an end, a piece, or a number in a text header.
fn damage(bytes: &[u8], draw: &mut Draw) -> Vec<u8> {
    let mut out = bytes.to_vec();
    match draw.below(6) {
        0 => out.truncate(draw.below(bytes.len())),
        1 => {
            for _ in 0..1 + draw.below(4) {
                let at = draw.below(out.len());
                out[at] ^= 1 << draw.below(8);
            }
        }
        2 => {
            let at = draw.below(out.len().min(512));
            out[at] = [0, 0xff, 0x7f, 0x80, 1][draw.below(5)];
        }
        3 => {
            let at = draw.below(out.len().min(400));
            let end = (at + [2, 4, 8][draw.below(3)]).min(out.len());
            out[at..end].fill([0, 0xff, 0x7f][draw.below(3)]);
        }
        4 => {
            let (at, length) = (draw.below(out.len()), draw.below(16));
            out.drain(at..(at + length).min(bytes.len()));
        }
        _ => {
            let start = draw.below(out.len().min(400));
            if let Some(at) = (start..out.len()).find(|&at| out[at].is_ascii_digit()) {
                let end = (at..out.len()).find(|&k| !out[k].is_ascii_digit()).unwrap_or(out.len());
                out.splice(at..end, LIES[draw.below(LIES.len())].bytes());
            }
        }
    }
    out
}

/// Reads many damaged versions of a file and gives how many of them were read and refused.
fn attack(file: &Path, readers: &[&str], rounds: usize) -> [usize; 2] {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(file).unwrap();
    let name = file.file_name().unwrap();
    let path = folder.path().join(name);
    let mut draw = Draw(whole.iter().fold(7, |sum, &b| sum * 31 % 1_000_003 + u64::from(b)));
    let mut counts = [0; 2];
    for _ in 0..rounds {
        let bytes = damage(&whole, &mut draw);
        std::fs::write(&path, &bytes).unwrap();
        for reader in readers {
            match reader_by_name(reader).unwrap().read_images(std::slice::from_ref(&path)) {
                Ok(image) => {
                    assert!(image.data.len() <= most(bytes.len()), "{name:?}: {:?}", image.data.dim());
                    assert!(
                        image.geometry.spacing.iter().all(|s| s.is_finite()),
                        "{name:?}: {:?}",
                        image.geometry
                    );
                    counts[0] += 1;
                }
                Err(error) => {
                    // A header may name another file: then that one is named, beside it.
                    assert!(error.to_string().contains(&*folder.path().to_string_lossy()), "{error}");
                    counts[1] += 1;
                }
            }
        }
    }
    counts
}

fn attack_all(files: &[&str], readers: &[&str]) {
    for file in files {
        let counts = attack(&golden(file), readers, 500);
        assert!(counts[1] > 0, "{file}: no damage was noticed");
    }
}

#[test]
fn damaged_nifti_files() {
    let files = [
        "formats/version_2.nii",
        "formats/version_2_big.nii",
        "nifti/oblique_i16.nii.gz",
        "nifti/qform_only.nii.gz",
    ];
    attack_all(&files, &["NibabelIO", "NibabelIOWithReorient", "SimpleITKIO"]);
}

#[test]
fn damaged_nrrd_files() {
    let files = [
        "itk_int16.nrrd",
        "gzip.nrrd",
        "text.nrrd",
        "hex.nrrd",
        "bounds.nrrd",
        "spacings.nrrd",
        "gzip_bytes.nrrd",
    ];
    attack_all(
        &files.map(|f| "formats/".to_owned() + f).each_ref().map(String::as_str),
        &["SimpleITKIO", "SimpleITKIOWithReorient"],
    );
}

#[test]
fn damaged_metaimage_and_gipl_files() {
    let files = [
        "itk_int16.mha",
        "zlib.mha",
        "text.mha",
        "matrix.mha",
        "from_the_end.mha",
        "itk_int16.gipl",
        "itk_zipped.gipl.gz",
    ];
    attack_all(&files.map(|f| "formats/".to_owned() + f).each_ref().map(String::as_str), &["SimpleITKIO"]);
}

#[test]
fn damaged_tiff_files() {
    let files = [
        "zlib_predictor.tif",
        "lzw.tif",
        "type_bool.tif",
        "packbits.tif",
        "imagej.tif",
        "colour.tif",
        "bigtiff.tif",
        "tiles.tif",
        "planes.tif",
    ];
    attack_all(
        &files.map(|f| "formats/".to_owned() + f).each_ref().map(String::as_str),
        &["Tiff3DIO", "NaturalImage2DIO"],
    );
}

#[test]
fn damaged_pictures() {
    let files = [
        "mode_RGB.png",
        "grey_16.png",
        "palette_transparent.png",
        "grey_4.png",
        "mode_L.bmp",
        "mode_RGB.bmp",
        "mode_1.bmp",
        "palette.bmp",
        "top_down.bmp",
    ];
    attack_all(
        &files.map(|f| "formats/".to_owned() + f).each_ref().map(String::as_str),
        &["NaturalImage2DIO"],
    );
}

#[cfg(feature = "dicom")]
#[test]
fn damaged_dicom_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.dcm");
    for name in [
        "explicit/03.dcm",
        "implicit/03.dcm",
        "big_endian/03.dcm",
        "rle/03.dcm",
        "jpeg_baseline/03.dcm",
        "jpeg_lossless/03.dcm",
        "enhanced/frames.dcm",
    ] {
        let whole = std::fs::read(golden("dicom").join(name)).unwrap();
        let mut draw = Draw(11);
        for _ in 0..40 {
            let bytes = damage(&whole[128..], &mut draw);
            std::fs::write(&path, [&whole[..128], &bytes].concat()).unwrap();
            match nnunet_image::read_dicom_files(std::slice::from_ref(&path)) {
                Ok(image) => assert!(image.data.len() <= 2048 * bytes.len()),
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("damaged.dcm") && !text.contains("Secret"), "{text}");
                }
            }
        }
    }
}

/// A header with a lie in it, and the file that it makes.
fn lie(folder: &Path, name: &str, header: &str, data: &[u8]) -> (PathBuf, String) {
    let path = folder.join(name);
    std::fs::write(&path, [header.as_bytes(), data].concat()).unwrap();
    let reader = reader_by_name("SimpleITKIO").unwrap();
    let error = reader.read_images(std::slice::from_ref(&path)).unwrap_err().to_string();
    assert!(error.contains(name), "{error}");
    (path, error)
}

#[test]
fn lying_headers_are_refused_before_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let zeros = |n: usize| {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        zlib.write_all(&vec![0; n]).unwrap();
        zlib.finish().unwrap()
    };
    let gzip = |n: usize| {
        let mut gz = GzEncoder::new(Vec::new(), Compression::best());
        gz.write_all(&vec![0; n]).unwrap();
        gz.finish().unwrap()
    };
    let nrrd = |sizes: &str, more: &str| {
        format!("NRRD0004\ntype: uint8\ndimension: 3\nsizes: {sizes}\nencoding: gzip\n{more}\n")
    };
    let mha = |sizes: &str, more: &str| {
        format!(
            "NDims = 3\nCompressedData = True\n{more}DimSize = {sizes}\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
        )
    };
    // 2^60 voxels, an overflow, and sizes that are allowed but not there.
    for sizes in ["1048576 1048576 1048576", "18446744073709551615 2 2"] {
        assert!(lie(folder.path(), "a.nrrd", &nrrd(sizes, ""), &gzip(10)).1.contains("too many voxels"));
        assert!(lie(folder.path(), "a.mha", &mha(sizes, ""), &zeros(10)).1.contains("too many voxels"));
    }
    for sizes in ["1000 1000 4000", "2 3 5000000"] {
        assert!(lie(folder.path(), "a.nrrd", &nrrd(sizes, ""), &gzip(1000)).1.contains("found 1000"));
        assert!(lie(folder.path(), "a.mha", &mha(sizes, ""), &zeros(1000)).1.contains("found 1000"));
    }
    for sizes in ["0 1 1", "1 -1 1", "1 1", "a b c", "1 1 1 1 1"] {
        lie(folder.path(), "a.nrrd", &nrrd(sizes, ""), &gzip(10));
        lie(folder.path(), "a.mha", &mha(sizes, ""), &zeros(10));
    }
    for spacing in ["0 1 1", "nan 1 1", "inf 1 1"] {
        let (_, error) =
            lie(folder.path(), "a.mha", &mha("2 2 2", &format!("ElementSpacing = {spacing}\n")), &zeros(8));
        assert!(error.to_lowercase().contains("spacing"), "{error}");
    }
    let singular = "space: LPS\nspace directions: (1,0,0) (1,0,0) (0,0,1)\n";
    assert!(lie(folder.path(), "a.nrrd", &nrrd("2 2 2", singular), &gzip(8)).1.contains("span space"));
    // A bomb behind few voxels is not unpacked: only what the header asks for and a little more is read.
    let path = folder.path().join("bomb.nrrd");
    std::fs::write(&path, [nrrd("2 2 2", "").as_bytes(), &gzip(1 << 28)].concat()).unwrap();
    let start = std::time::Instant::now();
    assert_eq!(reader_by_name("SimpleITKIO").unwrap().read_images(&[path]).unwrap().data.len(), 8);
    assert!(start.elapsed().as_secs_f64() < 0.2, "{:?}", start.elapsed());
    // Names of data files that never end are not made.
    let endless = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 1000 1000 1000\nencoding: raw\n\
                   data file: s%d.raw 1 1000000000 1\n\n";
    let path = folder.path().join("a.nhdr");
    std::fs::write(&path, endless).unwrap();
    let error = reader_by_name("SimpleITKIO").unwrap().read_images(&[path]).unwrap_err().to_string();
    assert!(error.contains("s1.raw"), "{error}");
}
