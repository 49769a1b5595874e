//! Checks the tables of `docs/`: their rows are numbered, say something in each cell, and name tests that exist.

use std::collections::HashSet;

use crate::source::Source;

/// A table whose last column names tests.
struct Table {
    text: &'static str,
    rows: usize,
}

const TABLES: [Table; 2] = [
    Table { text: include_str!("../../docs/faults.md"), rows: 21 },
    Table { text: include_str!("../../docs/security.md"), rows: 28 },
];

#[test]
fn every_row_of_the_tables_names_tests_that_exist() {
    let sources = crate::sources();
    let known: HashSet<&str> = sources.iter().flat_map(functions_of).collect();
    for table in TABLES {
        let rows: Vec<&str> = table.text.lines().filter(|line| number_of(line).is_some()).collect();
        let numbers: Vec<usize> = rows.iter().filter_map(|row| number_of(row)).collect();
        assert_eq!(numbers, (1..=table.rows).collect::<Vec<_>>());
        rows.into_iter().for_each(|row| check(row, &known));
    }
}

fn check(row: &str, known: &HashSet<&str>) {
    let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
    let [_, what, deed, tests] = cells[..] else { panic!("not four cells: {row}") };
    assert!(!what.is_empty() && !deed.is_empty(), "{row}");
    let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
    assert!(!tests.is_empty(), "no test: {row}");
    let unknown: Vec<_> = tests.iter().filter(|test| !known.contains(**test)).collect();
    assert!(unknown.is_empty(), "no such tests: {unknown:?}");
}

fn number_of(row: &str) -> Option<usize> {
    row.strip_prefix("| ")?.split('|').next()?.trim().parse().ok()
}

/// By lines, since some tests stand in macros.
fn functions_of(source: &Source) -> impl Iterator<Item = &str> {
    source.text.lines().filter_map(function_in)
}

/// The function that a line begins, if any.
fn function_in(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_start = before.split_whitespace().all(|word| ["pub", "pub(crate)", "pub(super)", "async"].contains(&word));
    is_start.then(|| after.split(['(', '<']).next().unwrap_or(after))
}
