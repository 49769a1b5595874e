//! Pulls from a real registry with a password.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use managed_app_runtimes::ImageStore;
use managed_app_runtimes::conformance::free_port;
use managed_app_runtimes::{ContainerRuntime, ErrorKind, ImageReference, PullProgress, RegistryCredentials};
use tempfile::TempDir;

use crate::harness::{Harness, docker, eventually, import, kind};

const USER: &str = "AWS";
/// Differs in the two base64 alphabets, at any offset.
const PASSWORD: &str = "~~~???>>>~?>~~~";

/// Debian's docker-registry, which requires [`USER`] and [`PASSWORD`]; ends with the test.
struct Registry {
    process: Child,
    address: String,
    folder: TempDir,
}

impl Registry {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let address = format!("127.0.0.1:{}", free_port());
        let password = Command::new("htpasswd").args(["-nbB", USER, PASSWORD]).output();
        let password = password.expect("htpasswd; install apache2-utils").stdout;
        std::fs::write(folder.path().join("htpasswd"), password).expect("a file");
        std::fs::write(folder.path().join("config.yml"), config(folder.path(), &address)).expect("a file");
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry; install docker-registry");
        let registry = Self { process, address, folder };
        eventually("the registry answers", async || TcpStream::connect(&registry.address).is_ok()).await;
        registry
    }

    fn reference(&self, rest: &str) -> ImageReference {
        format!("{}/{rest}", self.address).parse().expect("a reference")
    }

    /// Stores `local` under `image` with the engine's command line, and removes that name locally.
    fn store(&self, local: &str, image: &ImageReference) {
        let folder = self.folder.path().to_str().expect("a path of text");
        let name = image.to_pull();
        docker(&["--config", folder, "login", "-u", USER, "-p", PASSWORD, &self.address]);
        docker(&["tag", local, &name]);
        docker(&["--config", folder, "push", "-q", &name]);
        docker(&["rmi", &name]);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config(folder: &Path, address: &str) -> String {
    let folder = folder.display();
    format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n\
         http: {{addr: '{address}'}}\nauth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
    )
}

fn credentials(password: &str) -> RegistryCredentials {
    RegistryCredentials { username: USER.to_owned(), password: password.to_owned().into() }
}

#[tokio::test]
async fn pulls_need_the_right_password_and_an_existing_image() {
    let harness = Harness::new("pull").await;
    let registry = Registry::start().await;
    let image = registry.reference(&format!("nodes/{}:1", harness.owner.app));
    registry.store(&harness.image.to_pull(), &image);
    let (right, wrong) = (credentials(PASSWORD), credentials("wrong-one"));
    let pull = async |image: &ImageReference, credentials| harness.runtime.pull(image, credentials, &|_| {}).await;

    assert_eq!(kind(pull(&image, None).await), Some(ErrorKind::Unauthorized));
    let error = pull(&image, Some(&wrong)).await.expect_err("a wrong password");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let text = std::error::Error::source(&error).expect("the engine's text").to_string();
    assert!(!format!("{error} {text} {error:?}").contains("wrong-one"));
    let unknown_tag = registry.reference(&format!("nodes/{}:2", harness.owner.app));
    assert_eq!(kind(pull(&unknown_tag, Some(&right)).await), Some(ErrorKind::NotFound));
    let unknown_name = registry.reference("nodes/unknown-denied-unauthorized:1");
    assert_eq!(kind(pull(&unknown_name, Some(&right)).await), Some(ErrorKind::NotFound));
    assert_eq!(harness.runtime.image(&image).await.expect("an answer"), None);

    let id = pull(&image, Some(&right)).await.expect("a pull");
    assert_eq!(Some(&id), harness.runtime.image(&harness.image).await.expect("an answer").as_ref());
    assert_eq!(harness.runtime.image(&image).await.expect("an answer"), Some(id.clone()));
    // A failed pull keeps the present image.
    assert_eq!(kind(pull(&image, None).await), Some(ErrorKind::Unauthorized));
    assert_eq!(harness.runtime.image(&image).await.expect("an answer"), Some(id));
}

#[tokio::test]
async fn a_moved_tag_pulls_another_image_with_progress() {
    let harness = Harness::new("moved").await;
    let registry = Registry::start().await;
    let image = registry.reference(&format!("nodes/{}:1", harness.owner.app));
    registry.store(&harness.image.to_pull(), &image);
    let right = credentials(PASSWORD);
    let old = harness.runtime.pull(&image, Some(&right), &|_| {}).await.expect("a pull");

    // Another image of the same layers: a new id, nothing to download. Then all are removed and downloaded.
    import(&harness.image.to_pull(), &["LABEL version=2"]);
    registry.store(&harness.image.to_pull(), &image);
    let new = harness.runtime.pull(&image, Some(&right), &|_| {}).await.expect("a pull");
    assert_ne!(old, new);
    harness.runtime.remove_image(&new).await.expect("a removal");
    harness.runtime.remove_image(&old).await.expect("a removal");
    let reports = Mutex::new(Vec::new());
    let note = |progress: PullProgress| reports.lock().expect("no holder panics").push(progress);
    let again = harness.runtime.pull(&image, Some(&right), &note).await.expect("a pull");
    assert_eq!(again, new);
    let last = *reports.lock().expect("no holder panics").last().expect("a report");
    assert!(last.done_bytes == last.total_bytes && last.total_bytes > 0, "{last:?}");

    let digest = docker(&["inspect", "-f", "{{index .RepoDigests 0}}", &new.0]);
    let digest: ImageReference = digest.parse().expect("a reference");
    assert_eq!(harness.runtime.pull(&digest, Some(&right), &|_| {}).await.expect("a pull by digest"), new);
}
