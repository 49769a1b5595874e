//! Secrets go through the whole life of the program at LOGGING_LEVEL=DEBUG, and are looked for in all that it leaves:
//! what it prints and logs, what it tells systemd, its state, labels and all else that an engine shows but the
//! environment of the nodes, which is where the contract wants the password.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use managed_app_fakes::cloud::RemovalForm;
use serde_json::json;

use crate::engine::{Container, Engine};
use crate::process::{self, Process};
use crate::rig::Rig;
use crate::support::LIMIT;
use crate::wait::until;

on_each_engine! {
    no_secret_is_in_anything_that_the_program_leaves
}

/// In texts of users of the cloud: configurations and auditors are not for logs.
const TENANT_MARK: &str = "mark-7d1f-of-the-tenant-config";
const APP_MARK: &str = "mark-7d1f-of-the-app-config";
const NODE_MARK: &str = "mark-7d1f-of-the-node-config";
const AUDITOR_MARK: &str = "mark-7d1f-of-the-auditor";
/// Passwords that are wrong are secrets too: they may be right elsewhere.
const WRONG_PASSWORD: &str = "mark-7d1f-of-a-wrong-password";
const WRONG_REGISTRY_PASSWORD: &str = "mark-7d1f-of-a-wrong-registry-password";

/// What must not be found, and what was found where.
struct Search {
    secrets: BTreeSet<String>,
    texts: Vec<(String, String)>,
}

impl Search {
    fn begin() -> Self {
        let marks = [TENANT_MARK, APP_MARK, NODE_MARK, AUDITOR_MARK, WRONG_PASSWORD, WRONG_REGISTRY_PASSWORD];
        Self { secrets: marks.map(str::to_owned).into(), texts: Vec::new() }
    }

    /// Secrets that exist now; some are forgotten later.
    fn learn(&mut self, rig: &Rig) {
        self.secrets.extend(rig.cloud().secrets());
        self.secrets.insert(crate::images::password());
    }

    fn read(&mut self, place: &str, text: impl Into<String>) {
        self.texts.push((place.to_owned(), text.into()));
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

    /// All that the engine shows of a container but its environment, in which the password must be.
    fn read_container(&mut self, mut container: Container, password: &str) {
        assert_eq!(container.env("PASSWORD"), [password], "the search would find it there");
        container.0["Config"]["Env"] = json!(null);
        self.read("inspect", container.0.to_string());
    }

    /// Asserts that no text holds a secret, bare or as registries want it encoded.
    fn finish(&self) {
        assert!(
            self.secrets.len() > 10 && self.secrets.iter().all(|secret| secret.len() > 7),
            "{}",
            self.secrets.len()
        );
        for secret in &self.secrets {
            let basic = STANDARD.encode(format!("AWS:{secret}"));
            let json_word = serde_json::Value::from(secret.as_str()).to_string();
            let forms = [secret.as_str(), basic.trim_end_matches('='), json_word.trim_matches('"')];
            for (place, text) in &self.texts {
                if let Some(at) = forms.iter().find_map(|form| text.find(form)) {
                    let start = text.floor_char_boundary(at.saturating_sub(80));
                    panic!("{place} holds {secret:?} after {:?}", &text[start..at]);
                }
            }
        }
    }
}

async fn no_secret_is_in_anything_that_the_program_leaves(engine: Engine) {
    let rig = Rig::new(engine).await;
    let cloud = rig.cloud();
    let mut search = Search::begin();
    let (first, second) = (rig.push("node:1", "1").await, rig.push("node:2", "2").await);
    let (a, b) = (rig.name("a"), rig.name("b"));
    let config = |mark: &str| json!({ "secret": mark }).to_string();
    cloud.set_tenant_config(&config(TENANT_MARK));
    cloud.set_app_config(&config(APP_MARK));
    cloud.set_audit(true);
    rig.add("a", |n| n.of_type("type").image(&first).config(&config(NODE_MARK)).sends("hl7"));
    rig.add("b", |n| n.of_type("type").receives("hl7"));
    cloud.change_auditor("hl7", &format!("def auditor(): return '{AUDITOR_MARK}'"));

    // The registry refuses the first password, and takes the second.
    cloud.registry.set_password(WRONG_REGISTRY_PASSWORD);
    let mut daemon = Process::start(&rig, &[("LOGGING_LEVEL", "DEBUG")]);
    search.read("READY", daemon.told("READY=1").await);
    until("the refusal is told", async || daemon.log().contains("image cannot be pulled")).await;
    cloud.registry.set_password(&crate::images::password());
    daemon.signal("HUP").await;
    let [at_first, _] = rig.containers(["a", "b"]).await;
    search.learn(&rig);
    assert_no_core_dumps(&daemon);
    search.read("cmdline", std::fs::read_to_string(format!("/proc/{}/cmdline", daemon.id())).expect("it runs"));

    // Changes, and renewals of all that ends.
    cloud.expire_tokens();
    cloud.revoke_refresh_tokens();
    cloud.revoke_credentials();
    cloud.connect(&a, &b);
    let at_first = rig.restarted("a", &at_first).await;
    search.learn(&rig);
    cloud.set_node_config(&a, &json!({"secret": NODE_MARK, "more": 1}).to_string());
    let at_first = rig.restarted("a", &at_first).await;
    cloud.send_raw(&format!("{{\"new\": \"{NODE_MARK}\"}}"));
    cloud.send_change(None, Some(json!({"type": "Oddity", "config": NODE_MARK})));

    cloud.set_image("type", &rig.image("missing:1"));
    until("the pull fails", async || daemon.log().contains("missing:1")).await;
    cloud.set_image("type", &second);
    rig.replaced("a", &at_first).await;
    search.learn(&rig);

    read_commands(&mut search, &rig).await;
    search.learn(&rig);

    let password = cloud.env()["PASSWORD"].clone();
    for node in ["a", "b"] {
        search.read_container(rig.container(node).await, &password);
    }
    search.read("network", engine.run(&["network", "inspect", &rig.tag]).await);
    cloud.set_removal_form(RemovalForm::NewRemoved);
    cloud.remove_node(&b);
    rig.gone("b").await;
    daemon.signal("TERM").await;
    tokio::time::timeout(LIMIT, daemon.ended()).await.expect("it ends");
    let log = daemon.log();
    assert!(log.contains("[DEBUG]") && log.contains("operation is done"), "{log}");
    search.read("log", log);
    search.read("printed", daemon.printed());
    search.read_folder(rig.host.state_directory());
    search.finish();
}

fn assert_no_core_dumps(daemon: &Process) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.id())).expect("it runs");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("the kernel tells it");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "no core dumps: {core}");
}

/// What commands say while the daemon runs, and a start with a wrong password.
async fn read_commands(search: &mut Search, rig: &Rig) {
    let mut variables = process::variables(rig);
    variables.insert("LOGGING_LEVEL".to_owned(), "DEBUG".to_owned());
    for command in ["check", "plan"] {
        search.read(command, process::run(&variables, &[command]).await.1);
    }
    variables.insert("PASSWORD".to_owned(), WRONG_PASSWORD.to_owned());
    let (code, said) = process::run(&variables, &[]).await;
    assert_eq!(code, Some(77), "{said}");
    search.read("a refused sign-in", said);
}
