//! The small HTTP server of the page, the metrics and the control methods, over mio and without async.
//!
//! | route | answer | token |
//! |---|---|---|
//! | `GET /` | the page its owner gave | no |
//! | `GET /healthz` | `ok` | no |
//! | `GET /metrics` | what its owner measures, as text | no |
//! | `POST /rpc` | one JSON-RPC request as on the control socket. The reply is one JSON object, or, where notifications come before it, an object a line as they come (`application/x-ndjson`) | yes |
//! | `GET /events?events=links,drops` | server-sent events: `event:` names a notification, `data:` has its params | yes |
//!
//! [`request`] is the reading of bytes, without sockets. [`Server`] has the sockets; its owner polls,
//! tells it what is ready and answers what was asked. Each client has at most one request handled in a
//! turn of the owner's loop, and a few clients at most, so that clients that ask without pause slow
//! nothing but each other.

pub mod request;

#[cfg(feature = "http")]
mod access;
#[cfg(feature = "http")]
mod client;
#[cfg(feature = "http")]
mod page;
#[cfg(feature = "http")]
pub mod place;
#[cfg(feature = "http")]
mod response;
#[cfg(feature = "http")]
mod server;

#[cfg(feature = "http")]
pub use access::Access;
#[cfg(feature = "http")]
pub use client::CLIENT_BYTES;
#[cfg(feature = "http")]
pub use page::{NETWORK, Page, SERVENT};
#[cfg(feature = "http")]
pub use server::{Asked, Counts, ExchangeId, Listening, MAX_CLIENTS, Server};
