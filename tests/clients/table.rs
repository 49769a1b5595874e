//! Compares `docs/clients.md` with the results of the tests, so that no row becomes outdated.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::script::Finding;

const TABLE: &str = "docs/clients.md";
/// The scripts with rejected requests.
pub const REFUSALS: [&str; 2] = ["refusals_of_users.py", "refusals.py"];
/// Minimum number of rejections.
const REFUSALS_MIN: usize = 25;

/// A row: the result, and the test or the check of a script that has it.
struct Row {
    agrees: String,
    /// The script; `None` if the check is a Rust test.
    script: Option<String>,
    check: String,
}

/// Rows have four cells: client, operation, agrees, test; a test is named as `check` or `script.py` `check`.
fn rows() -> Vec<Row> {
    let table = read(Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE));
    table.lines().filter(|line| line.starts_with("| ") && line.contains('`')).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [client, operation, agrees, test] = cells[..] else { panic!("not four cells: {line}") };
    assert!([client, operation, agrees].iter().all(|cell| !cell.is_empty()), "an empty cell: {line}");
    let names: Vec<&str> = test.split('`').skip(1).step_by(2).collect();
    let (script, check) = match names[..] {
        [check] => (None, check),
        [script, check] => (Some(script.to_owned()), check),
        _ => panic!("it names no test: {line}"),
    };
    Row { agrees: agrees.to_owned(), script, check: check.to_owned() }
}

fn of_script(script: &str) -> BTreeSet<Finding> {
    let rows = rows().into_iter().filter(|row| row.script.as_deref() == Some(script));
    rows.map(|row| (row.check, row.agrees)).collect()
}

/// The rows of a script must be exactly the results of its checks.
pub fn compare(script: &str, findings: &[Finding]) {
    let (reported, found) = (of_script(script), findings.iter().cloned().collect::<BTreeSet<_>>());
    let (too_much, missing): (Vec<_>, Vec<_>) =
        (reported.difference(&found).collect(), found.difference(&reported).collect());
    assert!(
        too_much.is_empty() && missing.is_empty(),
        "docs/clients.md: rows without a result {too_much:?}, results without a row {missing:?}"
    );
}

/// Each result must be in the table, which may have more rows.
pub fn contains(script: &str, findings: &[Finding]) {
    let reported = of_script(script);
    let missing: Vec<_> = findings.iter().filter(|finding| !reported.contains(*finding)).collect();
    assert!(missing.is_empty(), "docs/clients.md has no row for {missing:?}");
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_row_names_a_test_that_exists() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let sources = ["fake_cloud.rs", "daemon_clients.rs"].map(|file| read(folder.join(file))).concat();
    for row in rows() {
        let (start, text) = match &row.script {
            None => ("fn ", sources.clone()),
            Some(script) => ("def ", read(folder.join(script))),
        };
        assert!(text.contains(&format!("{start}{}(", row.check)), "no such test: {}", row.check);
    }
    assert!(REFUSALS.iter().map(|script| of_script(script).len()).sum::<usize>() >= REFUSALS_MIN);
}
