//! Pulls from a registry with a password on a loopback address, and the removal of images.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use managed_app_runtimes::ImageStore;
use managed_app_runtimes::conformance::free_port;
use managed_app_runtimes::{ContainerRuntime as _, ErrorKind, ImageId, RegistryCredentials, Result};

use crate::harness::{Harness, OBEDIENT, eventually};

/// Contains characters that only URL-safe base64 preserves.
const PASSWORD: &str = "~~??>>pass:w\u{f6}rd";

/// A registry with one user; ends when dropped.
struct Registry {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Registry {
    /// On a loopback address, where Podman may skip TLS.
    async fn start() -> Self {
        Self::start_at("127.0.0.1").await
    }

    async fn start_at(host: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let htpasswd = Command::new("htpasswd").args(["-Bbn", "user", PASSWORD]).output();
        let htpasswd = htpasswd.expect("the command htpasswd is installed (package apache2-utils)");
        std::fs::write(folder.path().join("htpasswd"), htpasswd.stdout).expect("a file");
        let address = format!("{host}:{}", free_port());
        let root = folder.path().display();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}}}\n\
             http: {{addr: \"{address}\"}}\nauth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}\n"
        );
        std::fs::write(folder.path().join("config.yml"), config).expect("a file");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(folder.path().join("config.yml")).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("the command docker-registry is installed");
        let registry = Self { child, address, folder };
        let address = registry.address.clone();
        eventually("the registry answers", || async { tokio::net::TcpStream::connect(&address).await.is_ok() }).await;
        registry
    }

    /// Pushes a local image as `repository:tag` and returns its full reference.
    fn push(&self, harness: &Harness, image: &str, tag: &str) -> String {
        let reference = format!("{}/team/node:{tag}", self.address);
        let credentials = format!("user:{PASSWORD}");
        harness.podman(&["push", "-q", "--tls-verify=false", "--creds", &credentials, image, &reference]);
        reference
    }

    /// The digest of a tag, from the registry's own files: an engine may know other digests of the same image.
    fn digest(&self, tag: &str) -> String {
        let link = format!("data/docker/registry/v2/repositories/team/node/_manifests/tags/{tag}/current/link");
        std::fs::read_to_string(self.folder.path().join(link)).expect("the tag was pushed")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn credentials(password: &str) -> RegistryCredentials {
    RegistryCredentials { username: "user".to_owned(), password: password.to_owned().into() }
}

async fn pull(harness: &Harness, reference: &str, credentials: Option<&RegistryCredentials>) -> Result<ImageId> {
    harness.engine.pull(&reference.parse().expect("a reference"), credentials, &|_| {}).await
}

#[tokio::test]
async fn pulls_need_the_right_password_and_a_known_tag() {
    let harness = Harness::new().await;
    let registry = Registry::start().await;
    let reference = registry.push(&harness, &harness.image(), "one");
    let local =
        harness.engine.image(&harness.image().parse().expect("a reference")).await.expect("asked").expect("present");
    let parsed = reference.parse().expect("a reference");
    assert_eq!(harness.engine.image(&parsed).await.expect("asked"), None);
    let (right, wrong) = (credentials(PASSWORD), credentials("hunter2"));
    for refused in [Some(&wrong), None] {
        let error = pull(&harness, &reference, refused).await.expect_err("refused");
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{source}");
        assert!(!source.contains("hunter2"), "{source}");
    }
    for unknown in [reference.replace(":one", ":two"), reference.replace("/node:", "/nobody:")] {
        let error = pull(&harness, &unknown, Some(&right)).await.expect_err("unknown");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{:?}", std::error::Error::source(&error));
    }
    let calls = AtomicU32::new(0);
    let count = |_| {
        calls.fetch_add(1, Ordering::Relaxed);
    };
    let pulled = harness.engine.pull(&parsed, Some(&right), &count).await.expect("pulled");
    assert_eq!(pulled, local);
    assert!(calls.into_inner() > 0, "no progress was reported");
    assert_eq!(harness.engine.image(&parsed).await.expect("asked"), Some(pulled));
}

#[tokio::test]
async fn a_registry_on_another_host_requires_tls() {
    let harness = Harness::new().await;
    harness.run("holder", OBEDIENT).await;
    let gateway = harness.podman(&["network", "inspect", "--format", "{{(index .Subnets 0).Gateway}}", &harness.app]);
    let registry = Registry::start_at(&gateway).await;
    let reference = registry.push(&harness, &harness.image(), "plain");
    let error = pull(&harness, &reference, Some(&credentials(PASSWORD))).await.expect_err("plain HTTP is refused");
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(source.contains("HTTP response to HTTPS client"), "{source}");
    assert_eq!(harness.engine.image(&reference.parse().expect("a reference")).await.expect("asked"), None);
}

#[tokio::test]
async fn a_moved_tag_changes_the_id_and_a_digest_does_not() {
    let (harness, other) = (Harness::new().await, Harness::new().await);
    let registry = Registry::start().await;
    let right = credentials(PASSWORD);
    let reference = registry.push(&harness, &harness.image(), "moving");
    let first = pull(&harness, &reference, Some(&right)).await.expect("pulled");
    let digest = registry.digest("moving");
    registry.push(&other, &other.image(), "moving");
    let second = pull(&harness, &reference, Some(&right)).await.expect("pulled");
    assert_ne!(first, second);
    let pinned = reference.replace(":moving", &format!("@{digest}"));
    assert_eq!(pull(&harness, &pinned, Some(&right)).await.expect("pulled"), first);
    let mut spec = harness.spec("pinned", OBEDIENT);
    spec.image = pinned.parse().expect("a reference");
    let id = harness.engine.create(&spec).await.expect("created from a digest");
    assert_eq!(harness.listed(&id).await.expect("listed").image_id, first);
}

#[tokio::test]
async fn an_unused_image_is_removed_with_all_its_tags() {
    let harness = Harness::new().await;
    let image = harness.image().parse().expect("a reference");
    let second = format!("localhost/{}:second", harness.app);
    harness.podman(&["tag", &harness.image(), &second]);
    let id = harness.engine.image(&image).await.expect("asked").expect("present");
    let user = harness.engine.create(&harness.spec("user", OBEDIENT)).await.expect("created");
    let error = harness.engine.remove_image(&id).await.expect_err("it is used");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(harness.listed(&user).await.is_some(), "the user is untouched");
    assert!(harness.engine.image(&second.parse().expect("a reference")).await.expect("asked").is_some());
    harness.engine.remove(&user).await.expect("removed");
    for _ in 0..2 {
        harness.engine.remove_image(&id).await.expect("removed, or gone already");
    }
    assert_eq!(harness.engine.image(&image).await.expect("asked"), None);
}
