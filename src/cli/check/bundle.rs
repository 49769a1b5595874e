//! The archive of `check --bundle`: data for remote support, without secrets. Every file passes the redactor as a whole.
//! The archive contains no output and no configuration of nodes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use managed_app_runtimes::Container;

use super::FoundEngine;
use crate::config::{Config, Listing};
use crate::daemon;
use crate::telemetry::{REDACTED, Redactor};
use crate::text::chain;

/// Maximum size of the end of the daemon's log.
const LOG_BYTES_MAX: u64 = 1024 * 1024;
/// Maximum size of the state file.
const STATE_BYTES_MAX: u64 = 1024 * 1024;
/// Prefix and minimum length of a signed token (JWT).
const TOKEN_START: &str = "eyJ";
const TOKEN_CHARS_MIN: usize = 40;

/// Writes the archive, readable by this user only. `redactor` knows all secrets; `findings` are the lines of this check.
pub(super) async fn write(
    path: &Path,
    config: &Config,
    listing: &Listing,
    redactor: &Redactor,
    engine: Option<&FoundEngine>,
    findings: &[String],
) -> io::Result<()> {
    let state = config.state_directory.join("state.json");
    let files = [
        ("about.txt", about()),
        ("check.txt", findings.join("\n")),
        ("settings.txt", listing.lines.join("\n")),
        ("host.txt", host()),
        ("engine.txt", about_engine(config, engine).await),
        ("state.json", tail(&state, STATE_BYTES_MAX)),
        ("log.txt", config.log_file.as_deref().map_or("no log file".to_owned(), |log| tail(log, LOG_BYTES_MAX))),
    ];
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    pack(file, files.map(|(name, text)| (name, without_tokens(&redactor.redact(text)))))
}

fn about() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "Created by `echostream-managed-app check --bundle`, version {version}.\n\
         Known secrets in these files were replaced by {REDACTED}; review the files before you send them."
    )
}

fn host() -> String {
    let paths = ["/etc/os-release", "/proc/version", "/proc/uptime", "/proc/meminfo", "/proc/loadavg", "/proc/mounts"];
    let read =
        |path: &&str| format!("--- {path}\n{}", fs::read_to_string(path).unwrap_or_else(|error| error.to_string()));
    paths.iter().map(read).collect::<Vec<_>>().join("\n")
}

async fn about_engine(config: &Config, engine: Option<&FoundEngine>) -> String {
    let Some(engine) = engine else { return "no engine responds".to_owned() };
    let runtime = &engine.runtime;
    let info = match runtime.info().await {
        Ok(info) => format!("{info:#?}\n{:#?}", engine.host),
        Err(error) => chain(&error),
    };
    let containers = match runtime.list(&daemon::owner_of(config)).await {
        Ok(containers) => containers.iter().map(about_container).collect::<Vec<_>>().join("\n"),
        Err(error) => chain(&error),
    };
    format!("{info}\n--- containers of this app on this host\n{containers}")
}

/// Labels hold the spec, with secrets as salted digests.
fn about_container(container: &Container) -> String {
    format!("{container:#?}")
}

/// The end of a file, from the beginning of a line.
fn tail(path: &Path, bytes_max: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let skipped = file.metadata()?.len().saturating_sub(bytes_max);
        file.seek(SeekFrom::Start(skipped))?;
        let mut bytes = Vec::new();
        file.take(bytes_max).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(if skipped == 0 { text } else { text.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned()) })
    };
    read().unwrap_or_else(|error| format!("{}: {error}", path.display()))
}

/// Tokens of earlier daemons are not known here; they are recognised by their form.
fn without_tokens(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(TOKEN_START) {
        let token = &rest[start..];
        let length = token.find(|c| !is_part(c)).unwrap_or(token.len());
        redacted.push_str(&rest[..start]);
        redacted.push_str(if length >= TOKEN_CHARS_MIN { REDACTED } else { &token[..length] });
        rest = &token[length..];
    }
    redacted + rest
}

fn pack<const COUNT: usize>(file: File, files: [(&str, String); COUNT]) -> io::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, format!("echostream-managed-app-check/{name}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish()?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_tokens_are_redacted_by_their_form() {
        let token = format!("eyJ{}.eyJ{}.sig-_", "a".repeat(40), "b".repeat(40));
        assert_eq!(without_tokens(&format!("x {token}, eyJ y")), format!("x {REDACTED}, eyJ y"));
        assert_eq!(without_tokens("nothing"), "nothing");
    }

    #[test]
    fn the_tail_of_a_file_begins_with_a_whole_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        fs::write(&path, "one\ntwo\nthree\n").expect("a file");
        assert_eq!(tail(&path, 100), "one\ntwo\nthree\n");
        assert_eq!(tail(&path, 8), "three\n");
        assert!(tail(&folder.path().join("none"), 8).contains("No such file"));
    }
}
