//! What has to stand before the driver starts: the sign-in and the engine, and who ships output.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::{ContainerRuntime, EngineInfo, ErrorKind, Owner, RuntimeError};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{error, info, warn};

use super::Daemon;
use crate::cloud::{CloudErrorKind, EchoStream};
use crate::config::{Config, NodeLogOptions, OnExit};
use crate::driver::chain;
use crate::engine::{self, NodeLogsChoice};
use crate::exit::Exit;
use crate::host::Signal;
use crate::logs::{Shipper, ShipperOptions, Shipping};
use crate::reconciler::{EndOfNodes, NodeLogSettings, Settings};

/// How long a silent cloud may hold up the start; signing in then goes on with the first snapshot.
const SIGN_IN_WAIT: Duration = Duration::from_secs(10);
/// Pause between two attempts to reach the engine.
const ENGINE_PAUSE: Duration = Duration::from_secs(1);
/// How long the start tries to make the app's network.
const NETWORK_WAIT: Duration = Duration::from_secs(10);

/// Refused credentials end the daemon; a cloud that cannot be reached is tried again later, with each snapshot.
pub(super) async fn sign_in(cloud: &EchoStream) -> Result<(), Exit> {
    match timeout(SIGN_IN_WAIT, cloud.sign_in()).await {
        Ok(Ok(())) => {
            info!("signed in");
            Ok(())
        }
        Ok(Err(error)) if error.kind() == CloudErrorKind::Refused => {
            error!(error = chain(&error), "sign-in was refused; check USER_NAME, PASSWORD, CLIENT_ID and USER_POOL_ID");
            Err(Exit::SignInRefused)
        }
        Ok(Err(error)) => {
            warn!(error = chain(&error), "cannot sign in yet; going on with what is here");
            Ok(())
        }
        Err(_) => {
            warn!("the cloud does not answer yet; going on with what is here");
            Ok(())
        }
    }
}

/// Waits until the engine answers, and chooses the way of the output of nodes.
pub(super) async fn meet(
    runtime: &dyn ContainerRuntime,
    config: &Config,
    patience: Duration,
) -> Result<(EngineInfo, NodeLogsChoice), Exit> {
    let info = answer(runtime, patience).await?;
    let node_logs = engine::node_logs(config, &info).await.map_err(|error| {
        error!(error, "the output of nodes cannot be kept as was chosen");
        Exit::Configuration
    })?;
    Ok((info, node_logs))
}

async fn answer(runtime: &dyn ContainerRuntime, patience: Duration) -> Result<EngineInfo, Exit> {
    let until = Instant::now() + patience;
    loop {
        let silent = |_| Err(RuntimeError::new(ErrorKind::TimedOut, "ask the engine for its version", ""));
        match timeout_at(until, runtime.info()).await.unwrap_or_else(silent) {
            Ok(info) => return Ok(info),
            Err(error) if Instant::now() + ENGINE_PAUSE < until => {
                warn!(error = chain(&error), "the engine does not answer yet");
                tokio::time::sleep(ENGINE_PAUSE).await;
            }
            Err(error) => {
                let remedy = engine::remedy(runtime.kind(), error.subject(), &error);
                error!(error = chain(&error), remedy, "the engine does not answer");
                return Err(Exit::Unavailable);
            }
        }
    }
}

/// `None` when a signal to end came first. One that asks to hand over leaves the nodes, whatever the settings say.
pub(super) async fn interruptible<T>(
    signals: &mut mpsc::Receiver<Signal>,
    on_exit: &mut OnExit,
    wait: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(wait);
    loop {
        // Both arms are cancel-safe.
        tokio::select! {
            done = &mut wait => return Some(done),
            Some(signal) = signals.recv() => {
                match signal {
                    Signal::Hangup => continue,
                    Signal::HandOver => *on_exit = OnExit::Leave,
                    Signal::Terminate | Signal::Interrupt => {}
                }
                return None;
            }
        }
    }
}

/// The shipper of nodes' output, not started.
pub(super) fn shipper(daemon: &Daemon, settings: &Settings) -> (Shipper, Shipping) {
    Shipper::new(ShipperOptions {
        runtime: daemon.runtime.clone(),
        owner: settings.owner.clone(),
        aws: daemon.aws.clone(),
        group: &daemon.config.log_group,
        state_directory: &daemon.config.state_directory,
    })
}

/// Makes the app's network while the app is read. A node that comes too early for it, or misses it later, makes it by
/// itself, so trouble here holds up nothing.
pub(super) async fn ensure_network(runtime: Arc<dyn ContainerRuntime>, network: String, owner: Owner) {
    match timeout(NETWORK_WAIT, runtime.ensure_network(&network, &owner)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(network, error = chain(&error), "the app's network cannot be created yet"),
        Err(_) => warn!(network, "the app's network could not be created in time"),
    }
}

/// The engine keeps the output of nodes, within these bounds, for itself or for the shipper to read.
pub(super) fn engine_logs(options: &NodeLogOptions) -> NodeLogSettings {
    NodeLogSettings::Engine { file_bytes_max: options.file_bytes_max, files_max: options.files_max }
}

/// What becomes of the nodes when the daemon ends.
pub(super) fn end_of_nodes(on_exit: OnExit) -> EndOfNodes {
    match on_exit {
        OnExit::Stop => EndOfNodes::Stop,
        OnExit::Leave => EndOfNodes::Leave,
    }
}
