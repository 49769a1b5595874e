//! Checks: stopped containers whose references others removed, and names by which others reach a container.

use tokio::time::Instant;

use super::bench::{Bench, GRACE, SOON, fails_with, stop};
use super::outcome::{ensure, ensure_eq};
use super::{Act, Check, Failure, Outcome, Program, Seen, checks};
use crate::{ContainerId, ErrorKind, ImageReference, Mount, MountSource};

pub(super) const CHECKS: &[Check] = checks![
    start_recreates_a_removed_network_and_connects_to_it,
    start_connects_to_a_new_network_of_the_same_name,
    restart_recreates_a_removed_network_and_connects_to_it,
    start_needs_no_image,
    start_finds_its_named_volume,
    start_without_a_bind_source_is_refused_and_names_it,
    a_part_of_a_networks_id_is_not_its_name,
    others_reach_a_container_by_its_aliases_from_its_first_start,
];

/// A stopped container with two aliases that has run before.
async fn stopped(bench: &Bench<'_>) -> Outcome<(ContainerId, Seen)> {
    let mut spec = bench.spec("web", Program::Idle);
    spec.aliases = ["final", "final-host"].map(|name| bench.name(name)).into();
    bench.subject.prepare(&spec.name, Program::Idle).await?;
    let id = bench.runtime.create(&spec).await?;
    bench.runtime.start(&id).await?;
    stop(&*bench.runtime, &id).await?;
    Ok((id, bench.seen("web").await?))
}

/// It runs, is the same container, and is on its only network, where others reach it as before.
async fn is_back(bench: &Bench<'_>, id: &ContainerId, before: &Seen) -> Outcome {
    let seen = bench.seen("web").await?;
    ensure!(seen.is_running, "it does not run");
    ensure_eq!((&seen.id, &seen.networks), (&before.id, &before.networks), "id and networks");
    ensure_eq!(bench.listed(id).await?.networks, vec![bench.owner.app.clone()], "listed networks");
    ensure_eq!(bench.subject.network_labels(&bench.owner.app).await?.len(), 1, "number of networks");
    bench.run("peer", Program::Idle).await?;
    is_reached(bench, "final").await
}

/// Waits until the container `peer` resolves a name; engines update their name servers asynchronously.
async fn is_reached(bench: &Bench<'_>, suffix: &str) -> Outcome {
    let begin = Instant::now();
    while !bench.subject.resolves(&bench.name("peer"), &bench.name(suffix)).await? {
        ensure!(begin.elapsed() < SOON, "the name {:?} is not known on the network", bench.name(suffix));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn start_recreates_a_removed_network_and_connects_to_it(bench: &Bench<'_>) -> Outcome {
    let (id, before) = stopped(bench).await?;
    bench.subject.act(Act::RemoveNetwork(&bench.owner.app)).await?;
    ensure_eq!(bench.subject.network_labels(&bench.owner.app).await?.len(), 0, "networks before the start");
    bench.runtime.start(&id).await?;
    is_back(bench, &id, &before).await?;
    let networks = bench.subject.network_labels(&bench.owner.app).await?;
    for (key, value) in bench.owner.labels() {
        ensure_eq!(networks[0].get(&key), Some(&value), format!("label {key} of the network"));
    }
    Ok(())
}

async fn start_connects_to_a_new_network_of_the_same_name(bench: &Bench<'_>) -> Outcome {
    let (id, before) = stopped(bench).await?;
    bench.subject.act(Act::RemoveNetwork(&bench.owner.app)).await?;
    bench.subject.act(Act::MakeNetwork(&bench.owner.app)).await?;
    bench.runtime.start(&id).await?;
    is_back(bench, &id, &before).await
}

async fn restart_recreates_a_removed_network_and_connects_to_it(bench: &Bench<'_>) -> Outcome {
    let (id, before) = stopped(bench).await?;
    bench.subject.act(Act::RemoveNetwork(&bench.owner.app)).await?;
    bench.runtime.restart(&id, GRACE).await?;
    is_back(bench, &id, &before).await
}

/// An engine either keeps the parts of the image that a container needs, or removes the container too.
async fn start_needs_no_image(bench: &Bench<'_>) -> Outcome {
    let image: ImageReference = format!("localhost/{}:1", bench.name("img")).parse().expect("letters and hyphens");
    bench.subject.load_image(&image, "the image of one check").await?;
    let mut spec = bench.spec("web", Program::Idle);
    spec.image = image.clone();
    bench.subject.prepare(&spec.name, Program::Idle).await?;
    let id = bench.runtime.create(&spec).await?;
    bench.runtime.start(&id).await?;
    stop(&*bench.runtime, &id).await?;
    bench.subject.act(Act::RemoveImageByForce(&image)).await?;
    ensure_eq!(bench.runtime.image(&image).await?, None, "local image");
    starts_unless_gone(bench, &id).await
}

/// An engine rejects the removal of a volume in use, or removes the container too.
async fn start_finds_its_named_volume(bench: &Bench<'_>) -> Outcome {
    let volume = bench.name("data");
    let mut spec = bench.spec("web", Program::Idle);
    spec.mounts = vec![Mount { source: MountSource::Volume(volume.clone()), target: "/data".to_owned() }];
    bench.subject.prepare(&spec.name, Program::Idle).await?;
    let id = bench.runtime.create(&spec).await?;
    bench.runtime.start(&id).await?;
    stop(&*bench.runtime, &id).await?;
    // The engine decides whether that is rejected, and what it removes as well.
    let _ = bench.subject.act(Act::RemoveVolumeByForce(&volume)).await;
    starts_unless_gone(bench, &id).await?;
    let is_there = bench.subject.inspect(&spec.name).await?.is_some();
    ensure!(!is_there || bench.subject.volumes().await?.contains(&volume), "it runs without its volume");
    Ok(())
}

async fn starts_unless_gone(bench: &Bench<'_>, id: &ContainerId) -> Outcome {
    if bench.subject.inspect(&bench.name("web")).await?.is_none() {
        return fails_with(bench.runtime.start(id).await, ErrorKind::NotFound, "start of what went along");
    }
    bench.runtime.start(id).await?;
    ensure!(bench.seen("web").await?.is_running, "it does not run");
    Ok(())
}

async fn start_without_a_bind_source_is_refused_and_names_it(bench: &Bench<'_>) -> Outcome {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("data");
    let path = source.to_str().ok_or_else(|| Failure::new("the folder for temporary files is not UTF-8"))?;
    bench.subject.act(Act::MakeFolder(&source)).await?;
    let mut spec = bench.spec("web", Program::Idle);
    spec.mounts = vec![Mount { source: MountSource::Bind(path.to_owned()), target: "/data".to_owned() }];
    bench.subject.prepare(&spec.name, Program::Idle).await?;
    let id = bench.runtime.create(&spec).await?;
    bench.runtime.start(&id).await?;
    stop(&*bench.runtime, &id).await?;
    bench.subject.act(Act::RemoveFolder(&source)).await?;
    for (verb, result) in
        [("start", bench.runtime.start(&id).await), ("restart", bench.runtime.restart(&id, GRACE).await)]
    {
        let Err(error) = result else { return Err(Failure::new(format!("{verb} without the source succeeded"))) };
        ensure_eq!(error.kind(), ErrorKind::Refused, verb);
        let text = Failure::from(error).to_string();
        ensure!(text.contains(path) && text.contains("create it"), "no path or no remedy in: {text}");
    }
    ensure!(!bench.seen("web").await?.is_running, "it runs without what is mounted");
    ensure!(!source.exists(), "the source was created");
    bench.subject.act(Act::MakeFolder(&source)).await?;
    bench.runtime.start(&id).await?;
    ensure!(bench.seen("web").await?.is_running, "it does not run although the source exists again");
    Ok(())
}

async fn a_part_of_a_networks_id_is_not_its_name(bench: &Bench<'_>) -> Outcome {
    let id = bench.subject.network_id(&bench.owner.app).await?;
    let id = id.ok_or_else(|| Failure::new("the engine has no network of the owner"))?;
    let mut spec = bench.spec("web", Program::Idle);
    spec.network = id.get(..12).unwrap_or(&id).to_owned();
    fails_with(bench.runtime.create(&spec).await, ErrorKind::NotFound, "create on a part of an id")?;
    ensure_eq!(bench.subject.inspect(&spec.name).await?, None, "container left behind");
    Ok(())
}

async fn others_reach_a_container_by_its_aliases_from_its_first_start(bench: &Bench<'_>) -> Outcome {
    bench.run("peer", Program::Idle).await?;
    let mut spec = bench.spec("temporary", Program::Idle);
    spec.aliases = ["web", "web-host"].map(|name| bench.name(name)).into();
    bench.subject.prepare(&spec.name, Program::Idle).await?;
    let id = bench.runtime.create(&spec).await?;
    ensure!(!bench.subject.resolves(&bench.name("peer"), &bench.name("web")).await?, "it is reached before its start");
    bench.runtime.start(&id).await?;
    is_reached(bench, "web").await?;
    is_reached(bench, "web-host").await?;
    bench.runtime.rename(&id, &bench.name("web")).await?;
    is_reached(bench, "web").await?;
    bench.runtime.restart(&id, GRACE).await?;
    is_reached(bench, "web").await?;
    is_reached(bench, "web-host").await?;
    ensure!(!bench.subject.resolves(&bench.name("peer"), &bench.name("nobody")).await?, "any name is found");
    Ok(())
}
