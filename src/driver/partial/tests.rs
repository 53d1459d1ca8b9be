//! Partial files on a real disk.

use super::*;

fn source(port: u16, size: Option<u64>) -> Source {
    let addr = std::net::SocketAddrV4::new([127, 0, 0, 1].into(), port);
    Source { addr, index: 7, name: "a.txt".to_owned(), size, push: None }
}

fn begin(folder: &Path, port: u16, size: Option<u64>) -> (PartialFile, Kept) {
    PartialFile::look_for(folder, "a.txt", &source(port, size)).unwrap()
}

fn found(folder: &Path, port: u16, size: Option<u64>) -> Option<Partial> {
    begin(folder, port, size).1.partial
}

/// Leaves five of ten bytes of a source.
fn leave(folder: &Path, port: u16) {
    let (mut place, _) = begin(folder, port, Some(10));
    place.open(0, Some(10)).unwrap();
    place.write(0, b"hello").unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_left_is_found_again_by_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (mut first, none) = begin(path, 1, Some(10));
    assert_eq!(none, Kept::default());
    first.open(0, Some(10)).unwrap();
    first.write(0, b"hello").unwrap();
    assert_eq!(found(path, 1, None), None, "it is in use");
    drop(first);
    assert_eq!(names(path), ["a.txt.10.part", "a.txt.10.part.source"]);
    assert_eq!(found(path, 1, Some(11)), None, "another size is another file");
    let other = found(path, 2, Some(10)).unwrap();
    assert_eq!((other.have, other.same_source), (5, false));
    let (mut again, kept) = begin(path, 1, None);
    let partial = Partial { have: 5, total: Some(10), same_source: true };
    assert_eq!(kept, Kept { partial: Some(partial), complete: false });
    again.open(5, Some(10)).unwrap();
    assert!(again.compare(Against::Partial, 1, b"ello").unwrap());
    assert!(!again.compare(Against::Partial, 1, b"ellO").unwrap());
    assert!(!again.compare(Against::Partial, 1, b"ellow").unwrap());
    again.write(5, b"world").unwrap();
    let (finished, servents) = again.finish().unwrap();
    assert_eq!((fs::read(finished).unwrap(), servents), (b"helloworld".to_vec(), 1));
    assert_eq!(names(path), ["a.txt"], "no record is left");
}

#[test]
fn a_file_without_a_record_is_no_partial() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("a.txt.10.part"), "mine").unwrap();
    assert_eq!(found(path, 1, Some(10)), None);
    leave(path, 1);
    assert_eq!(fs::read(path.join("a.txt.10.part")).unwrap(), b"mine");
    assert_eq!(found(path, 1, Some(10)).unwrap().have, 5);
    let of_another =
        Record::new("b.txt", Some(10)).add(&path.join("a.txt.10.part"), &source(1, None));
    of_another.unwrap();
    assert_eq!(fs::read(path.join("a.txt.10.2.part")).unwrap(), b"hello");
    fs::remove_file(path.join("a.txt.10.2.part")).unwrap();
    assert_eq!(found(path, 1, Some(10)), None, "the record is that of another file");
    assert!(!path.join("a.txt.10.2.part.source").exists(), "a record without a file is removed");
}

#[test]
fn all_servents_of_a_joined_file_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    leave(path, 1);
    let (mut second, _) = begin(path, 2, Some(10));
    second.open(5, Some(10)).unwrap();
    second.write(5, b"wor").unwrap();
    drop(second);
    assert!(found(path, 2, Some(10)).unwrap().same_source);
    let (mut third, kept) = begin(path, 1, Some(10));
    assert!(kept.partial.unwrap().same_source);
    third.open(8, Some(10)).unwrap();
    third.write(8, b"ld").unwrap();
    assert_eq!(third.finish().unwrap().1, 2);
}

#[test]
fn a_partial_of_its_own_source_is_the_first_choice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    leave(path, 1);
    let (mut other, _) = begin(path, 2, Some(10));
    other.set_aside(Some(10)).unwrap();
    other.write(0, b"HE").unwrap();
    drop(other);
    let expected =
        ["a.txt.10.old.part", "a.txt.10.old.part.source", "a.txt.10.part", "a.txt.10.part.source"];
    assert_eq!(names(path), expected);
    assert_eq!(fs::read(path.join("a.txt.10.old.part")).unwrap(), b"hello");
    let own = |port| found(path, port, Some(10)).map(|partial| (partial.have, partial.same_source));
    assert_eq!(own(1), Some((5, true)), "what was set aside is of use to its own source");
    assert_eq!(own(2), Some((2, true)));
    assert_eq!(own(3), Some((2, false)), "and to no other");
}

#[test]
fn what_came_after_a_change_is_gone_on_with_and_one_old_partial_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    leave(path, 1);
    for (round, bytes) in [b"HE", b"he", b"hE"].iter().enumerate() {
        let (mut place, kept) = begin(path, 1, Some(10));
        let have = kept.partial.unwrap().have;
        assert_eq!(have, if round == 0 { 5 } else { 2 }, "not what was set aside");
        place.open(have, Some(10)).unwrap();
        assert!(!place.compare(Against::Partial, 0, *bytes).unwrap());
        place.set_aside(Some(10)).unwrap();
        place.write(0, *bytes).unwrap();
        drop(place);
        assert_eq!(names(path).len(), 4, "{:?}", names(path));
        assert_eq!(fs::read(path.join("a.txt.10.old.part")).unwrap(), b"hello");
        assert_eq!(fs::read(path.join("a.txt.10.part")).unwrap(), *bytes);
    }
}

#[test]
fn a_partial_of_another_size_keeps_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    leave(path, 1);
    let (mut other, kept) = begin(path, 2, None);
    assert_eq!(kept.partial.unwrap().total, Some(10));
    other.set_aside(Some(3)).unwrap();
    other.write(0, b"hel").unwrap();
    assert!(other.finish().unwrap().0.ends_with("a.txt"));
    assert_eq!(names(path), ["a.txt", "a.txt.10.part", "a.txt.10.part.source"]);
}

#[test]
fn two_downloads_of_one_name_become_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("a.txt"), "mine").unwrap();
    let (mut first, mut second) = (begin(path, 1, None).0, begin(path, 2, None).0);
    first.open(0, Some(3)).unwrap();
    second.open(0, Some(3)).unwrap();
    first.write(0, b"one").unwrap();
    second.write(0, b"two").unwrap();
    assert!(first.finish().unwrap().0.ends_with("a (2).txt"));
    assert!(second.finish().unwrap().0.ends_with("a (3).txt"));
    assert_eq!(fs::read(path.join("a.txt")).unwrap(), b"mine");
    assert_eq!(fs::read(path.join("a (3).txt")).unwrap(), b"two");
    assert_eq!(names(path).len(), 3, "no partial is left");
}

#[test]
fn complete_files_of_the_name_are_compared_until_one_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (name, text) in [
        ("a.txt", "hello!"),
        ("a (2).txt", "hello"),
        ("a (3).txt", "hexxx"),
        ("a (x).txt", "hello"),
    ] {
        fs::write(path.join(name), text).unwrap();
    }
    assert!(!begin(path, 1, Some(4)).1.complete, "none of this size");
    let (mut place, kept) = begin(path, 1, None);
    assert_eq!(kept, Kept { partial: None, complete: true });
    let against = Against::Complete { total: 5 };
    assert!(place.compare(against, 0, b"he").unwrap());
    assert!(place.compare(against, 3, b"lo").unwrap());
    assert_eq!(place.use_complete().unwrap(), path.join("a (2).txt"));
    assert!(!place.compare(against, 3, b"LO").unwrap());
    assert!(place.use_complete().is_err());
}

/// A download that was killed before its first bytes were written.
#[test]
fn an_empty_file_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("a.txt.10.part"), "").unwrap();
    leave(path, 1);
    assert_eq!(names(path), ["a.txt.10.part", "a.txt.10.part.source"]);
    let (mut empty, _) = begin(path, 2, Some(9));
    empty.open(0, Some(9)).unwrap();
    assert_eq!(names(path).len(), 4);
    empty.close();
    assert_eq!(names(path).len(), 2, "one without bytes is not worth keeping");
}

/// The other download renamed it between our opening and our locking.
#[test]
fn a_file_that_has_its_final_name_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt.3.part");
    fs::write(&path, "one").unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    assert!(take(&file, &path).unwrap());
    fs::rename(&path, folder.path().join("a.txt")).unwrap();
    assert!(!take(&file, &path).unwrap(), "the name is gone");
    fs::write(&path, "two").unwrap();
    assert!(!take(&file, &path).unwrap(), "the name is another file's");
}
