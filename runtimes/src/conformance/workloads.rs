//! Checks: the life of a workload. They need only a [`WorkloadEngine`] and a target; here it is a [`HostEngine`] over the
//! backend.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::bench::{Bench, SOON};
use super::host::host_engine;
use super::outcome::{ensure, ensure_eq};
use super::{Act, Check, Failure, Outcome, Program, checks};
use crate::workload::{Applied, Instance, Revision, Started, Strategy, Target, WorkloadEngine};
use crate::{ContainerState, EnvValue, Mount, MountSource, labels, names, next_name};

pub(super) const CHECKS: &[Check] = checks![
    apply_creates_one_running_instance,
    apply_of_the_same_target_touches_nothing,
    apply_of_another_spec_replaces_the_instance,
    start_first_replaces_the_instance_too,
    a_target_that_cannot_start_leaves_the_old_instance,
    a_target_without_its_image_leaves_the_old_instance,
    an_interrupted_apply_is_continued,
    restart_keeps_the_instance_and_records_the_revision,
    a_stopped_instance_can_be_started,
    remove_leaves_nothing_of_the_workload,
    a_closed_engine_begins_no_operation,
];

/// How long a new instance must stay up.
const WINDOW: Duration = Duration::from_millis(500);

/// An engine of workloads with one workload.
struct Workload {
    engine: Arc<dyn WorkloadEngine>,
    target: Target,
}

impl Workload {
    async fn new(bench: &Bench<'_>) -> Outcome<Self> {
        let node = bench.name("node");
        let mut spec = bench.spec("node", Program::Idle);
        spec.name = names::container_name(&node);
        spec.labels.insert(labels::NODE.to_owned(), node);
        for name in [spec.name.clone(), next_name(&spec.name)] {
            bench.subject.prepare(&name, Program::Idle).await?;
        }
        let target = Target { spec: Arc::new(spec), revision: revision("1"), image_id: None, kept_logs: None };
        let engine = Arc::new(host_engine(bench.runtime.clone(), bench.owner.clone(), WINDOW));
        engine.observe().await?;
        Ok(Self { engine, target })
    }

    /// The target with another environment, which only another instance has.
    fn changed(&self, value: &str) -> Target {
        let mut spec = (*self.target.spec).clone();
        spec.env.insert("VERSION".to_owned(), EnvValue::Plain(value.to_owned()));
        Target { spec: Arc::new(spec), revision: revision(value), ..self.target.clone() }
    }

    async fn applied(&self, target: &Target, strategy: Strategy) -> Outcome<Instance> {
        match self.engine.apply(target, strategy).await? {
            Applied::Done(instance) => Ok(*instance),
            other => Err(Failure::new(format!("apply: {other:?}"))),
        }
    }

    /// A running instance of the target that handles the stop signal.
    async fn running(&self) -> Outcome<Instance> {
        let instance = self.applied(&self.target, Strategy::StopFirst).await?;
        sleep(WINDOW).await;
        Ok(instance)
    }

    /// The only instance.
    async fn only(&self) -> Outcome<Instance> {
        let mut found = self.engine.observe().await?;
        ensure_eq!(found.len(), 1, format!("instances in {found:?}"));
        Ok(found.remove(0))
    }

    /// Waits until the workload is one running instance of `target` under its final name.
    async fn is(&self, target: &Target) -> Outcome<Instance> {
        let only = self.only().await?;
        ensure_eq!(only.state, ContainerState::Running, "state");
        ensure_eq!(only.name, target.spec.name, "name");
        ensure_eq!(only.revision, Some(target.revision.clone()), "revision");
        ensure_eq!(target.differences(&only), vec![], "differences to the target");
        Ok(only)
    }
}

fn revision(text: &str) -> Revision {
    Revision::new(text, None)
}

async fn apply_creates_one_running_instance(bench: &Bench<'_>) -> Outcome {
    let workload = Workload::new(bench).await?;
    let applied = workload.applied(&workload.target, Strategy::StopFirst).await?;
    let only = workload.is(&workload.target).await?;
    ensure_eq!((only.id, only.image_id), (applied.id, applied.image_id), "id and image");
    let known = workload.engine.subscribe().borrow().as_ref().map_or(0, |known| known.len());
    ensure_eq!(known, 1, "known instances");
    Ok(())
}

async fn apply_of_the_same_target_touches_nothing(bench: &Bench<'_>) -> Outcome {
    let workload = Workload::new(bench).await?;
    workload.running().await?;
    let before = workload.only().await?;
    workload.applied(&workload.target, Strategy::StopFirst).await?;
    ensure_eq!(workload.is(&workload.target).await?, before, "instance");
    Ok(())
}

async fn apply_of_another_spec_replaces_the_instance(bench: &Bench<'_>) -> Outcome {
    replaces(bench, Strategy::StopFirst).await
}

async fn start_first_replaces_the_instance_too(bench: &Bench<'_>) -> Outcome {
    replaces(bench, Strategy::StartFirst).await
}

async fn replaces(bench: &Bench<'_>, strategy: Strategy) -> Outcome {
    let workload = Workload::new(bench).await?;
    let old = workload.running().await?;
    let target = workload.changed("2");
    let new = workload.applied(&target, strategy).await?;
    ensure!(new.id != old.id, "it is the old instance");
    ensure_eq!(workload.is(&target).await?.id, new.id, "id");
    Ok(())
}

async fn a_target_that_cannot_start_leaves_the_old_instance(bench: &Bench<'_>) -> Outcome {
    let workload = Workload::new(bench).await?;
    let old = workload.running().await?;
    let absent = std::env::temp_dir().join(format!("absent-{}", bench.name("path")));
    bench.subject.act(Act::MakeFolder(&absent)).await?;
    bench.subject.act(Act::RemoveFolder(&absent)).await?;
    let mount = Mount { source: MountSource::Bind(absent.display().to_string()), target: "/data".to_owned() };
    let mut spec = (*workload.target.spec).clone();
    spec.mounts.push(mount);
    let target = Target { spec: Arc::new(spec), revision: revision("2"), ..workload.target.clone() };
    match workload.engine.apply(&target, Strategy::StopFirst).await {
        Ok(Applied::RolledBack { is_cause_certain, text }) => {
            ensure!(is_cause_certain, "the cause is the target: {text}");
            ensure!(text.contains("absent-"), "{text:?} does not name the path");
        }
        // An engine may find this when it creates the container: then the old one is not touched.
        Err(_) => {}
        other => return Err(Failure::new(format!("apply: {other:?}"))),
    }
    let only = workload.only().await?;
    ensure_eq!((only.id, only.state), (old.id, ContainerState::Running), "the old instance");
    Ok(())
}

async fn a_target_without_its_image_leaves_the_old_instance(bench: &Bench<'_>) -> Outcome {
    let workload = Workload::new(bench).await?;
    workload.running().await?;
    let old = workload.only().await?;
    let mut spec = (*workload.target.spec).clone();
    spec.image = format!("localhost/{}:1", bench.name("absent")).parse().expect("letters, digits and hyphens");
    let target = Target { spec: Arc::new(spec), ..workload.target.clone() };
    let applied = workload.engine.apply(&target, Strategy::StopFirst).await?;
    ensure!(matches!(applied, Applied::ImageMissing), "apply: {applied:?}");
    ensure_eq!(workload.only().await?, old, "the old instance");
    Ok(())
}

/// The caller dies at different moments.
async fn an_interrupted_apply_is_continued(bench: &Bench<'_>) -> Outcome {
    let workload = Workload::new(bench).await?;
    workload.running().await?;
    for (number, ms) in [5, 60, 200, 450].into_iter().enumerate() {
        let target = workload.changed(&format!("{}", number + 2));
        let apply = workload.engine.apply(&target, Strategy::StopFirst);
        let _ = timeout(Duration::from_millis(ms), apply).await;
        // The engine may still complete the call.
        let begin = Instant::now();
        loop {
            workload.engine.observe().await?;
            if workload.applied(&target, Strategy::StopFirst).await.is_ok() && workload.is(&target).await.is_ok() {
                break;
            }
            ensure!(begin.elapsed() < SOON, "no end after {ms} ms: {:?}", workload.engine.observe().await?);
            sleep(WINDOW).await;
        }
    }
    Ok(())
}

async fn restart_keeps_the_instance_and_records_the_revision(bench: &Bench<'_>) -> Outcome {
    let workload = Workload::new(bench).await?;
    workload.running().await?;
    let before = workload.only().await?;
    let restarted = workload.engine.restart(&before.id, &revision("2")).await?;
    ensure!(matches!(restarted, Started::Done), "restart: {restarted:?}");
    let after = workload.is(&Target { revision: revision("2"), ..workload.target.clone() }).await?;
    ensure_eq!(after.id, before.id, "id");
    ensure!(after.started_at != before.started_at, "it was not restarted");
    Ok(())
}

async fn a_stopped_instance_can_be_started(bench: &Bench<'_>) -> Outcome {
    let workload = Workload::new(bench).await?;
    let id = workload.running().await?.id;
    workload.engine.stop(std::slice::from_ref(&id)).await?;
    ensure!(matches!(workload.only().await?.state, ContainerState::Exited { .. }), "it is stopped");
    let started = workload.engine.start(&id, Some(&workload.target.revision)).await?;
    ensure!(matches!(started, Started::Done), "start: {started:?}");
    ensure_eq!(workload.is(&workload.target).await?.id, id, "id");
    Ok(())
}

async fn remove_leaves_nothing_of_the_workload(bench: &Bench<'_>) -> Outcome {
    let workload = Workload::new(bench).await?;
    let id = workload.running().await?.id;
    for _ in 0..2 {
        workload.engine.remove(std::slice::from_ref(&id)).await?;
        ensure_eq!(workload.engine.observe().await?, vec![], "instances");
    }
    Ok(())
}

async fn a_closed_engine_begins_no_operation(bench: &Bench<'_>) -> Outcome {
    let workload = Workload::new(bench).await?;
    let id = workload.running().await?.id;
    workload.engine.close();
    let applied = workload.engine.apply(&workload.changed("2"), Strategy::StopFirst).await?;
    ensure!(matches!(applied, Applied::Interrupted), "apply: {applied:?}");
    let restarted = workload.engine.restart(&id, &revision("2")).await?;
    ensure!(matches!(restarted, Started::Interrupted), "restart: {restarted:?}");
    ensure_eq!(workload.is(&workload.target).await?.id, id, "id");
    workload.engine.remove(&[id]).await?;
    ensure_eq!(workload.engine.observe().await?, vec![], "instances");
    Ok(())
}
