//! The conformance suite on Podman: the engine at `MANAGED_APP_TEST_PODMAN`, else at the usual socket.
#![cfg(feature = "conformance")]

use std::path::PathBuf;
use std::sync::Arc;

use managed_app_runtimes::conformance::{self, Cli, CliSubject, Connecting, Runtime};
use managed_app_runtimes::podman::PodmanRuntime;
use managed_app_runtimes::{ContainerRuntime, Limits, Result};

#[tokio::test(flavor = "multi_thread")]
async fn podman_conforms() {
    let endpoint = std::env::var("MANAGED_APP_TEST_PODMAN").unwrap_or("unix:///run/podman/podman.sock".to_owned());
    let socket = endpoint.strip_prefix("unix://").expect("MANAGED_APP_TEST_PODMAN is unix:// and a path");
    let version = version(&endpoint).await.unwrap_or_else(|error| panic!("no Podman answers at {endpoint}: {error}"));

    let connect = Box::new(|socket: PathBuf, limits: Limits| -> Connecting {
        Box::pin(async move {
            let runtime = PodmanRuntime::connect(&format!("unix://{}", socket.display()), limits).await?;
            Ok(Arc::new(runtime) as Runtime)
        })
    });
    let cli = Cli::new("podman", &["--url", &endpoint]);
    let subject =
        CliSubject::new(&format!("Podman {version}"), cli, socket, connect).await.expect("the suite's registry starts");
    let wanted = std::env::var("MANAGED_APP_TEST_CHECKS").unwrap_or_default();
    let report = conformance::run_only(&subject, |name| name.contains(&wanted)).await;
    println!("{}", report.to_markdown());
    if let Some(folder) = std::env::var_os("MANAGED_APP_CONFORMANCE_DIR").filter(|_| wanted.is_empty()) {
        report.save(folder.as_ref()).expect("the report is saved");
    }
    assert!(report.failures().is_empty(), "{}", report.details());
}

async fn version(endpoint: &str) -> Result<String> {
    Ok(PodmanRuntime::connect(endpoint, Limits::default()).await?.info().await?.version)
}
