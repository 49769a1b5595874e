//! Every command in the README: blocks marked `sh` are run here, those marked `sh host` by `scripts/package-test`.
//!
//! `cargo run` and `cargo build` lead to the program that the tests were built with, as another set of features would build
//! everything again; all else is run as it stands.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use managed_app_runtimes::conformance::free_port;
use tokio::time::{Duration, timeout};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The demo takes about 20 s on an idle machine.
const BLOCK_LIMIT: Duration = Duration::from_secs(180);

/// What `cargo` does here. A fake cloud has a port that nobody else uses, and a word to it waits until it serves.
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

/// The blocks of code with what stands behind their fences.
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

fn readme() -> Vec<(String, String)> {
    blocks(&std::fs::read_to_string(Path::new(ROOT).join("README.md")).expect("the README"))
}

#[test]
fn every_block_of_the_readme_is_of_a_kind_that_somebody_runs() {
    for (kind, block) in readme() {
        assert!(["sh", "sh host"].contains(&kind.as_str()), "nobody runs a block of the kind {kind:?}:\n{block}");
    }
    let runner = std::fs::read_to_string(Path::new(ROOT).join("scripts/package-test")).expect("the script");
    assert!(runner.contains("```sh host"), "scripts/package-test runs the blocks of hosts");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_readme_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ran = 0;
    for (_, block) in readme().into_iter().filter(|(kind, _)| kind == "sh") {
        run(folder.path(), &block).await;
        ran += 1;
    }
    assert!(ran > 0, "the README has blocks to run");
}

async fn run(folder: &Path, block: &str) {
    let tree = prepare(folder);
    let mut command = Command::new("/bin/bash");
    let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").expect("there is a PATH"));
    command.args(["-euo", "pipefail", "-c", block]).current_dir(&tree).stdin(Stdio::null());
    // What cargo needs, and nothing else of the caller's environment.
    let kept = ["HOME", "CARGO_HOME", "RUSTUP_HOME", "TMPDIR"];
    command.env_clear().envs(kept.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.env("PATH", path).env("PROGRAM", env!("CARGO_BIN_EXE_echostream-managed-app")).env("CARGO", env!("CARGO"));
    command.env("FAKE_CLOUD", format!("127.0.0.1:{}", free_port()));
    command.env("MANAGED_APP_PROFILE", "debug").env("COMPRESSION", "fast").env("AWS_EC2_METADATA_DISABLED", "true");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn().expect("bash starts");
    let group = child.id().to_string();
    let done = tokio::task::spawn_blocking(move || {
        // The shell alone: what it left running holds the pipes open.
        let mut child = child;
        let status = child.wait().expect("it can be waited for");
        // Servers that the block has started.
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{group}")]).stderr(Stdio::null()).status();
        (status, child.wait_with_output().expect("its output"))
    });
    let (status, output) = timeout(BLOCK_LIMIT, done).await.expect("the block ends in time").expect("no panic");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(status.success(), "{block}\n{said}");
}

/// A tree to work in, whose files are those of the project: what a block writes stays out of it.
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
