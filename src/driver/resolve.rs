//! Name resolution: each look-up has a thread of its own, so that the loop never waits for DNS.

use mio::Waker;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// The result of a look-up.
#[derive(Debug)]
pub struct Resolved {
    /// The name as it was asked for.
    pub host: String,
    /// The port as it was asked for.
    pub port: u16,
    /// Its first IPv4 address, or what went wrong, as a sentence.
    pub addr: Result<SocketAddrV4, String>,
}

/// Starts look-ups and collects their results.
#[derive(Debug)]
pub(super) struct Resolver {
    waker: Arc<Waker>,
    sender: Sender<Resolved>,
    receiver: Receiver<Resolved>,
}

impl Resolver {
    pub(super) fn new(waker: Arc<Waker>) -> Resolver {
        let (sender, receiver) = channel();
        Resolver { waker, sender, receiver }
    }

    /// Starts a look-up. Its result wakes the loop and is returned by [`Resolver::next`].
    pub(super) fn start(&self, host: String, port: u16) -> io::Result<()> {
        let (sender, waker) = (self.sender.clone(), Arc::clone(&self.waker));
        thread::Builder::new().name("resolve".into()).spawn(move || {
            let addr = look_up(&host, port);
            // Both fail only when the loop is gone.
            let _ = sender.send(Resolved { host, port, addr });
            let _ = waker.wake();
        })?;
        Ok(())
    }

    pub(super) fn next(&self) -> Option<Resolved> {
        self.receiver.try_recv().ok()
    }
}

fn look_up(host: &str, port: u16) -> Result<SocketAddrV4, String> {
    let addrs = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("the host name \"{host}\" was not found: {error}"))?;
    let v4 = addrs.into_iter().find_map(|addr| match addr {
        SocketAddr::V4(addr) => Some(addr),
        SocketAddr::V6(_) => None,
    });
    v4.ok_or_else(|| {
        format!("the host \"{host}\" has no IPv4 address, and Gnutella 0.4 supports no other")
    })
}
