//! Host paths that nodes may mount. Pure: decides by the text of the path and follows no link.
//!
//! A bind mount is writable, and nodes run as root: a mount of `/etc` controls the host. The engine follows links, so a
//! link inside an allowed directory leads wherever it points.

/// The value of MANAGED_APP_ALLOWED_BIND_MOUNTS. By default all paths are allowed except sensitive ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedBindMounts {
    /// Whether paths that are not sensitive are allowed.
    allows_ordinary: bool,
    /// Allowed in any case, with everything below; normalised.
    named: Vec<String>,
    /// Further sensitive paths of this host, beside [`SENSITIVE`]; normalised.
    extra_sensitive: Vec<String>,
}

/// Sensitive with everything below: programs and settings of the host, its kernel and devices, the engines and their
/// sockets, files that root executes, and data of cloud-init.
const SENSITIVE: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/root",
    "/run/containerd",
    "/run/credentials",
    "/run/crio",
    "/run/dbus",
    "/run/docker",
    "/run/docker.sock",
    "/run/echostream-managed-app",
    "/run/libpod",
    "/run/netns",
    "/run/podman",
    "/run/secrets",
    "/run/systemd",
    "/run/udev",
    "/run/user",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/sbin",
    "/usr/sbin",
    "/var/lib/cloud",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/echostream-managed-app",
    "/var/lib/kubelet",
    "/var/lib/systemd",
    "/var/spool/at",
    "/var/spool/cron",
];

/// Exceptions below sensitive paths that give no access to the host: time, names and certificates, which containers
/// often mount, the socket of the system log, and shared memory.
const SENSITIVE_EXCEPTIONS: &[&str] = &[
    "/dev/log",
    "/dev/shm",
    "/etc/ca-certificates",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/localtime",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/resolv.conf",
    "/etc/ssl/certs",
    "/etc/timezone",
];

/// Sensitive in any directory: keys and credentials of users, and sockets of engines.
const SENSITIVE_NAMES: &[&str] =
    &[".aws", ".docker", ".gnupg", ".kube", ".ssh", "containerd.sock", "crio.sock", "docker.sock", "podman.sock"];

/// Symbolic links of every distribution.
const LINKS: &[(&str, &str)] = &[("/var/run", "/run"), ("/var/lock", "/run/lock")];

impl AllowedBindMounts {
    /// Parses a comma-separated list of absolute paths and `default`, which stands for all paths except sensitive ones;
    /// `none` alone allows nothing. `None` if a part is invalid.
    pub fn parse(text: &str) -> Option<Self> {
        let mut allowed = Self { allows_ordinary: false, named: Vec::new(), extra_sensitive: Vec::new() };
        if text.trim() == "none" {
            return Some(allowed);
        }
        for part in text.split(',').map(str::trim) {
            match part {
                "default" => allowed.allows_ordinary = true,
                path => allowed.named.push(normalize(path)?),
            }
        }
        Some(allowed)
    }

    /// Adds sensitive paths: the daemon's own. Paths that are not absolute are ignored.
    pub fn and_sensitive<'a>(mut self, paths: impl IntoIterator<Item = &'a str>) -> Self {
        self.extra_sensitive.extend(paths.into_iter().filter_map(normalize));
        self
    }

    /// Whether `path` may be mounted. The error is for people; it names the setting.
    pub fn check(&self, path: &str) -> Result<(), String> {
        let Some(path) = normalize(path) else {
            return Err(format!("mount source {path:?} may not be used: it is not absolute or contains `..`"));
        };
        if self.named.iter().any(|allowed| is_within(&path, allowed)) {
            return Ok(());
        }
        let why = match (self.allows_ordinary, self.is_sensitive(&path)) {
            (true, false) => return Ok(()),
            (true, true) => ": it is or contains a sensitive path of the host",
            (false, _) => "",
        };
        Err(format!(
            "mount source {path:?} may not be used{why}; to allow it, add it to MANAGED_APP_ALLOWED_BIND_MOUNTS"
        ))
    }

    /// A directory that contains a sensitive path is sensitive too.
    fn is_sensitive(&self, path: &str) -> bool {
        let overlaps = |parent: &str| is_within(path, parent) || is_within(parent, path);
        let is_named = path.split('/').any(|part| SENSITIVE_NAMES.contains(&part));
        let is_listed = SENSITIVE.iter().any(|parent| overlaps(parent));
        let is_exception = SENSITIVE_EXCEPTIONS.iter().any(|parent| is_within(path, parent));
        is_named || (is_listed && !is_exception) || self.extra_sensitive.iter().any(|parent| overlaps(parent))
    }
}

impl Default for AllowedBindMounts {
    fn default() -> Self {
        Self { allows_ordinary: true, named: Vec::new(), extra_sensitive: Vec::new() }
    }
}

/// The path without empty parts and with the usual links resolved; `None` if it is not absolute or contains `..`, whose
/// target depends on links.
fn normalize(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return None;
    }
    let path = format!("/{}", parts.join("/"));
    let followed = LINKS.iter().find(|(link, _)| is_within(&path, link));
    Some(followed.map_or_else(|| path.clone(), |(link, target)| format!("{target}{}", &path[link.len()..])))
}

/// Both are normalised.
fn is_within(path: &str, parent: &str) -> bool {
    parent == "/" || path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &AllowedBindMounts, good: &[&str], bad: &[&str]) {
        good.iter().for_each(|path| assert_eq!(list.check(path), Ok(()), "{path}"));
        bad.iter().for_each(|path| assert!(list.check(path).is_err(), "{path}"));
    }

    #[test]
    fn by_default_sensitive_paths_of_the_host_are_refused() {
        check(
            &AllowedBindMounts::default(),
            &[],
            &[
                "/",
                "//",
                "/.",
                "/etc",
                "/etc/",
                "//etc//shadow",
                "/./etc",
                "/etc/ssl",
                "/etc/ssl/private",
                "/etc/localtime.d",
                "/proc/1/root",
                "/proc/sysrq-trigger",
                "/sys/fs/cgroup",
                "/dev",
                "/dev/sda",
                "/root",
                "/root/.ssh/authorized_keys",
                "/run",
                "/var/run",
                "/var/run/docker.sock",
                "/run/podman/podman.sock",
                "/run/user/1000/podman/podman.sock",
                "/srv/docker.sock",
                "/var/run/dbus/system_bus_socket",
                "/var",
                "/var/lib",
                "/var/lib/docker/volumes",
                "/var/lib/cloud/instance/user-data.txt",
                "/usr",
                "/usr/local/bin",
                "/home/me/.ssh",
                "/home/me/.aws/credentials",
                "/boot",
                "/lib64",
            ],
        );
    }

    #[test]
    fn by_default_data_directories_and_common_files_are_allowed() {
        check(
            &AllowedBindMounts::default(),
            &[
                "/data",
                "/data/hl7//in/",
                "/opt/partner/config.json",
                "/srv",
                "/srv/ftp",
                "/mnt/share",
                "/media/usb",
                "/home",
                "/home/me/inbox",
                "/tmp",
                "/tmp/x",
                "/var/log",
                "/var/log/partner",
                "/var/data",
                "/var/lib/partner",
                "/usr/share/zoneinfo",
                "/usr/local/share",
                "/etc/localtime",
                "/etc/ssl/certs/ca-certificates.crt",
                "/dev/shm",
                "/run/partner.sock",
                "/etcetera",
                "/devices",
            ],
            &[],
        );
    }

    #[test]
    fn path_with_parent_components_is_refused() {
        let (default, all) = (AllowedBindMounts::default(), AllowedBindMounts::parse("/").expect("a path"));
        for list in [default, all] {
            check(&list, &["/data/..x", "/data/x.."], &["/data/../etc", "/data/..", "/..", "/data/x/../y", "data", ""]);
        }
    }

    #[test]
    fn paths_that_the_operator_names_are_allowed() {
        let list = |text: &str| AllowedBindMounts::parse(text).expect(text);
        check(
            &list("/data, /etc/partner/"),
            &["/data", "/data/x", "/etc/partner/a"],
            &["/srv", "/database", "/etc", "/"],
        );
        check(&list("default,/var/run/docker.sock"), &["/srv", "/run/docker.sock"], &["/run/podman", "/etc"]);
        check(&list("/"), &["/", "/etc", "/var/run/docker.sock", "/root/.ssh"], &[]);
        check(&list(" none "), &[], &["/", "/data"]);
        for text in ["", ",", "data", "none,/data", "/data,", "/data/../etc", "*"] {
            assert_eq!(AllowedBindMounts::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_daemons_own_paths_are_sensitive_too() {
        let list = AllowedBindMounts::default().and_sensitive(["/srv/state", "relative", "/opt/engine.sock"]);
        check(&list, &["/srv/other", "/opt/x"], &["/srv", "/srv/state", "/srv/state/x", "/opt", "/opt/engine.sock"]);
    }

    #[test]
    fn the_error_names_path_and_remedy() {
        let error = AllowedBindMounts::default().check("/etc/shadow").expect_err("it is sensitive");
        assert!(error.contains("\"/etc/shadow\"") && error.contains("MANAGED_APP_ALLOWED_BIND_MOUNTS"), "{error}");
        let error = AllowedBindMounts::default().check("/x/\u{1b}[2J/docker.sock").expect_err("it is sensitive");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
}
