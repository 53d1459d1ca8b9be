//! The schedule on its own, and the whole on real folders.

use super::*;

fn ms(milliseconds: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(milliseconds)
}

#[test]
fn scans_keep_a_distance_that_grows_with_what_they_cost() {
    let mut schedule = Schedule::default();
    schedule.ask(ms(300));
    schedule.ask(ms(900));
    assert_eq!(schedule.due, Some(ms(300)), "later changes do not put it off");
    schedule.begun(ms(300));
    assert_eq!(schedule.due, None);
    // Asked for in the course of a scan that takes two seconds.
    schedule.ask(ms(600));
    schedule.ended(ms(2300), None);
    assert_eq!(schedule.due, Some(ms(2300 + 6000)));
    schedule.begun(ms(8300));
    schedule.ended(ms(8301), None);
    schedule.ask(ms(8302));
    assert_eq!(schedule.due, Some(ms(8301) + MIN_PAUSE));
}

#[test]
fn a_file_left_for_later_has_a_scan_of_its_own() {
    let mut schedule = Schedule::default();
    schedule.begun(ms(0));
    schedule.ended(ms(10), Some(Duration::from_millis(900)));
    assert_eq!(schedule.due, Some(ms(910)));
    // While a file keeps growing, each scan finds it a moment old: one scan a second.
    schedule.begun(ms(910));
    schedule.ended(ms(911), Some(Duration::from_millis(1000)));
    assert_eq!(schedule.due, Some(ms(1911)));
}

#[cfg(target_os = "linux")]
mod live {
    use super::*;
    use crate::driver::scan::Filter;
    use crate::driver::share::ShareRoot;
    use mio::{Events, Poll};
    use std::fs;
    use std::path::Path;
    use tempfile::TempDir;

    /// A watch with a loop of its own around it.
    struct Fixture {
        watch: Watch,
        shares: Arc<Shares>,
        poll: Poll,
        clock: Clock,
        buffer: Vec<u8>,
        turns: u32,
    }

    impl Fixture {
        fn new(folder: &Path) -> Fixture {
            let poll = Poll::new().unwrap();
            let mut watch = Watch::new();
            watch.listen(poll.registry(), Token(0));
            let roots = vec![Arc::new(ShareRoot::open(folder).unwrap())];
            let shares = Shares { roots, filter: Filter::default(), max_files: 100_000 };
            Fixture {
                watch,
                shares: Arc::new(shares),
                poll,
                clock: Clock::start(),
                buffer: vec![0; 64 * 1024],
                turns: 0,
            }
        }

        /// One turn, at the latest when something is due.
        fn turn(&mut self) -> Option<ScanReport> {
            let now = self.clock.now();
            let next = self.watch.deadline().map_or(Duration::from_secs(20), |due| due.since(now));
            let wait = if self.watch.is_busy(now) { Duration::ZERO } else { next };
            let mut events = Events::with_capacity(8);
            self.poll.poll(&mut events, Some(wait)).unwrap();
            if !events.is_empty() {
                self.watch.handle_readable();
            }
            assert!(self.clock.now() < ms(60_000), "nothing comes of it");
            self.turns += 1;
            self.watch.turn(&self.clock, &mut self.buffer)
        }

        fn next_scan(&mut self) -> ScanReport {
            loop {
                if let Some(report) = self.turn() {
                    return report;
                }
            }
        }

        fn ask(&mut self) -> ScanReport {
            let now = self.clock.now();
            assert!(self.watch.scan(now, &self.shares, ScanTrigger::Asked));
            self.next_scan()
        }

        /// How many files are shared after the next scan.
        fn files_after_scan(&mut self) -> usize {
            self.next_scan();
            self.watch.index().library.len()
        }
    }

    #[test]
    fn a_folder_without_a_watch_is_counted_and_the_others_stay_live() {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a", "b", "c"] {
            fs::create_dir(path(name)).unwrap();
        }
        let mut fixture = Fixture::new(folder.path());
        fixture.watch.list.set_max(3);
        let report = fixture.ask();
        assert_eq!((report.folders, report.unwatched), (4, 1));
        fs::write(path("b/file"), "").unwrap();
        assert_eq!(fixture.files_after_scan(), 1);
        // What is freed is used.
        fs::remove_dir(path("a")).unwrap();
        while fixture.next_scan().folders > 3 {}
        let report = fixture.ask();
        assert_eq!((report.folders, report.unwatched), (3, 0));
        fs::write(path("c/file"), "").unwrap();
        assert_eq!(fixture.files_after_scan(), 2);
    }

    #[test]
    fn a_root_that_vanishes_and_returns_is_found_again() {
        let folder = TempDir::new().unwrap();
        let (inner, aside) = (folder.path().join("outer/share"), folder.path().join("aside"));
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("file"), "").unwrap();
        let mut fixture = Fixture::new(&inner);
        fixture.ask();
        assert_eq!(fixture.watch.index().library.len(), 1);
        let until = |fixture: &mut Fixture, count| while fixture.files_after_scan() != count {};
        fs::remove_dir_all(&inner).unwrap();
        until(&mut fixture, 0);
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("file"), "").unwrap();
        until(&mut fixture, 1);
        fs::write(inner.join("other"), "").unwrap();
        until(&mut fixture, 2);
        // Nothing tells of what happens to a parent.
        fs::rename(folder.path().join("outer"), &aside).unwrap();
        until(&mut fixture, 0);
        fs::rename(&aside, folder.path().join("outer")).unwrap();
        until(&mut fixture, 2);
    }

    #[test]
    fn a_folder_moved_out_is_watched_no_longer() {
        let (folder, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::create_dir(folder.path().join("a")).unwrap();
        let mut fixture = Fixture::new(folder.path());
        fixture.ask();
        fs::rename(folder.path().join("a"), outside.path().join("a")).unwrap();
        assert_eq!(fixture.next_scan().folders, 1);
        while fixture.watch.is_busy(fixture.clock.now()) {
            fixture.turn();
        }
        fs::write(outside.path().join("a/file"), "").unwrap();
        fs::write(outside.path().join("a/other"), "").unwrap();
        assert_eq!(fixture.watch.schedule.due, None);
        fixture.watch.handle_readable();
        fixture.turn();
        assert_eq!(fixture.watch.schedule.due, None, "an event from outside the share");
    }

    #[test]
    fn hidden_and_partial_files_do_not_cause_scans() {
        let folder = TempDir::new().unwrap();
        let mut fixture = Fixture::new(folder.path());
        fixture.ask();
        fs::write(folder.path().join(".hidden"), "").unwrap();
        fs::write(folder.path().join("film.mkv.part"), "").unwrap();
        fs::create_dir(folder.path().join(".git")).unwrap();
        fixture.watch.handle_readable();
        while fixture.watch.is_busy(fixture.clock.now()) {
            fixture.turn();
        }
        assert_eq!(fixture.watch.schedule.due, None);
        fs::rename(folder.path().join("film.mkv.part"), folder.path().join("film.mkv")).unwrap();
        fixture.watch.handle_readable();
        fixture.turn();
        assert!(fixture.watch.schedule.due.is_some());
    }

    /// More events than the system keeps: they are read in portions, one a turn, and all files are
    /// found though many events are lost.
    #[test]
    fn ten_thousand_files_at_once_are_taken_in_portions() {
        let folder = TempDir::new().unwrap();
        let mut fixture = Fixture::new(folder.path());
        fixture.ask();
        for number in 0..10_000 {
            fs::write(folder.path().join(format!("{number}.txt")), "").unwrap();
        }
        let (mut most, mut portions) = (0, 0);
        while fixture.watch.index().library.len() < 10_000 {
            let before = fixture.watch.portions;
            fixture.turn();
            let read = fixture.watch.portions.saturating_sub(before);
            (most, portions) = (most.max(read), portions + read);
        }
        assert_eq!(most, 1, "portions in one turn");
        assert!(portions > 20, "{portions} portions in all");
        assert!(fixture.turns > portions);
    }
}
