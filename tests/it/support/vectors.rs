//! Hex vectors from `tests/data`. White space is ignored, text after `;` names the fact.

use super::descriptor::{Descriptor, take_descriptors};
use std::path::Path;

/// The bytes of `tests/data/NAME.hex`.
pub(crate) fn load(name: &str) -> Vec<u8> {
    let path = data_dir().join(format!("{name}.hex"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let digits: Vec<u32> = text
        .lines()
        .map(|line| line.split(';').next().unwrap_or_default())
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).unwrap_or_else(|| panic!("{name}: {c:?} is no hex digit")))
        .collect();
    assert!(digits.len().is_multiple_of(2), "{name}: half a byte");
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

/// The one descriptor in a vector.
pub(crate) fn load_descriptor(name: &str) -> Descriptor {
    let mut bytes = load(name);
    let mut found = take_descriptors(&mut bytes).unwrap();
    assert!(found.len() == 1 && bytes.is_empty(), "{name} should be exactly one descriptor");
    found.remove(0)
}

/// The names of all vectors, in order.
pub(crate) fn names() -> Vec<String> {
    let files = std::fs::read_dir(data_dir()).unwrap();
    let mut names: Vec<String> = files
        .filter_map(|file| file.unwrap().file_name().to_str()?.strip_suffix(".hex").map(Into::into))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    names
}

/// Those that hold descriptors; the others are lines of text.
pub(crate) fn descriptors() -> Vec<(String, Descriptor)> {
    let binary = names().into_iter().filter(|name| !name.starts_with("text-"));
    binary.map(|name| (name.clone(), load_descriptor(&name))).collect()
}

fn data_dir() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data"))
}
