//! The reconciler alone: no engine, no cloud, no clock. One change among few and many nodes, a whole convergence in
//! memory, and hints that agree with what is known. Run with `cargo bench --bench reconciler`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use managed_app::model::{App, Change, Edge, Node, NodeName, NodeType, Snapshot, Tenant};
use managed_app::reconciler::{
    Effect, Event, Listing, Made, NodeLogSettings, Operation, Outcome, Pulled, Reconciler, Settings,
};
use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{Action, ContainerId, EngineEvent, ImageId, Owner};

const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn settings() -> Settings {
    Settings {
        owner: Owner { app: "app".to_owned(), tenant: "tenant".to_owned(), host: "host".to_owned() },
        env: BTreeMap::new(),
        logs: NodeLogSettings::Engine { file_bytes_max: 1, files_max: 1 },
        stop_grace: Duration::from_secs(30),
        resync: Duration::from_secs(300),
        overlap: false,
        remove_nodes_with_app: false,
    }
}

fn name(index: usize) -> NodeName {
    NodeName::new(format!("node-{index}")).expect("a valid name")
}

fn node(index: usize) -> Node {
    Node {
        name: name(index),
        node_type: NodeType { name: "type".to_owned(), image_uri: "registry.test/image:1".to_owned() },
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

fn app(size: usize) -> App {
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

/// Carries all effects out at once; returns how many operations there were.
fn settle(reconciler: &mut Reconciler, event: Event, app: &Arc<App>) -> usize {
    let mut operations = 0;
    let mut events = vec![event];
    while let Some(event) = events.pop() {
        for effect in reconciler.on(event, Duration::ZERO) {
            match effect {
                Effect::FetchSnapshot => events.push(Event::Snapshot(Ok(Snapshot::App(app.clone())))),
                Effect::List => events.push(Event::Listed(Ok(Listing::default()))),
                Effect::Pull(image) => {
                    let outcome = Pulled::Fresh(ImageId("sha256:1".to_owned()));
                    events.push(Event::Pulled { image, outcome });
                }
                Effect::Operate { node, operation, .. } => {
                    operations += 1;
                    events.push(Event::Finished { outcome: outcome(&node, operation), node });
                }
                Effect::Listen(_) | Effect::Forget(_) | Effect::Ready | Effect::Finish(_) => {}
            }
        }
    }
    operations
}

fn outcome(node: &NodeName, operation: Operation) -> Outcome {
    match operation {
        Operation::Create(target) => Outcome::Made(Box::new(Made {
            id: ContainerId(node.to_string()),
            name: target.spec.name.clone(),
            record: SpecRecord::new(&target.spec, "salt"),
            revision: target.revision,
            image_id: ImageId("sha256:1".to_owned()),
        })),
        Operation::Restart { id, revision } => Outcome::Started { id, revision: Some(revision) },
        other => panic!("{} is not expected here", other.verb()),
    }
}

fn converged(size: usize) -> (Reconciler, Arc<App>) {
    let app = Arc::new(app(size));
    let mut reconciler = Reconciler::new(settings(), 1);
    assert_eq!(settle(&mut reconciler, Event::Begin, &app), size);
    (reconciler, app)
}

fn one_change(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one_change");
    for size in SIZES {
        let (mut reconciler, before) = converged(size);
        let mut after = App::clone(&before);
        let edge = Edge { other: "elsewhere".to_owned(), queue: "queue".to_owned() };
        after.nodes.get_mut(&name(0)).expect("it is there").send_edges.push(edge);
        let states = [before, Arc::new(after)];
        let mut turn = 0;
        group.bench_with_input(BenchmarkId::from_parameter(size), &size, |bencher, _| {
            bencher.iter(|| {
                turn += 1;
                let event = Event::Change(Change::Edge(vec![name(0)]));
                assert_eq!(settle(&mut reconciler, event, &states[turn % 2]), 1);
            });
        });
    }
    group.finish();
}

fn convergence(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("convergence");
    group.sample_size(10);
    for size in SIZES {
        let app = Arc::new(app(size));
        group.throughput(Throughput::Elements(size as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &size, |bencher, _| {
            let fresh = || Reconciler::new(settings(), 1);
            let run = |mut reconciler| settle(&mut reconciler, Event::Begin, &app);
            bencher.iter_batched(fresh, run, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn hints(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hints");
    group.throughput(Throughput::Elements(1));
    for size in SIZES {
        let (mut reconciler, _) = converged(size);
        let hint = EngineEvent {
            container: ContainerId(name(0).to_string()),
            name: name(0).to_string(),
            action: Action::Started,
            at: None,
        };
        group.bench_with_input(BenchmarkId::from_parameter(size), &size, |bencher, _| {
            bencher.iter(|| black_box(reconciler.on(Event::Hint(hint.clone()), Duration::ZERO)));
        });
    }
    group.finish();
}

criterion_group!(benches, one_change, convergence, hints);
criterion_main!(benches);
