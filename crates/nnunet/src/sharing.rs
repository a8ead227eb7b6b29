//! Trained models in one archive, in the reference's layout.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

use nnunet_image::fs::write_atomic;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::{Error, project::create_folder};

/// Most files in an archive.
const MOST_FILES: usize = 1 << 20;
/// How many bytes an archive may unpack to: so many per byte of its own, and so many besides. Weights hardly compress, label
/// maps up to a thousand times.
const EXPANSION: u64 = 100;
const ALLOWANCE: u64 = 64 << 20;

/// Which models of a data set go into an archive.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// Folder of the data set's results, `DatasetNNN_Name`.
    pub results: PathBuf,
    /// Name of the trainer.
    pub trainer: String,
    /// Name of the plans.
    pub plans: String,
    /// Configurations; empty for all that are trained.
    pub configurations: Vec<String>,
    /// Folders of folds (`fold_0`); empty for all that have the checkpoints.
    pub folds: Vec<String>,
    /// Names of the checkpoints, with or without ending.
    pub checkpoints: Vec<String>,
    /// Include the segmentations of the cross-validation.
    pub predictions: bool,
}

impl ExportRequest {
    /// All folds of all configurations of nnU-Net's default trainer and plans, final checkpoints alone.
    pub fn new(results: &Path) -> Self {
        Self {
            results: results.to_owned(),
            trainer: crate::TRAINER.to_owned(),
            plans: "nnUNetPlans".to_owned(),
            configurations: Vec::new(),
            folds: Vec::new(),
            checkpoints: vec!["checkpoint_final".to_owned()],
            predictions: false,
        }
    }
}

/// Writes models with everything that prediction needs into a zip archive. Returns the names of the files in it.
///
/// # Errors
/// A configuration, fold or checkpoint that was named and is not there, nothing to export, or a file that cannot be read or
/// written.
pub fn export_model(request: &ExportRequest, archive: &Path) -> Result<Vec<String>, Error> {
    let files = collect(request)?;
    let root = request.results.parent().unwrap_or(Path::new(""));
    let mut names = Vec::with_capacity(files.len());
    let mut failed = None;
    let written = write_atomic(archive, |out| {
        let mut zip = ZipWriter::new_stream(out);
        for path in &files {
            let name = path.strip_prefix(root).unwrap_or(path);
            let parts: Vec<String> =
                name.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
            let name = parts.join("/");
            if let Err(error) = add(&mut zip, path, &name) {
                failed = Some(path.clone());
                return Err(error);
            }
            names.push(name);
        }
        zip.finish()?.flush()
    });
    written.map_err(|source| Error::io(failed.as_deref().unwrap_or(archive), source))?;
    Ok(names)
}

fn add(zip: &mut ZipWriter<impl Write + io::Seek>, path: &Path, name: &str) -> io::Result<()> {
    let mut file = File::open(path)?;
    let large = file.metadata()?.len() >= u64::from(u32::MAX);
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).large_file(large);
    zip.start_file(name, options)?;
    io::copy(&mut file, zip)?;
    Ok(())
}

/// All files that belong into the archive.
fn collect(request: &ExportRequest) -> Result<Vec<PathBuf>, Error> {
    let prefix = format!("{}__{}__", request.trainer, request.plans);
    let configurations = if request.configurations.is_empty() {
        let trained = subfolders(&request.results)?;
        trained.iter().filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned)).collect()
    } else {
        request.configurations.clone()
    };
    let mut files = Vec::new();
    for configuration in &configurations {
        let model = request.results.join(format!("{prefix}{configuration}"));
        if !model.is_dir() {
            return Err(missing("trained model", model));
        }
        files.extend(model_files(request, &model)?);
    }
    if files.is_empty() {
        let text = format!("{}: there is no trained model {prefix}…", request.results.display());
        return Err(Error::Invalid(text));
    }
    for ensemble in subfolders(&request.results.join("ensembles")).unwrap_or_default() {
        let members = ensemble.strip_prefix("ensemble___").unwrap_or_default().split("___").take(2);
        let known = |member: &str| {
            member.strip_prefix(&prefix).is_some_and(|name| configurations.iter().any(|known| known == name))
        };
        if members.clone().count() == 2 && members.clone().all(known) {
            files.extend(results(&request.results.join("ensembles").join(ensemble), request.predictions)?);
        }
    }
    files.extend(Some(request.results.join("inference_information.json")).filter(|file| file.is_file()));
    files.extend(Some(request.results.join("inference_instructions.txt")).filter(|file| file.is_file()));
    Ok(files)
}

fn model_files(request: &ExportRequest, model: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let given = !request.folds.is_empty();
    let folds = if given {
        request.folds.clone()
    } else {
        subfolders(model)?.into_iter().filter(|name| name.starts_with("fold_")).collect()
    };
    let mut any = false;
    for fold in folds.iter().map(|fold| model.join(fold)) {
        let mut checkpoints = Vec::new();
        for name in &request.checkpoints {
            let found = ["", ".safetensors", ".pth"].map(|ending| fold.join(format!("{name}{ending}")));
            match found.into_iter().find(|file| file.is_file()) {
                Some(file) => checkpoints.push(file),
                None if given => return Err(missing("checkpoint", fold.join(name))),
                None => {}
            }
        }
        if checkpoints.is_empty() {
            continue;
        }
        any = true;
        let beside = ["debug.json", "progress.png", "network_architecture.pdf"].map(|name| fold.join(name));
        files.extend(beside.into_iter().filter(|file| file.is_file()));
        files.extend(checkpoints);
        let validation = fold.join("validation");
        files.extend(results(&validation, request.predictions)?);
    }
    if !any {
        return Err(missing("fold with a checkpoint", model.to_owned()));
    }
    for name in subfolders(model)?.iter().filter(|name| name.starts_with("crossval_results_folds_")) {
        files.extend(results(&model.join(name), request.predictions)?);
    }
    for name in ["plans.json", "dataset.json"] {
        let file = model.join(name);
        if !file.is_file() {
            return Err(missing("description of the model", file));
        }
        files.push(file);
    }
    files.extend(Some(model.join("dataset_fingerprint.json")).filter(|file| file.is_file()));
    Ok(files)
}

/// Scores and postprocessing of a folder of segmentations, or all of its files but probabilities.
fn results(folder: &Path, all: bool) -> Result<Vec<PathBuf>, Error> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let short = ["summary.json", "postprocessing.pkl", "postprocessing.json"];
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|source| Error::io(folder, source))? {
        let path = entry.map_err(|source| Error::io(folder, source))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let wanted = if all {
            !name.ends_with(".npz") && !name.starts_with('.')
        } else {
            short.contains(&name.as_str())
        };
        // In a folder with probabilities, each has a pickle of its own; postprocessing has one, too.
        let pickle = name.ends_with(".pkl") && name != "postprocessing.pkl";
        if wanted && !pickle && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn missing(what: &'static str, path: PathBuf) -> Error {
    Error::Missing { what, path, hint: "it was to be exported" }
}

fn subfolders(folder: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|source| Error::io(folder, source))? {
        let entry = entry.map_err(|source| Error::io(folder, source))?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Unpacks an archive of models into the results folder, replacing files of the same names. Returns the model folders.
///
/// Everything is checked before the first file is written: names must stay within the folder, there must be no links, and
/// the sizes must be in proportion to the archive's.
///
/// # Errors
/// An archive that is broken or not to be trusted, or a file that cannot be written.
pub fn import_model(archive: &Path, results: &Path) -> Result<Vec<PathBuf>, Error> {
    let wrong = |reason: String| Error::Archive { path: archive.to_owned(), reason };
    let file = File::open(archive).map_err(|source| Error::io(archive, source))?;
    let length = file.metadata().map_err(|source| Error::io(archive, source))?.len();
    let mut zip =
        ZipArchive::new(BufReader::new(file)).map_err(|e| wrong(format!("not a whole zip archive: {e}")))?;
    let targets = check(&mut zip, length).map_err(wrong)?;
    let mut models = BTreeSet::new();
    for (number, name) in &targets {
        let target = results.join(name);
        if let Some(folder) = target.parent() {
            create_folder(folder)?;
        }
        let entry = zip.by_index(*number).map_err(|e| wrong(format!("{}: {e}", name.display())))?;
        let size = entry.size();
        // No more than the directory promises, whatever the data unpack to.
        let mut limited = entry.take(size + 1);
        let result = write_atomic(&target, |out| {
            let copied = io::copy(&mut limited, out)?;
            if copied == size {
                return Ok(());
            }
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("unpacks to another size than {size} bytes"),
            ))
        });
        result.map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData => wrong(format!("{}: {e}", name.display())),
            _ => Error::io(&target, e),
        })?;
        if name.file_name().is_some_and(|name| name == "plans.json")
            && let Some(folder) = target.parent()
            && folder.join("dataset.json").is_file()
        {
            models.insert(folder.to_owned());
        }
        if name.file_name().is_some_and(|name| name == "dataset.json")
            && let Some(folder) = target.parent()
            && folder.join("plans.json").is_file()
        {
            models.insert(folder.to_owned());
        }
    }
    Ok(models.into_iter().filter(|folder| !is_result(folder)).collect())
}

/// Folders that hold results of models, and copies of their descriptions.
fn is_result(folder: &Path) -> bool {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.starts_with("crossval_results") || name.starts_with("ensemble___")
}

/// The files of an archive by number, with their names in the results folder.
fn check(zip: &mut ZipArchive<BufReader<File>>, length: u64) -> Result<Vec<(usize, PathBuf)>, String> {
    if zip.len() > MOST_FILES {
        return Err(format!("{} files, expected at most {MOST_FILES}", zip.len()));
    }
    let most = length.saturating_mul(EXPANSION).saturating_add(ALLOWANCE);
    let (mut total, mut targets, mut model) = (0u64, Vec::new(), false);
    for number in 0..zip.len() {
        let entry = zip.by_index_raw(number).map_err(|e| format!("file {number}: {e}"))?;
        let name = entry.name().map_err(|e| format!("file {number}: {e}"))?.into_owned();
        if entry.is_symlink() {
            return Err(format!("{name:?} is a link"));
        }
        total = total.saturating_add(entry.size());
        if total > most {
            return Err(format!("unpacks to more than {most} bytes, {EXPANSION} times its size"));
        }
        if entry.is_dir() {
            continue;
        }
        let path =
            safe(&name).ok_or_else(|| format!("{name:?} leads out of the folder, or has no plain name"))?;
        model |= path.file_name().is_some_and(|name| name == "plans.json");
        targets.push((number, path));
    }
    if model {
        Ok(targets)
    } else {
        Err("there is no plans.json; is this an archive of nnU-Net models?".to_owned())
    }
}

/// A relative path of plain names.
fn safe(name: &str) -> Option<PathBuf> {
    if name.is_empty() || name.contains(['\\', '\0', ':']) {
        return None;
    }
    let path = PathBuf::from(name);
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(path: &Path, files: &[(&str, &[u8])]) {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        for (name, bytes) in files {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
    }

    #[test]
    fn archives_that_lead_elsewhere_are_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (file, results) = (folder.path().join("m.zip"), folder.path().join("results"));
        for name in ["../evil", "a/../../evil", "/etc/evil", "C:\\evil", "a\\..\\evil"] {
            archive(&file, &[("Dataset001_A/m/plans.json", b"{}"), (name, b"x")]);
            let error = import_model(&file, &results).unwrap_err().to_string();
            assert!(error.contains("m.zip") && error.contains("evil"), "{error}");
            assert!(!results.exists());
        }
        archive(&file, &[("readme.txt", b"x")]);
        assert!(import_model(&file, &results).unwrap_err().to_string().contains("plans.json"));
        std::fs::write(&file, b"no archive").unwrap();
        assert!(import_model(&file, &results).unwrap_err().to_string().contains("m.zip"));
    }

    #[test]
    fn archives_that_unpack_without_end_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (file, results) = (folder.path().join("bomb.zip"), folder.path().join("results"));
        archive(&file, &[("Dataset001_A/m/plans.json", b"{}"), ("Dataset001_A/m/x", &vec![0; 200 << 20])]);
        let error = import_model(&file, &results).unwrap_err().to_string();
        assert!(error.contains("100 times") && !results.exists(), "{error}");
    }

    #[test]
    fn models_come_back_from_an_archive() {
        let folder = tempfile::tempdir().unwrap();
        let results = folder.path().join("results/Dataset001_A");
        let model = results.join("nnUNetTrainer__nnUNetPlans__2d");
        let files = [
            "plans.json",
            "dataset.json",
            "dataset_fingerprint.json",
            "fold_0/checkpoint_final.pth",
            "fold_0/checkpoint_best.pth",
            "fold_0/validation/summary.json",
            "fold_0/validation/a.nii.gz",
            "fold_0/validation/a.npz",
            "fold_1/checkpoint_latest.pth",
            "crossval_results_folds_0/postprocessing.pkl",
        ];
        for (i, name) in files.iter().enumerate() {
            create_folder(model.join(name).parent().unwrap()).unwrap();
            std::fs::write(model.join(name), format!("content {i}")).unwrap();
        }
        let file = folder.path().join("m.zip");
        let names = export_model(&ExportRequest::new(&results), &file).unwrap();
        let expected = [
            "fold_0/checkpoint_final.pth",
            "fold_0/validation/summary.json",
            "crossval_results_folds_0/postprocessing.pkl",
            "plans.json",
            "dataset.json",
            "dataset_fingerprint.json",
        ];
        let expected = expected.map(|name| format!("Dataset001_A/nnUNetTrainer__nnUNetPlans__2d/{name}"));
        assert_eq!(names, expected);
        let other = folder.path().join("other");
        let models = import_model(&file, &other).unwrap();
        assert_eq!(models, [other.join("Dataset001_A/nnUNetTrainer__nnUNetPlans__2d")]);
        for name in expected {
            let (a, b) = (other.join(&name), folder.path().join("results").join(&name));
            assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap(), "{name}");
        }
        let request = ExportRequest { predictions: true, ..ExportRequest::new(&results) };
        let names = export_model(&request, &file).unwrap();
        assert!(names.iter().any(|name| name.ends_with("a.nii.gz")));
        assert!(!names.iter().any(|name| name.ends_with("a.npz")));
        let request = ExportRequest { folds: vec!["fold_1".to_owned()], ..ExportRequest::new(&results) };
        let error = export_model(&request, &file).unwrap_err().to_string();
        assert!(error.contains("fold_1/checkpoint_final"), "{error}");
    }
}
