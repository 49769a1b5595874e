//! One node with hanging engine calls beside healthy nodes, call by call; and responses of the cloud with gaps.

use managed_app_fakes::cloud::MalformedResponse;
use managed_app_fakes::cloud::commands::Port;
use managed_app_fakes::faulty::Verb;
use managed_app_runtimes::{ErrorKind, names};

use crate::harness::{Harness, IMAGE};

/// `act` makes the daemon call `verb` for a node, and this call hangs; other nodes work meanwhile.
async fn check_hung(verb: Verb, subject: &str, act: impl FnOnce(&Harness)) {
    let harness = Harness::with(&["a", "b"]).await;
    let hung = harness.faults.on(verb).named(names::container_name(subject)).times(1).hang();
    act(&harness);
    harness.eventually("the call hangs", |_| harness.faults.faults_met() == 1).await;
    harness.cloud.set_node_config("b", r#"{"x":1}"#);
    harness.eventually("b restarts", |host| host.journal.starts("b") == 1).await;
    harness.cloud.add_node("c", |node| node.image(IMAGE));
    harness.eventually("c starts", |_| harness.runs("c")).await;
    harness.cloud.remove_node("c");
    harness.eventually("c is removed", |_| harness.view("c").is_none()).await;
    harness.memory.kill(&names::container_name("b")).expect("it is there");
    harness.eventually("b is repaired", |_| harness.runs("b")).await;
    harness
        .eventually("its call is still pending", |host| host.status().is_some_and(|status| !status.is_converged))
        .await;
    hung.release();
    harness.converged().await;
}

#[tokio::test]
async fn a_hung_call_of_one_node_delays_no_other() {
    check_hung(Verb::Restart, "a", |harness| drop(harness.cloud.set_node_config("a", r#"{"x":1}"#))).await;
    check_hung(Verb::Stop, "a", |harness| drop(harness.cloud.remove_node("a"))).await;
    check_hung(Verb::Remove, "a", |harness| drop(harness.cloud.remove_node("a"))).await;
    check_hung(Verb::Stop, "a", |harness| drop(harness.cloud.change_ports("a", vec![Port::tcp(8080, 80)]))).await;
    check_hung(Verb::Create, "new", |harness| drop(harness.cloud.add_node("new", |node| node.image(IMAGE)))).await;
    check_hung(Verb::Start, "new", |harness| drop(harness.cloud.add_node("new", |node| node.image(IMAGE)))).await;
}

#[tokio::test]
async fn a_container_corrupted_by_an_engine_crash_is_recreated() {
    let harness = Harness::with(&["a", "b"]).await;
    let name = names::container_name("a");
    let old = harness.container("a").await.id;
    harness.faults.on(Verb::Start).named(name.clone()).times(1).fail(ErrorKind::Broken);
    harness.memory.kill(&name).expect("it is there");
    let is_another =
        || harness.view("a").is_some_and(|view| view.container.id != old && view.container.state.is_running());
    harness.eventually("another one runs", |host| is_another() && host.is_converged()).await;
    assert_eq!(harness.nodes_with_containers(), ["a", "b"]);
    assert_eq!(harness.journal.actions(), ["start a", "stop a", "remove a", "create a", "start a"]);
}

#[tokio::test]
async fn successive_lists_with_gaps_remove_and_hide_nothing() {
    let mut harness = Harness::with(&["a", "b", "c"]).await;
    for how in [MalformedResponse::NodeNull, MalformedResponse::NodeFailed, MalformedResponse::OnlyErrors] {
        harness.cloud.malform_next(how, 3);
        harness.cloud.set_audit(how == MalformedResponse::NodeFailed);
        harness.cloud.add_node("d", |node| node.image(IMAGE));
        harness.eventually("a new node starts anyway", |_| harness.runs("d")).await;
        harness.converged().await;
        assert_eq!(harness.nodes_with_containers(), ["a", "b", "c", "d"], "{how:?}");
        // A removal with a message takes effect, also with a gap.
        harness.cloud.malform_next(how, 1);
        harness.cloud.remove_node("d");
        harness.eventually("it is removed", |_| harness.nodes_with_containers() == ["a", "b", "c"]).await;
        harness.converged().await;
    }
    harness.probe("a").await;
}
