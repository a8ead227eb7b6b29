//! Statistics, previews and tables of labels from the command line.

mod common;

use std::path::Path;

use common::{Sandbox, assert_clean, text};
use ndarray::{Array3, Array4, s};
use nnunet::image::{Geometry, Image, LabelMap, reader_for, write_image};
use serde_json::{Value, json};

const GEOMETRY: Geometry = Geometry {
    spacing: [2.0, 1.0, 0.5],
    origin: [10.0, 20.0, 30.0],
    direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    dims: 3,
    file_axes: None,
};

fn write_labels(path: &Path, data: Array3<i16>) {
    reader_for(".nii.gz", None).unwrap().write_labels(path, &LabelMap { data, geometry: GEOMETRY }).unwrap();
}

/// `pred/a.nii.gz` and `b`, `img/…_0000` and `…_0001`, `dataset.json` with a region, `codes.json`.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::empty();
    for folder in ["pred", "img"] {
        std::fs::create_dir(sandbox.path(folder)).unwrap();
    }
    // Label 1 in a box of 2 × 2 × 3 voxels, label 2 in one voxel of case a.
    let mut labels = Array3::<i16>::zeros((4, 5, 6));
    labels.slice_mut(s![1..3, 2..4, 0..3]).fill(1);
    write_labels(&sandbox.path("pred/b.nii.gz"), labels.clone());
    labels[[3, 4, 5]] = 2;
    write_labels(&sandbox.path("pred/a.nii.gz"), labels);
    for case in ["a", "b"] {
        for channel in 0..2 {
            let value = |(_, z, y, x): (usize, usize, usize, usize)| {
                (channel as f32 + 1.0) * (100.0 * z as f32 + 10.0 * y as f32 + x as f32)
            };
            let image = Image { data: Array4::from_shape_fn((1, 4, 5, 6), value), geometry: GEOMETRY };
            write_image(&sandbox.path(&format!("img/{case}_000{channel}.nii.gz")), &image).unwrap();
        }
    }
    let dataset = json!({
        "channel_names": {"0": "T1, native", "1": "T2"}, "labels": {"background": 0, "organ": [1, 2], "tumour": 2},
        "regions_class_order": [1, 2], "numTraining": 2, "file_ending": ".nii.gz"
    });
    std::fs::write(sandbox.path("dataset.json"), dataset.to_string()).unwrap();
    let neoplasm = json!({"value": "108369006", "scheme": "SCT", "meaning": "Neoplasm"});
    let codes = json!({"tumour": {"type": neoplasm, "colour": [1, 2, 3]}});
    std::fs::write(sandbox.path("codes.json"), codes.to_string()).unwrap();
    sandbox
}

fn succeed(sandbox: &Sandbox, command: &str) -> String {
    let words = sandbox.words(command);
    sandbox.succeed(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn fail(sandbox: &Sandbox, command: &str, expected: &[&str]) {
    let words = sandbox.words(command);
    let stderr = sandbox.fail(&words.iter().map(String::as_str).collect::<Vec<_>>());
    for part in expected {
        assert!(stderr.contains(part), "{command}: {stderr} lacks {part:?}");
    }
}

#[test]
fn a_folder_is_measured_with_its_images() {
    let sandbox = sandbox();
    succeed(
        &sandbox,
        "statistics @pred --images @img --dataset-json @dataset.json -o @out.json --csv @out.csv",
    );
    let report: Value = serde_json::from_slice(&std::fs::read(sandbox.path("out.json")).unwrap()).unwrap();
    assert_eq!(report["channels"], json!(["T1, native", "T2"]));
    let (a, b) = (&report["cases"][0], &report["cases"][1]);
    assert_eq!((&a["case"], &b["case"]), (&json!("a"), &json!("b")));
    assert!(a["image_files"][1].as_str().unwrap().ends_with("img/a_0001.nii.gz"));
    // A voxel has 1 mm³. The box of label 1 has its middle at z 1.5, y 2.5, x 1.
    let organ = &b["labels"]["organ"];
    assert_eq!((&organ["labels"], &organ["voxels"]), (&json!([1, 2]), &json!(12)));
    assert_eq!((&organ["volume_ml"], &organ["centroid_mm"]), (&json!(0.012), &json!([10.5, 22.5, 33.0])));
    assert_eq!(organ["bounding_box"], json!({"first": [1, 2, 0], "last": [2, 3, 2]}));
    let (first, second) = (&organ["intensities"][0], &organ["intensities"][1]);
    assert_eq!((&first["mean"], &first["min"], &first["max"]), (&json!(176.0), &json!(120.0), &json!(232.0)));
    assert_eq!((&second["mean"], &first["median"]), (&json!(352.0), &json!(176.0)));
    // Sum of squares: 12 · (50² + 5² + 2/3).
    let sd = first["sd"].as_f64().unwrap();
    assert!((sd - (12.0 * (2500.0 + 25.0 + 2.0 / 3.0) / 11.0f64).sqrt()).abs() < 1e-9, "{sd}");
    // A region is the union; what a case lacks is there with 0 voxels.
    assert_eq!(a["labels"]["organ"]["voxels"], 13);
    assert_eq!((&a["labels"]["tumour"]["voxels"], &b["labels"]["tumour"]["voxels"]), (&json!(1), &json!(0)));
    assert_eq!(b["labels"]["tumour"]["intensities"][0]["mean"], Value::Null);

    let table = std::fs::read_to_string(sandbox.path("out.csv")).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].starts_with("case,name,labels,voxels,volume_ml,centroid_x_mm,"), "{table}");
    assert!(lines[0].contains(",\"T1, native_mean\",") && lines[0].ends_with(",T2_not_finite"), "{table}");
    assert!(lines[2].starts_with("a,tumour,2,1,0.001,12.5,24,36,5,4,3,5,4,3,345,0,345,345,345,0,690,0,"));
    assert!(lines[3].starts_with("b,organ,1 2,12,0.012,10.5,22.5,33,0,2,1,2,3,2,176,"));
    assert!(lines[4].starts_with("b,tumour,2,0,0,,,,,,,,,,,,,,,0,"), "{table}");
    assert_clean(&sandbox.path(""));
}

#[test]
fn files_are_measured_without_a_description() {
    let sandbox = sandbox();
    let told = succeed(&sandbox, "statistics @pred/a.nii.gz --image @img/a_0000.nii.gz --csv @out.csv");
    assert!(
        told.contains("1: 12 voxels, 0.012 ml, mean 176.0\n2: 1 voxels, 0.001 ml, mean 345.0\n"),
        "{told}"
    );
    let table = std::fs::read_to_string(sandbox.path("out.csv")).unwrap();
    assert!(table.lines().next().unwrap().ends_with(",0_mean,0_sd,0_min,0_max,0_median,0_not_finite"));
    // A description in the folder of predictions is found.
    std::fs::copy(sandbox.path("dataset.json"), sandbox.path("pred/dataset.json")).unwrap();
    succeed(&sandbox, "statistics @pred -o @out.json");
    let report: Value = serde_json::from_slice(&std::fs::read(sandbox.path("out.json")).unwrap()).unwrap();
    assert_eq!(report["cases"][1]["labels"]["organ"]["voxels"], 12);
    assert_eq!(report["cases"][1]["labels"]["organ"]["intensities"], json!([]));
    let output = sandbox.run(&["statistics", "x.nii.gz"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

#[test]
fn what_does_not_fit_is_named() {
    let sandbox = sandbox();
    let mut other = Array3::<i16>::zeros((4, 5, 6));
    other[[0, 0, 0]] = 7;
    write_labels(&sandbox.path("seven.nii.gz"), other);
    let data = Array4::<f32>::zeros((1, 4, 5, 7));
    write_image(&sandbox.path("wide.nii.gz"), &Image { data, geometry: GEOMETRY }).unwrap();
    let data = Array4::<f32>::zeros((1, 4, 5, 6));
    let moved = Geometry { origin: [10.0, 20.0, 40.0], ..GEOMETRY };
    write_image(&sandbox.path("moved.nii.gz"), &Image { data: data.clone(), geometry: moved }).unwrap();
    let coarse = Geometry { spacing: [3.0, 1.0, 0.5], ..GEOMETRY };
    write_image(&sandbox.path("coarse.nii.gz"), &Image { data, geometry: coarse }).unwrap();
    for (command, expected) in [
        (
            "statistics @pred/a.nii.gz --image @wide.nii.gz -o @o.json",
            &["wide.nii.gz is [4, 5, 7]", "[4, 5, 6]"][..],
        ),
        (
            "statistics @pred/a.nii.gz --image @moved.nii.gz -o @o.json",
            &["origin", "moved.nii.gz is [10.0, 20.0, 40.0]"],
        ),
        (
            "statistics @pred/a.nii.gz --image @coarse.nii.gz -o @o.json",
            &["spacing", "coarse.nii.gz is [3.0"],
        ),
        ("statistics @pred/a.nii.gz --image @no.nii.gz -o @o.json", &["image not found at", "no.nii.gz"]),
        ("statistics @no.nii.gz -o @o.json", &["label file not found at", "no.nii.gz"]),
        (
            "statistics @pred @seven.nii.gz --images @img -o @o.json",
            &["image of a label file", "seven_0000.nii.gz"],
        ),
        ("statistics @pred --image @img/a_0000.nii.gz -o @o.json", &["1 image files for 2 label files"]),
        (
            "statistics @seven.nii.gz --dataset-json @dataset.json -o @o.json",
            &["seven.nii.gz holds label 7", "dataset.json does not name", "[0, 1, 2]"],
        ),
        (
            "statistics @pred/a.nii.gz --image @img/a_0000.nii.gz --dataset-json @dataset.json -o @o.json",
            &["have 1 channels", "dataset.json names 2"],
        ),
        ("preview @wide.nii.gz @pred/a.nii.gz -o @o.png", &["wide.nii.gz is [4, 5, 7]"]),
    ] {
        fail(&sandbox, command, expected);
    }
    std::fs::write(sandbox.path("codes.json"), r#"{"lung": {"colour": [1, 2, 3]}}"#).unwrap();
    let command = "colours --dataset-json @dataset.json --codes @codes.json -o @names";
    fail(&sandbox, command, &["codes.json: \"lung\" is no label of", "\"tumour\""]);
    std::fs::write(sandbox.path("codes.json"), r#"{"tumour": {"colour": [1, 2, 300]}}"#).unwrap();
    fail(&sandbox, command, &["codes.json", "300"]);
    assert!(!sandbox.path("o.json").exists() && !sandbox.path("o.png").exists());
    assert!(!sandbox.path("names.label").exists());
}

#[test]
fn names_colours_and_codes_are_written() {
    let sandbox = sandbox();
    succeed(&sandbox, "colours --dataset-json @dataset.json --codes @codes.json -o @names");
    let read = |name: &str| std::fs::read_to_string(sandbox.path(name)).unwrap();
    let rows = |text: String| -> Vec<Vec<String>> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let itk = rows(read("names.label"));
    assert_eq!(itk[0], ["0", "0", "0", "0", "0", "0", "0", "\"Clear", "Label\""]);
    assert_eq!(itk[1], ["1", "230", "60", "60", "1", "1", "1", "\"organ", "(label", "1)\""]);
    assert_eq!(itk[2], ["2", "1", "2", "3", "1", "1", "1", "\"tumour\""]);
    let slicer = rows(read("names.ctbl"));
    assert_eq!(slicer[1], ["1", "organ_(label_1)", "230", "60", "60", "255"]);
    assert_eq!(slicer[2], ["2", "tumour", "1", "2", "3", "255"]);
    let mitk: Value = serde_json::from_str(&read("names.mitklabel.json")).unwrap();
    let tumour = json!({"name": "tumour", "value": 2, "color": [1, 2, 3]});
    assert_eq!(mitk["groups"][0]["labels"][1], tumour);
    let table: Value = serde_json::from_str(&read("names.labels.json")).unwrap();
    assert_eq!(table["labels"][1]["type"]["value"], "108369006");
    assert_eq!(table["labels"][1]["colour"], json!([1, 2, 3]));
    assert_eq!(table["regions"], json!([{"name": "organ", "labels": [1, 2]}]));
}

#[test]
fn names_colours_and_codes_are_kept_in_the_files() {
    let sandbox = sandbox();
    let read = || reader_for(".nii.gz", None).unwrap().read_labels(&sandbox.path("pred/b.nii.gz")).unwrap();
    let labels = read();
    let embed = "colours --dataset-json @dataset.json --codes @codes.json --embed @pred";
    assert!(succeed(&sandbox, embed).contains("pred/b.nii.gz"));
    assert_eq!(read(), labels);
    let path = sandbox.path("pred/b.nii.gz");
    let table = nnunet::embedded_label_table(&path).unwrap().unwrap();
    assert_eq!((table.labels[1].name.as_str(), table.labels[1].colour), ("tumour", [1, 2, 3]));
    assert_eq!(table.labels[1].terms.kind.as_ref().unwrap().value, "108369006");
    // Embedded twice, it is there once, beside what others have put there.
    let mut extensions = nnunet::image::nifti_extensions(&path).unwrap();
    extensions.push(nnunet::image::NiftiExtension { code: 4, data: b"<AFNI/>".to_vec() });
    nnunet::image::set_nifti_extensions(&path, &extensions).unwrap();
    succeed(&sandbox, embed);
    let codes: Vec<i32> = nnunet::image::nifti_extensions(&path).unwrap().iter().map(|e| e.code).collect();
    assert_eq!(codes, [4, 6]);
    // Postprocessing hands it on, and previews take the colours from it.
    std::fs::copy(sandbox.path("dataset.json"), sandbox.path("pred/dataset.json")).unwrap();
    let step = json!({"postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"],
                      "postprocessing_kwargs": [{"labels_or_regions": [2]}]});
    std::fs::write(sandbox.path("pp.json"), step.to_string()).unwrap();
    succeed(&sandbox, "apply-postprocessing -i @pred -o @done --postprocessing @pp.json");
    let done = nnunet::embedded_label_table(&sandbox.path("done/b.nii.gz")).unwrap();
    assert_eq!(done.as_ref(), Some(&table));
    write_labels(&sandbox.path("plain.nii.gz"), labels.data * 2);
    std::fs::copy(sandbox.path("plain.nii.gz"), sandbox.path("named.nii.gz")).unwrap();
    succeed(&sandbox, "colours --dataset-json @dataset.json --codes @codes.json --embed @named.nii.gz");
    let picture = |labels: &str, more: &str| {
        succeed(&sandbox, &format!("preview @img/b_0000.nii.gz @{labels} -o @{labels}.png {more}"));
        std::fs::read(sandbox.path(&format!("{labels}.png"))).unwrap()
    };
    let named = picture("named.nii.gz", "");
    assert_ne!(named, picture("plain.nii.gz", ""));
    assert_eq!(named, picture("plain.nii.gz", "--dataset-json @dataset.json --codes @codes.json"));
    fail(&sandbox, "colours --dataset-json @dataset.json --embed @codes.json", &["codes.json"]);
    assert_clean(&sandbox.path(""));
}

#[test]
fn a_preview_shows_the_largest_label_in_its_colour() {
    let sandbox = sandbox();
    let mapped = "--dataset-json @dataset.json --codes @codes.json";
    succeed(&sandbox, "preview @img/b_0000.nii.gz @pred/b.nii.gz -o @plain.png --size 100");
    // The same labels, of which the largest now is the one that the mapping colours.
    let labels = reader_for(".nii.gz", None).unwrap().read_labels(&sandbox.path("pred/b.nii.gz")).unwrap();
    write_labels(&sandbox.path("pred/b.nii.gz"), labels.data * 2);
    succeed(
        &sandbox,
        &format!("preview @img/b_0000.nii.gz @pred/b.nii.gz -o @mapped.png --size 100 {mapped}"),
    );
    let plain = pixels(&sandbox.path("plain.png"));
    let mapped = pixels(&sandbox.path("mapped.png"));
    // The volume has 8 × 5 × 3 mm: planes of 63 × 38, 100 × 38 and 100 × 63 pixels (rows × columns), 8 apart.
    assert_eq!((plain.0, plain.1), (38 + 38 + 63 + 16, 100));
    let reddish = |[r, g, b]: [u8; 3]| r > g.saturating_add(40) && r > b.saturating_add(40);
    // 2 of 5 rows by 3 of 6 columns of the axial plane are labelled.
    let axial = |(width, _, rgb): &(usize, usize, Vec<[u8; 3]>)| -> Vec<[u8; 3]> {
        (0..63).flat_map(|row| rgb[row * width..row * width + 38].to_vec()).collect()
    };
    let red = axial(&plain).into_iter().filter(|&p| reddish(p)).count();
    assert!((400..560).contains(&red), "{red} of {}", 63 * 38);
    assert!(!axial(&mapped).into_iter().any(reddish));
    // 55 % of (1, 2, 3) and 45 % of a grey.
    let dark = |[r, _, b]: [u8; 3]| b > r && r < 116;
    assert_eq!(axial(&mapped).into_iter().filter(|&p| dark(p)).count(), red);
}

/// Width, height and pixels of an RGB picture.
fn pixels(path: &Path) -> (usize, usize, Vec<[u8; 3]>) {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    let rgb = bytes.chunks_exact(3).map(|c| [c[0], c[1], c[2]]).collect();
    (info.width as usize, info.height as usize, rgb)
}
