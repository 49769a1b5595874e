//! Credentials that the AWS SDK for Go inside dockerd finds in an environment, in that SDK's order. Reads the shared
//! files that the environment names.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Environment variables by name.
pub(super) type Variables = BTreeMap<String, String>;

/// The first dockerd whose AWS SDK (version 2) takes the home directory from the user database if HOME is not set.
const HOME_OF_USER_SINCE: u32 = 25;

/// Evidence of credentials in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Evidence {
    /// Credentials that last or are renewed.
    Lasting(String),
    /// Credentials that expire and that dockerd does not read again for a running container.
    Expiring(String),
    /// No credentials; the SDK would try the instance's role.
    None(String),
    /// No credentials, and the SDK would not try a role.
    NoneWithoutRole(String),
    /// Not visible here.
    Unknown(String),
}

/// Evaluates the `variables` of `of`. `major`: the version of dockerd.
pub(super) fn evaluate(variables: &Variables, of: &str, root: &Path, major: u32) -> Evidence {
    let get = |name: &str| variables.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let either = |one, other| get(one).or_else(|| get(other));
    let key = either("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY");
    if key.is_some() && either("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY").is_some() {
        return match get("AWS_SESSION_TOKEN") {
            None => Evidence::Lasting(format!("AWS_ACCESS_KEY_ID in the environment of {of}")),
            Some(_) => Evidence::Expiring(format!("those in the environment of {of} have a session token and expire")),
        };
    }
    if get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() && get("AWS_ROLE_ARN").is_some() {
        return Evidence::Lasting(format!("AWS_WEB_IDENTITY_TOKEN_FILE in the environment of {of}"));
    }
    match in_files(&get, root, major) {
        Ok(Some(evidence)) => return evidence,
        Ok(None) => {}
        Err((path, error)) => return Evidence::Unknown(format!("{} cannot be read: {error}", path.display())),
    }
    for name in ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"] {
        if get(name).is_some() {
            return Evidence::Lasting(format!("{name} in the environment of {of}"));
        }
    }
    let none = format!("the environment of {of} has none");
    if get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Evidence::NoneWithoutRole(none);
    }
    match get("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
        Some(_) => Evidence::Unknown(format!("{of} uses another metadata service")),
        None => Evidence::None(none),
    }
}

/// The evidence in the shared files for the profile, if any.
fn in_files<'a>(
    get: &impl Fn(&str) -> Option<&'a str>,
    root: &Path,
    major: u32,
) -> Result<Option<Evidence>, (PathBuf, io::Error)> {
    let home = get("HOME").map(PathBuf::from);
    let home = home.or_else(|| (major >= HOME_OF_USER_SINCE).then(|| home_of_root(root)).flatten());
    let file = |variable: &str, name: &str| {
        let given = get(variable).map(PathBuf::from);
        given.or_else(|| Some(home.as_ref()?.join(".aws").join(name)))
    };
    let profile = get("AWS_PROFILE").unwrap_or("default");
    let sections = [profile.to_owned(), format!("profile {profile}")];
    let files = [file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), file("AWS_CONFIG_FILE", "config")];
    for path in files.into_iter().flatten() {
        let text = match fs::read_to_string(below(root, &path)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err((path, error)),
        };
        if let Some(evidence) = of_profile(&entries(&text, &sections), &path) {
            return Ok(Some(evidence));
        }
    }
    Ok(None)
}

fn of_profile(entries: &Variables, path: &Path) -> Option<Evidence> {
    let has = |name: &str| entries.get(name).is_some_and(|value| !value.is_empty());
    let path = path.display();
    if has("aws_access_key_id") && has("aws_secret_access_key") {
        return Some(match has("aws_session_token") {
            false => Evidence::Lasting(format!("those in {path}")),
            true => Evidence::Expiring(format!(
                "those in {path} have a session token and expire, and dockerd reads them only when a container starts"
            )),
        });
    }
    let renewed = ["credential_process", "role_arn", "web_identity_token_file", "sso_session", "sso_start_url"];
    renewed.into_iter().find(|name| has(name)).map(|name| Evidence::Lasting(format!("{name} in {path}")))
}

/// The entries of these sections of an ini file, keys in lower case.
fn entries(text: &str, sections: &[String]) -> Variables {
    let (mut found, mut is_selected) = (Variables::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            is_selected = sections.iter().any(|wanted| wanted == section.trim());
        } else if let Some((key, value)) = line.split_once('=').filter(|_| is_selected && !line.starts_with(['#', ';']))
        {
            found.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

/// From the user database.
pub(super) fn home_of_root(root: &Path) -> Option<PathBuf> {
    let users = fs::read_to_string(root.join("etc/passwd")).ok()?;
    let fields =
        users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.get(2) == Some(&"0"))?;
    fields.get(5).map(PathBuf::from)
}

/// An absolute path of the host, as seen from `root`.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
