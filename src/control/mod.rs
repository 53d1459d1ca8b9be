//! The control socket of a running servent: requests and results as types, their lines, the client, and
//! where the sockets are.
//!
//! JSON-RPC 2.0, one object a line, over a Unix socket of mode 0600. `POST /rpc` of the page takes the
//! same objects. [`methods::METHODS`] is the one list of methods; `servent ctl rpc.discover` prints it
//! with all arguments and results.
//!
//! ```text
//! → {"jsonrpc":"2.0","id":1,"method":"search","params":{"words":"free jazz"}}
//! ← {"jsonrpc":"2.0","method":"hit","params":{"search":"…","name":"free jazz.ogg", …}}
//! ← {"jsonrpc":"2.0","id":1,"result":{"search":"…","hits":1}}
//! ```
//!
//! Requests of one client are answered in any order: a search takes seconds, and a `status` sent after
//! it is answered meanwhile.

pub mod client;
pub mod message;
pub mod methods;
pub mod params;
pub mod place;
pub mod results;
