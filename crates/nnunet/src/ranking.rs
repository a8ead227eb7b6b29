//! Rankings of methods from their `summary.json` files.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use nnunet_fingerprint::json;
use nnunet_infer::{MissingCases, RankOptions, Ranking, ScoreKind, ScoreTable, Summary, rank_methods};

use crate::Error;

/// Which summaries to rank, and how.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RankRequest {
    /// One `summary.json` per method.
    pub summaries: Vec<PathBuf>,
    /// Names of the methods, one per summary; from the paths if empty.
    pub names: Vec<String>,
    /// The number to rank by.
    pub score: ScoreKind,
    /// Key of one class in the summaries; the mean of the foreground classes if none.
    pub class: Option<String>,
    /// What to do with cases that a method lacks.
    pub missing: MissingCases,
    /// Significance level and bootstrap.
    pub options: RankOptions,
}

/// Ranks the methods whose summaries are given.
///
/// # Errors
/// A summary that cannot be read, names that are not one per summary or not distinct, and whatever
/// [`ScoreTable::new`] and [`rank_methods`] refuse.
pub fn rank(request: &RankRequest) -> Result<Ranking, Error> {
    let names = names(request)?;
    let mut summaries = IndexMap::new();
    for (name, path) in names.into_iter().zip(&request.summaries) {
        let summary: Summary = json::read(path)?;
        if summaries.insert(name.clone(), summary).is_some() {
            return Err(Error::Invalid(format!(
                "two methods are named {name:?}: give distinct names with --name"
            )));
        }
    }
    let table = ScoreTable::new(&summaries, request.score, request.class.as_deref(), request.missing)?;
    Ok(rank_methods(&table, &request.options)?)
}

fn names(request: &RankRequest) -> Result<Vec<String>, Error> {
    let (given, expected) = (request.names.len(), request.summaries.len());
    if given == expected {
        return Ok(request.names.clone());
    }
    if given > 0 {
        return Err(Error::Invalid(format!("{given} names for {expected} summaries, expected one each")));
    }
    let short: Vec<String> = request.summaries.iter().map(|path| short_name(path)).collect();
    let distinct = short.iter().collect::<std::collections::BTreeSet<_>>().len() == short.len();
    Ok(if distinct { short } else { request.summaries.iter().map(|p| p.display().to_string()).collect() })
}

/// The file's own name, or that of its folder if it is called `summary.json`; folders that say where in a model the
/// validation lies are passed over.
fn short_name(path: &Path) -> String {
    let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
    if path.file_name().is_some_and(|name| name != "summary.json") {
        return path.file_stem().map(text).unwrap_or_default();
    }
    let passed =
        |name: &str| name == "validation" || name.starts_with("fold_") || name.starts_with("crossval_");
    let folders = path.parent().into_iter().flat_map(Path::ancestors).filter_map(Path::file_name).map(text);
    folders.into_iter().find(|name| !passed(name)).unwrap_or_else(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_named_after_their_folders() {
        assert_eq!(short_name(Path::new("a/team.json")), "team");
        assert_eq!(short_name(Path::new("a/team/summary.json")), "team");
        assert_eq!(short_name(Path::new("r/T__P__2d/fold_0/validation/summary.json")), "T__P__2d");
    }

    #[test]
    fn names_that_do_not_tell_apart_become_paths() {
        let paths = ["x/team/summary.json", "y/team/summary.json"].map(PathBuf::from).to_vec();
        let request = RankRequest { summaries: paths, ..RankRequest::default() };
        assert_eq!(names(&request).unwrap(), ["x/team/summary.json", "y/team/summary.json"]);
        let request = RankRequest { names: vec!["one".to_owned()], ..request };
        assert!(names(&request).unwrap_err().to_string().contains("1 names for 2 summaries"));
    }
}
