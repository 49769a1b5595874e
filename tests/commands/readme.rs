//! Tests every command of the README and of `docs/`: this file runs blocks with the mark `sh`. `scripts/package-test`
//! runs the blocks of `docs/` with the mark `sh host`; the README repeats some of them. Also tests the links between
//! pages.
//!
//! `cargo run` and `cargo build` use the program of the tests, because another set of features would build everything
//! again. Other commands run unchanged.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use managed_app_runtimes::conformance::free_port;
use tokio::time::{Duration, timeout};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The demo takes about 20 s on an idle machine.
const BLOCK_LIMIT: Duration = Duration::from_secs(180);

/// The replacement of `cargo`. The fake cloud gets a free port, and commands wait until it serves.
const CARGO: &str = r#"#!/bin/bash
case $* in
    'run --features demo -- fake-cloud serve'*) exec "$PROGRAM" "${@:5}" --listen "$FAKE_CLOUD" ;;
    'run --features demo -- fake-cloud'*)
        for _ in $(seq 100); do "$PROGRAM" fake-cloud --at "$FAKE_CLOUD" show >/dev/null 2>&1 && break; sleep 0.1; done
        exec "$PROGRAM" fake-cloud --at "$FAKE_CLOUD" "${@:6}" ;;
    'run --features demo -- '*) exec "$PROGRAM" "${@:5}" ;;
    'build --release') ;;
    *) exec "$CARGO" "$@" ;;
esac
"#;

/// The blocks of code with the marks of their fences.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            let block: Vec<_> = lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).collect();
            blocks.push((kind.to_owned(), block.join("\n")));
        }
    }
    blocks
}

/// A page for readers of the project.
struct Page {
    /// Its path below the root.
    path: String,
    text: String,
}

/// The pages of the root and of `docs/`, by name.
fn pages() -> Vec<Page> {
    let mut pages = Vec::new();
    for folder in ["", "docs/"] {
        for entry in std::fs::read_dir(Path::new(ROOT).join(folder)).expect("the folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("a name in UTF-8");
            if name.ends_with(".md") {
                let path = format!("{folder}{name}");
                pages
                    .push(Page { text: std::fs::read_to_string(Path::new(ROOT).join(&path)).expect("the page"), path });
            }
        }
    }
    pages.sort_by(|one, other| one.path.cmp(&other.path));
    for expected in ["README.md", "SECURITY.md", "docs/install.md", "docs/operations.md"] {
        assert!(pages.iter().any(|page| page.path == expected), "there is no {expected}");
    }
    pages
}

/// The blocks of a kind in all pages, without the indentation that lists give them.
fn blocks_of(pages: &[Page], wanted: &str) -> Vec<String> {
    let of_page = |page: &Page| blocks(&page.text).into_iter().filter(|(kind, _)| kind == wanted).collect::<Vec<_>>();
    pages.iter().flat_map(of_page).map(|(_, block)| dedent(&block)).collect()
}

fn dedent(block: &str) -> String {
    let indent = block.lines().next().map_or(0, |line| line.len() - line.trim_start().len());
    block.lines().map(|line| line.get(indent..).unwrap_or(line.trim_start())).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_block_of_the_docs_is_of_a_known_kind() {
    for page in pages() {
        for (kind, block) in blocks(&page.text) {
            let is_known = ["sh", "sh host", "text", "mermaid"].contains(&kind.as_str());
            assert!(is_known, "{}: blocks of the kind {kind:?} are not tested:\n{block}", page.path);
        }
    }
}

/// scripts/package-test runs the blocks of the pages that it names; those of other pages are copies.
#[test]
fn every_block_for_hosts_is_one_that_the_package_test_runs() {
    let runner = std::fs::read_to_string(Path::new(ROOT).join("scripts/package-test")).expect("the script");
    assert!(runner.contains("```sh host"), "scripts/package-test runs the blocks of hosts");
    let (run, others): (Vec<_>, Vec<_>) =
        pages().into_iter().partition(|page| page.path.starts_with("docs/") && runner.contains(&page.path));
    let run = blocks_of(&run, "sh host");
    assert!(!run.is_empty(), "scripts/package-test names pages with blocks");
    for copy in blocks_of(&others, "sh host") {
        assert!(run.contains(&copy), "scripts/package-test does not run this block:\n{copy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_docs_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut ran, mut compared) = (0, 0);
    for page in pages() {
        let blocks = blocks(&page.text);
        for (index, (_, block)) in blocks.iter().enumerate().filter(|(_, (kind, _))| kind == "sh") {
            let output = run(folder.path(), &dedent(block)).await;
            ran += 1;
            if let Some((_, shown)) = blocks.get(index + 1).filter(|(kind, _)| kind == "text") {
                compare(shown, &output);
                compared += 1;
            }
        }
    }
    assert!(ran > 2 && compared > 0, "the pages have blocks to run, and output: {ran}, {compared}");
}

/// The block `text` after a command is its shortened output: each line must occur, except for its numbers.
fn compare(shown: &str, output: &str) {
    let form = |line: &str| line.split(|c: char| c.is_ascii_digit() || c == '.').collect::<String>().replace(' ', "");
    let forms: Vec<String> = output.lines().map(form).collect();
    for line in shown.lines() {
        assert!(
            line == "..." || forms.contains(&form(line)),
            "the program does not print this:\n{line}\nbut\n{output}"
        );
    }
}

/// Links of the form `](page.md)`, `](page.md#heading)` and `](#heading)`; others are external.
#[test]
fn every_link_between_pages_leads_to_a_page_and_a_heading() {
    for page in pages() {
        for target in page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let from = Path::new(ROOT).join(&page.path);
            let path = if file.is_empty() { from } else { from.parent().expect("it is a file").join(file) };
            let text =
                std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {target}: {error}", page.path));
            let is_there = heading.is_empty() || text.lines().any(|line| anchor(line).as_deref() == Some(heading));
            assert!(is_there, "{}: {target} has no such heading", page.path);
        }
    }
}

/// The anchor of a heading on GitHub.
fn anchor(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    Some(kept.map(|c| if c == ' ' { '-' } else { c }).collect())
}

/// The README is an introduction; details have pages of their own.
#[test]
fn the_readme_is_short() {
    let pages = pages();
    let readme = pages.iter().find(|page| page.path == "README.md").expect("it is one of the pages");
    assert!(readme.text.lines().count() <= 150, "{} lines", readme.text.lines().count());
    for page in pages.iter().filter(|page| page.path != "README.md") {
        assert!(readme.text.contains(&format!("]({})", page.path)), "the README has no link to {}", page.path);
    }
}

/// Its output.
async fn run(folder: &Path, block: &str) -> String {
    let tree = prepare(folder);
    let mut command = Command::new("/bin/bash");
    let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").expect("there is a PATH"));
    command.args(["-euo", "pipefail", "-c", block]).current_dir(&tree).stdin(Stdio::null());
    // Of the environment of the caller, only the variables that cargo needs.
    let kept = ["HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "TMPDIR"];
    command.env_clear().envs(kept.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.env("PATH", path).env("PROGRAM", env!("CARGO_BIN_EXE_echostream-managed-app")).env("CARGO", env!("CARGO"));
    command.env("FAKE_CLOUD", format!("127.0.0.1:{}", free_port()));
    command.env("MANAGED_APP_PROFILE", "debug").env("COMPRESSION", "fast").env("AWS_EC2_METADATA_DISABLED", "true");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn().expect("bash starts");
    let group = child.id().to_string();
    let done = tokio::task::spawn_blocking(move || {
        // Waits for the shell only: background processes keep the pipes open.
        let mut child = child;
        let status = child.wait().expect("it can be waited for");
        // Kills the servers that the block started.
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{group}")]).stderr(Stdio::null()).status();
        (status, child.wait_with_output().expect("its output"))
    });
    let (status, output) = timeout(BLOCK_LIMIT, done).await.expect("the block ends in time").expect("no panic");
    let output = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(status.success(), "{block}\n{output}");
    output
}

/// A working tree with links to the files of the project: files that a block writes stay outside the project.
fn prepare(folder: &Path) -> PathBuf {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (tree, bin) = (folder.join("tree"), folder.join("bin"));
    if tree.exists() {
        return tree;
    }
    std::fs::create_dir(&tree).expect("a folder");
    std::fs::create_dir(&bin).expect("a folder");
    for entry in std::fs::read_dir(ROOT).expect("the tree") {
        let path = entry.expect("an entry").path();
        symlink(&path, tree.join(path.file_name().expect("a name"))).expect("a link");
    }
    let cargo = bin.join("cargo");
    std::fs::write(&cargo, CARGO).expect("a file");
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).expect("our own file");
    tree
}
