//! Checks that every test that `docs/faults.md` names exists, and that each fault has one.

use std::collections::HashSet;
use std::path::Path;

const TABLE: &str = include_str!("../../docs/faults.md");
const FAULTS: usize = 20;

#[test]
fn every_fault_of_the_table_names_tests_that_exist() {
    let known = functions();
    let rows: Vec<&str> = TABLE.lines().filter(|line| line.starts_with("| ") && number_of(line).is_some()).collect();
    let numbers: Vec<usize> = rows.iter().filter_map(|row| number_of(row)).collect();
    assert_eq!(numbers, (1..=FAULTS).collect::<Vec<_>>());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, fault, deed, tests] = cells[..] else { panic!("not four cells: {row}") };
        assert!(!fault.is_empty() && !deed.is_empty(), "{row}");
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        let unknown: Vec<_> = tests.iter().filter(|test| !known.contains(**test)).collect();
        assert!(unknown.is_empty(), "no such tests: {unknown:?}");
    }
}

fn number_of(row: &str) -> Option<usize> {
    row.split('|').nth(1)?.trim().parse().ok()
}

/// Names of all functions in the workspace.
fn functions() -> HashSet<String> {
    let mut names = HashSet::new();
    for folder in ["src", "tests", "runtimes/src", "runtimes/tests", "fakes/src", "fakes/tests"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut names);
    }
    names
}

fn collect(folder: &Path, names: &mut HashSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("its entries can be read").path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("sources are text");
            names.extend(text.lines().filter_map(function_in).map(str::to_owned));
        }
    }
}

/// The function that a line begins, if any.
fn function_in(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_start = before.split_whitespace().all(|word| ["pub", "pub(crate)", "pub(super)", "async"].contains(&word));
    is_start.then(|| after.split(['(', '<']).next().unwrap_or(after))
}
