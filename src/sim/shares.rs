//! The libraries of virtual nodes: files of the plan, or of its catalogue.

use crate::library::{Library, LibraryBuilder};
use crate::plan::Plan;
use crate::plan::catalogue::{SharedFile, all_files, some_file};
use crate::rng::Rng;
use std::sync::Arc;

/// The libraries of a network, node by node.
pub(super) struct Shares<'a> {
    plan: &'a Plan,
    /// Empty if nobody draws from it.
    catalogue: Vec<SharedFile>,
    /// Shared by all nodes without files.
    empty: Arc<Library>,
}

impl<'a> Shares<'a> {
    pub(super) fn new(plan: &'a Plan) -> Shares<'a> {
        let catalogue = if plan.files > 0 { all_files() } else { Vec::new() };
        Shares { plan, catalogue, empty: Arc::new(Library::empty()) }
    }

    /// The library of the node called `name`.
    pub(super) fn library(&self, name: &str, rng: &mut Rng) -> Arc<Library> {
        let place = self.plan.places.get(name).filter(|place| !place.folders.is_empty());
        match place {
            Some(place) => Arc::new(library_of(&place.files)),
            None if self.plan.files == 0 => Arc::clone(&self.empty),
            None => {
                let draw = |_| &self.catalogue[some_file(rng)];
                Arc::new(library_of((0..self.plan.files).map(draw)))
            }
        }
    }
}

/// Files whose name is too long for an index are left out.
fn library_of<'a>(files: impl IntoIterator<Item = &'a SharedFile>) -> Library {
    let mut builder = LibraryBuilder::new();
    for (number, file) in (1..).zip(files) {
        if let Err(error) = builder.add(number, &file.name, file.size) {
            log::debug!("{} is not shared: {error}", file.name);
        }
    }
    loop {
        if let Some(library) = builder.step(1_000) {
            return library;
        }
    }
}
