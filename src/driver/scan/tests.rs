//! What a scan shares and what it passes over, on real folders.

use super::*;
use crate::driver::share::{ShareError, open_shared};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use tempfile::TempDir;

fn folder_with(files: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in files {
        put(folder.path(), file);
    }
    folder
}

/// Writes a file that contains its own path.
fn put(folder: &Path, file: &str) {
    let path = folder.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, file).unwrap();
}

fn roots(paths: &[&Path]) -> Vec<Arc<ShareRoot>> {
    paths.iter().map(|path| Arc::new(ShareRoot::open(path).unwrap())).collect()
}

fn everything(roots: &[Arc<ShareRoot>]) -> Shares {
    Shares { roots: roots.to_vec(), filter: Filter::default(), max_files: MAX_FILES }
}

fn start(roots: &[Arc<ShareRoot>], before: &SharedIndex) -> Scan {
    let shares = Arc::new(everything(roots));
    Scan::start(&shares, ScanTrigger::Asked, before, WatchList::default())
}

fn finish(mut scan: Scan) -> Scanned {
    for _ in 0..100_000 {
        if let Some(scanned) = scan.step(16) {
            return scanned;
        }
    }
    panic!("the scan does not end: {scan:?}");
}

fn scan(paths: &[&Path]) -> Scanned {
    finish(start(&roots(paths), &SharedIndex::default()))
}

fn rescan(paths: &[&Path], before: &SharedIndex) -> Scanned {
    finish(start(&roots(paths), before))
}

/// The paths that are opened, by ascending number.
fn located(scanned: &Scanned) -> Vec<(u32, String)> {
    let locate = |number| scanned.index.locate(number).unwrap().1.to_str().unwrap().to_owned();
    scanned.index.library.entries().map(|entry| (entry.number, locate(entry.number))).collect()
}

fn names(scanned: &Scanned) -> Vec<&str> {
    scanned.index.library.entries().map(|entry| entry.name).collect()
}

fn number(scanned: &Scanned, name: &str) -> u32 {
    scanned.index.library.by_unique_name(name).unwrap().number
}

#[test]
fn shares_visible_regular_files_and_counts_the_rest() {
    let folder = folder_with(&[
        "b.txt",
        "a/deep/er.ogg",
        "a-b/x.ogg",
        "a/part",
        ".hidden",
        ".git/config",
        "a/movie.avi.PART",
        "x.!ut",
        "y.crdownload",
        "z.incomplete",
        "w.Partial",
    ]);
    let path = folder.path();
    fs::write(path.join("empty"), "").unwrap();
    fs::write(path.join(OsStr::from_bytes(b"latin\xe9")), "").unwrap();
    mkfifoat(CWD, path.join("fifo"), Mode::RWXU).unwrap();
    let _socket = UnixListener::bind(path.join("socket")).unwrap();

    let scanned = scan(&[path]);
    let shared = ["b.txt", "empty", "a/part", "a/deep/er.ogg", "a-b/x.ogg"];
    let expected: Vec<_> = (1..).zip(shared.map(str::to_owned)).collect();
    assert_eq!(located(&scanned), expected);
    let report = &scanned.report;
    let counts = [Skip::Hidden, Skip::Partial, Skip::NotUtf8, Skip::Special];
    assert_eq!(counts.map(|reason| report.skipped(reason)), [2, 5, 1, 2]);
    assert_eq!((report.roots[0].files, report.roots[0].bytes), (5, 5 + 6 + 13 + 9));
}

#[test]
fn shares_links_to_visible_files_of_the_same_root_only() {
    let outside = folder_with(&["secret"]);
    let folder = folder_with(&["real/song.ogg", ".private/diary", "real/x.part"]);
    let path = folder.path();
    let link = |target: &Path, name: &str| symlink(target, path.join(name)).unwrap();
    link(Path::new("real/song.ogg"), "good.ogg");
    link(Path::new("good.ogg"), "twice.ogg");
    link(Path::new("loop/../real/song.ogg"), "roundabout.ogg");
    link(&outside.path().join("secret"), "out");
    link(outside.path(), "out-folder");
    link(Path::new(".private/diary"), "diary");
    link(Path::new("real/x.part"), "x");
    link(Path::new("nowhere"), "broken");
    link(Path::new("circle"), "circle");
    link(Path::new("."), "loop");
    link(Path::new("/dev/null"), "null");

    let scanned = scan(&[path]);
    assert_eq!(names(&scanned), ["good.ogg", "twice.ogg", "song.ogg"]);
    for (number, located) in located(&scanned) {
        assert_eq!(located, "real/song.ogg", "of file {number}");
    }
    let counts = [
        (Skip::LinkOut, 3),
        (Skip::LinkToFolder, 1),
        (Skip::BrokenLink, 3), // `loop/..` is the folder above the root
        (Skip::Hidden, 2),
        (Skip::Partial, 2),
    ];
    for (reason, count) in counts {
        assert_eq!(scanned.report.skipped(reason), count, "{reason:?}");
    }
}

#[test]
fn numbers_stay_with_paths_and_are_never_given_again() {
    let folder = folder_with(&["a", "b", "sub/c", "other/d"]);
    let path = folder.path();
    let first = scan(&[path]);
    let (a, c) = (number(&first, "a"), number(&first, "c"));
    let highest = first.index.library.entries().map(|entry| entry.number).max().unwrap();
    let first = first.index;

    put(path, "0-new");
    put(path, "other/e");
    fs::remove_file(path.join("b")).unwrap();
    fs::rename(path.join("other/d"), path.join("other/renamed")).unwrap();
    let second = rescan(&[path], &first);
    assert_eq!((number(&second, "a"), number(&second, "c")), (a, c));
    for fresh in ["0-new", "e", "renamed"] {
        assert!(number(&second, fresh) > highest, "{fresh} has a number of another file");
    }
    assert_eq!(second.index.library.len(), 5);
    let highest = second.index.library.entries().map(|entry| entry.number).max().unwrap();
    let before = located(&second);
    let second = second.index;

    // Also when the last number was freed by a scan in between, and with other roots beside.
    fs::remove_file(path.join("other/renamed")).unwrap();
    let third = rescan(&[path], &second);
    put(path, "z");
    let beside = folder_with(&["beside"]);
    let fourth = rescan(&[beside.path(), path], &third.index);
    assert!(number(&fourth, "z") > highest && number(&fourth, "beside") > highest);
    let kept = located(&fourth);
    assert!(before.iter().all(|file| file.1 == "other/renamed" || kept.contains(file)));
}

#[test]
fn every_number_leads_to_its_own_file() {
    let folder = folder_with(&["a", "b/a", "b/c", "b/c.d/e", "z"]);
    let other = folder_with(&["a", "y/z"]);
    let first = scan(&[folder.path(), other.path()]).index;
    put(folder.path(), "b/b");
    let scanned = rescan(&[folder.path(), other.path()], &first);
    assert_eq!(scanned.index.library.len(), 8);
    for entry in scanned.index.library.entries() {
        let (root, path) = scanned.index.locate(entry.number).unwrap();
        let (mut file, size) = open_shared(root, &path).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(Path::new(&text), path);
        assert_eq!(path.file_name().unwrap(), entry.name);
        assert_eq!(entry.size, size);
    }
    assert!(scanned.index.locate(0).is_none());
    assert!(scanned.index.locate(u32::MAX).is_none());
}

#[test]
fn opening_refuses_what_was_swapped_in_after_the_scan() {
    let outside = folder_with(&["file"]);
    let folder = folder_with(&["file", "sub/file", "fifo", "up"]);
    let path = folder.path();
    let root = ShareRoot::open(path).unwrap();
    let open = |relative: &str| open_shared(&root, Path::new(relative));
    for file in ["file", "sub/file", "fifo"] {
        assert_eq!(open(file).unwrap().1, file.len() as u64);
    }

    fs::remove_file(path.join("file")).unwrap();
    symlink(outside.path().join("file"), path.join("file")).unwrap();
    fs::rename(path.join("sub"), path.join("moved")).unwrap();
    symlink(outside.path(), path.join("sub")).unwrap();
    fs::remove_file(path.join("fifo")).unwrap();
    mkfifoat(CWD, path.join("fifo"), Mode::RWXU).unwrap();
    for file in ["file", "sub/file", "fifo", "moved", "", "../file", "/etc/passwd"] {
        assert!(open(file).is_err(), "{file} was opened");
    }
}

#[test]
fn a_step_keeps_to_its_budget_and_the_result_does_not_depend_on_it() {
    let files: Vec<_> = (0..300).map(|n| format!("{}/{n}.txt", n % 7)).collect();
    let folder = folder_with(&files.iter().map(String::as_str).collect::<Vec<_>>());
    let whole = scan(&[folder.path()]);
    for budget in [1, 10, 256] {
        let mut scan = start(&roots(&[folder.path()]), &SharedIndex::default());
        let mut steps = 0;
        let scanned = loop {
            let (entries, files) = (scan.report.entries, scan.report.roots[0].files);
            steps += 1;
            if let Some(scanned) = scan.step(budget) {
                break scanned;
            }
            let visited = scan.report.entries - entries + scan.report.roots[0].files - files;
            assert!(visited <= budget as u64, "{visited} entries for a budget of {budget}");
        };
        assert!(steps * budget > 600, "{steps} steps of {budget}");
        assert_eq!(located(&scanned), located(&whole));
        assert!(scan.step(budget).is_none());
    }
}

#[test]
fn each_file_is_shared_once_when_roots_meet() {
    let folder = folder_with(&["a", "sub/b", "sub/sub/b2", ".hidden/c"]);
    let (path, sub, hidden) =
        (folder.path(), folder.path().join("sub"), folder.path().join(".hidden"));
    let link = folder.path().join("sub/../.again");
    symlink(path, &link).unwrap();
    let scanned = scan(&[&sub.join("sub"), &sub, path, &link, &hidden]);
    // What is hidden is shared if it is named.
    assert_eq!(names(&scanned), ["a", "b", "b2", "c"]);
    let covered: Vec<_> = scanned.report.roots.iter().map(|root| root.covered_by).collect();
    assert_eq!(covered, [Some(2), Some(2), None, Some(2), None]);
}

#[test]
fn a_root_in_an_excluded_folder_is_shared_by_itself() {
    let folder = folder_with(&["x", "b/y", "b/c/z", "b/d/b/never", "b/d/w"]);
    let path = folder.path();
    let given = roots(&[path, &path.join("b"), &path.join("b/c")]);
    let covered_and_names = |exclude: &str| {
        let filter = Filter::new(&[], &[exclude.to_owned()]).unwrap();
        let shares = Arc::new(Shares { filter, ..everything(&given) });
        let (before, watches) = (SharedIndex::default(), WatchList::default());
        let scanned = finish(Scan::start(&shares, ScanTrigger::Asked, &before, watches));
        let covered: Vec<_> = scanned.report.roots.iter().map(|root| root.covered_by).collect();
        (covered, names(&scanned).into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let (covered, names) = covered_and_names("b");
    assert_eq!(covered, [None, None, Some(1)]);
    assert_eq!(names, ["x", "y", "z", "w"], "what is excluded from b itself stays out");
    // The walk of the outermost root does not get to the innermost; the middle one is not walked.
    let (covered, names) = covered_and_names("b/c");
    assert_eq!(covered, [None, Some(0), None]);
    assert_eq!(names, ["x", "y", "w", "never", "z"]);
}

#[test]
fn what_vanishes_meanwhile_is_counted() {
    let folder = folder_with(&["a", "gone/b", "linked/c", "z/d"]);
    let path = folder.path();
    let given = roots(&[path, &path.join("z"), tempfile::tempdir().unwrap().path()]);
    let mut scan = start(&given, &SharedIndex::default());
    while scan.pending.len() < 3 {
        assert!(scan.step(1).is_none());
    }
    fs::remove_dir_all(path.join("gone")).unwrap();
    fs::rename(path.join("linked"), path.join(".away")).unwrap();
    symlink(".away", path.join("linked")).unwrap();
    let scanned = finish(scan);
    assert_eq!(names(&scanned), ["a", "d"]);
    assert_eq!(scanned.report.skipped(Skip::Vanished), 2);
    // A root that is gone deserves a warning.
    assert_eq!(scanned.report.skipped(Skip::Unreadable), 1);
    assert_eq!(scanned.report.unreadable[0].0, scanned.report.roots[2].path);
}

#[test]
fn depth_is_bounded() {
    let folder = TempDir::new().unwrap();
    let deepest: PathBuf = vec!["d"; MAX_DEPTH].iter().collect();
    put(folder.path(), deepest.join("last").to_str().unwrap());
    put(folder.path(), deepest.join("d/beyond").to_str().unwrap());
    let scanned = scan(&[folder.path()]);
    assert_eq!(names(&scanned), ["last"]);
    assert_eq!(scanned.report.skipped(Skip::TooDeep), 1);
}

#[test]
fn a_root_must_be_a_folder_that_is_there() {
    let folder = folder_with(&["file"]);
    let error = |name: &str| ShareRoot::open(&folder.path().join(name)).unwrap_err();
    assert!(matches!(error("none"), ShareError::NotFound(_)));
    assert!(matches!(error("file"), ShareError::NotADirectory(_)));
    assert!(matches!(error("file/x"), ShareError::NotADirectory(_)));
}

/// A routine scan of everything beneath `path`.
fn look_again(path: &Path, before: &Scanned) -> Scanned {
    let shares = Arc::new(everything(&roots(&[path])));
    finish(Scan::start(&shares, ScanTrigger::Routine, &before.index, WatchList::default()))
}

/// Makes a file look as if it was last written `ago`.
fn date_back(path: &Path, ago: Duration) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - ago).unwrap();
}

#[test]
fn what_is_being_written_waits_and_keeps_its_number() {
    let folder = folder_with(&["old", "grows"]);
    let path = folder.path();
    let first = scan(&[path]);
    assert_eq!(names(&first), ["grows", "old"], "at the start all is taken");
    let numbers = (number(&first, "grows"), number(&first, "old"));

    put(path, "new");
    put(path, "moved here");
    date_back(&path.join("moved here"), Duration::from_secs(60));
    put(path, "from the future");
    let future = fs::File::options().write(true).open(path.join("from the future")).unwrap();
    future.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    fs::write(path.join("grows"), "more than before").unwrap();
    let second = look_again(path, &first);
    assert_eq!(names(&second), ["old", "from the future", "moved here"]);
    assert_eq!(second.report.skipped(Skip::Settling), 2);
    let left = second.settles_in.unwrap();
    assert!(!left.is_zero() && left <= SETTLED_AFTER, "{left:?}");

    for file in ["new", "grows"] {
        date_back(&path.join(file), SETTLED_AFTER);
    }
    let third = look_again(path, &second);
    assert_eq!(third.index.library.len(), 5);
    assert_eq!((number(&third, "grows"), number(&third, "old")), numbers);
    assert_eq!(third.settles_in, None);
}

#[test]
fn a_scan_knows_whether_anything_changed() {
    let folder = folder_with(&["a", "b", "c"]);
    let path = folder.path();
    let first = scan(&[path]);
    let changed = |before: &Scanned| {
        let again = look_again(path, before);
        let kept = Arc::ptr_eq(&again.index.library, &before.index.library);
        assert_ne!(kept, again.report.changed, "a library as it was is kept, any other replaced");
        again.report.changed
    };
    assert!(first.report.changed && !changed(&first));
    fs::remove_file(path.join("b")).unwrap();
    assert!(changed(&first), "removed");
    put(path, "b");
    fs::write(path.join("c"), "other size").unwrap();
    date_back(&path.join("c"), Duration::from_secs(60));
    assert!(changed(&first), "other size");
    fs::write(path.join("c"), "c").unwrap();
    fs::rename(path.join("a"), path.join("d")).unwrap();
    assert!(changed(&first), "renamed");
}

#[test]
fn the_filter_and_the_limit_are_kept_and_counted() {
    let folder = folder_with(&["a.ogg", "b.txt", "sub/c.ogg", "sub/d.ogg", "old/e.ogg", "f.OGG"]);
    let other = folder_with(&["x.ogg"]);
    let of = |text: &str| [text.to_owned()];
    let shares = Shares {
        roots: roots(&[folder.path(), other.path()]),
        filter: Filter::new(&of("*.ogg"), &of("old")).unwrap(),
        max_files: 4,
    };
    let (before, watches) = (SharedIndex::default(), WatchList::default());
    let scanned = finish(Scan::start(&Arc::new(shares), ScanTrigger::Asked, &before, watches));
    assert_eq!(names(&scanned), ["a.ogg", "f.OGG", "c.ogg", "d.ogg"]);
    let report = &scanned.report;
    assert_eq!(
        [&report.roots[0], &report.roots[1]].map(|root| (root.files, root.bytes)),
        [(4, 28), (0, 0)]
    );
    assert_eq!([Skip::TooMany, Skip::Excluded].map(|reason| report.skipped(reason)), [1, 2]);
}

#[test]
fn what_nobody_could_ask_for_is_not_offered_and_counted() {
    let names = ["a\\b.txt", "tab\there", "two\nlines", "100%2F%5C%ff.txt", "gr\u{fc}n.txt", "a b"];
    let folder = folder_with(&names);
    let scanned = scan(&[folder.path()]);
    assert_eq!(self::names(&scanned), ["100%2F%5C%ff.txt", "a b", "gr\u{fc}n.txt"]);
    assert_eq!(scanned.report.skipped(Skip::UnfitName), 3);
}

#[test]
fn a_link_that_leads_elsewhere_is_followed_there() {
    let folder = folder_with(&["real/a", "real/b"]);
    let link = folder.path().join("link");
    symlink("real/a", &link).unwrap();
    let first = scan(&[folder.path()]);
    let linked = number(&first, "link");
    assert_eq!(first.index.locate(linked).unwrap().1, Path::new("real/a"));
    fs::remove_file(&link).unwrap();
    symlink("real/b", &link).unwrap();
    let second = look_again(folder.path(), &first);
    assert_eq!((number(&second, "link"), second.report.changed), (linked, false));
    assert_eq!(second.index.locate(linked).unwrap().1, Path::new("real/b"));
}
