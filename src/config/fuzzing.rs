//! Properties of the parser for any environment file.

use super::envfile::parse;

/// Names are valid, values contain no NUL, and line numbers are valid and in order.
pub(crate) fn env_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (entries, errors) = parse(&text);
    let lines = 1..=text.matches('\n').count() + 1;
    for entry in &entries {
        let is_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
        assert!(!entry.name.is_empty() && entry.name.chars().all(is_name), "{:?}", entry.name);
        assert!(!entry.value.contains('\0') && entry.value.len() <= text.len() && lines.contains(&entry.line));
    }
    assert!(entries.is_sorted_by_key(|entry| entry.line));
    assert!(errors.is_sorted_by_key(|error| error.line));
    assert!(errors.iter().all(|error| lines.contains(&error.line)));
}
