//! The simulation without cloud and engine.

use std::collections::BTreeMap;

use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{Container, ContainerState, ImageId, Origin, Owner, labels};

use super::*;
use crate::model::{App, Node, NodeName, NodeType, Tenant};
use crate::reconciler::{AppInputs, NodeLogSettings, Policy};

const IMAGE: &str = "registry.test/img:1";

fn settings() -> Settings {
    Settings {
        owner: Owner { app: "app".to_owned(), tenant: "tenant".to_owned(), host: "host".to_owned() },
        env: BTreeMap::new(),
        logs: NodeLogSettings::Engine { file_bytes_max: 1, files_max: 1 },
        kept_logs: None,
        stop_grace: Duration::from_secs(30),
        resync: Duration::from_secs(300),
        overlap: false,
        remove_nodes_with_app: false,
        policy: Policy::open(),
        hardening: Default::default(),
    }
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a valid name")
}

fn node(text: &str, image: &str) -> Node {
    Node {
        name: name(text),
        node_type: NodeType { name: "type".to_owned(), image_uri: image.to_owned(), registry: None },
        config: None,
        logging_level: None,
        is_stopped: false,
        ports: vec![],
        mounts: vec![],
        receive_edges: vec![],
        send_edges: vec![],
        receive_message_type: None,
        send_message_type: None,
    }
}

fn app(nodes: &[(&str, &str)]) -> Arc<App> {
    Arc::new(App {
        name: "app".to_owned(),
        tenant: Tenant {
            name: "tenant".to_owned(),
            region: "us-east-1".to_owned(),
            config: None,
            audit: false,
            table: "table".to_owned(),
        },
        config: None,
        table_access: false,
        audit_records_endpoint: None,
        change_receiver: None,
        nodes: nodes.iter().map(|(text, image)| (name(text), node(text, image))).collect(),
        invalid_nodes: BTreeMap::new(),
        is_complete: true,
    })
}

/// The container that `run` would have created for a node, with the revision that it read.
fn container(app: &App, text: &str, content: &str) -> (Container, Revision) {
    let desired = settings().desired(app, &app.nodes[&name(text)], &AppInputs::of(app)).expect("a good node");
    let spec = &desired.target.spec;
    let mut labels = spec.labels.clone();
    labels.insert(labels::SPEC.to_owned(), SpecRecord::new(spec, "salt").to_label());
    let container = Container {
        id: ContainerId(format!("id-of-{text}")),
        name: spec.name.clone(),
        image_id: ImageId(content.to_owned()),
        labels,
        state: ContainerState::Running,
        networks: vec![spec.network.clone()],
        started_at: None,
        restarts: None,
        last_exit: None,
        origin: Origin::Labelled,
    };
    (container, desired.target.revision)
}

/// The preview for `snapshot` with running `containers`, and `present` as the local copy of all images.
fn preview(snapshot: Snapshot, containers: Vec<(Container, Revision)>, present: Option<&str>) -> Preview {
    let revisions = containers.iter().map(|(container, revision)| (container.id.clone(), revision.clone())).collect();
    let (mut simulation, required) = Simulation::begin(&settings(), revisions, snapshot);
    let present = present.map(|id| ImageId(id.to_owned()));
    let images = required.into_iter().map(|reference| Image { reference, present: present.clone() }).collect();
    simulation.observe(images, containers.into_iter().map(|(container, _)| container).collect());
    simulation.finish()
}

fn verb(preview: &Preview, node: &str) -> &'static str {
    match preview.nodes.get(&name(node)) {
        Some(Step::Act { verb, .. }) => verb,
        Some(Step::Nothing) => "nothing",
        Some(Step::Blocked(_)) => "left",
        None => "unknown",
    }
}

#[test]
fn each_node_gets_its_first_step() {
    let before = app(&[("same", IMAGE), ("moved", IMAGE), ("gone", IMAGE)]);
    let after = app(&[("same", IMAGE), ("moved", "registry.test/img:2"), ("new", IMAGE), ("bad", "img")]);
    let containers = ["same", "moved", "gone"].map(|node| container(&before, node, "sha256:1")).to_vec();
    let preview = preview(Snapshot::App(after), containers, Some("sha256:1"));
    let verbs = ["same", "moved", "gone", "new", "bad"].map(|node| verb(&preview, node));
    assert_eq!(verbs, ["nothing", "replace", "remove", "create", "left"]);
    assert_eq!((preview.count(), preview.images.len()), (3, 2));
}

#[test]
fn image_without_local_copy_causes_no_replacement() {
    let app = app(&[("a", IMAGE), ("new", IMAGE)]);
    let containers = vec![container(&app, "a", "sha256:1")];
    let preview = preview(Snapshot::App(app), containers, None);
    assert_eq!((verb(&preview, "a"), verb(&preview, "new")), ("nothing", "create"));
    let reason = "it has no container, as soon as its image is pulled".to_owned();
    assert_eq!(preview.nodes[&name("new")], Step::Act { verb: "create", reason });
}

#[test]
fn newer_local_image_content_causes_a_replacement() {
    let app = app(&[("a", IMAGE)]);
    let containers = vec![container(&app, "a", "sha256:1")];
    assert_eq!(verb(&preview(Snapshot::App(app), containers, Some("sha256:2")), "a"), "replace");
}

#[test]
fn removed_app_stops_its_nodes() {
    let app = app(&[("a", IMAGE)]);
    let containers = vec![container(&app, "a", "sha256:1")];
    let preview = preview(Snapshot::Gone, containers, None);
    assert_eq!(verb(&preview, "a"), "stop");
}
