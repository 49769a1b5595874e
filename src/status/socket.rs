//! The status socket in the file system: private, and never in the way of the next daemon.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// A socket that listens; its file goes with it, unless another daemon has put its own there.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

impl Socket {
    /// Listens at `path`, mode 0600; makes its folder if absent. The socket of a dead daemon is replaced, that of one that
    /// lives is [`io::ErrorKind::AddrInUse`].
    ///
    /// The socket is made in a private folder beside `path` and then moved there, so that at no time anybody else can
    /// connect, and no time passes without a socket at `path`.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        if net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon listens there"));
        }
        if fs::symlink_metadata(path).is_ok_and(|found| !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()))
        {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something that is no socket"));
        }
        let folder = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        let private = folder.join(format!(".status-{:x}", rand::random::<u32>()));
        DirBuilder::new().mode(0o700).create(&private)?;
        let made = Self::make(&private.join("s"), path);
        // Nothing is left in it, whether it went well or not.
        let _ = fs::remove_file(private.join("s"));
        let _ = fs::remove_dir(&private);
        made
    }

    fn make(first: &Path, path: &Path) -> io::Result<Self> {
        let listener = net::UnixListener::bind(first)?;
        fs::set_permissions(first, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let made = fs::metadata(first)?;
        fs::rename(first, path)?;
        let inode = (made.dev(), made.ino());
        Ok(Self { listener: UnixListener::from_std(listener)?, path: path.to_owned(), inode })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let is_ours = fs::metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if is_ours {
            // What is left over is replaced by the next daemon.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_private_and_goes_with_its_daemon() {
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
    async fn a_dead_daemon_s_is_replaced_and_a_living_one_s_is_not() {
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
    async fn a_file_of_somebody_else_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("status.sock");
        fs::write(&path, "precious").expect("a file");
        assert_eq!(Socket::bind(&path).expect_err("it is no socket").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).expect("a file"), "precious");
    }
}
