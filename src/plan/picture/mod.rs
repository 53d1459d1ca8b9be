//! Pictures of searches and networks as self-contained SVG, and a page that replays a search.
//!
//! | file | owns |
//! |---|---|
//! | `layout` `stress` | where nodes go, by the shape of the graph |
//! | `search` `map` | the drawing of a search, and of a network as it stands, node by node |
//! | `rings` | a search in a network too large for that: hop rings, density instead of single lines |
//! | `legend` | title, legend, and the size of the canvas |
//! | `canvas` | lines, discs, text, escaping |
//! | `page` | a page that replays a search |
//!
//! No canvas is larger than 1,600 × 1,600 pixels, and no text smaller than 11.

pub(crate) mod canvas;
mod layout;
mod legend;
mod map;
mod page;
mod rings;
mod search;
mod stress;
#[cfg(test)]
mod tests;

pub use map::map;
pub use page::{MAX_REPLAYED, page};

use super::topology::Graph;
use super::trace::Trace;
use canvas::Point;

/// Where the drawing of a network has its nodes.
#[derive(Clone, Debug)]
pub struct Places {
    /// The centre of each node, from (0, 0) to `size`.
    pub nodes: Vec<Point>,
    /// Width and height.
    pub size: Point,
    /// Radius of a node's disc.
    pub radius: f64,
}

/// The places of the nodes of `graph` in its drawings; it has at most 3,000.
pub fn places(graph: &Graph) -> Places {
    let layout::Layout { places, size, radius, .. } = layout::layout(graph);
    Places { nodes: places, size, radius }
}

/// Draws `trace` over `graph`.
pub fn svg(graph: &Graph, trace: &Trace) -> String {
    if graph.names.len() > layout::MAX_SINGLE {
        return rings::svg(graph, trace);
    }
    search::svg(graph, trace)
}
