//! The environment of the measurements: processor, memory, kernel, versions and load.

use std::fs;
use std::process::Command;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Facts with their names, in the order of the report.
pub fn facts(engines: &[(String, String)], compose: Option<String>) -> Vec<(String, String)> {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("zero is a nanosecond");
    let mut facts = vec![
        ("Taken".to_owned(), now.format(&Rfc3339).expect("a time has that form")),
        ("Commit".to_owned(), printed("git", &["describe", "--always", "--dirty"])),
        ("Processor".to_owned(), processor()),
        ("Memory".to_owned(), line("/proc/meminfo", "MemTotal:")),
        ("Kernel".to_owned(), read("/proc/sys/kernel/osrelease")),
        ("System".to_owned(), line("/etc/os-release", "PRETTY_NAME=").trim_matches('"').to_owned()),
        ("Compiler".to_owned(), printed("rustc", &["--version"])),
        ("Load before".to_owned(), read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")),
    ];
    facts.extend(engines.iter().map(|(name, version)| (name.clone(), version.clone())));
    facts.extend(compose.map(|version| ("Compose".to_owned(), version)));
    facts
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, {}", model.map_or("unknown", |(_, model)| model.trim()))
}

fn line(file: &str, key: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim().to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
