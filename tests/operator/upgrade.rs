//! The upgrade from the Python program: the daemon takes over a container that the code of the program created.
//! `tests/engines` does the same on both engines with similar running containers, and with mounts. The code of the
//! program cannot create mounts: its type `Mount` hides the one of the Docker SDK, and Docker rejects it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use managed_app_fakes::cloud::commands::Port;
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::engine_harness::{EngineHarness, NODE_PORT};
use crate::process::{self, Process};
use crate::wait::until;

/// Creates a container by the code of the Python program; its ID.
fn made_by_the_python_program(engine_harness: &EngineHarness, node: Value) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interpreter = root.join("target/clients/bin/python");
    assert!(interpreter.exists(), "{} does not exist: run scripts/clients", interpreter.display());
    let mut command = Command::new(interpreter);
    command
        .env_clear()
        .envs(engine_harness.cloud().env())
        .env("DOCKER_HOST", engine_harness.engine.endpoint())
        .env("HOME", "/nowhere");
    command.env("PYTHONPYCACHEPREFIX", root.join("target/clients/compiled"));
    command.arg(root.join("tests/operator/python_program.py"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the interpreter starts");
    let wanted =
        json!({"app": engine_harness.tag, "log_group": engine_harness.cloud().env()["LOG_GROUP_NAME"], "node": node})
            .to_string();
    child.stdin.take().expect("it is piped").write_all(wanted.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_made_by_the_python_program_keeps_name_and_port() {
    let engine = Engine::Docker;
    let engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push_and_pull("node:1").await;
    let (name, port) = (engine_harness.name("hl7"), managed_app_runtimes::conformance::free_port());
    let node = |name: &str| {
        json!({
            "name": name,
            "managedNodeType": {"name": "type", "imageUri": image},
            "mounts": [],
            "ports": [{"containerPort": NODE_PORT, "hostPort": port, "hostAddress": "127.0.0.1", "protocol": "tcp"}],
            "receiveMessageType": null,
            "sendMessageType": {"name": "text"},
        })
    };
    let (old, gone) = (
        made_by_the_python_program(&engine_harness, node(&name)),
        made_by_the_python_program(&engine_harness, node(&engine_harness.name("gone"))),
    );
    let before = engine.container(&old).await;
    assert_eq!(before.0["HostConfig"]["LogConfig"]["Type"], "awslogs", "as the program creates it");
    assert_eq!(before.label("managed_node_type"), Some("type"));
    engine_harness.cloud().add_node(&name, |n| {
        let n = n.of_type("type").image(&image).sends("text");
        n.port(Port::tcp(port, NODE_PORT).at("127.0.0.1"))
    });

    let (code, plan) = process::run(&process::variables(&engine_harness), &["plan"]).await;
    assert_eq!(code, Some(0), "{plan}");
    for (verb, node) in [("replace", "hl7"), ("remove", "gone")] {
        assert!(
            plan.lines().any(|line| line.contains(verb) && line.contains(&engine_harness.name(node))),
            "{verb}: {plan}"
        );
    }
    if let Ok(folder) = std::env::var("MANAGED_APP_TEST_PICTURES") {
        std::fs::write(Path::new(&folder).join("plan-upgrade-docker.txt"), &plan).expect("a file");
    }
    let mut daemon = Process::start(&engine_harness, &[("MANAGED_APP_ON_EXIT", "leave")]);
    daemon.notified("READY=1").await;
    let ours = engine_harness.running("hl7").await;
    until("the old ones are gone", async || engine.find(&old).await.is_none() && engine.find(&gone).await.is_none())
        .await;
    assert_eq!(
        engine.containers(&engine_harness.tag).await,
        [name.as_str()],
        "one container, with the name of the node"
    );
    let bindings = &ours.0["HostConfig"]["PortBindings"][format!("{NODE_PORT}/tcp")][0];
    assert_eq!(
        (bindings["HostIp"].as_str(), bindings["HostPort"].as_str()),
        (Some("127.0.0.1"), Some(&*port.to_string()))
    );
    assert_eq!(ours.env("NODE"), [name.as_str()]);

    daemon.signal("TERM").await;
    assert_eq!(daemon.ended().await.code(), Some(0));
    let mut daemon = Process::start(&engine_harness, &[]);
    daemon.notified("READY=1").await;
    engine_harness.assert_untouched("hl7", &ours).await;
}
