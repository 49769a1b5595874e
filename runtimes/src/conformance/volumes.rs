//! Checks: mounts of all kinds, and the lifetime of volumes.

use super::bench::{Bench, GRACE};
use super::outcome::{ensure, ensure_eq};
use super::{Check, Failure, Outcome, Program, Seen, SeenMount, checks};
use crate::{ContainerId, Mount, MountSource};

pub(super) const CHECKS: &[Check] = checks![
    mounts_of_all_kinds_exist,
    restart_keeps_anonymous_volumes,
    remove_removes_anonymous_volumes,
    remove_keeps_named_volumes,
];

fn mount(source: MountSource, target: &str) -> Mount {
    Mount { source, target: target.to_owned() }
}

/// A started container with an anonymous volume at `/anonymous` and a named one at `/named`.
async fn with_volumes(bench: &Bench<'_>) -> Outcome<(ContainerId, Seen)> {
    let mut spec = bench.spec("web", Program::Idle);
    spec.mounts =
        vec![mount(MountSource::Anonymous, "/anonymous"), mount(MountSource::Volume(bench.name("data")), "/named")];
    bench.subject.prepare(&spec.name, Program::Idle).await?;
    let id = bench.runtime.create(&spec).await?;
    bench.runtime.start(&id).await?;
    Ok((id, bench.seen("web").await?))
}

fn anonymous(seen: &Seen) -> Outcome<String> {
    match seen.mounts.get("/anonymous") {
        Some(SeenMount::Volume(name)) => Ok(name.clone()),
        other => Err(Failure::new(format!("no anonymous volume is mounted, but {other:?}"))),
    }
}

async fn mounts_of_all_kinds_exist(bench: &Bench<'_>) -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_str().ok_or_else(|| Failure::new("the folder for temporary files is not UTF-8"))?;
    let mut spec = bench.spec("web", Program::Idle);
    spec.mounts = vec![
        mount(MountSource::Anonymous, "/anonymous"),
        mount(MountSource::Volume(bench.name("data")), "/with space"),
        mount(MountSource::Bind(path.to_owned()), "/bind"),
    ];
    bench.subject.prepare(&spec.name, Program::Idle).await?;
    let id = bench.runtime.create(&spec).await?;
    bench.runtime.start(&id).await?;
    let seen = bench.seen("web").await?;
    ensure_eq!(seen.mounts.get("/bind"), Some(&SeenMount::Bind(path.to_owned())), "bind mount");
    ensure_eq!(seen.mounts.get("/with space"), Some(&SeenMount::Volume(bench.name("data"))), "named volume");
    let volumes = bench.subject.volumes().await?;
    ensure!(volumes.contains(&anonymous(&seen)?), "the engine does not list the anonymous volume");
    ensure!(volumes.contains(&bench.name("data")), "the engine does not list the named volume");
    bench.runtime.remove(&id).await?;
    ensure!(folder.path().is_dir(), "the folder of the host is gone with the container");
    Ok(())
}

async fn restart_keeps_anonymous_volumes(bench: &Bench<'_>) -> Outcome {
    let (id, before) = with_volumes(bench).await?;
    bench.runtime.restart(&id, GRACE).await?;
    ensure_eq!(bench.seen("web").await?.mounts, before.mounts, "mounts");
    bench.runtime.stop(&id, GRACE).await?;
    bench.runtime.start(&id).await?;
    ensure_eq!(bench.seen("web").await?.mounts, before.mounts, "mounts after a stop and a start");
    Ok(())
}

async fn remove_removes_anonymous_volumes(bench: &Bench<'_>) -> Outcome {
    let (id, seen) = with_volumes(bench).await?;
    let volume = anonymous(&seen)?;
    ensure!(bench.subject.volumes().await?.contains(&volume), "the engine does not list the anonymous volume");
    bench.runtime.remove(&id).await?;
    ensure!(!bench.subject.volumes().await?.contains(&volume), "the anonymous volume is still there");
    Ok(())
}

async fn remove_keeps_named_volumes(bench: &Bench<'_>) -> Outcome {
    let (id, _) = with_volumes(bench).await?;
    bench.runtime.remove(&id).await?;
    ensure!(bench.subject.volumes().await?.contains(&bench.name("data")), "the named volume is gone");
    Ok(())
}
