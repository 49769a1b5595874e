//! Images of the test node in the registries: pushed by the command of Docker, because only the engines reach them.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use managed_app_fakes::node_image::{self, Options};

use crate::engine::{Engine, variable};

/// The private registry, with the name of ECR in us-east-1.
pub fn private_registry() -> String {
    variable("MANAGED_APP_TEST_REGISTRY")
}

/// The public gallery, which needs no password.
pub fn public_registry() -> String {
    variable("MANAGED_APP_TEST_PUBLIC_REGISTRY")
}

/// The password of the private registry.
pub fn password() -> String {
    variable("MANAGED_APP_TEST_REGISTRY_PASSWORD")
}

/// An image in a registry.
pub struct Pushed {
    /// Its ID in engines.
    pub id: String,
    /// Its reference by digest.
    pub by_digest: String,
}

/// Pushes an image of the test node to a registry and removes the local image.
///
/// The version is part of the content: another version is another image.
pub async fn push(reference: &str, version: &str, options: &Options) -> Pushed {
    let (archive, name) = (node_image::archive_with(reference, version, options), reference.to_owned());
    let pushed = tokio::task::spawn_blocking(move || push_archive(&name, &archive)).await;
    Pushed { id: node_image::image_id(version, options), by_digest: pushed.expect("the image is pushed") }
}

fn push_archive(reference: &str, archive: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_sign_in(folder.path());
    docker(folder.path(), &["load", "--quiet"], archive);
    docker(folder.path(), &["push", "--quiet", reference], &[]);
    let by_digest = docker(folder.path(), &["inspect", "--format", "{{index .RepoDigests 0}}", reference], &[]);
    docker(folder.path(), &["rmi", reference], &[]);
    by_digest
}

/// The credentials file of Docker. A login would need another process and a request to the registry.
fn write_sign_in(folder: &Path) {
    let token = STANDARD.encode(format!("{}:{}", variable("MANAGED_APP_TEST_REGISTRY_USER"), password()));
    let config = serde_json::json!({ "auths": { private_registry(): { "auth": token } } });
    std::fs::write(folder.join("config.json"), config.to_string()).expect("the folder is ours");
}

fn docker(config: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut command = Engine::Docker.command();
    command.args(arguments).env("DOCKER_CONFIG", config);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command `docker` is installed");
    let sent = child.stdin.take().expect("it was asked for").write_all(input);
    let output = child.wait_with_output().expect("the command ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?} failed: {error}");
    sent.expect("docker reads all of its input");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
