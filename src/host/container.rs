//! Detects whether this process runs in a container, and whether a directory of the host is mounted there. Independent
//! of engines.

use std::fs;
use std::path::Path;

/// Files that Docker and Podman put into their containers.
const MARKERS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];
/// Exists if systemd runs as process 1: a system container (systemd-nspawn, LXC) is a host of its own.
const SYSTEMD_BOOTED: &str = "/run/systemd/system";
const INIT_ENVIRONMENT: &str = "/proc/1/environ";
const MOUNTS: &str = "/proc/self/mountinfo";

/// A mount, as `mountinfo` lists it (proc_pid_mountinfo(5)).
struct Mount<'a> {
    /// The directory of the file system that is mounted.
    root: &'a str,
    /// Where it is mounted.
    point: &'a str,
    /// The type of the file system.
    kind: &'a str,
}

/// Whether this process runs in an application container and `directory` is not mounted from the host.
pub fn lacks_mount(directory: &Path) -> bool {
    let Ok(mounts) = fs::read_to_string(MOUNTS) else { return false };
    let marked = MARKERS.iter().any(|path| Path::new(path).exists()) || init_is_marked();
    marked && !Path::new(SYSTEMD_BOOTED).exists() && has_root_of_container(&mounts) && !is_mount(&mounts, directory)
}

/// Engines and systemd-nspawn set `container` for process 1.
fn init_is_marked() -> bool {
    let Ok(variables) = fs::read(INIT_ENVIRONMENT) else { return false };
    variables.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"container="))
}

/// A virtual machine built from a container's files still has the marker, but its root is a complete file system.
fn has_root_of_container(mounts: &str) -> bool {
    let root = mounts_of(mounts).filter(|mount| mount.point == "/").last();
    root.is_some_and(|mount| mount.kind.contains("overlay") || mount.root != "/")
}

/// A directory below a mount does not count: engines mount a `/run` of the container's own.
fn is_mount(mounts: &str, directory: &Path) -> bool {
    mounts_of(mounts).any(|mount| Path::new(mount.point) == directory)
}

fn mounts_of(text: &str) -> impl Iterator<Item = Mount<'_>> {
    text.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        Some(Mount { root: fields.next()?, point: fields.next()?, kind: file_system.split(' ').next()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: &str = "/run/lock/echostream-managed-app";
    const DOCKER: &str = "\
573 480 0:52 / / rw,relatime master:167 - overlay overlay rw,lowerdir=/l1:/l2,upperdir=/u,workdir=/w
574 573 0:55 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
";
    const PODMAN_VFS: &str = "\
901 880 254:0 /var/lib/containers/storage/vfs/dir/3f2 / rw,relatime - ext4 /dev/vda rw
902 901 0:60 / /run rw,nosuid,nodev,relatime - tmpfs tmpfs rw,mode=755
";
    const HOST: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:25 / /run rw,nosuid,nodev - tmpfs tmpfs rw,mode=755
31 30 0:26 / /run/lock rw,nosuid,nodev,noexec - tmpfs tmpfs rw,size=5120k
";
    const MOUNTED: &str = "\
610 573 0:25 /lock/echostream-managed-app /run/lock/echostream-managed-app rw,nosuid,nodev - tmpfs tmpfs rw,mode=755
";

    #[test]
    fn container_is_detected_by_its_root() {
        assert!(has_root_of_container(DOCKER));
        assert!(has_root_of_container(PODMAN_VFS));
        assert!(!has_root_of_container(HOST));
        assert!(!has_root_of_container(""));
    }

    #[test]
    fn only_a_mount_at_the_directory_itself_counts() {
        let directory = Path::new(DIRECTORY);
        for without in [DOCKER, PODMAN_VFS, HOST] {
            assert!(!is_mount(without, directory), "{without}");
            assert!(is_mount(&format!("{without}{MOUNTED}"), directory), "{without}");
        }
        assert!(!is_mount(&MOUNTED.replace("-app rw", "-app-1000 rw"), directory));
    }
}
