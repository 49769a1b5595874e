//! What must hold of any state file.

use super::state::{parse, to_text};

/// What is read is written again the same.
pub(crate) fn state_file(data: &[u8]) {
    let Ok(revisions) = parse(data) else { return };
    let text = to_text(&revisions).expect("what is known has a JSON form");
    let again = parse(&text).expect("what is written can be read");
    assert_eq!(again, revisions);
    for (id, revision) in &again {
        // Equality looks at the digest alone.
        assert_eq!(revision.inputs(), revisions[id].inputs());
    }
}
