//! Prints one Markdown table of the conformance reports saved in a folder.
//!
//! `scripts/test` saves them to target/conformance, `scripts/conformance-table` calls this for the table in
//! docs/conformance.md:
//! `cargo run -p managed-app-runtimes --all-features --example conformance_table -- target/conformance`.

use std::path::Path;
use std::process::ExitCode;

use managed_app_runtimes::conformance::Report;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: conformance_table FOLDER");
        return ExitCode::from(2);
    };
    match Report::load(Path::new(&folder)) {
        Ok(report) => {
            print!("{}", report.to_markdown());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("conformance_table: {failure}");
            ExitCode::FAILURE
        }
    }
}
