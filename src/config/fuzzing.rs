//! What must hold of any environment file.

use super::envfile::parse;

/// Names are those of variables, values hold no NUL, and lines are those of the text, in order.
pub(crate) fn env_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (entries, mistakes) = parse(&text);
    let lines = 1..=text.matches('\n').count() + 1;
    for entry in &entries {
        let is_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
        assert!(!entry.name.is_empty() && entry.name.chars().all(is_name), "{:?}", entry.name);
        assert!(!entry.value.contains('\0') && entry.value.len() <= text.len() && lines.contains(&entry.line));
    }
    assert!(entries.is_sorted_by_key(|entry| entry.line));
    assert!(mistakes.is_sorted_by_key(|mistake| mistake.line));
    assert!(mistakes.iter().all(|mistake| lines.contains(&mistake.line)));
}
