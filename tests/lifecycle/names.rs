//! Nodes and apps with names that engines do not accept.

use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::commands::Node;
use managed_app_runtimes::labels;

use crate::harness::{Harness, IMAGE, Plan};

#[tokio::test]
async fn names_may_have_spaces_colons_and_200_characters() {
    let long = "n".repeat(200);
    let long_too = format!("{}!", "n".repeat(199));
    let all = ["a node: 7", "plant/line: Überlauf", "-", "a.next", "a", "A", &long, &long_too];
    let app = format!("an app: {}", "x".repeat(190));
    let cloud = FakeCloud::builder().app(&app).tenant("a tenant: 1").start().await.expect("127.0.0.1 has free ports");
    let mut harness = Plan::of(cloud).nodes(&all).up().await;
    let mut sorted = all.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(harness.nodes_with_containers(), sorted);
    for node in all {
        let view = harness.view(node).unwrap_or_else(|| panic!("{node:?} has a container"));
        let spec = view.spec.expect("the daemon created it");
        assert_eq!((spec.env["NODE"].expose(), spec.labels[labels::NODE].as_str()), (node, node));
        assert!(spec.hostname.len() <= 63 && spec.name.len() <= 63, "{node:?}");
    }
    harness.cloud.connect(all[0], &long);
    harness.cloud.remove_node(all[1]);
    harness.eventually("both ends restart", |h| [all[0], &long].iter().all(|n| h.journal.starts(n) == 1)).await;
    harness.eventually("the other is gone", |_| harness.view(all[1]).is_none()).await;
    harness.probe("a").await;
    assert_eq!(harness.journal.starts(&long_too), 0);
}

#[tokio::test]
async fn a_node_named_like_a_temporary_name_blocks_no_replacement() {
    let names = ["web", "web.next", "web-next", "web next"];
    let harness = Plan::new().await.nodes(&names).node("web.next.next", Node::default().image(IMAGE)).up().await;
    let before = names.map(|node| harness.view(node).map(|view| view.container.id));
    harness.cloud.change_ports("web", vec![managed_app_fakes::cloud::commands::Port::tcp(8080, 80)]);
    let id = |harness: &Harness| harness.view("web").map(|view| view.container.id);
    harness.eventually("web is replaced", |host| id(&harness) != before[0] && host.is_converged()).await;
    for (node, before) in names.iter().zip(before).skip(1) {
        assert_eq!(harness.view(node).map(|view| view.container.id), before, "{node}");
    }
}
