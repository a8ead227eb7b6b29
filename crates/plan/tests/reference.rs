//! Plans against those that nnU-Net v2.8.1 made of the same fingerprints.
//!
//! Integers and text must be equal, floats to 1e-9 relative. The names of data set and reader are not compared: they
//! come from the folder, which these cases do not have.

use std::path::{Path, PathBuf};

use nnunet_plan::{DatasetJson, Fingerprint, Planner, PlannerOptions, Plans, explain_plans, plan_experiment};
use serde_json::Value;

/// The first difference of two values, as a path and what was found and expected.
fn difference(found: &Value, expected: &Value, path: &str) -> Option<String> {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            if let Some(key) = b
                .keys()
                .find(|key| !a.contains_key(*key))
                .or_else(|| a.keys().find(|key| !b.contains_key(*key)))
            {
                return Some(format!("{path}.{key}: only on one side"));
            }
            a.iter().find_map(|(key, value)| difference(value, &b[key], &format!("{path}.{key}")))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(a, b, &format!("{path}[{i}]")))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (x, y) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            ((x - y).abs() > 1e-9 * y.abs()).then(|| format!("{path}: {x} instead of {y}"))
        }
        _ => (found != expected).then(|| format!("{path}: {found} instead of {expected}")),
    }
}

fn compare(folder: &Path, file: &str, options: &PlannerOptions) -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let dataset = DatasetJson::read(&folder.join("dataset.json")).unwrap();
    let fingerprint: Fingerprint = serde_json::from_str(&read("dataset_fingerprint.json")).unwrap();
    let mut expected: Value = serde_json::from_str(&read(file)).unwrap();
    let plans = plan_experiment(&fingerprint, &dataset, options).unwrap();
    for name in plans.configurations.keys() {
        let configuration = plans.configuration(name).unwrap();
        configuration.architecture.resolve().unwrap();
        configuration.normalizations().unwrap();
    }
    let choices = explain_plans(&fingerprint, &dataset, options).unwrap();
    for name in plans.configurations.keys().filter(|name| *name != "3d_cascade_fullres") {
        let configuration = plans.configuration(name).unwrap();
        let explained = |what: &str| {
            let what = format!("{name}, {what}");
            choices.iter().find(|choice| choice.what == what).unwrap().value.clone()
        };
        assert_eq!(explained("patch size"), format!("{:?}", configuration.patch_size));
        assert_eq!(explained("batch size"), configuration.batch_size.to_string());
    }
    let mut found = serde_json::to_value(&plans).unwrap();
    for value in [&mut found, &mut expected] {
        let map = value.as_object_mut().unwrap();
        map.remove("dataset_name");
        map.remove("image_reader_writer");
    }
    difference(&found, &expected, "").map(|text| format!("{} {file}: {text}", folder.display()))
}

/// Compares every plans file of a case's folder; gives their number.
fn compare_folder(folder: &Path, problems: &mut Vec<String>) -> usize {
    let mut compared = 0;
    for planner in Planner::all() {
        let file = format!("{}.json", planner.plans_name());
        if folder.join(&file).is_file() {
            problems.extend(compare(folder, &file, &PlannerOptions { planner, ..Default::default() }));
            compared += 1;
        }
    }
    if let Ok(text) = std::fs::read_to_string(folder.join("customPlans.options.json")) {
        let given: Value = serde_json::from_str(&text).unwrap();
        problems.extend(compare(folder, "customPlans.json", &custom_options(&given)));
        compared += 1;
    }
    compared
}

fn compare_all(folder: &Path, at_least: usize) {
    let (mut problems, mut compared) = (Vec::new(), 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let folder = entry.unwrap().path();
        if folder.is_dir() {
            compared += compare_folder(&folder, &mut problems);
        }
    }
    assert!(compared >= at_least, "only {compared} plans");
    assert!(problems.is_empty(), "{} of {compared} differ:\n{}", problems.len(), problems.join("\n"));
    println!("{compared} plans are equal");
}

/// Cases small enough to be committed: isotropic MR, anisotropic, with a cascade, 2-D; every planner at least once.
#[test]
fn committed_cases_are_planned_as_the_reference_does() {
    compare_all(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden"), 9);
}

#[test]
fn all_reference_plans_are_reproduced() {
    let Some(data) = std::env::var_os("NNUNET_TEST_DATA") else {
        println!("skipped: NNUNET_TEST_DATA is not set");
        return;
    };
    compare_all(&Path::new(&data).join("golden/plans"), 200);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plain");
    let dataset = DatasetJson::read(&folder.join("dataset.json")).unwrap();
    let text = std::fs::read_to_string(folder.join("dataset_fingerprint.json")).unwrap();
    let fingerprint: Fingerprint = serde_json::from_str(&text).unwrap();
    let error =
        |options: PlannerOptions| plan_experiment(&fingerprint, &dataset, &options).unwrap_err().to_string();
    let gb = |gb| PlannerOptions { vram_gb: Some(gb), ..Default::default() };
    assert!(error(gb(-1.0)).contains("-1"));
    assert!(error(gb(1e-9)).contains("no patch is small enough"));
    let spacing = PlannerOptions { target_spacing: Some([1.0, f64::NAN, 1.0]), ..Default::default() };
    assert!(error(spacing).contains("NaN"));
}

fn custom_options(given: &Value) -> PlannerOptions {
    let spacing = given.get("overwrite_target_spacing").and_then(Value::as_array);
    PlannerOptions {
        planner: given["class"].as_str().map_or(Planner::Default, |name| name.parse().unwrap()),
        vram_gb: given.get("gpu_memory_target_in_gb").and_then(Value::as_f64),
        target_spacing: spacing.map(|s| [0, 1, 2].map(|i| s[i].as_f64().unwrap())),
        suppress_transpose: given["suppress_transpose"].as_bool().unwrap_or(false),
        plans_name: given["plans_name"].as_str().map(str::to_owned),
        ..Default::default()
    }
}

#[test]
fn inheritance_is_resolved_and_circles_are_refused() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let plans = std::fs::read_dir(golden).unwrap().find_map(|entry| {
        let plans = Plans::read(&entry.unwrap().path().join("nnUNetPlans.json")).ok()?;
        plans.configurations.contains_key("3d_cascade_fullres").then_some(plans)
    });
    let mut plans = plans.expect("a committed case with a cascade");
    let cascade = plans.configuration("3d_cascade_fullres").unwrap();
    assert_eq!(cascade.previous_stage.as_deref(), Some("3d_lowres"));
    assert_eq!(cascade.patch_size, plans.configuration("3d_fullres").unwrap().patch_size);
    let circle = serde_json::json!({"inherits_from": "3d_cascade_fullres"});
    plans.configurations.get_mut("3d_fullres").unwrap().extend(circle.as_object().unwrap().clone());
    assert!(plans.configuration("3d_fullres").unwrap_err().to_string().contains("inherits from itself"));
    let unknown = plans.configuration("4d").unwrap_err().to_string();
    assert!(unknown.contains("4d") && unknown.contains("3d_lowres"), "{unknown}");
}
