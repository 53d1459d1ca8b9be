//! The shared files of a node, as a servent would list them.

use crate::driver::{Filter, ShareError, ShareRoot, Shares, list_shared};
use crate::library::{Entry, MAX_FILES};
use crate::plan::catalogue::SharedFile;
use std::path::PathBuf;
use std::sync::Arc;

/// The files in `folders` that a servent shares, by number.
///
/// # Errors
/// When one of the folders cannot be shared.
pub fn files_in(folders: &[PathBuf]) -> Result<Vec<SharedFile>, ShareError> {
    let roots = folders.iter().map(|path| ShareRoot::open(path).map(Arc::new));
    let roots = roots.collect::<Result<Vec<_>, _>>()?;
    let (library, _) =
        list_shared(Shares { roots, filter: Filter::default(), max_files: MAX_FILES });
    let file = |entry: Entry<'_>| SharedFile { name: entry.name.to_owned(), size: entry.size };
    Ok(library.entries().map(file).collect())
}
