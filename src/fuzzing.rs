//! All external formats, and the properties of any bytes in them. `fuzz/` has a corpus and a cargo-fuzz target for
//! each; the test here replays the corpora. Built only with the feature `fuzzing`.

use managed_app_runtimes::LogSource;
use managed_app_runtimes::fuzzing::{TARGETS as OF_RUNTIMES, Target};

use crate::changes::{Decoded, decode};
use crate::logs::{EVENT_TEXT_BYTES_MAX, Joiner};
use crate::{cloud, config, driver};

/// The formats of this crate.
const OWN: [Target; 7] = [
    ("change", change),
    ("snapshot", cloud::fuzzing::snapshot),
    ("challenge", cloud::fuzzing::challenge),
    ("proof", cloud::fuzzing::proof),
    ("env_file", config::envfile::hold_for_any_file),
    ("state_file", driver::state::hold_for_any_file),
    ("joiner", joiner),
];

/// All formats.
pub fn targets() -> impl Iterator<Item = Target> {
    OWN.into_iter().chain(OF_RUNTIMES)
}

/// Runs the target of this name.
///
/// # Panics
///
/// If the bytes reveal a bug in the program, or no such target exists.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = targets().find(|(known, _)| *known == name).expect("the name is a target's");
    target(data);
}

/// Any decoded change is one line without control characters.
fn change(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let decoded = decode(&text, "app");
    assert_eq!(decoded, decode(&text, "app"));
    if let Decoded::Change(change) = decoded {
        assert!(!change.to_string().contains(char::is_control), "{change:?}");
    }
}

/// The first byte of a piece is its length and source. No byte is lost or invented, and each event fits.
fn joiner(data: &[u8]) {
    let (mut joiner, mut rest, mut number) = (Joiner::new(0), data, 0);
    let (mut taken, mut events) = (0, Vec::new());
    while let Some((&head, after)) = rest.split_first() {
        let length = usize::from(head >> 2).min(after.len());
        let (piece, next) = after.split_at(length);
        rest = next;
        let source = if head & 1 == 0 { LogSource::Stdout } else { LogSource::Stderr };
        // At most one line per piece, as engines send them.
        for line in piece.split_inclusive(|&byte| byte == b'\n') {
            number += 1;
            taken += line.len();
            joiner.push(i64::from(head), source, line, number);
        }
        if head & 2 != 0 {
            joiner.flush();
        }
        events.extend(std::iter::from_fn(|| joiner.pop()));
    }
    joiner.flush();
    events.extend(std::iter::from_fn(|| joiner.pop()));
    let counted: u64 = events.iter().map(|event| event.volume.bytes).sum();
    assert!(counted <= taken as u64, "{counted} of {taken}");
    let told: usize = events.iter().map(|event| event.text.chars().filter(|c| c.is_ascii_graphic()).count()).sum();
    let given = payload(data).filter(u8::is_ascii_graphic).count();
    assert_eq!(told, given, "what can be read is all there");
    for event in &events {
        assert!((1..=EVENT_TEXT_BYTES_MAX).contains(&event.text.len()) && event.mark <= number);
    }
    assert!(events.is_sorted_by_key(|event| event.mark));
    assert!(joiner.waiting().is_none());
}

/// The bytes without the heads of the pieces.
fn payload(data: &[u8]) -> impl Iterator<Item = u8> {
    let (mut rest, mut bytes) = (data, Vec::new());
    while let Some((&head, after)) = rest.split_first() {
        let (piece, next) = after.split_at(usize::from(head >> 2).min(after.len()));
        bytes.extend_from_slice(piece);
        rest = next;
    }
    bytes.into_iter()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn fuzz() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
    }

    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let folder = fuzz().join("corpus").join(name);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
        paths.sort();
        paths.iter().map(|path| std::fs::read(path).expect("it can be read")).collect()
    }

    /// One edit of the bytes: position, kind, value.
    fn edit(data: &mut Vec<u8>, (place, how, byte): (Index, u8, u8)) {
        if data.is_empty() {
            return data.push(byte);
        }
        let at = place.index(data.len());
        match how {
            0 => data[at] = byte,
            1 => data.insert(at, byte),
            2 => drop(data.remove(at)),
            3 => data.truncate(at),
            _ => data.extend_from_within(at..),
        }
    }

    #[test]
    fn each_target_passes_its_corpus() {
        let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).expect("it is there");
        for (name, target) in targets() {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is no binary of fuzz/");
            let corpus = corpus(name);
            assert!(corpus.len() >= 3, "{name} has a corpus");
            corpus.iter().for_each(|data| target(data));
        }
    }

    #[test]
    fn each_target_passes_mutations_of_its_corpus() {
        for (name, target) in targets() {
            let corpus = corpus(name);
            // The arithmetic of a sign-in is slow.
            let cases = if name == "proof" { 16 } else { 256 };
            let edits = prop::collection::vec((any::<Index>(), 0_u8..5, any::<u8>()), 1..8);
            proptest!(ProptestConfig::with_cases(cases), |(seed in any::<Index>(), edits in edits)| {
                let mut data = seed.get(&corpus).clone();
                edits.into_iter().for_each(|next| edit(&mut data, next));
                target(&data);
            });
        }
    }
}
