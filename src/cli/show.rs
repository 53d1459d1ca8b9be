//! Drawings of searches and networks, written to files.

use super::exit::Failure;
use clap::Args;
use std::fs;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct DrawingArgs {
    /// Write a drawing for Graphviz
    #[arg(long, value_name = "FILE")]
    pub(super) dot: Option<PathBuf>,
    /// Write a picture
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
}

impl DrawingArgs {
    /// Whether a drawing was asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.dot.is_some() || self.svg.is_some()
    }
}

/// Writes the drawings that were asked for.
pub(super) fn draw(
    args: &DrawingArgs,
    dot: impl FnOnce() -> String,
    svg: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let drawn =
        [args.dot.as_ref().map(|path| (path, dot())), args.svg.as_ref().map(|path| (path, svg()))];
    for (path, text) in drawn.into_iter().flatten() {
        fs::write(path, text)
            .map_err(|error| Failure::disk(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(())
}
