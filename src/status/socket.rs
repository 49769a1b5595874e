//! The file of the status socket: private, and never an obstacle for the next daemon.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// A listening socket; removes its file on drop, unless another daemon has replaced it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

impl Socket {
    /// Listens on `path`, mode 0600; creates a missing directory. Replaces the socket of a dead daemon; that of a running
    /// daemon is [`io::ErrorKind::AddrInUse`].
    ///
    /// Creates the socket in a private directory beside `path` and renames it, so that other users can never connect and
    /// `path` always has a socket.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        if net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon listens there"));
        }
        if fs::symlink_metadata(path).is_ok_and(|found| !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()))
        {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists and is not a socket"));
        }
        let folder = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        let private = folder.join(format!(".status-{:x}", rand::random::<u32>()));
        DirBuilder::new().mode(0o700).create(&private)?;
        let socket = Self::create(&private.join("s"), path);
        // Removes leftovers after a failure.
        let _ = fs::remove_file(private.join("s"));
        let _ = fs::remove_dir(&private);
        socket
    }

    fn create(first: &Path, path: &Path) -> io::Result<Self> {
        let listener = net::UnixListener::bind(first)?;
        fs::set_permissions(first, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let metadata = fs::metadata(first)?;
        fs::rename(first, path)?;
        let inode = (metadata.dev(), metadata.ino());
        Ok(Self { listener: UnixListener::from_std(listener)?, path: path.to_owned(), inode })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let is_ours = fs::metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if is_ours {
            // The next daemon replaces a leftover file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn status_socket_is_private_and_removed_with_its_daemon() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run/status.sock");
        let socket = Socket::bind(&path).expect("nobody else is there");
        assert_eq!(fs::metadata(&path).expect("a socket").mode() & 0o777, 0o600);
        let names: Vec<_> = fs::read_dir(folder.path().join("run")).expect("a folder").collect();
        assert_eq!(names.len(), 1, "{names:?}");
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_the_socket_of_a_dead_daemon_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("status.sock");
        drop(net::UnixListener::bind(&path).expect("a socket that nobody listens at any more"));
        assert!(path.exists());
        let first = Socket::bind(&path).expect("the first is dead");
        let error = Socket::bind(&path).expect_err("it lives");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
        fs::remove_file(&path).expect("our own socket");
        let second = Socket::bind(&path).expect("somebody removed the file");
        drop(first);
        assert!(path.exists(), "the file is the second's");
        drop(second);
    }

    #[tokio::test]
    async fn foreign_file_at_the_socket_path_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("status.sock");
        fs::write(&path, "precious").expect("a file");
        assert_eq!(Socket::bind(&path).expect_err("it is no socket").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).expect("a file"), "precious");
    }
}
