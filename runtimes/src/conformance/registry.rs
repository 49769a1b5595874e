//! Registries for pulls: a real one with a password, one that is silent, one that always responds with 429.
//!
//! Images are pushed by the registry's HTTP interface, not by an engine, so that their ids are known in advance.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::outcome::ensure;
use super::{Failure, Outcome, free_port, image};
use crate::{ImageReference, RegistryCredentials};

/// User of the registry.
const USERNAME: &str = "conformance";
/// Its password; it contains the characters that differ between the two base64 alphabets.
const PASSWORD: &str = "p~w?>~~?x>";
/// Limit for the registry's startup and for a response.
const LIMIT: Duration = Duration::from_secs(60);
/// Largest response that is read.
const ANSWER_MAX: u64 = 1 << 20;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Debian's `docker-registry` with a password, on its own loopback port. Ends when dropped.
#[derive(Debug)]
pub struct TestRegistry {
    address: SocketAddr,
    /// Keeps its configuration and its images.
    _folder: TempDir,
    _process: Child,
}

impl TestRegistry {
    /// Starts a registry and waits until it responds.
    pub async fn start() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let path = |name: &str| folder.path().join(name);
        let users = Command::new("htpasswd").args(["-Bbn", USERNAME, PASSWORD]).output().await;
        let users = users.map_err(|error| missing("htpasswd", "apache2-utils", &error))?;
        ensure!(users.status.success(), "htpasswd failed: {}", String::from_utf8_lossy(&users.stderr));
        std::fs::write(path("users"), users.stdout)?;
        let config = json!({
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": path("images")}},
            "http": {"addr": address.to_string()},
            "auth": {"htpasswd": {"realm": "conformance", "path": path("users")}},
        });
        // JSON is YAML.
        std::fs::write(path("config.yml"), config.to_string())?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(path("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| missing("docker-registry", "docker-registry", &error))?;
        let begin = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            ensure!(begin.elapsed() < LIMIT, "docker-registry does not respond at {address}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { address, _folder: folder, _process: process })
    }

    /// Host and port, as in a reference.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// User and password of the registry.
    pub fn credentials(&self) -> RegistryCredentials {
        RegistryCredentials { username: USERNAME.to_owned(), password: PASSWORD.into() }
    }

    /// Pushes an image of the suite's programs; an existing tag is moved.
    pub async fn publish(&self, repository: &str, tag: &str, marker: &str) -> Outcome<ImageReference> {
        let layer = image::layer(marker)?;
        let layer_digest = digest(&layer);
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"Cmd": image::COMMAND},
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
            "history": [{"created_by": marker}],
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest(&config), "size": config.len()},
            "layers": [{"mediaType": LAYER, "digest": layer_digest, "size": layer.len()}],
        });
        for blob in [&layer, &config] {
            self.upload(repository, blob).await?;
        }
        let path = format!("/v2/{repository}/manifests/{tag}");
        let answer = self.request("PUT", &path, MANIFEST, manifest.to_string().as_bytes()).await?;
        ensure!(answer.status == 201, "the registry answered {} to a manifest", answer.status);
        let reference = format!("{}/{repository}:{tag}", self.host());
        reference.parse().map_err(|error| Failure::new(format!("{error}")))
    }

    /// The digest of a published image's manifest.
    pub async fn digest_of(&self, image: &ImageReference) -> Outcome<String> {
        let path = format!("/v2/{}/manifests/{}", image.repository(), image.tag().unwrap_or("latest"));
        let answer = self.request("GET", &path, MANIFEST, b"").await?;
        ensure!(answer.status == 200, "the registry answered {} to a request for a manifest", answer.status);
        answer.header("docker-content-digest").ok_or_else(|| Failure::new("the registry sent no digest"))
    }

    async fn upload(&self, repository: &str, blob: &[u8]) -> Outcome {
        let begun = self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"").await?;
        let location = begun.header("location").ok_or_else(|| Failure::new("the registry sent no upload location"))?;
        let path = location.strip_prefix(&format!("http://{}", self.address)).unwrap_or(&location);
        let path = format!("{path}&digest={}", digest(blob));
        let answer = self.request("PUT", &path, "application/octet-stream", blob).await?;
        ensure!(answer.status == 201, "the registry answered {} to a blob", answer.status);
        Ok(())
    }

    async fn request(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Outcome<HttpResponse> {
        let basic = BASE64_STANDARD.encode(format!("{USERNAME}:{PASSWORD}"));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {basic}\r\nConnection: close\r\n\
             Accept: {MANIFEST}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body).await?;
            let mut answer = Vec::new();
            stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
            Ok::<_, Failure>(answer)
        };
        let answer = tokio::time::timeout(LIMIT, exchange).await;
        let answer = answer.map_err(|_| Failure::new(format!("the registry did not answer {method} {path}")))??;
        HttpResponse::parse(&answer)
            .ok_or_else(|| Failure::new(format!("invalid response of the registry to {method} {path}")))
    }
}

struct HttpResponse {
    status: u16,
    headers: Vec<(String, String)>,
}

impl HttpResponse {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Self { status, headers })
    }

    fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    }
}

/// A loopback port that accepts connections and sends nothing, or always the same response. Ends when dropped.
#[derive(Debug)]
pub(super) struct FixedResponse {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

/// The response of a registry that throttles requests.
const TOO_MANY: &str = "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nConnection: close\r\n\
                        Content-Length: 69\r\n\r\n{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"too many requests\"}]}";

impl FixedResponse {
    pub(super) async fn silence() -> Outcome<Self> {
        Self::start(None).await
    }

    pub(super) async fn too_many_requests() -> Outcome<Self> {
        Self::start(Some(TOO_MANY)).await
    }

    async fn start(answer: Option<&'static str>) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(reply(stream, answer));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, _task: AbortOnDropHandle::new(task) })
    }

    pub(super) fn image(&self) -> Outcome<ImageReference> {
        let reference = format!("{}/conformance/image:1", self.address);
        reference.parse().map_err(|error| Failure::new(format!("{error}")))
    }
}

async fn reply(mut stream: TcpStream, answer: Option<&'static str>) {
    let mut question = [0; 4096];
    // Any request, including a TLS hello.
    let _ = stream.read(&mut question).await;
    match answer {
        None => std::future::pending().await,
        Some(answer) => {
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// This machine's architecture in the terms of image formats.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn missing(program: &str, package: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot run {program} (Debian: {package}): {error}"))
}
