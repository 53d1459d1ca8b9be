//! Lanes: threads that ask the network, each its own kind of request, in order. A search that is followed
//! for seconds delays neither the state of the network nor an order.

use super::answers::Answers;
use crate::control::message::{self, Request};
use crate::http::ExchangeId;
use crate::testnet::folder::RunFolder;
use mio::Waker;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::thread;

/// Requests that wait in a lane; further ones are refused. Clients ask for one thing at a time, but one
/// that leaves may come back with another.
const MAX_WAITING: usize = 32;

/// Where a request is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// What the network is like.
    State,
    /// Searches.
    Searches,
    /// What changes the network.
    Orders,
}

/// A request to handle.
#[derive(Debug)]
pub(super) enum Job {
    /// A call.
    Call { id: ExchangeId, request: Request },
    /// For the metrics; in OpenMetrics if `open`.
    Metrics { id: ExchangeId, open: bool },
}

/// The lanes. Their threads end when this is dropped and their work is done.
pub(super) struct Lanes([SyncSender<Job>; 3]);

impl Lanes {
    /// Starts them. Answers go to `done`; the loop is woken for each.
    pub(super) fn new(
        folder: &RunFolder,
        done: &Sender<(ExchangeId, String)>,
        waker: &Arc<Waker>,
    ) -> io::Result<Lanes> {
        let start = |name: &str| {
            let (jobs, asked) = sync_channel(MAX_WAITING);
            let (done, waker) = (done.clone(), Arc::clone(waker));
            let mut answers = Answers::new(folder.clone());
            thread::Builder::new().name(name.to_owned()).spawn(move || {
                for job in asked {
                    // Both fail only when the loop is gone.
                    let _ = done.send(handle(&mut answers, job));
                    let _ = waker.wake();
                }
            })?;
            io::Result::Ok(jobs)
        };
        Ok(Lanes([start("state")?, start("searches")?, start("orders")?]))
    }

    /// Hands over a job, unless the lane is full.
    pub(super) fn push(&self, lane: Lane, job: Job) -> bool {
        self.0[lane as usize].try_send(job).is_ok()
    }
}

fn handle(answers: &mut Answers, job: Job) -> (ExchangeId, String) {
    match job {
        Job::Call { id, request } => {
            let outcome = answers.answer(&request.method, request.params);
            (id, message::reply_line(&request.id.unwrap_or_default(), outcome))
        }
        Job::Metrics { id, open } => (id, answers.metrics(open)),
    }
}
