//! The download queue: what is to be fetched, in order, and what became of it. It outlives the program.
//!
//! **Nothing lost, nothing twice.** A client is told that a download was added once it is on the disk.
//! All that is stored and all operations on files go through one worker in order, and the inode of a
//! partial file is stored before the file can be complete: whenever the program is killed, the next run
//! finds a partial file to resume or knows the finished one by its inode.

mod job;
mod record;
mod speed;

pub(crate) use job::exit_code;
pub(super) use job::{Doing, Job, Step};
pub(super) use record::{JobRecord, SourceRecord, Standing};
pub(super) use speed::Speed;

use crate::control::results::TransferState;
use crate::driver::JobDone;
use crate::servent::{FileId, TransferId};
use crate::wire::Guid;
use record::QueueRecord;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Most downloads in the list.
pub(super) const MAX_JOBS: usize = 1_000;
/// Complete ones that stay in the list; the oldest leaves it first.
const MAX_DONE: usize = 100;

/// All downloads, in the order in which they were added.
#[derive(Debug)]
pub(super) struct Queue {
    /// The state folder.
    folder: PathBuf,
    jobs: Vec<Job>,
    next_id: u64,
    /// Something is to be stored.
    changed: bool,
}

impl Queue {
    /// The queue of the last run.
    ///
    /// # Errors
    /// With a sentence, when the disk refuses.
    pub(super) fn open(folder: &Path) -> Result<Queue, String> {
        let QueueRecord { next_id, jobs } = record::read(folder)?;
        let jobs: Vec<Job> =
            jobs.into_iter().filter(|job| !job.sources.is_empty()).map(Job::new).collect();
        let last = jobs.iter().map(|job| job.record.id).max().unwrap_or(0);
        Ok(Queue {
            folder: folder.to_owned(),
            jobs,
            next_id: next_id.max(last + 1),
            changed: false,
        })
    }

    /// A number for a transfer.
    pub(super) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    pub(super) fn jobs_mut(&mut self) -> &mut [Job] {
        &mut self.jobs
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.record.id == id)
    }

    /// The download that a transfer of the core is for.
    pub(super) fn by_transfer(&mut self, transfer: TransferId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.transfer() == Some(transfer))
    }

    /// The download that a file of the core is for.
    pub(super) fn by_file(&mut self, file: FileId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.uses(file))
    }

    /// The download whose folder is looked through.
    pub(super) fn by_ticket(&mut self, wanted: u64) -> Option<&mut Job> {
        let looks =
            |job: &&mut Job| matches!(job.doing, Doing::Looking { ticket } if ticket == wanted);
        self.jobs.iter_mut().find(looks)
    }

    /// The download that searches for sources.
    pub(super) fn by_search(&mut self, wanted: Guid) -> Option<&mut Job> {
        let looks = |job: &&mut Job| matches!(job.doing, Doing::Searching { search, .. } if search == wanted);
        self.jobs.iter_mut().find(looks)
    }

    /// Whether a search is one for sources.
    pub(super) fn is_search(&self, wanted: Guid) -> bool {
        let is_it =
            |job: &Job| matches!(job.doing, Doing::Searching { search, .. } if search == wanted);
        self.jobs.iter().any(is_it)
    }

    /// How many are in one of these states.
    pub(super) fn count(&self, wanted: &[TransferState]) -> usize {
        self.jobs.iter().filter(|job| wanted.contains(&job.state())).count()
    }

    /// How many of the places for downloads at one time are taken.
    pub(super) fn active(&self) -> usize {
        self.jobs.iter().filter(|job| job.is_active()).count()
    }

    /// Whether no other download writes a file of this name in this folder: the second is to find the
    /// file of the first.
    pub(super) fn has_room_for(&self, folder: &Path, name: &str) -> bool {
        let active = self.jobs.iter().filter(|job| job.is_active());
        active.map(|job| &job.record).all(|record| record.folder != folder || record.name != name)
    }

    /// Adds a download at the end.
    pub(super) fn add(&mut self, record: JobRecord) {
        self.jobs.push(Job::new(record));
        let done = |job: &&Job| job.record.standing == Standing::Done;
        if self.jobs.iter().filter(done).count() > MAX_DONE
            && let Some(oldest) = self.jobs.iter().position(|job| done(&job))
        {
            self.jobs.remove(oldest);
        }
        self.changed = true;
    }

    /// Takes a download off the list.
    pub(super) fn remove(&mut self, id: u64) -> Option<Job> {
        let at = self.jobs.iter().position(|job| job.record.id == id)?;
        self.changed = true;
        Some(self.jobs.remove(at))
    }

    /// What is stored has changed.
    pub(super) fn note_change(&mut self) {
        self.changed = true;
    }

    /// Work that stores the queue as it is, if it has changed since the last call.
    pub(super) fn take_storing(&mut self) -> Option<crate::driver::Job> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let jobs = self.jobs.iter().map(|job| job.record.clone()).collect();
        let (folder, queue) = (self.folder.clone(), QueueRecord { next_id: self.next_id, jobs });
        Some(Box::new(move || JobDone::Stored(record::write(&folder, &queue))))
    }

    /// The earliest time of the steps that were told.
    pub(super) fn soonest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
        a.into_iter().chain(b).min()
    }
}
