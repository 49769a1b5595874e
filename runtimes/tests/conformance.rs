//! The conformance suite on real engines: Docker and Podman of this Debian release and of the next one.
//!
//! One test per engine, so that they run concurrently; `scripts/test` starts the engines and passes them in variables.
//! A test of `managed-app-fakes` runs the suite on the engine in memory. With `MANAGED_APP_CONFORMANCE_DIR` each test
//! stores its column of the table in docs/conformance.md there; `MANAGED_APP_TEST_CHECKS` runs only checks whose names
//! contain its value.
#![cfg(feature = "conformance")]

use std::path::PathBuf;

use managed_app_runtimes::conformance::{self, Cli, CliSubject};
use managed_app_runtimes::{Backend, EngineKind, Limits, docker, podman};

/// Number of printed slowest checks.
const SLOWEST: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn docker_conforms() {
    let endpoint = variable("MANAGED_APP_TEST_DOCKER");
    let cli = Cli::new("docker", &["--host", &endpoint]);
    conforms(docker::BACKEND, &endpoint, cli, variable("MANAGED_APP_TEST_DOCKER_RESTART"), "2-docker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_of_the_next_release_conforms() {
    let endpoint = variable("MANAGED_APP_TEST_DOCKER_NEXT");
    let cli = Cli::new(&variable("MANAGED_APP_TEST_NEXT_CLIENT"), &["client", "docker"]);
    conforms(docker::BACKEND, &endpoint, cli, variable("MANAGED_APP_TEST_DOCKER_NEXT_RESTART"), "3-docker-next").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_conforms() {
    let endpoint = variable("MANAGED_APP_TEST_PODMAN");
    let cli = Cli::new("podman", &["--url", &endpoint]);
    conforms(podman::BACKEND, &endpoint, cli, variable("MANAGED_APP_TEST_PODMAN_RESTART"), "4-podman").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_of_the_next_release_conforms() {
    let endpoint = variable("MANAGED_APP_TEST_PODMAN_NEXT");
    let cli = Cli::new(&variable("MANAGED_APP_TEST_NEXT_CLIENT"), &["client", "podman"]);
    conforms(podman::BACKEND, &endpoint, cli, variable("MANAGED_APP_TEST_PODMAN_NEXT_RESTART"), "5-podman-next").await;
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set, so there is no engine to test with; run scripts/test --test conformance")
    })
}

/// Runs the suite. `restart` is a command line, separated by spaces; `name` is the name of the report.
async fn conforms(backend: Backend, endpoint: &str, cli: Cli, restart: String, name: &str) {
    let socket = PathBuf::from(endpoint.strip_prefix("unix://").expect("an endpoint is unix:// and a path"));
    let kind = backend.kind;
    let runtime = (backend.connect)(endpoint.to_owned(), Limits::default()).await;
    let runtime = runtime.unwrap_or_else(|error| panic!("no {kind:?} at {endpoint}: {error}"));
    let info = runtime.info().await.unwrap_or_else(|error| panic!("no {kind:?} answers at {endpoint}: {error}"));
    // The suffix of the distribution is irrelevant here: 20.10.24+dfsg1.
    let version = info.version.split('+').next().unwrap_or_default();

    let command: Vec<&str> = restart.split(' ').collect();
    let title = format!("{kind:?} {version}");
    let connect =
        Box::new(move |socket: PathBuf, limits| (backend.connect)(format!("unix://{}", socket.display()), limits));
    let subject = CliSubject::new(&title, cli, socket, connect).await.expect("the suite's registry starts");
    let mut subject = subject.restarted_by(Cli::new(command[0], &command[1..]));
    if kind == EngineKind::Podman {
        let is_next = name.ends_with("next");
        let folder = if is_next { "MANAGED_APP_TEST_PODMAN_NEXT_NETWORKS" } else { "MANAGED_APP_TEST_PODMAN_NETWORKS" };
        subject = subject.networks_in(variable(folder).into());
    }
    if kind == EngineKind::Docker {
        let check = "bytes_that_are_not_utf8_arrive_unchanged";
        subject =
            subject.except(check, "Docker's json-file log keeps text: each byte that is not UTF-8 becomes U+FFFD");
    }
    let wanted = std::env::var("MANAGED_APP_TEST_CHECKS").unwrap_or_default();
    let report = conformance::run_only(&subject, |name| name.contains(&wanted)).await;
    println!("{}\n{}", report.to_markdown(), report.slowest(SLOWEST));
    if let Some(folder) = std::env::var_os("MANAGED_APP_CONFORMANCE_DIR").filter(|_| wanted.is_empty()) {
        report.save(folder.as_ref(), name).expect("the report is saved");
    }
    assert!(report.failures().is_empty(), "{}", report.details());
}
