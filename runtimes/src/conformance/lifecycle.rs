//! Checks: create, start, rename, remove, and the listed states of a container.

use super::bench::{Bench, fails_with, stop};
use super::outcome::{ensure, ensure_eq};
use super::{Act, Check, Outcome, Program, checks, free_port};
use crate::{ContainerId, ContainerState, EngineHost, ErrorKind, PortBinding, Protocol};

pub(super) const CHECKS: &[Check] = checks![
    info_reports_the_kind_and_a_version,
    host_reports_the_architecture_and_the_image_directory,
    create_does_not_start_the_container,
    create_without_the_image_is_not_found_and_never_pulls,
    create_without_the_network_is_not_found,
    create_with_a_taken_name_already_exists_and_changes_nothing,
    create_with_a_strangers_name_already_exists,
    start_runs_the_container,
    start_of_a_running_container_is_ok_and_changes_nothing,
    start_of_a_paused_container_unpauses_it,
    start_with_a_taken_port_conflicts_and_works_once_it_is_free,
    rename_gives_another_name_and_keeps_the_process,
    rename_to_its_own_name_is_ok,
    rename_to_a_taken_name_already_exists_and_changes_nothing,
    remove_kills_a_running_container,
    remove_of_an_absent_container_is_ok,
    verbs_on_an_absent_container_are_not_found,
    the_list_shows_external_changes,
];

async fn info_reports_the_kind_and_a_version(bench: &Bench<'_>) -> Outcome {
    let info = bench.runtime.info().await?;
    ensure_eq!(info.kind, bench.runtime.kind(), "kind");
    ensure!(info.version.contains(|c: char| c.is_ascii_digit()), "the version {:?} has no digit", info.version);
    ensure!(!info.endpoint.is_empty(), "the endpoint is empty");
    Ok(())
}

/// The suite runs on the engine's host.
async fn host_reports_the_architecture_and_the_image_directory(bench: &Bench<'_>) -> Outcome {
    let host = bench.runtime.host().await?;
    let here = EngineHost::architecture_of(std::env::consts::ARCH);
    ensure_eq!(host.architecture, here, "architecture");
    ensure!(host.data_root.is_none_or(|root| root.is_absolute()), "the directory of images is not an absolute path");
    Ok(())
}

async fn create_does_not_start_the_container(bench: &Bench<'_>) -> Outcome {
    let id = bench.create("web", Program::Idle).await?;
    let seen = bench.seen("web").await?;
    ensure_eq!(seen.id, id.0, "id");
    ensure!(!seen.is_running, "it runs");
    let listed = bench.listed(&id).await?;
    ensure_eq!(listed.name, bench.name("web"), "listed name");
    ensure_eq!(listed.state, ContainerState::Created, "listed state");
    ensure_eq!(listed.started_at, None, "start time of a container that was never started");
    ensure_eq!(listed.networks, vec![bench.owner.app.clone()], "listed networks");
    ensure_eq!(Some(listed.image_id), bench.runtime.image(&bench.image).await?, "listed image");
    Ok(())
}

async fn create_without_the_image_is_not_found_and_never_pulls(bench: &Bench<'_>) -> Outcome {
    let published = bench.subject.publish_image(&bench.name("img"), "1", "published").await?;
    let mut spec = bench.spec("web", Program::Idle);
    spec.image = published.clone();
    fails_with(bench.runtime.create(&spec).await, ErrorKind::NotFound, "create")?;
    ensure_eq!(bench.runtime.image(&published).await?, None, "local image");
    ensure_eq!(bench.subject.inspect(&spec.name).await?, None, "container");
    Ok(())
}

async fn create_without_the_network_is_not_found(bench: &Bench<'_>) -> Outcome {
    let mut spec = bench.spec("web", Program::Idle);
    spec.network = bench.name("no-such-net");
    fails_with(bench.runtime.create(&spec).await, ErrorKind::NotFound, "create")?;
    ensure_eq!(bench.subject.inspect(&spec.name).await?, None, "container left behind");
    Ok(())
}

async fn create_with_a_taken_name_already_exists_and_changes_nothing(bench: &Bench<'_>) -> Outcome {
    bench.run("web", Program::Idle).await?;
    let before = bench.seen("web").await?;
    let mut spec = bench.spec("web", Program::Idle);
    spec.hostname = "other".to_owned();
    fails_with(bench.runtime.create(&spec).await, ErrorKind::AlreadyExists, "create")?;
    ensure_eq!(bench.seen("web").await?, before, "the first container");
    ensure_eq!(bench.runtime.list(&bench.owner).await?.len(), 1, "number of containers");
    Ok(())
}

async fn create_with_a_strangers_name_already_exists(bench: &Bench<'_>) -> Outcome {
    bench.run_stranger("web", &Default::default(), &bench.name("other-net")).await?;
    let before = bench.seen("web").await?;
    let created = bench.runtime.create(&bench.spec("web", Program::Idle)).await;
    fails_with(created, ErrorKind::AlreadyExists, "create")?;
    ensure_eq!(bench.seen("web").await?, before, "the stranger's container");
    Ok(())
}

async fn start_runs_the_container(bench: &Bench<'_>) -> Outcome {
    let id = bench.run("web", Program::Idle).await?;
    ensure!(bench.seen("web").await?.is_running, "it does not run");
    let listed = bench.listed(&id).await?;
    ensure_eq!(listed.state, ContainerState::Running, "listed state");
    ensure!(listed.started_at.is_some(), "no start time is listed");
    Ok(())
}

async fn start_of_a_running_container_is_ok_and_changes_nothing(bench: &Bench<'_>) -> Outcome {
    let id = bench.run("web", Program::Idle).await?;
    let before = bench.seen("web").await?;
    bench.runtime.start(&id).await?;
    ensure_eq!(bench.seen("web").await?, before, "the container");
    Ok(())
}

async fn start_of_a_paused_container_unpauses_it(bench: &Bench<'_>) -> Outcome {
    let id = bench.run("web", Program::Idle).await?;
    let before = bench.seen("web").await?;
    bench.subject.act(Act::Pause(&bench.name("web"))).await?;
    bench.runtime.start(&id).await?;
    ensure_eq!(bench.listed(&id).await?.state, ContainerState::Running, "listed state");
    ensure_eq!(bench.seen("web").await?, before, "the container");
    Ok(())
}

async fn start_with_a_taken_port_conflicts_and_works_once_it_is_free(bench: &Bench<'_>) -> Outcome {
    let host_port = free_port();
    let host_address = "127.0.0.1".parse().expect("an address");
    let mut ids: Vec<ContainerId> = Vec::new();
    for suffix in ["first", "second"] {
        let mut spec = bench.spec(suffix, Program::Idle);
        spec.ports = vec![PortBinding { container_port: 80, protocol: Protocol::Tcp, host_address, host_port }];
        bench.subject.prepare(&spec.name, Program::Idle).await?;
        ids.push(bench.runtime.create(&spec).await?);
    }
    bench.runtime.start(&ids[0]).await?;
    fails_with(bench.runtime.start(&ids[1]).await, ErrorKind::Conflict, "start with a taken port")?;
    ensure!(!bench.seen("second").await?.is_running, "it runs without its port");
    ensure!(!bench.listed(&ids[1]).await?.state.is_running(), "it is listed as running");
    stop(&*bench.runtime, &ids[0]).await?;
    bench.runtime.start(&ids[1]).await?;
    ensure!(bench.seen("second").await?.is_running, "it does not run although the port is free");
    Ok(())
}

async fn rename_gives_another_name_and_keeps_the_process(bench: &Bench<'_>) -> Outcome {
    let id = bench.run("web", Program::Idle).await?;
    let before = bench.seen("web").await?;
    bench.runtime.rename(&id, &bench.name("new")).await?;
    let after = bench.seen("new").await?;
    ensure_eq!(bench.subject.inspect(&bench.name("web")).await?, None, "the old name");
    ensure_eq!((&after.id, &after.started), (&before.id, &before.started), "id and start");
    ensure!(after.is_running, "it does not run any more");
    ensure_eq!(bench.listed(&id).await?.name, bench.name("new"), "listed name");
    Ok(())
}

async fn rename_to_its_own_name_is_ok(bench: &Bench<'_>) -> Outcome {
    let id = bench.create("web", Program::Idle).await?;
    let before = bench.seen("web").await?;
    bench.runtime.rename(&id, &bench.name("web")).await?;
    ensure_eq!(bench.seen("web").await?, before, "the container");
    Ok(())
}

async fn rename_to_a_taken_name_already_exists_and_changes_nothing(bench: &Bench<'_>) -> Outcome {
    let id = bench.create("web", Program::Idle).await?;
    bench.create("other", Program::Idle).await?;
    let before = (bench.seen("web").await?, bench.seen("other").await?);
    let renamed = bench.runtime.rename(&id, &bench.name("other")).await;
    fails_with(renamed, ErrorKind::AlreadyExists, "rename")?;
    ensure_eq!((bench.seen("web").await?, bench.seen("other").await?), before, "the containers");
    Ok(())
}

async fn remove_kills_a_running_container(bench: &Bench<'_>) -> Outcome {
    let id = bench.run("web", Program::Stubborn).await?;
    bench.runtime.remove(&id).await?;
    ensure_eq!(bench.subject.inspect(&bench.name("web")).await?, None, "the container");
    ensure_eq!(bench.runtime.list(&bench.owner).await?.len(), 0, "number of containers");
    Ok(())
}

async fn remove_of_an_absent_container_is_ok(bench: &Bench<'_>) -> Outcome {
    let id = bench.create("web", Program::Idle).await?;
    bench.runtime.remove(&id).await?;
    bench.runtime.remove(&id).await?;
    Ok(())
}

async fn verbs_on_an_absent_container_are_not_found(bench: &Bench<'_>) -> Outcome {
    let runtime = &bench.runtime;
    let id = bench.create("web", Program::Idle).await?;
    runtime.remove(&id).await?;
    let grace = super::bench::GRACE;
    fails_with(runtime.start(&id).await, ErrorKind::NotFound, "start")?;
    fails_with(runtime.stop(&id, grace).await, ErrorKind::NotFound, "stop")?;
    fails_with(runtime.restart(&id, grace).await, ErrorKind::NotFound, "restart")?;
    fails_with(runtime.rename(&id, &bench.name("new")).await, ErrorKind::NotFound, "rename")?;
    fails_with(runtime.logs(&id, None).await.map(|_| ()), ErrorKind::NotFound, "logs")
}

async fn the_list_shows_external_changes(bench: &Bench<'_>) -> Outcome {
    let subject = bench.subject;
    let id = bench.run("web", Program::Idle).await?;
    subject.act(Act::Pause(&bench.name("web"))).await?;
    ensure_eq!(bench.listed(&id).await?.state, ContainerState::Paused, "state after a pause");
    subject.act(Act::Unpause(&bench.name("web"))).await?;
    ensure_eq!(bench.listed(&id).await?.state, ContainerState::Running, "state after the pause");
    subject.act(Act::Rename(&bench.name("web"), &bench.name("moved"))).await?;
    ensure_eq!(bench.listed(&id).await?.name, bench.name("moved"), "name after a rename");
    subject.act(Act::Disconnect(&bench.name("moved"), &bench.owner.app)).await?;
    ensure_eq!(bench.listed(&id).await?.networks, Vec::<String>::new(), "networks after a disconnect");
    subject.act(Act::Kill(&bench.name("moved"))).await?;
    bench.until_seen("moved", "is dead", |seen| !seen.is_running).await?;
    ensure_eq!(bench.listed(&id).await?.state, ContainerState::Exited { code: Some(137) }, "state after a kill");
    subject.act(Act::Remove(&bench.name("moved"))).await?;
    ensure_eq!(bench.runtime.list(&bench.owner).await?.len(), 0, "number of containers after a removal");
    Ok(())
}
