//! Prints one Markdown table of the conformance reports saved in a folder.
//!
//! `MANAGED_APP_CONFORMANCE_DIR=DIR cargo test --workspace --all-features conform` saves them;
//! `cargo run -p managed-app-runtimes --features conformance --example conformance_table -- DIR` prints the table.

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
