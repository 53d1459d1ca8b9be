//! Which folders are shared, which of their files, and how many.

use crate::driver::share::ShareRoot;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The shared folders; every scan uses the same.
#[derive(Clone, Debug)]
pub struct Shares {
    /// The folders.
    pub roots: Vec<Arc<ShareRoot>>,
    /// Which of their files.
    pub filter: Filter,
    /// Most files; those beyond are counted as [`Skip::TooMany`](super::Skip::TooMany). Files are
    /// taken in the order of the walk, so each scan leaves out the same ones.
    pub max_files: usize,
}

/// Chooses files by globs over their path beneath the root and over their bare name.
///
/// `*` and `?` stay within one folder, `**` crosses folders. Case does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The globs, as they were given: included ones, excluded ones.
    globs: [Vec<String>; 2],
    /// `None` includes everything.
    include: Option<GlobSet>,
    /// `None` excludes nothing.
    exclude: Option<GlobSet>,
}

impl PartialEq for Filter {
    fn eq(&self, other: &Filter) -> bool {
        self.globs == other.globs
    }
}

/// A glob that is malformed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobError {
    glob: String,
    reason: String,
}

impl Filter {
    /// A filter for files that match one of `include` (any file without one) and none of `exclude`. A
    /// folder that matches `exclude` is left out with everything in it.
    ///
    /// # Errors
    /// Names the first glob that is malformed.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Filter, GlobError> {
        Ok(Filter {
            globs: [include.to_vec(), exclude.to_vec()],
            include: compile(include)?,
            exclude: compile(exclude)?,
        })
    }

    /// Whether the file `name` in the folder at `folder` beneath its root is shared.
    pub(super) fn takes_file(&self, folder: &Path, name: &str) -> bool {
        if self.include.is_none() && self.exclude.is_none() {
            return true;
        }
        let (path, name) = (folded(&folder.join(name)), name.to_lowercase());
        let any = |set: &GlobSet| set.is_match(&path) || set.is_match(&name);
        self.include.as_ref().is_none_or(any) && !self.exclude.as_ref().is_some_and(any)
    }

    /// Whether the folder at `path` beneath its root is walked.
    pub(super) fn enters_folder(&self, path: &Path) -> bool {
        let Some(exclude) = &self.exclude else { return true };
        let path = folded(path);
        let name = path.rsplit('/').next().unwrap_or_default();
        !exclude.is_match(&path) && !exclude.is_match(name)
    }
}

/// Lower case, of globs and paths alike: the matcher itself folds only ASCII letters.
fn folded(path: &Path) -> String {
    path.to_string_lossy().to_lowercase()
}

fn compile(globs: &[String]) -> Result<Option<GlobSet>, GlobError> {
    if globs.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let wrong = |reason: &dyn fmt::Display| GlobError {
            glob: glob.clone(),
            reason: reason.to_string(),
        };
        if glob.is_empty() {
            return Err(wrong(&"it is empty"));
        }
        let lower = glob.to_lowercase();
        let built = GlobBuilder::new(&lower).literal_separator(true).build();
        set.add(built.map_err(|error| wrong(error.kind()))?);
    }
    let all =
        || GlobError { glob: globs.join(" "), reason: "they are too large together".to_owned() };
    set.build().map(Some).map_err(|_| all())
}

impl fmt::Display for GlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"{}\" is not a valid glob; example: *.iso or old/** ({})",
            self.glob, self.reason
        )
    }
}

impl std::error::Error for GlobError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let owned = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(exclude)).unwrap()
    }

    #[test]
    fn globs_are_matched_against_the_path_and_the_bare_name() {
        let takes = |include: &[&str], exclude: &[&str], path: &str| {
            let path = Path::new(path);
            let name = path.file_name().unwrap().to_str().unwrap();
            filter(include, exclude).takes_file(path.parent().unwrap(), name)
        };
        assert!(takes(&[], &[], "a/b.iso"));
        assert!(takes(&["*.iso"], &[], "a/b.ISO") && !takes(&["*.iso"], &[], "a/b.ogg"));
        assert!(takes(&["A/*"], &[], "a/b.ogg") && !takes(&["a/*"], &[], "a/b/c.ogg"));
        assert!(takes(&["a/**"], &[], "a/b/c.ogg"));
        assert!(!takes(&["*.{iso,ogg}"], &["b.*"], "a/b.ogg"), "exclude wins");
        assert!(!takes(&[], &["ÜBER*"], "a/über uns.txt"));
    }

    #[test]
    fn an_excluded_folder_is_not_entered() {
        let filter = filter(&["*.ogg"], &["Private", "a/b"]);
        for (folder, enters) in [("x/private", false), ("a/b", false), ("a", true), ("b", true)] {
            assert_eq!(filter.enters_folder(Path::new(folder)), enters, "{folder}");
        }
    }

    #[test]
    fn a_malformed_glob_is_named() {
        for glob in ["a[", "{a", ""] {
            let error = Filter::new(&[], &["*.txt".to_owned(), glob.to_owned()]).unwrap_err();
            assert!(error.to_string().contains(&format!("\"{glob}\"")), "{error}");
        }
    }
}
