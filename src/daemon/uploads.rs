//! Uploads as clients see them: each has a number and a speed, and its end is told.

use super::queue::Speed;
use super::run::Run;
use crate::control::params::Topic;
use crate::control::results::{TransferRow, TransferState};
use crate::servent::{ConnId, Event, UploadView};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Instant;

/// What is known of uploads beside the core.
#[derive(Debug, Default)]
pub(super) struct Uploads(BTreeMap<ConnId, Upload>);

#[derive(Debug)]
struct Upload {
    id: u64,
    speed: Speed,
    addr: SocketAddrV4,
    /// The file's number in the library.
    number: u32,
}

impl Uploads {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The connection of an upload.
    pub(super) fn conn_of(&self, id: u64) -> Option<ConnId> {
        self.0.iter().find(|(_, upload)| upload.id == id).map(|(conn, _)| *conn)
    }
}

impl Run<'_> {
    /// The uploads under way.
    pub(super) fn upload_rows(&self, now: Instant) -> impl Iterator<Item = TransferRow> {
        let core = self.driver.core();
        core.uploads_under_way().filter_map(move |view| {
            let upload = self.transfers.uploads.0.get(&view.conn)?;
            let mut row = self.upload_row(upload.id, view.addr, view.number, view.sent);
            row.rate = upload.speed.rate(now, view.sent);
            Some(row)
        })
    }

    fn upload_row(&self, id: u64, addr: SocketAddrV4, number: u32, sent: u64) -> TransferRow {
        let entry = self.driver.core().library().get(number);
        TransferRow {
            id,
            direction: "up".to_owned(),
            name: entry.map_or_else(String::new, |entry| entry.name.to_owned()),
            size: entry.map(|entry| entry.size),
            done: sent,
            state: TransferState::Active,
            sources: vec![addr.to_string()],
            ..TransferRow::default()
        }
    }

    /// Looks how far uploads are; those that have begun since the last look are told.
    pub(super) fn look_at_uploads(&mut self, now: Instant) {
        let under_way: Vec<UploadView> = self.driver.core().uploads_under_way().collect();
        self.transfers.uploads.0.retain(|conn, upload| {
            under_way.iter().any(|it| it.conn == *conn && it.number == upload.number)
        });
        for UploadView { conn, addr, number, sent } in under_way {
            if !self.transfers.uploads.0.contains_key(&conn) {
                let id = self.queue.fresh_id();
                let upload = Upload { id, speed: Speed::default(), addr, number };
                self.transfers.uploads.0.insert(conn, upload);
                let row = self.upload_row(id, addr, number, sent);
                self.clients.tell(Topic::Transfers, "transfer", &json!(row));
            }
            if let Some(upload) = self.transfers.uploads.0.get_mut(&conn) {
                upload.speed.note(now, sent);
            }
        }
    }

    /// An upload has ended: told also if it was too short to be looked at.
    pub(super) fn upload_ended(&mut self, event: &Event) {
        let Event::Served { addr, number, bytes, complete } = event else { return };
        let is_it = |upload: &Upload| upload.addr == *addr && upload.number == *number;
        let known = self.transfers.uploads.0.iter().find(|(_, upload)| is_it(upload));
        let conn = known.map(|(conn, _)| *conn);
        let upload = conn.and_then(|conn| self.transfers.uploads.0.remove(&conn));
        if !self.clients.is_wanted(Topic::Transfers) {
            return;
        }
        let id = upload.map_or_else(|| self.queue.fresh_id(), |upload| upload.id);
        let mut row = self.upload_row(id, *addr, *number, *bytes);
        row.state = if *complete { TransferState::Done } else { TransferState::Failed };
        if !complete {
            row.error = Some("the peer left before the end".to_owned());
        }
        self.clients.tell(Topic::Transfers, "transfer", &json!(row));
    }
}
