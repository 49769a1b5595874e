//! Image references: `registry/repository[:tag][@digest]`, always with an explicit registry.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A fully qualified image reference. Short names (`busybox`) are rejected, because their registry is ambiguous.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("image reference {text:?} {reason}")]
pub struct InvalidImageReference {
    /// The rejected text, truncated.
    pub text: String,
    /// The defect.
    pub reason: &'static str,
}

/// Longest accepted reference, in bytes; registries allow 255 for the repository and 128 for the tag.
const LENGTH_MAX: usize = 512;
const TOO_LONG: &str = "is longer than 512 bytes";

impl ImageReference {
    /// Registry host with its port, for example `123456789012.dkr.ecr.us-east-1.amazonaws.com`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Repository path without the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Tag, if one was given. Neither tag nor digest means `latest`.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Digest (`sha256:` and 64 hex digits), if one was given; it takes precedence over the tag.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The registry and repository without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The reference for a pull: with the digest if there is one, else with the tag, else with `latest`.
    pub fn to_pull(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("{}@{digest}", self.name()),
            (None, Some(tag)) => format!("{}:{tag}", self.name()),
            (None, None) => format!("{}:latest", self.name()),
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ImageReference {
    type Err = InvalidImageReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|reason| InvalidImageReference { text: text.chars().take(LENGTH_MAX).collect(), reason })
    }
}

fn parse(text: &str) -> Result<ImageReference, &'static str> {
    if text.len() > LENGTH_MAX {
        return Err(TOO_LONG);
    }
    let (name_and_tag, digest) = match text.split_once('@') {
        Some((name, digest)) if is_digest(digest) => (name, Some(digest.to_owned())),
        Some(_) => return Err("has a digest that is not sha256: and 64 hex digits"),
        None => (text, None),
    };
    let (registry, rest) = name_and_tag.split_once('/').ok_or("lacks a registry host before the first '/'")?;
    if !is_host(registry) {
        return Err("lacks a registry host before the first '/'");
    }
    let (repository, tag) = match rest.split_once(':') {
        Some((repository, tag)) if is_tag(tag) => (repository, Some(tag.to_owned())),
        Some(_) => return Err("has a tag that is not 1 to 128 letters, digits, '_', '.' or '-'"),
        None => (rest, None),
    };
    if !repository.split('/').all(is_path_component) {
        return Err("has a repository that is not lower-case letters and digits joined by '.', '_', '-' and '/'");
    }
    let image = ImageReference { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest };
    // `to_pull` may add `:latest`, and its result must be a valid reference too.
    if image.to_pull().len() > LENGTH_MAX { Err(TOO_LONG) } else { Ok(image) }
}

/// A first component is a host only if it cannot be a path: it has a dot or a port, or is `localhost`.
fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let host_ok = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        && host.split('.').all(|part| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-'));
    let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    host_ok && port_ok && (host.contains('.') || port.is_some() || host == "localhost")
}

fn is_path_component(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().copied().is_some_and(inner)
        && bytes.last().copied().is_some_and(inner)
        && bytes.iter().all(|&b| inner(b) || matches!(b, b'.' | b'_' | b'-'))
}

fn is_tag(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=128).contains(&bytes.len())
        && !matches!(bytes[0], b'.' | b'-')
        && bytes.iter().all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn parses_every_form() {
        let check = |text: &str, registry: &str, repository: &str, pull: &str| {
            let reference: ImageReference = text.parse().expect(text);
            assert_eq!((reference.registry(), reference.repository()), (registry, repository));
            assert_eq!(reference.to_pull(), pull);
            assert_eq!(reference.to_string(), text);
        };
        check("public.ecr.aws/a/b", "public.ecr.aws", "a/b", "public.ecr.aws/a/b:latest");
        check("public.ecr.aws/a/b:1.2", "public.ecr.aws", "a/b", "public.ecr.aws/a/b:1.2");
        check("localhost:5000/b:x", "localhost:5000", "b", "localhost:5000/b:x");
        let digest = format!("1.dkr.ecr.eu-west-1.amazonaws.com/n@{DIGEST}");
        check(&digest, "1.dkr.ecr.eu-west-1.amazonaws.com", "n", &digest);
        let both = format!("a.b/n:t@{DIGEST}");
        check(&both, "a.b", "n", &format!("a.b/n@{DIGEST}"));
    }

    /// Found by fuzzing: with `:latest` the reference was longer than the limit.
    #[test]
    fn the_reference_of_a_pull_respects_the_length_limit() {
        let name = |length: usize| format!("a.b/{}", "n".repeat(length - "a.b/".len()));
        assert!(name(LENGTH_MAX - ":latest".len()).parse::<ImageReference>().is_ok());
        assert!(name(LENGTH_MAX - ":latest".len() + 1).parse::<ImageReference>().is_err());
    }

    #[test]
    fn rejects_unqualified_and_invalid_references() {
        for text in [
            "",
            "busybox",
            "library/busybox",
            "a.b/",
            "a.b/UP",
            "a.b/n:",
            "a.b/n:-x",
            "a.b/n@sha256:12",
            "a..b/n",
            "a.b/n/",
            "a.b//n",
            "a.b:0/n",
            "a.b/n m",
            "-a.b/n",
            "a.b/n:t:u",
        ] {
            assert!(text.parse::<ImageReference>().is_err(), "{text:?} was accepted");
        }
    }
}
