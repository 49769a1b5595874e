//! Kinds of values. Each parses text and describes the valid values, both from the same bounds. Pure.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::UserPoolId;

/// A kind of values.
pub trait Kind: Sync {
    /// The type of a parsed value.
    type Value;

    /// The value; `None` if `text` is invalid.
    fn parse(&self, text: &str) -> Option<Self::Value>;

    /// Describes the valid values, to follow "expected:".
    fn describe(&self, example: &str) -> String;
}

/// A [`Kind`] without the type of its values, so that one table can contain all settings.
pub trait AnyKind: Sync {
    /// Whether [`Kind::parse`] returns a value.
    fn accepts(&self, text: &str) -> bool;

    /// [`Kind::describe`].
    fn expected(&self, example: &str) -> String;
}

impl<K: Kind> AnyKind for K {
    fn accepts(&self, text: &str) -> bool {
        self.parse(text).is_some()
    }

    fn expected(&self, example: &str) -> String {
        self.describe(example)
    }
}

/// One of these names, in upper or lower case.
pub(super) struct OneOf<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + Sync> Kind for OneOf<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Option<T> {
        self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
    }

    fn describe(&self, _: &str) -> String {
        let names: Vec<_> = self.0.iter().map(|(name, _)| *name).collect();
        names.split_last().map_or_else(String::new, |(last, others)| format!("{} or {last}", others.join(", ")))
    }
}

/// Decimal digits without a unit.
pub(super) struct Number<T>(pub(super) RangeInclusive<T>);

impl<T: FromStr + Display + PartialOrd + Sync> Kind for Number<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Option<T> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && self.0.contains(number))
    }

    fn describe(&self, _: &str) -> String {
        format!("a number from {} to {}", self.0.start(), self.0.end())
    }
}

/// A number of bytes, or of KiB, MiB or GiB with `k`, `m` or `g`, as in the engines.
pub(super) struct Size(pub(super) RangeInclusive<u64>);

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
const SIZES: Units = [("", 1), ("k", KIB), ("m", MIB), ("g", GIB)];

impl Kind for Size {
    type Value = u64;

    fn parse(&self, text: &str) -> Option<u64> {
        with_unit(&text.to_ascii_lowercase(), SIZES).filter(|bytes| self.0.contains(bytes))
    }

    fn describe(&self, example: &str) -> String {
        format!("a size from {} to {}, like {example}", show(*self.0.start(), SIZES), show(*self.0.end(), SIZES))
    }
}

/// A number of ms, s, m or h; the bounds are milliseconds. A number without unit is ambiguous and rejected.
pub(super) struct Time(pub(super) RangeInclusive<u64>);

pub(super) const SECOND: u64 = 1000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
const TIMES: Units = [("s", SECOND), ("ms", 1), ("m", MINUTE), ("h", HOUR)];

impl Kind for Time {
    type Value = Duration;

    fn parse(&self, text: &str) -> Option<Duration> {
        with_unit(text, TIMES).filter(|ms| self.0.contains(ms)).map(Duration::from_millis)
    }

    fn describe(&self, example: &str) -> String {
        format!("a duration from {} to {}, like {example}", show(*self.0.start(), TIMES), show(*self.0.end(), TIMES))
    }
}

/// Names of units and their sizes; the first one shows a zero.
type Units = [(&'static str, u64); 4];

/// A whole number and a unit.
fn with_unit(text: &str, units: Units) -> Option<u64> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(unit_at);
    let (_, size) = units.into_iter().find(|(name, _)| *name == unit)?;
    count.parse::<u64>().ok()?.checked_mul(size)
}

/// In the largest unit that divides `value`.
fn show(value: u64, units: Units) -> String {
    let whole =
        units.into_iter().filter(|(_, size)| value.is_multiple_of(*size)).map(|(unit, size)| (value / size, unit));
    whole.min_by_key(|(count, _)| *count).map_or_else(String::new, |(count, unit)| format!("{count}{unit}"))
}

/// 1 to `max` characters of a kind. U+FFFD is invalid: it replaces bytes of the environment that are not UTF-8.
pub(super) struct Text {
    pub(super) max: usize,
    /// Describes the characters, to follow their number.
    pub(super) of: &'static str,
    pub(super) is_valid: fn(&str) -> bool,
}

impl Kind for Text {
    type Value = String;

    fn parse(&self, text: &str) -> Option<String> {
        let fits = (1..=self.max).contains(&text.chars().count());
        (fits && !text.contains(char::REPLACEMENT_CHARACTER) && (self.is_valid)(text)).then(|| text.to_owned())
    }

    fn describe(&self, _: &str) -> String {
        format!("1 to {} {}", self.max, self.of)
    }
}

/// A value of another syntax.
pub(super) struct Parsed<T> {
    /// Describes the valid values; `{}` stands for the example.
    pub(super) expected: &'static str,
    pub(super) parse: fn(&str) -> Option<T>,
}

impl<T> Kind for Parsed<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Option<T> {
        (self.parse)(text)
    }

    fn describe(&self, example: &str) -> String {
        self.expected.replace("{}", example)
    }
}

pub(super) const NAME: Text =
    Text { max: 256, of: "characters, without control characters", is_valid: without_control_characters };
pub(super) const PATH: Parsed<PathBuf> = Parsed { expected: "an absolute path", parse: path };
/// `Some(None)` is off.
pub(super) const PATH_OR_OFF: Parsed<Option<PathBuf>> = Parsed {
    expected: "an absolute path, or off",
    parse: |text| if text.eq_ignore_ascii_case("off") { Some(None) } else { path(text).map(Some) },
};
pub(super) const ON_OR_OFF: OneOf<bool> = OneOf(&[("on", true), ("off", false)]);
pub(super) const YES_OR_NO: OneOf<bool> = OneOf(&[("yes", true), ("no", false)]);

fn without_control_characters(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Text that another program checks.
pub(super) fn text(text: &str) -> Option<String> {
    Text { max: 4096, ..NAME }.parse(text)
}

pub(super) fn path(value: &str) -> Option<PathBuf> {
    text(value).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// An http or https URL without user name, password and fragment. [`is_private`] decides whether it may be used.
pub(super) fn url(text: &str) -> Option<String> {
    if text.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return None;
    }
    let url = reqwest::Url::parse(text).ok()?;
    let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    (bare && url.has_host() && ["https", "http"].contains(&url.scheme())).then(|| text.to_owned())
}

/// Each request contains the token: only https, or http to this host or to the endpoint `fake`.
pub(super) fn is_private(url: &str, fake: Option<&str>) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| {
        url.scheme() == "https"
            || url.host_str().is_some_and(is_loopback)
            || fake.is_some_and(|fake| is_same_origin(&url, fake))
    })
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

/// An IP address and a port, like 127.0.0.1:9464.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

/// A loopback address and a port.
pub(super) fn loopback_address(text: &str) -> Option<SocketAddr> {
    address(text).filter(|address| address.ip().is_loopback())
}

#[cfg(test)]
mod tests;
