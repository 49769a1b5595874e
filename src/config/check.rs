//! Validation of single values. Pure: takes text and returns a typed value or `None`. The table of settings describes the
//! valid values.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::{LoggingLevel, NodeLogs, OnExit, OnRemoved, Replace, RuntimeChoice, UserPoolId};

/// Names of apps, tenants and users, and the password.
pub(super) fn name(text: &str) -> Option<String> {
    bounded(text, 256, |character| !character.is_control())
}

pub(super) fn client_id(text: &str) -> Option<String> {
    bounded(text, 128, |character| character.is_ascii_alphanumeric() || "_+".contains(character))
}

pub(super) fn host_id(text: &str) -> Option<String> {
    bounded(text, 128, |character| !character.is_control() && !character.is_whitespace())
}

/// The rule of CloudWatch: `[.\-_/#A-Za-z0-9]{1,512}`; the prefix `aws/` is reserved.
pub(super) fn log_group(text: &str) -> Option<String> {
    let group = bounded(text, 512, |character| character.is_ascii_alphanumeric() || "._-/#".contains(character))?;
    (!group.starts_with("aws/")).then_some(group)
}

pub(super) fn text(text: &str) -> Option<String> {
    bounded(text, 4096, |character| !character.is_control())
}

fn bounded(text: &str, characters_max: usize, allowed: impl Fn(char) -> bool) -> Option<String> {
    let length = text.chars().count();
    let fits = (1..=characters_max).contains(&length);
    // U+FFFD replaces bytes of the environment that are not UTF-8.
    (fits && text.chars().all(|character| character != char::REPLACEMENT_CHARACTER && allowed(character)))
        .then(|| text.to_owned())
}

/// https, because each request contains the token. http is allowed to this host and to the endpoint `fake` only.
pub(super) fn endpoint(text: &str, fake: Option<&str>) -> Option<String> {
    if text.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return None;
    }
    let url = reqwest::Url::parse(text).ok()?;
    let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let private = match url.scheme() {
        "https" => true,
        "http" => is_loopback(url.host_str()?) || fake.is_some_and(|fake| is_same_origin(&url, fake)),
        _ => false,
    };
    (bare && private).then(|| text.to_owned())
}

fn is_same_origin(url: &reqwest::Url, other: &str) -> bool {
    reqwest::Url::parse(other).is_ok_and(|other| other.origin() == url.origin())
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Parts of lower-case letters and a final number, like `us-gov-west-1`.
pub(super) fn region(text: &str) -> Option<String> {
    let (words, number) = text.rsplit_once('-')?;
    let numbered = (1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let words: Vec<_> = words.split('-').collect();
    let worded = words.len() >= 2
        && words.iter().all(|word| word.len() >= 2 && word.bytes().all(|byte| byte.is_ascii_lowercase()));
    (numbered && worded && text.len() <= 32).then(|| text.to_owned())
}

pub(super) fn user_pool_id(text: &str) -> Option<UserPoolId> {
    let (pool_region, id) = text.split_once('_')?;
    let valid = (1..=55).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    valid.then_some(UserPoolId { region: region(pool_region)?, id: id.to_owned() })
}

pub(super) fn number(text: &str, bounds: std::ops::RangeInclusive<usize>) -> Option<usize> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && bounds.contains(number))
}

/// A whole number and one of k, m, g (1024-based); a number without unit is bytes, as in the engines.
pub(super) fn bytes(text: &str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(unit_at);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    let bytes = count.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    Some(bytes).filter(|bytes| bounds.contains(bytes))
}

/// Names of capabilities with or without `CAP_`, and ALL.
pub(super) fn capabilities(text: &str) -> Option<BTreeSet<String>> {
    let one = |word: &str| {
        let word = word.trim().to_ascii_uppercase();
        let name = word.strip_prefix("CAP_").unwrap_or(&word);
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        is_name.then(|| name.to_owned())
    };
    text.split(',').map(one).collect()
}

pub(super) fn yes_or_no(text: &str) -> Option<bool> {
    choice(text, &[("yes", true), ("no", false)])
}

/// A whole number and one of ms, s, m, h. A number without unit is ambiguous and rejected.
pub(super) fn duration(text: &str, bounds: std::ops::RangeInclusive<Duration>) -> Option<Duration> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit())?;
    let (count, unit) = text.split_at(unit_at);
    let count: u64 = count.parse().ok()?;
    let millis = match unit {
        "ms" => count,
        "s" => count.checked_mul(1_000)?,
        "m" => count.checked_mul(60_000)?,
        "h" => count.checked_mul(3_600_000)?,
        _ => return None,
    };
    Some(Duration::from_millis(millis)).filter(|duration| bounds.contains(duration))
}

/// A whole number of bytes, or of KiB, MiB or GiB with `k`, `m` or `g`.
pub(super) fn size(text: &str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
    let (count, shift) = match text.bytes().last()?.to_ascii_lowercase() {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    let bytes = count.parse::<u64>().ok().filter(|_| digits)?.checked_mul(1 << shift)?;
    bounds.contains(&bytes).then_some(bytes)
}

pub(super) fn path(value: &str) -> Option<PathBuf> {
    text(value).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// An IP address and a port, like 127.0.0.1:9464.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

/// A loopback address and a port.
pub(super) fn loopback_address(text: &str) -> Option<SocketAddr> {
    address(text).filter(|address| address.ip().is_loopback())
}

/// `Some(None)` means off.
pub(super) fn path_or_off(value: &str) -> Option<Option<PathBuf>> {
    if value.eq_ignore_ascii_case("off") { Some(None) } else { path(value).map(Some) }
}

pub(super) fn logging_level(text: &str) -> Option<LoggingLevel> {
    use LoggingLevel::{Critical, Debug, Error, Info, Warning};
    choice(text, &[("debug", Debug), ("info", Info), ("warning", Warning), ("error", Error), ("critical", Critical)])
}

pub(super) fn runtime(text: &str) -> Option<RuntimeChoice> {
    use RuntimeChoice::{Auto, Docker, Memory, Podman};
    choice(text, &[("docker", Docker), ("podman", Podman), ("memory", Memory), ("auto", Auto)])
}

pub(super) fn node_logs(text: &str) -> Option<NodeLogs> {
    choice(text, &[("awslogs", NodeLogs::Awslogs), ("agent", NodeLogs::Agent), ("engine", NodeLogs::Engine)])
}

pub(super) fn awslogs_blocks(text: &str) -> Option<bool> {
    choice(text, &[("non-blocking", false), ("blocking", true)])
}

pub(super) fn switch(text: &str) -> Option<bool> {
    choice(text, &[("on", true), ("off", false)])
}

pub(super) fn on_exit(text: &str) -> Option<OnExit> {
    choice(text, &[("stop", OnExit::Stop), ("leave", OnExit::Leave)])
}

pub(super) fn on_removed(text: &str) -> Option<OnRemoved> {
    choice(text, &[("shutdown", OnRemoved::Shutdown), ("exit", OnRemoved::Exit)])
}

pub(super) fn replace(text: &str) -> Option<Replace> {
    choice(text, &[("careful", Replace::StopFirst), ("overlap", Replace::StartFirst)])
}

fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Option<T> {
    choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests;
