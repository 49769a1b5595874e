//! Rollouts from every state that a crash can leave, on containers that are plain data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::labels::SpecRecord;
use crate::workload::Revision;
use crate::{ContainerSpec, ContainerState, Hardening, ImageId, LogSettings, Origin};

/// More steps than any rollout needs.
const STEPS_MAX: usize = 20;

pub fn target(node: &str) -> Target {
    let spec = ContainerSpec {
        name: node.to_owned(),
        hostname: node.to_owned(),
        image: "registry.test/image:1".parse().expect("a reference"),
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        network: "app".to_owned(),
        aliases: [].into(),
        ports: vec![],
        mounts: vec![],
        logs: LogSettings::Engine { file_bytes_max: 1, files_max: 1 },
        stop_grace: Duration::from_secs(30),
        hardening: Hardening::default(),
    };
    let revision = Revision::new("2", None);
    Target { spec: Arc::new(spec), revision, image_id: None, kept_logs: None }
}

/// A container of the target, or of another spec if its ID begins with `old`.
fn instance(id: &str, name: &str, state: ContainerState) -> Instance {
    let target = target("a");
    let mut spec = (*target.spec).clone();
    if id.starts_with("old") {
        spec.hostname = "before".to_owned();
    }
    Instance {
        id: ContainerId(id.to_owned()),
        node: "a".to_owned(),
        name: name.to_owned(),
        image_id: ImageId("sha256:1".to_owned()),
        state,
        origin: Origin::Labelled,
        networks: vec![spec.network.clone()],
        record: Some(Arc::new(SpecRecord::new(&spec, "salt"))),
        revision: None,
        started_at: None,
        restarts: None,
        last_exit: None,
    }
}

fn exited() -> ContainerState {
    ContainerState::Exited { code: Some(1) }
}

/// A host on which steps are executed.
struct Host {
    containers: Vec<Instance>,
    /// Containers that have stayed up.
    steady: Vec<ContainerId>,
    /// Whether new containers stay up.
    stays_up: bool,
    steps: Vec<String>,
}

impl Host {
    fn new(containers: Vec<Instance>, stays_up: bool) -> Self {
        Self { containers, steady: vec![], stays_up, steps: vec![] }
    }

    fn set(&mut self, id: &ContainerId, state: ContainerState) {
        self.containers.iter_mut().find(|c| c.id == *id).expect("it exists").state = state;
    }

    fn running(&self) -> Vec<&str> {
        self.containers.iter().filter(|c| c.state.is_running()).map(|c| c.id.0.as_str()).collect()
    }

    fn execute(&mut self, step: &Step) -> StepResult {
        let join = |ids: &[ContainerId]| ids.iter().map(|id| id.0.clone()).collect::<Vec<_>>().join(" ");
        let text = match step {
            Step::Create { name, .. } => {
                assert!(self.containers.iter().all(|c| c.name != *name), "{name} is free");
                self.containers.push(instance("new", name, ContainerState::Created));
                self.steps.push("create".to_owned());
                return StepResult::Created(Some(ContainerId("new".to_owned())));
            }
            Step::Record(id) => format!("record {id}"),
            Step::Stop(ids) => {
                ids.iter().for_each(|id| self.set(id, exited()));
                format!("stop {}", join(ids))
            }
            Step::Start(id) => {
                self.set(id, ContainerState::Running);
                format!("start {id}")
            }
            Step::Watch(id) => {
                self.steps.push(format!("watch {id}"));
                if self.stays_up {
                    self.steady.push(id.clone());
                    return StepResult::Done;
                }
                return StepResult::NotStayingUp("it exited".to_owned());
            }
            Step::Remove(ids) => {
                assert!(
                    !self.steady.is_empty(),
                    "old ones are removed after the new one has stayed up: {:?}",
                    self.steps
                );
                self.containers.retain(|c| !ids.contains(&c.id));
                format!("remove {}", join(ids))
            }
            Step::Discard(id) => {
                self.containers.retain(|c| c.id != *id);
                format!("discard {id}")
            }
            Step::Rename { id, name } => {
                self.containers.iter_mut().find(|c| c.id == *id).expect("it exists").name.clone_from(name);
                format!("rename {id}")
            }
            Step::End(_) => return StepResult::Done,
        };
        self.steps.push(text);
        StepResult::Done
    }

    /// Runs a rollout, which dies before its step number `dies_before`; its end if it does not.
    fn roll_out(&mut self, strategy: Strategy, dies_before: usize) -> Option<End> {
        let (mut rollout, mut step) = Rollout::begin(&target("a"), strategy, &self.containers, 7);
        for _ in 0..dies_before.min(STEPS_MAX) {
            if let Step::End(end) = step {
                return Some(end);
            }
            let result = self.execute(&step);
            let most = if strategy == Strategy::StartFirst { 2 } else { 1 };
            assert!(self.running().len() <= most, "{:?} run after {:?}", self.running(), self.steps);
            step = rollout.next(result);
        }
        assert!(dies_before < STEPS_MAX, "it does not end: {:?}", self.steps);
        None
    }
}

#[test]
fn each_leftover_of_the_table_is_continued() {
    use ContainerState::{Created, Running};
    let first = &next_name("a");
    let old = |state| instance("old", "a", state);
    let new = |state| instance("new", first, state);
    let table: [(&str, Strategy, Vec<Instance>, &str); 11] = [
        ("nothing", Strategy::StopFirst, vec![], "create, record new, start new"),
        (
            "old one runs",
            Strategy::StopFirst,
            vec![old(Running)],
            "create, record new, stop old, start new, watch new, remove old, rename new",
        ),
        (
            "the same, start first",
            Strategy::StartFirst,
            vec![old(Running)],
            "create, record new, start new, watch new, remove old, rename new",
        ),
        (
            "old one runs, new one created",
            Strategy::StopFirst,
            vec![old(Running), new(Created)],
            "record new, stop old, start new, watch new, remove old, rename new",
        ),
        (
            "old one runs, new one exited, start first",
            Strategy::StartFirst,
            vec![old(Running), new(exited())],
            "record new, start new, watch new, remove old, rename new",
        ),
        (
            "both stopped",
            Strategy::StartFirst,
            vec![old(exited()), new(Created)],
            "record new, stop old, start new, watch new, remove old, rename new",
        ),
        (
            "old one stopped, new one runs",
            Strategy::StopFirst,
            vec![old(exited()), new(Running)],
            "stop old, watch new, remove old, rename new",
        ),
        (
            "both run",
            Strategy::StopFirst,
            vec![old(Running), new(Running)],
            "stop old, watch new, remove old, rename new",
        ),
        (
            "both run, start first",
            Strategy::StartFirst,
            vec![old(Running), new(Running)],
            "watch new, remove old, rename new",
        ),
        ("new one alone", Strategy::StopFirst, vec![new(Running)], "rename new"),
        ("reached", Strategy::StopFirst, vec![instance("new", "a", Running)], ""),
    ];
    for (leftover, strategy, containers, steps) in table {
        let mut host = Host::new(containers, true);
        let end = host.roll_out(strategy, STEPS_MAX);
        assert!(matches!(&end, Some(End::Done(id)) if id.0 == "new"), "{leftover}: {end:?}");
        assert_eq!(host.steps.join(", "), steps, "{leftover}");
    }
}

#[test]
fn a_container_that_does_not_stay_up_is_rolled_back() {
    let table = [
        (
            Strategy::StopFirst,
            "create, record new, stop old, start new, watch new, stop new, record old, start old, discard new",
        ),
        (Strategy::StartFirst, "create, record new, start new, watch new, stop new, discard new"),
    ];
    for (strategy, steps) in table {
        let mut host = Host::new(vec![instance("old", "a", ContainerState::Running)], false);
        let Some(End::RolledBack(cause)) = host.roll_out(strategy, STEPS_MAX) else { panic!("{:?}", host.steps) };
        assert_eq!(cause.text, "the new container did not stay up: it exited; the old one runs");
        assert!(cause.is_certain);
        assert_eq!((host.steps.join(", "), host.running()), (steps.to_owned(), vec!["old"]));
    }
}

#[test]
fn an_unusable_container_is_replaced_without_a_window() {
    let cut_off = Instance { networks: vec![], ..instance("new", "a", ContainerState::Running) };
    for before in [cut_off, instance("new", "a", ContainerState::Dead)] {
        let before = Instance { id: ContainerId("unusable".to_owned()), ..before };
        let (mut rollout, mut step) = Rollout::begin(&target("a"), Strategy::StopFirst, &[before], 7);
        let mut steps = Vec::new();
        while !matches!(step, Step::End(_)) {
            steps.push(format!("{step:?}").split([' ', '(']).next().unwrap_or_default().to_owned());
            let is_create = matches!(step, Step::Create { .. });
            let created = StepResult::Created(Some(ContainerId("new".to_owned())));
            step = rollout.next(if is_create { created } else { StepResult::Done });
        }
        assert_eq!(steps.join(", "), "Create, Record, Stop, Start, Remove, Rename");
    }
}

#[test]
fn three_containers_never_run_at_once() {
    let two = ["old1", "old2"].map(|id| instance(id, id, ContainerState::Running));
    let mut host = Host::new(vec![], true);
    host.containers.extend(two);
    let (mut rollout, mut step) = Rollout::begin(&target("a"), Strategy::StartFirst, &host.containers, 7);
    while !matches!(step, Step::End(_)) {
        let result = host.execute(&step);
        assert!(host.running().len() <= 2, "{:?}", host.steps);
        step = rollout.next(result);
    }
    assert!(host.steps.contains(&"stop old1 old2".to_owned()), "{:?}", host.steps);
}

#[test]
fn every_crash_in_a_rollout_is_continued() {
    let exited = || ContainerState::Exited { code: Some(1) };
    let states = [ContainerState::Created, ContainerState::Running, ContainerState::Restarting, exited()];
    let names = [next_name("a"), format!("{}-0123abcd", next_name("a")), "a".to_owned()];
    let mut count = 0;
    for strategy in [Strategy::StopFirst, Strategy::StartFirst] {
        for old in states.iter().map(Some).chain([None]) {
            for new in states.iter().map(Some).chain([None]) {
                for name in &names {
                    let is_one_up = [old, new].into_iter().flatten().filter(|state| state.is_running()).count() < 2;
                    if old.is_some() && name == "a" || (strategy == Strategy::StopFirst && !is_one_up) {
                        continue;
                    }
                    for dies_before in 0..STEPS_MAX - 1 {
                        let old = old.map(|state| instance("old", "a", state.clone()));
                        let new = new.map(|state| instance("new", name, state.clone()));
                        let mut host = Host::new(old.into_iter().chain(new).collect(), true);
                        let end = host.roll_out(strategy, dies_before).or_else(|| host.roll_out(strategy, STEPS_MAX));
                        assert!(matches!(&end, Some(End::Done(id)) if id.0 == "new"), "{end:?} {:?}", host.steps);
                        assert_eq!((host.running(), host.containers.len()), (vec!["new"], 1), "{:?}", host.steps);
                        assert_eq!(host.containers[0].name, "a");
                        count += 1;
                    }
                }
            }
        }
    }
    assert!(count > 1_000, "{count}");
}

#[test]
fn a_start_that_fails_blames_the_container_or_not() {
    let table = [
        (ErrorKind::Refused, false, true),
        (ErrorKind::Conflict, false, true),
        (ErrorKind::Conflict, true, false),
        (ErrorKind::Unreachable, false, false),
        (ErrorKind::Other, false, false),
    ];
    for (kind, has_waited, is_certain) in table {
        let old = instance("old", "a", ContainerState::Running);
        let (mut rollout, mut step) = Rollout::begin(&target("a"), Strategy::StopFirst, &[old], 7);
        let end = loop {
            step = match step {
                Step::End(end) => break end,
                Step::Create { .. } => rollout.next(StepResult::Created(Some(ContainerId("new".to_owned())))),
                Step::Start(id) if id.0 == "new" => {
                    let error = RuntimeError::new(kind, "start container", "a");
                    rollout.next(StepResult::NotStarted { error, has_waited })
                }
                _ => rollout.next(StepResult::Done),
            };
        };
        assert!(matches!(&end, End::RolledBack(cause) if cause.is_certain == is_certain), "{kind:?}: {end:?}");
    }
}

#[test]
fn the_next_container_has_a_name_that_no_node_can_have() {
    for node in ["web", "web.next", &"n".repeat(200)] {
        let name = names::container_name(node);
        let next = next_name(&name);
        assert!(next != name && names::container_name(&next) != next, "{next}");
    }
}
