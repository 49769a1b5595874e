//! Raw calls to one engine through its socket, without the code of the daemon.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::http::{Answer, Socket};

/// A real engine of `scripts/engines`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Docker,
    Podman,
}

/// A container like those of the daemon, created by raw calls.
#[derive(Debug, Clone)]
pub struct Spec {
    pub name: String,
    pub image: String,
    pub network: String,
    /// The mount target of `/usr/share` of the host, if any.
    pub mount: Option<&'static str>,
}

/// Grace of all stops; the nodes end at once.
const GRACE_S: u32 = 30;
/// Attempts to clean up, and the pause between two.
const SWEEPS_MAX: usize = 10;
const SWEEP_PAUSE: Duration = Duration::from_millis(500);
const LOG_BYTES: u32 = 10 * 1024 * 1024;
/// Prefix of all names of benches in an engine.
pub const PREFIX: &str = "bench-";

impl Engine {
    /// Its name for `MANAGED_APP_RUNTIME`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// The address of its socket.
    pub fn endpoint(self) -> String {
        let variable = match self {
            Self::Docker => "MANAGED_APP_TEST_DOCKER",
            Self::Podman => "MANAGED_APP_TEST_PODMAN",
        };
        crate::variable(variable)
    }

    /// The variable with its address for clients.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Docker => "DOCKER_HOST",
            Self::Podman => "CONTAINER_HOST",
        }
    }

    fn socket(self) -> Socket {
        let endpoint = self.endpoint();
        Socket(endpoint.strip_prefix("unix://").expect("the engine listens on a Unix socket").into())
    }

    /// Path prefix of the container calls that both engines have.
    fn root(self) -> &'static str {
        match self {
            Self::Docker => "/v1.41",
            Self::Podman => "/v4.0.0/libpod",
        }
    }

    async fn call(self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let answer = self.try_call(method, path, body).await;
        assert!(answer.status < 400, "{method} {path}: {} {}", answer.status, answer.text());
        answer
    }

    async fn try_call(self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let path = format!("{}{path}", self.root());
        let (headers, body) = match body {
            Some(body) => ("Content-Type: application/json\r\n", body.to_string()),
            None => ("", String::new()),
        };
        self.socket().call(method, &path, headers, body.as_bytes()).await
    }

    /// Its version.
    pub async fn version(self) -> String {
        let answer = self.socket().call("GET", "/version", "", b"").await.json();
        answer["Version"].as_str().unwrap_or("?").to_owned()
    }

    /// The lines of its event stream, from now on.
    pub async fn event_lines(self) -> tokio::io::Lines<tokio::io::BufReader<tokio::net::unix::OwnedReadHalf>> {
        let path = match self {
            Self::Docker => "/v1.41/events",
            Self::Podman => "/v4.0.0/libpod/events?stream=true",
        };
        self.socket().lines(path).await
    }

    /// Creates a network.
    pub async fn make_network(self, name: &str) {
        match self {
            Self::Docker => {
                self.call("POST", "/networks/create", Some(json!({ "Name": name, "Driver": "bridge" }))).await
            }
            Self::Podman => {
                let body = json!({ "name": name, "driver": "bridge", "dns_enabled": true });
                self.call("POST", "/networks/create", Some(body)).await
            }
        };
    }

    /// Creates a container; returns its ID.
    pub async fn create(self, spec: &Spec) -> String {
        let answer = match self {
            Self::Docker => {
                let path = format!("/containers/create?name={}", spec.name);
                self.call("POST", &path, Some(docker_body(spec))).await
            }
            Self::Podman => self.call("POST", "/containers/create", Some(podman_body(spec))).await,
        };
        answer.json()["Id"].as_str().expect("a container has an id").to_owned()
    }

    pub async fn start(self, container: &str) {
        self.call("POST", &format!("/containers/{container}/start"), None).await;
    }

    pub async fn stop(self, container: &str) {
        self.call("POST", &format!("/containers/{container}/stop?{}", self.grace()), None).await;
    }

    pub async fn restart(self, container: &str) {
        self.call("POST", &format!("/containers/{container}/restart?{}", self.grace()), None).await;
    }

    fn grace(self) -> String {
        match self {
            Self::Docker => format!("t={GRACE_S}"),
            Self::Podman => format!("timeout={GRACE_S}"),
        }
    }

    /// Kills and removes a container.
    pub async fn remove(self, container: &str) {
        self.call("DELETE", &format!("/containers/{container}?{}", self.force()), None).await;
    }

    /// Pulls an image of the public registry.
    pub async fn pull(self, reference: &str) {
        let (image, tag) = reference.rsplit_once(':').expect("a tag");
        let path = format!("/v1.40/images/create?fromImage={image}&tag={tag}");
        let answer = self.socket().call("POST", &path, "", b"").await;
        assert!(answer.status == 200 && !answer.text().contains("\"error\""), "{}", answer.text());
    }

    /// Loads an image archive and pushes the image to its registry, which needs no password.
    pub async fn load_and_push(self, archive: &[u8], reference: &str) {
        let headers = "Content-Type: application/x-tar\r\n";
        let answer = self.socket().call("POST", "/v1.40/images/load?quiet=true", headers, archive).await;
        assert!(answer.status == 200, "{}", answer.text());
        let (image, tag) = reference.rsplit_once(':').expect("a tag");
        let path = format!("/v1.40/images/{image}/push?tag={tag}");
        let answer = self.socket().call("POST", &path, "X-Registry-Auth: e30=\r\n", b"").await;
        assert!(answer.status == 200 && !answer.text().contains("\"error\""), "{}", answer.text());
    }

    /// IDs of all containers whose name has the prefix `prefix`.
    pub async fn containers(self, prefix: &str) -> Vec<String> {
        let listed = self.call("GET", "/containers/json?all=true", None).await.json();
        let has_prefix =
            |name: &Value| name.as_str().is_some_and(|name| name.trim_start_matches('/').starts_with(prefix));
        let is_it = |found: &&Value| found["Names"].as_array().is_some_and(|names| names.iter().any(has_prefix));
        let id = |found: &Value| found["Id"].as_str().expect("a container has an id").to_owned();
        listed.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter(is_it).map(id).collect()
    }

    /// Removes all containers and networks whose name has the prefix `prefix`. Engines sometimes confirm calls before
    /// they are complete, so this is retried for a while; remaining objects do no harm.
    pub async fn sweep(self, prefix: &str) {
        for _ in 0..SWEEPS_MAX {
            if self.try_sweep(prefix).await {
                return;
            }
            tokio::time::sleep(SWEEP_PAUSE).await;
        }
        println!("        an object with the prefix {prefix} cannot be removed from {}", self.name());
    }

    async fn try_sweep(self, prefix: &str) -> bool {
        let containers = self.containers(prefix).await;
        let removal = async |id: &String| {
            let path = format!("/containers/{id}?{}", self.force());
            let status = self.try_call("DELETE", &path, None).await.status;
            status < 400 || status == 404
        };
        let mut is_swept = join_all(containers.iter().map(removal)).await.into_iter().all(|is_gone| is_gone);
        let (path, key) = match self {
            Self::Docker => ("/networks", "Name"),
            Self::Podman => ("/networks/json", "name"),
        };
        let networks = self.call("GET", path, None).await.json();
        for network in networks.as_array().map(Vec::as_slice).unwrap_or_default() {
            if let Some(name) = network[key].as_str().filter(|name| name.starts_with(prefix)) {
                is_swept &= self.try_call("DELETE", &format!("/networks/{name}"), None).await.status < 400;
            }
        }
        is_swept
    }

    fn force(self) -> &'static str {
        match self {
            Self::Docker => "force=true&v=true",
            Self::Podman => "force=true&volumes=true&timeout=0",
        }
    }
}

/// The variables of the contract, as for a node of the daemon.
fn env(spec: &Spec) -> Vec<(&'static str, String)> {
    let node = spec.name.clone();
    let fixed = [
        ("APPSYNC_ENDPOINT", "http://127.0.0.1:40123/graphql"),
        ("CLIENT_ID", "7fakeclientfakeclientfake"),
        ("PASSWORD", "Correct-Horse-7"),
        ("TENANT", "acme"),
        ("USER_NAME", "plant-7-line"),
        ("USER_POOL_ID", "us-west-2_FakePool7"),
    ];
    fixed.into_iter().map(|(key, value)| (key, value.to_owned())).chain([("NODE", node)]).collect()
}

/// Labels with about the size of those of the daemon.
fn labels() -> Value {
    json!({ "managed_node_type": "type", "made-by": "benches", "record": "x".repeat(900) })
}

fn docker_body(spec: &Spec) -> Value {
    let binds: Vec<String> = spec.mount.iter().map(|target| format!("/usr/share:{target}")).collect();
    let env: Vec<String> = env(spec).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "Hostname": spec.name, "Image": spec.image, "Env": env, "Labels": labels(), "StopTimeout": GRACE_S,
        "HostConfig": {
            "NetworkMode": spec.network, "Binds": binds,
            "LogConfig": { "Type": "json-file", "Config": { "max-size": LOG_BYTES.to_string(), "max-file": "5" } },
            "RestartPolicy": { "Name": "unless-stopped" },
        },
    })
}

fn podman_body(spec: &Spec) -> Value {
    let bind =
        |target| json!({ "type": "bind", "source": "/usr/share", "destination": target, "options": ["rbind", "rw"] });
    let mounts: Vec<Value> = spec.mount.iter().map(bind).collect();
    let env: std::collections::BTreeMap<_, _> = env(spec).into_iter().collect();
    json!({
        "name": spec.name, "hostname": spec.name, "image": spec.image, "env": env, "labels": labels(),
        "netns": { "nsmode": "bridge" }, "Networks": { &spec.network: {} }, "mounts": mounts,
        "log_configuration": { "driver": "k8s-file", "size": LOG_BYTES },
        "restart_policy": "unless-stopped", "stop_timeout": GRACE_S,
    })
}
