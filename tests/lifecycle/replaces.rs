//! Replacements by the whole daemon: failing new containers, ports that move between nodes, overlap.

use std::time::Duration;

use managed_app_fakes::cloud::commands::{Node, Port};
use managed_app_fakes::memory::Behaviour;

use crate::harness::{Harness, IMAGE, Plan, image};

const BAD: &str = "registry.test/node:bad";
const GOOD: &str = "registry.test/node:good";

async fn with_bad_image(replace: &'static str) -> Harness {
    let node = || Node::default().of_type("router").image(IMAGE);
    let plan = Plan::new().await.set("MANAGED_APP_REPLACE", replace).node("a", node()).nodes(&["b"]);
    let plan = plan.with(|_, memory| {
        memory.publish_image(&image(BAD), b"bad");
        memory.publish_image(&image(GOOD), b"good");
        let behaviour = Behaviour::CrashLoops { code: 1, after: Duration::from_millis(5) };
        memory.set_behaviour_of_image(&image(BAD), behaviour);
    });
    plan.up().await
}

fn runs_image(harness: &Harness, node: &str, reference: &str) -> bool {
    harness.runs(node)
        && harness.view(node).and_then(|view| view.spec).is_some_and(|spec| spec.image == image(reference))
}

async fn is_rolled_back(harness: &Harness) {
    let is_rolled_back = |failure: String| failure.contains("did not stay up") && failure.contains("the old one runs");
    harness
        .eventually("it is reported", |host| host.node("a").and_then(|node| node.failure).is_some_and(is_rolled_back))
        .await;
    assert!(runs_image(harness, "a", IMAGE));
}

#[tokio::test]
async fn a_failing_image_is_rolled_back_until_its_revision_changes() {
    let mut harness = with_bad_image("careful").await;
    let (a, b) = (harness.container("a").await, harness.container("b").await);
    harness.cloud.set_image("router", BAD);
    is_rolled_back(&harness).await;
    harness.journal.clear();
    harness.cloud.connect("a", "elsewhere");
    harness.eventually("it is retried and rolled back", |host| host.journal.count("remove", "a") == 1).await;
    assert_eq!(harness.journal.count("create", "a"), 1);
    is_rolled_back(&harness).await;
    assert_eq!((harness.container("a").await.id, harness.container("b").await), (a.id, b));
    harness.cloud.set_image("router", GOOD);
    harness.eventually("the good image runs", |_| runs_image(&harness, "a", GOOD)).await;
    harness.converged().await;
    assert_eq!(harness.node("a").and_then(|node| node.failure), None);
    assert_eq!(harness.nodes_with_containers(), ["a", "b"]);
    harness.stop().await;
}

#[tokio::test]
async fn in_overlap_a_bad_image_does_not_affect_the_old_container() {
    let harness = with_bad_image("overlap").await;
    let run = || harness.view("a").map(|view| (view.container.id, view.starts));
    let before = run();
    harness.cloud.set_image("router", BAD);
    is_rolled_back(&harness).await;
    assert_eq!((run(), harness.journal.count("stop", "b")), (before, 0));
    harness.journal.clear();
    harness.cloud.set_image("router", GOOD);
    harness.eventually("the good image runs", |_| runs_image(&harness, "a", GOOD)).await;
    harness.converged().await;
    let actions = harness.journal.actions();
    let position =
        |act: &str| actions.iter().position(|done| done == act).unwrap_or_else(|| panic!("{act} in {actions:?}"));
    assert!(position("start a") < position("stop a"), "{actions:?}");
}

#[tokio::test]
async fn a_port_moves_between_nodes_in_any_order_of_messages() {
    for order in [["a", "b"], ["b", "a"]] {
        let web = Node::default().image(IMAGE).tcp(8080, 80);
        let harness = Plan::new().await.node("a", web).nodes(&["b", "c"]).up().await;
        for node in order {
            let ports = if node == "a" { vec![] } else { vec![Port::tcp(8080, 80)] };
            harness.cloud.change_ports(node, ports);
        }
        harness
            .eventually("b has it", |_| {
                harness.view("b").is_some_and(|view| view.spec.is_some_and(|spec| spec.ports.len() == 1))
            })
            .await;
        harness.converged().await;
        assert!(harness.runs("a") && harness.runs("b"));
        assert_eq!(
            (harness.journal.count("create", "a"), harness.journal.count("create", "b")),
            (1, 1),
            "at the first attempt"
        );
    }
}

#[tokio::test]
async fn two_nodes_that_swap_their_ports_converge_at_once() {
    let web = |port| Node::default().image(IMAGE).tcp(port, 80);
    let harness = Plan::new().await.node("a", web(8080)).node("b", web(8081)).up().await;
    harness.cloud.quietly(|world| world.change_node("a", |node| node.ports = vec![Port::tcp(8081, 80)]));
    harness.cloud.change_ports("b", vec![Port::tcp(8080, 80)]);
    let has = |node: &str, port| {
        harness.view(node).and_then(|view| view.spec).is_some_and(|spec| spec.ports.iter().any(|p| p.host_port == port))
    };
    harness.eventually("they have swapped", |_| has("a", 8081) && has("b", 8080)).await;
    harness.converged().await;
    assert!(harness.runs("a") && harness.runs("b"));
    assert_eq!(
        (harness.journal.count("create", "a"), harness.journal.count("create", "b")),
        (1, 1),
        "at the first attempt"
    );
}
