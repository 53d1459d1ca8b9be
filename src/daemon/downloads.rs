//! Requests about transfers.

use super::clients::Asker;
use super::run::Run;
use super::steer::{Outcome, refuse};
use crate::control::message::RpcError;
use crate::control::params::DownloadParams;
use crate::control::results::{TransferRow, TransferState};
use crate::wire::Guid;

/// The download queue.
#[derive(Debug, Default)]
pub(super) struct Queue;

impl Queue {
    pub(super) fn count(&self, _wanted: &[TransferState]) -> usize {
        0
    }
    pub(super) fn is_search(&self, _guid: Guid) -> bool {
        false
    }
}

impl Run<'_> {
    pub(super) fn transfer_rows(&self) -> Vec<TransferRow> {
        Vec::new()
    }
    pub(super) fn add_download(&mut self, _asker: &Asker, _params: DownloadParams) -> Outcome {
        refuse(RpcError::REFUSED, "not yet")
    }
    pub(super) fn pause_download(&mut self, _id: u64) -> Outcome {
        refuse(RpcError::REFUSED, "not yet")
    }
    pub(super) fn resume_download(&mut self, _id: u64) -> Outcome {
        refuse(RpcError::REFUSED, "not yet")
    }
    pub(super) fn cancel_transfer(&mut self, _id: u64) -> Outcome {
        refuse(RpcError::REFUSED, "not yet")
    }
    pub(super) fn retry_download(&mut self, _id: u64) -> Outcome {
        refuse(RpcError::REFUSED, "not yet")
    }
}
