//! A model for the reconciler alone: no engine, no cloud, no clock. Shared by the benches and `tests/costs`.

// Each user needs a part of this module.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use managed_app::model::{App, Change, Edge, Node, NodeName, NodeType, Snapshot, Tenant};
use managed_app::reconciler::{
    Effect, Event, NodeLogSettings, Operation, Outcome, Policy, Pulled, Reconciler, Settings,
};
use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{Action, ContainerId, ContainerState, EngineEvent, ImageId, Instance, Origin, Owner};

/// Numbers of nodes to compare.
pub const SIZES: [usize; 3] = [10, 1_000, 10_000];

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

fn name(index: usize) -> NodeName {
    NodeName::new(format!("node-{index}")).expect("a valid name")
}

fn node(index: usize) -> Node {
    Node {
        name: name(index),
        node_type: NodeType { name: "type".to_owned(), image_uri: "registry.test/image:1".to_owned(), registry: None },
        config: Some(r#"{"key":"value"}"#.to_owned()),
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

/// An app of `size` nodes.
pub fn app(size: usize) -> App {
    let tenant = Tenant {
        name: "tenant".to_owned(),
        region: "us-east-1".to_owned(),
        config: None,
        audit: false,
        table: "table".to_owned(),
    };
    App {
        name: "app".to_owned(),
        tenant,
        config: None,
        table_access: false,
        audit_records_endpoint: None,
        change_receiver: None,
        nodes: (0..size).map(|index| (name(index), node(index))).collect(),
        invalid_nodes: BTreeMap::new(),
        is_complete: true,
    }
}

/// Executes all effects at once; returns the number of operations.
pub fn settle(reconciler: &mut Reconciler, event: Event, app: &Arc<App>) -> usize {
    settle_with(reconciler, event, &Snapshot::App(app.clone()))
}

fn settle_with(reconciler: &mut Reconciler, event: Event, snapshot: &Snapshot) -> usize {
    let mut operations = 0;
    let mut events = vec![event];
    while let Some(event) = events.pop() {
        for effect in reconciler.on(event, Duration::ZERO) {
            match effect {
                Effect::FetchSnapshot => events.push(Event::Snapshot(Ok(snapshot.clone()))),
                Effect::List => events.push(Event::Listed(Ok(vec![]))),
                Effect::Pull(image) => {
                    let outcome = Pulled::Fresh(ImageId("sha256:1".to_owned()));
                    events.push(Event::Pulled { image, outcome });
                }
                Effect::Operate { node, operation, .. } => {
                    operations += 1;
                    events.push(Event::Finished { outcome: outcome(&node, operation), node });
                }
                Effect::Listen(_) | Effect::CrashLoop { .. } | Effect::Ready | Effect::Finish(_) => {}
            }
        }
    }
    operations
}

fn outcome(node: &NodeName, operation: Operation) -> Outcome {
    match operation {
        Operation::Create(target) => Outcome::Created(Box::new(Instance {
            id: ContainerId(node.to_string()),
            node: node.to_string(),
            name: target.spec.name.clone(),
            image_id: ImageId("sha256:1".to_owned()),
            state: ContainerState::Running,
            origin: Origin::Labelled,
            networks: vec![target.spec.network.clone()],
            record: Some(Arc::new(SpecRecord::new(&target.spec, "salt"))),
            revision: Some(target.revision),
            started_at: None,
            restarts: Some(0),
            last_exit: None,
        })),
        Operation::Restart { id, revision } => Outcome::Started { id, revision: Some(revision) },
        other => panic!("{} is not expected here", other.verb()),
    }
}

/// A reconciler with `size` nodes in their desired state.
pub fn converged(size: usize) -> (Reconciler, Arc<App>) {
    let app = Arc::new(app(size));
    let mut reconciler = fresh();
    assert_eq!(settle(&mut reconciler, Event::Begin, &app), size);
    (reconciler, app)
}

/// A reconciler without state.
pub fn fresh() -> Reconciler {
    Reconciler::new(settings(), 1)
}

/// The first event.
pub fn begin() -> Event {
    Event::Begin
}

/// An engine event without a difference for one node.
pub fn engine_event(index: usize) -> Event {
    Event::Engine(EngineEvent {
        container: ContainerId(name(index).to_string()),
        name: name(index).to_string(),
        action: Action::Started,
        at: None,
        exit_code: None,
    })
}

/// An app in which an edge of one node is added and removed alternately. Snapshots have the form that the driver passes
/// to the reconciler: compared with the previous one, outside of its loop.
pub struct Changing {
    reconciler: Reconciler,
    answers: [Snapshot; 2],
    turn: usize,
}

impl Changing {
    /// All `size` nodes are in their desired state.
    pub fn new(size: usize) -> Self {
        let (reconciler, before) = converged(size);
        let mut after = App::clone(&before);
        let edge = Edge { other: "elsewhere".to_owned(), queue: "queue".to_owned() };
        after.nodes.get_mut(&name(0)).expect("it is there").send_edges.push(edge);
        let after = Arc::new(after);
        let answer = |app: &Arc<App>, before| Snapshot::App(app.clone()).since(Some(before));
        let answers = [answer(&before, &after), answer(&after, &before)];
        Self { reconciler, answers, turn: 0 }
    }

    /// One change, from its message to the recorded restart of its node.
    pub fn change(&mut self) {
        self.turn += 1;
        let event = Event::Change(Change::Edge(vec![name(0)]));
        assert_eq!(settle_with(&mut self.reconciler, event, &self.answers[self.turn % 2]), 1);
    }
}
