//! `demo`: runs the normal daemon against a fake cloud in a scripted scenario. Needs no installation and leaves nothing
//! behind.

mod engine;
pub mod fake_cloud;
mod scenario;

use std::collections::BTreeMap;
use std::process;
use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use managed_app_fakes::FakeCloud;
use tokio::sync::{mpsc, watch};

use crate::cloud::{Aws, AwsOptions};
use crate::config::{Config, Flags};
use crate::daemon::{self, Daemon, Reload, Requests};
use crate::exit::Exit;
use crate::status::{DaemonInfo, Recorder};
use crate::tasks::Tasks;
use crate::text::chain;
use engine::DemoEngine;
use scenario::Scenario;

/// Runs the demo on `engine`: `memory` (the default), `docker` or `podman`.
pub async fn run(engine: Option<&str>, environment: impl Fn(&str) -> Option<String>) -> Exit {
    match run_on(engine.unwrap_or("memory"), environment).await {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("the demo failed to {}", error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": "));
            Exit::Unavailable
        }
    }
}

async fn run_on(engine: &str, environment: impl Fn(&str) -> Option<String>) -> anyhow::Result<Exit> {
    let engine = DemoEngine::prepare(engine, environment).await?;
    let app = format!("demo-{}", process::id());
    let cloud = FakeCloud::builder().app(&app).log_group("echostream/demo").start().await?;
    let folder = tempfile::tempdir()?;
    let config = config(&cloud, folder.path())?;
    let (status, statuses) = watch::channel(None);
    let (operator, signals) = mpsc::channel(2);
    let owner = daemon::owner_of(&config);
    let events = engine.runtime().events(&owner).await.map_err(|error| anyhow::anyhow!(chain(&error)))?;
    let same = config.clone();
    let reload = Reload(Box::new(move || Ok(same.clone())));
    let runtime = engine.runtime();
    let recorder = Recorder::in_memory(DaemonInfo { app: config.app.clone(), tenant: config.tenant.clone() });
    let daemon = Daemon { config, runtime, aws: aws(&cloud), signals, status, recorder, search_path: None, reload };
    let mut tasks = Tasks::new();
    let (ended, end) = tokio::sync::oneshot::channel();
    tasks.spawn("daemon", async move {
        // There is no receiver if the scenario was interrupted.
        let _ = ended.send(daemon.run().await);
    });
    let mut scenario = Scenario::new(&cloud, &engine, owner.clone(), statuses, events);
    let result = tokio::select! {
        result = scenario.run() => result,
        _ = interrupted() => {
            println!("\ninterrupted; cleaning up");
            let _ = operator.send(crate::host::Signal::Terminate).await;
            Ok(())
        }
    };
    // A second signal ends the demo even if the engine hangs.
    let exit = tokio::select! {
        exit = end => exit.unwrap_or(Exit::Internal),
        _ = interrupted() => anyhow::bail!("clean up: it was interrupted again; containers of {app:?} may remain"),
    };
    tasks.shutdown().await;
    engine.clean_up(&owner).await?;
    result?;
    println!(
        "\nThe demo has removed its containers. To run a real app with this daemon: `echostream-managed-app --help`."
    );
    Ok(exit)
}

async fn interrupted() {
    if let Ok(mut requests) = Requests::listen() {
        requests.signals.recv().await;
    }
}

/// The configuration of the demo app, loaded like a real one.
fn config(cloud: &FakeCloud, folder: &std::path::Path) -> anyhow::Result<Config> {
    let mut environment: BTreeMap<String, String> = cloud.env();
    let own = [
        ("MANAGED_APP_STATE_DIRECTORY", folder.display().to_string()),
        ("MANAGED_APP_LOG_FILE", "off".to_owned()),
        ("MANAGED_APP_NODE_LOGS", "engine".to_owned()),
        ("MANAGED_APP_ON_REMOVED", "exit".to_owned()),
        ("MANAGED_APP_STOP_GRACE", "5s".to_owned()),
        ("MANAGED_APP_HOST_ID", format!("demo-{}", process::id())),
    ];
    environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
    Ok(Config::load(&Flags::default(), |name| environment.get(name).cloned())?)
}

fn aws(cloud: &FakeCloud) -> Arc<Aws> {
    let env = cloud.env();
    let key = |name: &str| env.get(name).cloned().unwrap_or_default();
    let keys = Credentials::new(key("AWS_ACCESS_KEY_ID"), key("AWS_SECRET_ACCESS_KEY"), None, None, "demo");
    Arc::new(Aws::new(AwsOptions {
        endpoint_url: Some(cloud.endpoint()),
        sqs_endpoint_url: Some(cloud.sqs_endpoint()),
        host_credentials: Some(SharedCredentialsProvider::new(keys)),
    }))
}
