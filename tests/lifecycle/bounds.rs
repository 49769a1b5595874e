//! What the control plane may not have, whatever it says: images of other registries, sensitive folders of the host,
//! and effects of messages that it never meant.

use managed_app_fakes::cloud::words::{Mount, Node};
use serde_json::json;

use crate::site::{IMAGE, Plan, Site};

const REGISTRIES: &str = "MANAGED_APP_ALLOWED_REGISTRIES";
const BIND_MOUNTS: &str = "MANAGED_APP_ALLOWED_BIND_MOUNTS";

/// The id of the container that a node runs in.
fn id(site: &Site, node: &str) -> String {
    site.view(node).filter(|view| view.container.state.is_running()).expect("it runs").container.id.0
}

/// Waits until the status says that a setting forbids what `node` should be.
async fn refused(site: &Site, node: &str, setting: &str) {
    let says = |failure: Option<String>| failure.is_some_and(|text| text.contains(setting));
    site.eventually("it is refused", |host| says(host.node(node).and_then(|node| node.failure))).await;
}

#[tokio::test]
async fn an_image_of_another_registry_is_refused_and_the_old_container_stays() {
    let mut site = Plan::new().await.nodes(&["a", "b"]).set(REGISTRIES, "ecr, registry.test").up().await;
    let before = id(&site, "a");
    site.cloud.set_image("a:type", "evil.test/node:1");
    refused(&site, "a", REGISTRIES).await;
    site.expect_no_more_than(&[], "b").await;
    assert_eq!(id(&site, "a"), before);
    site.cloud.set_image("a:type", IMAGE);
    site.eventually("it is as wanted", |host| host.node("a").is_some_and(|node| node.failure.is_none())).await;
    site.probe("a").await;
    assert_eq!(id(&site, "a"), before);
}

#[tokio::test]
async fn without_a_word_of_the_operator_images_come_from_ecr_alone() {
    let plan = Plan::new().await.nodes(&["a"]).set(REGISTRIES, "");
    let plan = plan.node("b", Node::default().image("public.ecr.aws/x/y:1")).with(|_, memory| {
        memory.publish_image(&"public.ecr.aws/x/y:1".parse().expect("a reference"), b"y");
    });
    let site = plan.up().await;
    refused(&site, "a", REGISTRIES).await;
    assert!(site.view("a").is_none() && site.runs("b"));
    assert_eq!(site.status().expect("it is known").nodes.len(), 2);
}

#[tokio::test]
async fn a_sensitive_folder_of_the_host_is_refused_and_the_old_container_stays() {
    let mut site = Site::with(&["a", "b"]).await;
    let before = id(&site, "a");
    for source in ["/", "/etc", "/var/run/docker.sock", "//proc/./1/root", "/data/../etc"] {
        site.cloud.change_mounts("a", vec![Mount::new(source, "/x")]);
        site.eventually("it is refused", |host| {
            let failure = host.node("a").and_then(|node| node.failure).unwrap_or_default();
            failure.contains(&format!(
                "mount source {:?}",
                source.replace("//", "/").replace("/./", "/").replace("/var/run", "/run")
            ))
        })
        .await;
    }
    site.cloud.change_mounts("a", vec![Mount::new(&site.state_directory().display().to_string(), "/x")]);
    refused(&site, "a", BIND_MOUNTS).await;
    site.expect_no_more_than(&[], "b").await;
    assert_eq!(id(&site, "a"), before);
    site.cloud.change_mounts("a", vec![Mount::new("/srv/data", "/x")]);
    site.eventually("it is made anew", |host| {
        let now = site.view("a").filter(|view| view.container.state.is_running());
        host.is_converged() && now.is_some_and(|view| view.container.id.0 != before)
    })
    .await;
}

#[tokio::test]
async fn a_folder_that_the_operator_allows_is_mounted() {
    let node = Node::default().image(IMAGE).volume("/etc/partner", "/x");
    let site = Plan::new().await.node("a", node).set(BIND_MOUNTS, "/etc/partner").up().await;
    assert!(site.runs("a"));
}

#[tokio::test]
async fn forged_messages_change_nothing_that_the_snapshot_does_not_say() {
    let mut site = Plan::new().await.nodes(&["a", "b"]).up().await;
    let (app, evil) = (site.config().app, "evil.test/node:1");
    let node = |name: &str| {
        json!({"type": "ManagedNode", "app": app, "name": name, "imageUri": evil, "managedNodeType": evil,
            "mounts": [{"source": "/", "target": "/x"}], "config": "{\"x\": 1}", "stopped": true})
    };
    site.cloud.send_change(None, Some(node("a")));
    site.cloud.send_change(None, Some(node("invented")));
    site.cloud.send_change(Some(node("b")), None);
    site.cloud.send_change(Some(json!({"type": "ManagedApp", "name": app})), None);
    let edge = json!({"type": "Edge", "source": "a", "target": "../../b", "queue": "https://evil.test/q"});
    site.cloud.send_change(None, Some(edge));
    let kind = json!({"type": "ManagedNodeType", "name": "a:type", "imageUri": evil});
    site.cloud.send_change(Some(kind.clone()), Some(kind));
    // A type that is said to have changed is pulled again, by the name that the snapshot has.
    site.expect_no_more_than(&[&format!("pull {IMAGE}")], "b").await;
    assert!(site.runs("a") && site.runs("b") && site.view("invented").is_none());
}
