//! Properties of any state file.

use super::state::{parse, to_text};

/// A file that was read is written with the same content.
pub(crate) fn state_file(data: &[u8]) {
    let Ok(revisions) = parse(data) else { return };
    let text = to_text(&revisions).expect("what is known has a JSON form");
    let again = parse(&text).expect("what is written can be read");
    assert_eq!(again, revisions);
    for (id, revision) in &again {
        // Equality compares the digests only.
        assert_eq!(revision.inputs(), revisions[id].inputs());
    }
}
