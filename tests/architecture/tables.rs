//! Checks the tables of `docs/`: rows are numbered, have no empty cell, and name tests that exist. The metrics and
//! alerts of the docs are those of the program and of its rules, and the list of files of a backend is complete.

use std::collections::{BTreeSet, HashSet};

use crate::source::Source;

/// A table whose last column names tests.
struct Table {
    text: &'static str,
    rows: usize,
}

const TABLES: [Table; 3] = [
    Table { text: include_str!("../../docs/faults.md"), rows: 22 },
    Table { text: include_str!("../../docs/python-program.md"), rows: 17 },
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

#[test]
fn operations_lists_the_metrics_and_alerts_that_exist() {
    let page = include_str!("../../docs/operations.md");
    let sources = crate::sources();
    let of_metrics = sources.iter().filter(|source| source.path.starts_with("src/status/metrics"));
    let code: BTreeSet<&str> = of_metrics.flat_map(|source| quoted(&source.text, '"', "managed_app_")).collect();
    assert_eq!(quoted(page, '`', "managed_app_").collect::<BTreeSet<_>>(), code);
    let rules = include_str!("../../packaging/prometheus/alerts.yml");
    let alerts: BTreeSet<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(quoted(page, '`', "ManagedApp").collect::<BTreeSet<_>>(), alerts);
}

#[test]
fn architecture_lists_the_files_that_a_backend_needs() {
    let page = include_str!("../../docs/architecture.md");
    let (_, section) = page.split_once("## Add a backend").expect("the section exists");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let sources = crate::sources();
    let is_of_example = |source: &&Source| {
        let names = ["EngineKind::Docker", "docker::BACKEND", "docker_host", "DOCKER_HOST", "DockerRuntime"];
        let mentions = source.mentions();

        let is_mentioned = |name: &&str| mentions.iter().any(|found| found.has(name) && !found.token.in_test);
        let is_declared = source.text.contains("mod docker;") || source.text.contains("impl EngineKind");
        is_declared || names.iter().any(is_mentioned)
    };
    // The other files of the module are its own. Tests have one entry.
    let is_own = |path: &str| path.starts_with("runtimes/src/docker/") && path != "runtimes/src/docker/mod.rs";
    let suite = "runtimes/tests/conformance.rs";
    let found = sources.iter().filter(|source| !is_own(&source.path) && !source.path.starts_with("tests/"));
    let found = found.filter(is_of_example);
    let found: BTreeSet<&str> = found.map(|source| source.path.as_str()).chain([suite]).collect();
    assert_eq!(found, listed);
    assert!(sources.iter().any(|source| source.path == suite && source.text.contains("docker::BACKEND")));
}

/// The names between two quotes that begin with `prefix`.
fn quoted<'a>(text: &'a str, quote: char, prefix: &str) -> impl Iterator<Item = &'a str> {
    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    text.split(quote).filter(move |part| part.starts_with(prefix)).filter(is_name)
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

/// By lines, because some tests are in macros.
fn functions_of(source: &Source) -> impl Iterator<Item = &str> {
    source.text.lines().filter_map(function_in)
}

/// The function that starts in a line, if any.
fn function_in(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_start = before.split_whitespace().all(|word| ["pub", "pub(crate)", "pub(super)", "async"].contains(&word));
    is_start.then(|| after.split(['(', '<']).next().unwrap_or(after))
}
