//! Requests of the control plane that the host refuses: images of other registries and sensitive paths of the host; and
//! forged messages without effect.

use managed_app_fakes::cloud::commands::{Mount, Node};
use serde_json::json;

use crate::harness::{Harness, IMAGE, Plan};

const REGISTRIES: &str = "MANAGED_APP_ALLOWED_REGISTRIES";
const BIND_MOUNTS: &str = "MANAGED_APP_ALLOWED_BIND_MOUNTS";

/// The ID of the running container of a node.
fn id(harness: &Harness, node: &str) -> String {
    harness.view(node).filter(|view| view.container.state.is_running()).expect("it runs").container.id.0
}

/// Waits until the status shows that a setting refuses `node`.
async fn refused(harness: &Harness, node: &str, setting: &str) {
    let says = |failure: Option<String>| failure.is_some_and(|text| text.contains(setting));
    harness.eventually("it is refused", |host| says(host.node(node).and_then(|node| node.failure))).await;
}

#[tokio::test]
async fn an_image_of_another_registry_keeps_the_old_container() {
    let mut harness = Plan::new().await.nodes(&["a", "b"]).set(REGISTRIES, "ecr, registry.test").up().await;
    let before = id(&harness, "a");
    harness.cloud.set_image("a:type", "evil.test/node:1");
    refused(&harness, "a", REGISTRIES).await;
    harness.expect_no_more_than(&[], "b").await;
    assert_eq!(id(&harness, "a"), before);
    harness.cloud.set_image("a:type", IMAGE);
    harness.eventually("it is accepted", |host| host.node("a").is_some_and(|node| node.failure.is_none())).await;
    harness.probe("a").await;
    assert_eq!(id(&harness, "a"), before);
}

#[tokio::test]
async fn without_the_setting_only_images_of_ecr_run() {
    let plan = Plan::new().await.nodes(&["a"]).set(REGISTRIES, "");
    let plan = plan.node("b", Node::default().image("public.ecr.aws/x/y:1")).with(|_, memory| {
        memory.publish_image(&"public.ecr.aws/x/y:1".parse().expect("a reference"), b"y");
    });
    let harness = plan.up().await;
    refused(&harness, "a", REGISTRIES).await;
    assert!(harness.view("a").is_none() && harness.runs("b"));
    assert_eq!(harness.status().expect("it is known").nodes.len(), 2);
}

#[tokio::test]
async fn a_sensitive_mount_is_refused_and_the_old_container_stays() {
    let mut harness = Harness::with(&["a", "b"]).await;
    let before = id(&harness, "a");
    for source in ["/", "/etc", "/var/run/docker.sock", "//proc/./1/root", "/data/../etc"] {
        harness.cloud.change_mounts("a", vec![Mount::new(source, "/x")]);
        harness
            .eventually("it is refused", |host| {
                let failure = host.node("a").and_then(|node| node.failure).unwrap_or_default();
                failure.contains(&format!(
                    "mount source {:?}",
                    source.replace("//", "/").replace("/./", "/").replace("/var/run", "/run")
                ))
            })
            .await;
    }
    harness.cloud.change_mounts("a", vec![Mount::new(&harness.state_directory().display().to_string(), "/x")]);
    refused(&harness, "a", BIND_MOUNTS).await;
    harness.expect_no_more_than(&[], "b").await;
    assert_eq!(id(&harness, "a"), before);
    harness.cloud.change_mounts("a", vec![Mount::new("/srv/data", "/x")]);
    harness
        .eventually("it is replaced", |host| {
            let now = harness.view("a").filter(|view| view.container.state.is_running());
            host.is_converged() && now.is_some_and(|view| view.container.id.0 != before)
        })
        .await;
}

#[tokio::test]
async fn a_folder_that_the_operator_allows_is_mounted() {
    let node = Node::default().image(IMAGE).volume("/etc/partner", "/x");
    let harness = Plan::new().await.node("a", node).set(BIND_MOUNTS, "/etc/partner").up().await;
    assert!(harness.runs("a"));
}

#[tokio::test]
async fn forged_messages_change_nothing_against_the_snapshot() {
    let mut harness = Plan::new().await.nodes(&["a", "b"]).up().await;
    let (app, evil) = (harness.config().app, "evil.test/node:1");
    let node = |name: &str| {
        json!({"type": "ManagedNode", "app": app, "name": name, "imageUri": evil, "managedNodeType": evil,
            "mounts": [{"source": "/", "target": "/x"}], "config": "{\"x\": 1}", "stopped": true})
    };
    harness.cloud.send_change(None, Some(node("a")));
    harness.cloud.send_change(None, Some(node("invented")));
    harness.cloud.send_change(Some(node("b")), None);
    harness.cloud.send_change(Some(json!({"type": "ManagedApp", "name": app})), None);
    let edge = json!({"type": "Edge", "source": "a", "target": "../../b", "queue": "https://evil.test/q"});
    harness.cloud.send_change(None, Some(edge));
    let kind = json!({"type": "ManagedNodeType", "name": "a:type", "imageUri": evil});
    harness.cloud.send_change(Some(kind.clone()), Some(kind));
    // A type that a message reports as changed is pulled again, with the image of the snapshot.
    harness.expect_no_more_than(&[&format!("pull {IMAGE}")], "b").await;
    assert!(harness.runs("a") && harness.runs("b") && harness.view("invented").is_none());
}
