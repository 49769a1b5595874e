//! The conformance suite on Docker: the engine at `MANAGED_APP_TEST_DOCKER`, else at the usual socket.
#![cfg(feature = "conformance")]

use std::path::PathBuf;
use std::sync::Arc;

use managed_app_runtimes::conformance::{self, Cli, CliSubject, Connecting, Runtime};
use managed_app_runtimes::docker::DockerRuntime;
use managed_app_runtimes::{ContainerRuntime, Limits};

#[tokio::test(flavor = "multi_thread")]
async fn docker_conforms() {
    let endpoint = std::env::var("MANAGED_APP_TEST_DOCKER").unwrap_or("unix:///var/run/docker.sock".to_owned());
    let socket = endpoint.strip_prefix("unix://").expect("MANAGED_APP_TEST_DOCKER is unix:// and a path");
    let info = DockerRuntime::connect(Some(&endpoint), Limits::default()).expect("a Docker endpoint").info().await;
    let version = info.unwrap_or_else(|error| panic!("no Docker answers at {endpoint}: {error}")).version;

    let connect = Box::new(|socket: PathBuf, limits: Limits| -> Connecting {
        Box::pin(async move {
            let runtime = DockerRuntime::connect(Some(&format!("unix://{}", socket.display())), limits)?;
            Ok(Arc::new(runtime) as Runtime)
        })
    });
    let cli = Cli::new("docker", &["--host", &endpoint]);
    let subject = CliSubject::new(&format!("Docker {version}"), cli, socket, connect)
        .await
        .expect("the suite's registry starts")
        .except(
            "bytes_that_are_not_utf8_come_as_they_are",
            "Docker's json-file driver keeps output as JSON text and replaces bytes that are not UTF-8",
        );
    let wanted = std::env::var("MANAGED_APP_TEST_CHECKS").unwrap_or_default();
    let report = conformance::run_only(&subject, |name| name.contains(&wanted)).await;
    println!("{}", report.to_markdown());
    if let Some(folder) = std::env::var_os("MANAGED_APP_CONFORMANCE_DIR").filter(|_| wanted.is_empty()) {
        report.save(folder.as_ref()).expect("the report is saved");
    }
    assert!(report.failures().is_empty(), "{}", report.details());
}
