//! One node whose engine calls hang, beside healthy ones, call by call; and answers of the cloud with gaps.

use managed_app_fakes::cloud::Spoiled;
use managed_app_fakes::cloud::words::Port;
use managed_app_fakes::faulty::Verb;
use managed_app_runtimes::{ErrorKind, names};

use crate::site::{IMAGE, Site};

/// `act` makes the daemon call `verb` for the node `a`, and that call hangs; everybody else is served meanwhile.
async fn check_hung(verb: Verb, subject: &str, act: impl FnOnce(&Site)) {
    let site = Site::with(&["a", "b"]).await;
    let hung = site.faults.on(verb).named(names::container_name(subject)).times(1).hang();
    act(&site);
    site.eventually("the call hangs", |_| site.faults.faults_met() == 1).await;
    site.cloud.set_node_config("b", r#"{"x":1}"#);
    site.eventually("b restarts", |host| host.journal.starts("b") == 1).await;
    site.cloud.add_node("c", |node| node.image(IMAGE));
    site.eventually("c comes", |_| site.runs("c")).await;
    site.cloud.remove_node("c");
    site.eventually("c goes", |_| site.view("c").is_none()).await;
    site.memory.kill(&names::container_name("b")).expect("it is there");
    site.eventually("b is repaired", |_| site.runs("b")).await;
    site.eventually("its call goes on", |host| host.status().is_some_and(|status| !status.is_converged)).await;
    hung.release();
    site.converged().await;
}

#[tokio::test]
async fn a_hung_call_of_one_node_holds_up_no_other() {
    check_hung(Verb::Restart, "a", |site| drop(site.cloud.set_node_config("a", r#"{"x":1}"#))).await;
    check_hung(Verb::Stop, "a", |site| drop(site.cloud.remove_node("a"))).await;
    check_hung(Verb::Remove, "a", |site| drop(site.cloud.remove_node("a"))).await;
    check_hung(Verb::Stop, "a", |site| drop(site.cloud.change_ports("a", vec![Port::tcp(8080, 80)]))).await;
    check_hung(Verb::Create, "new", |site| drop(site.cloud.add_node("new", |node| node.image(IMAGE)))).await;
    check_hung(Verb::Start, "new", |site| drop(site.cloud.add_node("new", |node| node.image(IMAGE)))).await;
}

#[tokio::test]
async fn a_container_that_a_crash_of_the_engine_has_spoiled_is_made_anew() {
    let site = Site::with(&["a", "b"]).await;
    let name = names::container_name("a");
    let old = site.container("a").await.id;
    site.faults.on(Verb::Start).named(name.clone()).times(1).fail(ErrorKind::Broken);
    site.memory.kill(&name).expect("it is there");
    let is_another =
        || site.view("a").is_some_and(|view| view.container.id != old && view.container.state.is_running());
    site.eventually("another one runs", |host| is_another() && host.is_converged()).await;
    assert_eq!(site.nodes_with_containers(), ["a", "b"]);
    assert_eq!(site.journal.acts(), ["start a", "stop a", "remove a", "create a", "start a"]);
}

#[tokio::test]
async fn lists_with_gaps_one_after_another_remove_nothing_and_hide_no_change() {
    let mut site = Site::with(&["a", "b", "c"]).await;
    for how in [Spoiled::NodeNull, Spoiled::NodeFailed, Spoiled::OnlyErrors] {
        site.cloud.spoil_next(how, 3);
        site.cloud.set_audit(how == Spoiled::NodeFailed);
        site.cloud.add_node("d", |node| node.image(IMAGE));
        site.eventually("a new one comes all the same", |_| site.runs("d")).await;
        site.converged().await;
        assert_eq!(site.nodes_with_containers(), ["a", "b", "c", "d"], "{how:?}");
        // A removal that was told counts, gap or not.
        site.cloud.spoil_next(how, 1);
        site.cloud.remove_node("d");
        site.eventually("it goes", |_| site.nodes_with_containers() == ["a", "b", "c"]).await;
        site.converged().await;
    }
    site.probe("a").await;
}
