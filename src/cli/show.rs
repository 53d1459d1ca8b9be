//! Drawings of searches and networks, written to files.

use super::exit::Failure;
use crate::plan::picture;
use crate::plan::topology::Graph;
use crate::plan::trace::Trace;
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct DrawingArgs {
    /// Write a drawing for Graphviz
    #[arg(long, value_name = "FILE")]
    pub(super) dot: Option<PathBuf>,
    /// Write a picture
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
}

/// Drawings of one search.
#[derive(Debug, Args)]
pub(super) struct SearchDrawingArgs {
    #[command(flatten)]
    pub(super) drawing: DrawingArgs,
    /// Write a page that replays the search in a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl SearchDrawingArgs {
    /// Whether a drawing was asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.drawing.dot.is_some() || self.drawing.svg.is_some() || self.html.is_some()
    }

    /// Refuses a replay of a network too large for a browser.
    pub(super) fn check(&self, graph: &Graph) -> Result<(), Failure> {
        let (most, nodes) = (picture::MAX_REPLAYED, graph.names.len());
        if self.html.is_none() || nodes <= most {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "--html replays networks of at most {most} nodes, this one has {nodes}; --svg draws any"
        )))
    }

    /// Writes the drawings that were asked for; `files` lists the names of the files of each node.
    pub(super) fn draw(
        &self,
        graph: &Graph,
        trace: &Trace,
        files: impl FnOnce() -> Result<Vec<Vec<String>>, Failure>,
    ) -> Result<(), Failure> {
        draw(&self.drawing, || trace.dot(), || picture::svg(graph, trace))?;
        match &self.html {
            None => Ok(()),
            Some(path) => write(path, &picture::page(graph, trace, &files()?)),
        }
    }
}

/// Writes the drawings that were asked for.
pub(super) fn draw(
    args: &DrawingArgs,
    dot: impl FnOnce() -> String,
    svg: impl FnOnce() -> String,
) -> Result<(), Failure> {
    if let Some(path) = &args.dot {
        write(path, &dot())?;
    }
    match &args.svg {
        None => Ok(()),
        Some(path) => write(path, &svg()),
    }
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text)
        .map_err(|error| Failure::disk(format!("cannot write {}: {error}", path.display())))
}
