//! The image of the checks: a static busybox and a script for every [`Program`](super::Program), packed as a tar.

use super::{Failure, Outcome};

/// Path of the distribution's static busybox.
const BUSYBOX: &str = "/bin/busybox";

/// The image's command.
pub(super) const COMMAND: [&str; 3] = ["/bin/busybox", "sh", "/run.sh"];

/// One script for all programs. Process 1 ignores the stop signal until it traps it, so the trap comes first; a signal
/// during the output loses nothing of it.
const SCRIPT: &str = r#"b=/bin/busybox
trap 'early=1' TERM
case "$CONFORMANCE_PROGRAM" in
idle) echo ready ;;
stubborn) trap '' TERM; while :; do $b sleep 3600; done ;;
lines) i=0; while [ $i -lt 30000 ]; do echo "line $i"; i=$((i+1)); done ;;
long-line) $b head -c 100000 /dev/zero | $b tr '\000' x; echo ;;
binary) printf '\000\001\007\033\177\015\101\n\200\303\050\376\377\342\202\101\n' ;;
both) echo 'to stdout'; echo 'to stderr' >&2 ;;
unfinished) printf 'unfinished'; echo begun >&2 ;;
ticks) trap 'exit 0' TERM; while :; do echo tick; $b sleep 0.1; done ;;
esac
trap 'exit 0' TERM
[ -z "$early" ] || exit 0
while :; do $b sleep 3600 & wait $!; done
"#;

/// The image's only layer. Different markers make different layers.
pub(super) fn layer(marker: &str) -> Outcome<Vec<u8>> {
    let busybox = std::fs::read(BUSYBOX)
        .map_err(|error| Failure::new(format!("cannot read {BUSYBOX} (Debian: busybox-static): {error}")))?;
    let mut tar = tar::Builder::new(Vec::new());
    for (path, mode, content) in [
        ("bin/busybox", 0o755, busybox.as_slice()),
        ("run.sh", 0o644, SCRIPT.as_bytes()),
        ("marker", 0o644, marker.as_bytes()),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        tar.append_data(&mut header, path, content)?;
    }
    Ok(tar.into_inner()?)
}

/// The command in Dockerfile syntax.
pub(super) fn command_change() -> String {
    format!("CMD [{}]", COMMAND.map(|word| format!("\"{word}\"")).join(","))
}
