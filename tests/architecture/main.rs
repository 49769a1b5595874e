//! The invariants of the architecture, checked over the source tree.
//!
//! Walks over the tree and reports the findings. `rules.rs` has the rules, `source.rs` reads files, `planted.rs` proves
//! that each rule fires. Nothing here runs code of the project.

mod planted;
mod rules;
mod source;
mod tables;

use std::{fs, path::Path};

use source::Source;

/// Directories with Rust code, below the root of the repository.
const FOLDERS: [&str; 5] = ["src", "runtimes", "fakes", "tests", "benches"];

#[test]
fn tree_keeps_the_rules_of_the_architecture() {
    let sources = sources();
    for expected in ["src/main.rs", "runtimes/src/lib.rs", "fakes/src/lib.rs", "tests/architecture/main.rs"] {
        assert!(sources.iter().any(|source| source.path == expected), "the walk missed {expected}");
    }
    let findings: Vec<String> = sources.iter().flat_map(rules::check).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut paths);
    }
    let relative = |path: &Path| path.strip_prefix(root).expect("the walk began at the root").display().to_string();
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    paths.iter().map(|path| Source::parse(&relative(path), &read(path))).collect()
}

/// Adds the Rust files below `folder`, if it exists, in a fixed order.
fn collect(folder: &Path, paths: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.map(|entry| entry.expect("the tree is readable").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}
