//! Marked secrets pass through the whole life of the program at LOGGING_LEVEL=DEBUG, and the test searches all its
//! output: printed, logged and shipped lines, messages to systemd, responses of the status socket, state, the support
//! bundle, labels, and everything that an engine shows except the environment of the nodes, where the contract requires
//! the password.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use managed_app_fakes::cloud::RemovalForm;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::engine::{Container, Engine};
use crate::engine_harness::EngineHarness;
use crate::process::{self, Process};
use crate::support::LIMIT;
use crate::wait::until;

on_each_engine! {
    no_secret_is_in_anything_that_the_program_leaves
}

/// Marks in configurations and auditors of users, which must not be logged.
const TENANT_MARK: &str = "mark-7d1f-of-the-tenant-config";
const APP_MARK: &str = "mark-7d1f-of-the-app-config";
const NODE_MARK: &str = "mark-7d1f-of-the-node-config";
const AUDITOR_MARK: &str = "mark-7d1f-of-the-auditor";
/// Wrong passwords are secrets too: they may be valid elsewhere.
const WRONG_PASSWORD: &str = "mark-7d1f-of-a-wrong-password";
const WRONG_REGISTRY_PASSWORD: &str = "mark-7d1f-of-a-wrong-registry-password";

/// The secrets to search for, and the texts to search with their sources.
struct Search {
    secrets: BTreeSet<String>,
    texts: Vec<(String, String)>,
}

impl Search {
    fn begin() -> Self {
        let marks = [TENANT_MARK, APP_MARK, NODE_MARK, AUDITOR_MARK, WRONG_PASSWORD, WRONG_REGISTRY_PASSWORD];
        Self { secrets: marks.map(str::to_owned).into(), texts: Vec::new() }
    }

    /// Adds the secrets that exist now; some are replaced later.
    fn add_secrets(&mut self, engine_harness: &EngineHarness) {
        self.secrets.extend(engine_harness.cloud().secrets());
        self.secrets.insert(crate::images::password());
    }

    fn read(&mut self, source: &str, text: impl Into<String>) {
        self.texts.push((source.to_owned(), text.into()));
    }

    /// Everything below a folder.
    fn read_folder(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("its entries can be read").path();
            if path.is_dir() {
                self.read_folder(&path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                self.read(&path.display().to_string(), String::from_utf8_lossy(&bytes));
            }
        }
    }

    /// Everything that the engine shows of a container except its environment, which must contain the password.
    fn read_container(&mut self, mut container: Container, password: &str) {
        assert_eq!(container.env("PASSWORD"), [password], "the environment contains the password");
        container.0["Config"]["Env"] = json!(null);
        self.read("inspect", container.0.to_string());
    }

    /// Asserts that no text contains a secret, plain or in the encoding of registries.
    fn finish(&self) {
        assert!(
            self.secrets.len() > 10 && self.secrets.iter().all(|secret| secret.len() > 7),
            "{}",
            self.secrets.len()
        );
        for secret in &self.secrets {
            let basic = STANDARD.encode(format!("AWS:{secret}"));
            let json_text = serde_json::Value::from(secret.as_str()).to_string();
            let forms = [secret.as_str(), basic.trim_end_matches('='), json_text.trim_matches('"')];
            for (source, text) in &self.texts {
                if let Some(at) = forms.iter().find_map(|form| text.find(form)) {
                    let start = text.floor_char_boundary(at.saturating_sub(80));
                    panic!("{source} contains {secret:?} after {:?}", &text[start..at]);
                }
            }
        }
    }
}

/// A daemon with its secrets, and the search for them.
struct Scenario {
    engine_harness: EngineHarness,
    daemon: Process,
    search: Search,
    /// The environment of commands on the same host.
    variables: BTreeMap<String, String>,
    folder: TempDir,
}

async fn no_secret_is_in_anything_that_the_program_leaves(engine: Engine) {
    let mut scenario = Scenario::begin(engine).await;
    scenario.inspect_process();
    scenario.change_and_renew().await;
    scenario.ask().await;
    scenario.run_commands().await;
    scenario.inspect_engine().await;
    scenario.end().await;
}

impl Scenario {
    /// Nodes with marked configurations; the registry rejects the first password and accepts the second.
    async fn begin(engine: Engine) -> Self {
        let engine_harness = EngineHarness::new(engine).await;
        let mut search = Search::begin();
        let (cloud, first) = (engine_harness.cloud(), engine_harness.push("node:1", "1").await);
        let config = |mark: &str| json!({ "secret": mark }).to_string();
        cloud.set_tenant_config(&config(TENANT_MARK));
        cloud.set_app_config(&config(APP_MARK));
        cloud.set_audit(true);
        engine_harness.add("a", |n| n.of_type("type").image(&first).config(&config(NODE_MARK)).sends("hl7"));
        engine_harness.add("b", |n| n.of_type("type").receives("hl7"));
        cloud.change_auditor("hl7", &format!("def auditor(): return '{AUDITOR_MARK}'"));
        cloud.registry.set_password(WRONG_REGISTRY_PASSWORD);

        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("status.sock").display().to_string();
        let own = [("LOGGING_LEVEL", "DEBUG"), ("MANAGED_APP_STATUS_SOCKET", socket.as_str())];
        let mut daemon = Process::start(&engine_harness, &own);
        let mut variables = process::variables(&engine_harness);
        variables.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        search.read("READY", daemon.notified("READY=1").await);
        until("the rejection is logged", async || daemon.log().contains("image cannot be pulled")).await;
        cloud.registry.set_password(&crate::images::password());
        daemon.signal("HUP").await;
        engine_harness.containers(["a", "b"]).await;
        search.add_secrets(&engine_harness);
        Self { engine_harness, daemon, search, variables, folder }
    }

    fn inspect_process(&mut self) {
        let about = |name: &str| {
            std::fs::read_to_string(format!("/proc/{}/{name}", self.daemon.id())).expect("the daemon runs")
        };
        let (limits, command) = (about("limits"), about("cmdline"));
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("the kernel reports it");
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "no core dumps: {core}");
        self.search.read("cmdline", command);
    }

    /// Restarts, a replacement, a failed pull and invalid messages, while all tokens and keys expire.
    async fn change_and_renew(&mut self) {
        let (engine_harness, cloud) = (&self.engine_harness, self.engine_harness.cloud());
        let (a, b) = (engine_harness.name("a"), engine_harness.name("b"));
        let before = engine_harness.running("a").await;
        cloud.expire_tokens();
        cloud.revoke_refresh_tokens();
        cloud.revoke_credentials();
        cloud.connect(&a, &b);
        let before = engine_harness.restarted("a", &before).await;
        self.search.add_secrets(engine_harness);
        cloud.set_node_config(&a, &json!({"secret": NODE_MARK, "more": 1}).to_string());
        let before = engine_harness.restarted("a", &before).await;
        cloud.send_raw(&format!("{{\"new\": \"{NODE_MARK}\"}}"));
        cloud.send_change(None, Some(json!({"type": "Oddity", "config": NODE_MARK})));
        cloud.set_image("type", &engine_harness.image("missing:1"));
        until("the pull fails", async || self.daemon.log().contains("missing:1")).await;
        cloud.set_image("type", &engine_harness.push("node:2", "2").await);
        engine_harness.replaced("a", &before).await;
        self.search.add_secrets(engine_harness);
    }

    /// The responses of the status socket.
    async fn ask(&mut self) {
        let a = self.engine_harness.name("a");
        for (arguments, expected) in [(&["status", "--json"][..], a.as_str()), (&["why", &a][..], "restart")] {
            let (code, output) = process::run(&self.variables, arguments).await;
            assert!(code == Some(0) && output.contains(expected), "{arguments:?} prints {output}");
            self.search.read(arguments[0], output);
        }
        let socket = self.folder.path().join("status.sock");
        for path in ["/metrics", "/v1/status", &format!("/v1/history?node={a}")] {
            let answer = get(&socket, path).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{path} returns {answer}");
            self.search.read(path, answer);
        }
    }

    /// The output of commands, and a start with a wrong password.
    async fn run_commands(&mut self) {
        let bundle = self.folder.path().join("bundle.tar.gz");
        for arguments in [&["check", "--bundle", bundle.to_str().expect("a plain path")][..], &["plan"][..]] {
            self.search.read(arguments[0], process::run(&self.variables, arguments).await.1);
        }
        let mut archive = Vec::new();
        let file = std::fs::File::open(&bundle).expect("the bundle is there");
        flate2::read::GzDecoder::new(file).read_to_end(&mut archive).expect("it is packed");
        assert!(archive.len() > 1024, "{}", archive.len());
        self.search.read("bundle", String::from_utf8_lossy(&archive));

        let mut variables = self.variables.clone();
        // Another app: the running daemon has the lock of this one.
        let wrong = [("PASSWORD", WRONG_PASSWORD), ("APP", "another"), ("MANAGED_APP_STATUS_SOCKET", "off")];
        variables.extend(wrong.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let (code, output) = process::run(&variables, &[]).await;
        assert_eq!(code, Some(77), "{output}");
        self.search.read("a rejected sign-in", output);
        self.search.add_secrets(&self.engine_harness);
    }

    async fn inspect_engine(&mut self) {
        let password = self.variables["PASSWORD"].clone();
        for node in ["a", "b"] {
            self.search.read_container(self.engine_harness.container(node).await, &password);
        }
        self.search
            .read("network", self.engine_harness.engine.run(&["network", "inspect", &self.engine_harness.tag]).await);
    }

    /// A removed node and the end of the daemon; then everything that it wrote.
    async fn end(mut self) {
        let cloud = self.engine_harness.cloud();
        cloud.set_removal_form(RemovalForm::NewRemoved);
        cloud.remove_node(&self.engine_harness.name("b"));
        self.engine_harness.gone("b").await;
        self.daemon.signal("TERM").await;
        self.daemon.ended().await;
        let log = self.daemon.log();
        assert!(log.contains("[DEBUG]") && log.contains("operation completed"), "{log}");
        self.search.read("log", log);
        self.search.read("printed", self.daemon.printed());
        self.search.read_folder(self.engine_harness.host.state_directory());
        let (region, group) = (&self.variables["AWS_DEFAULT_REGION"], &self.variables["LOG_GROUP_NAME"]);
        let shipped: Vec<String> = cloud.cloudwatch.events(region, group).into_iter().map(|e| e.message).collect();
        assert!(!shipped.is_empty(), "the daemon ships its log");
        self.search.read("CloudWatch", shipped.join("\n"));
        self.search.finish();
    }
}

/// A response of the status socket, with its head.
async fn get(socket: &Path, path: &str) -> String {
    let asking = async {
        let mut stream = UnixStream::connect(socket).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: daemon\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    timeout(LIMIT, asking).await.expect("it answers in time").expect("it answers")
}
