//! The environment of a system service of systemd, from its unit file, its drop-ins and the files that these name.
//! `DefaultEnvironment=` and `PassEnvironment=` are ignored.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::environment::{Variables, below, home_of_root};
use crate::config;

/// The unit directories of systemd (`systemd.unit(5)`), by precedence.
const FOLDERS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// The variables of the unit `name`; `None` when there is no such unit.
pub(super) fn variables(root: &Path, name: &str) -> Option<Variables> {
    let unit = FOLDERS.iter().find_map(|folder| fs::read_to_string(root.join(folder).join(name)).ok())?;
    let mut texts = vec![unit];
    texts.extend(drop_ins(root, name).iter().filter_map(|path| fs::read_to_string(path).ok()));
    let (mut set, mut files) = (Variables::new(), Vec::new());
    for text in &texts {
        apply_file(text, &mut set, &mut files);
    }
    let home = home_of_root(root);
    let home = home.as_ref().map(|home| home.display().to_string()).unwrap_or_default();
    let mut variables: Variables = set.into_iter().map(|(name, value)| (name, value.replace("%h", &home))).collect();
    // Variables of files override those of `Environment=`.
    for file in files {
        let path = below(root, Path::new(file.trim_start_matches('-')));
        let text = fs::read_to_string(path).unwrap_or_default();
        variables.extend(config::assignments(&text));
    }
    Some(variables)
}

/// By file name, from the directory with the highest precedence that has it.
fn drop_ins(root: &Path, name: &str) -> Vec<PathBuf> {
    let mut found: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
    for folder in FOLDERS.iter().map(|folder| root.join(folder).join(format!("{name}.d"))) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "conf") {
                found.entry(entry.file_name()).or_insert_with(|| entry.path());
            }
        }
    }
    found.into_values().collect()
}

/// Applies one file; an empty assignment clears earlier ones.
fn apply_file(text: &str, set: &mut Variables, files: &mut Vec<String>) {
    let text = text.replace("\\\n", " ");
    let mut is_service = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_service = line == "[Service]";
        }
        let Some((key, value)) = line.split_once('=').filter(|_| is_service) else { continue };
        match (key.trim(), value.trim()) {
            ("Environment", "") => set.clear(),
            ("Environment", value) => {
                let words = split_words(value);
                let pairs = words.iter().filter_map(|word| word.split_once('='));
                set.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
            }
            ("EnvironmentFile", "") => files.clear(),
            ("EnvironmentFile", value) => files.push(value.to_owned()),
            _ => {}
        }
    }
}

/// Splits at white space; quotes group, and a backslash escapes the next character.
fn split_words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut is_open) = (Vec::new(), String::new(), None, false);
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match (character, quote) {
            ('\\', _) => word.extend(rest.next()),
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => (quote, is_open) = (Some(character), true),
            (c, None) if c.is_whitespace() => {
                if is_open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                is_open = false;
            }
            (c, _) => word.push(c),
        }
    }
    if is_open || !word.is_empty() {
        words.push(word);
    }
    words
}
