//! Dependencies of the driver: sign-in, engine and shipper.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::{ContainerRuntime, EngineInfo, ErrorKind, Owner, RuntimeError, WorkloadEngine};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{error, info, warn};

use super::Daemon;
use crate::cloud::{CloudErrorKind, EchoStream};
use crate::config::{Config, NodeLogOptions, OnExit};
use crate::engine::{self, NodeLogsChoice};
use crate::exit::Exit;
use crate::host::Signal;
use crate::logs::{Shipper, ShipperOptions, ShippingRequests};
use crate::reconciler::{EndOfNodes, NodeLogSettings};
use crate::text::chain;

/// How long a silent cloud may delay the start; the first snapshot then signs in.
const SIGN_IN_WAIT: Duration = Duration::from_secs(10);
/// Delay between two attempts to reach the engine.
const ENGINE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long the start tries to create the app's network.
const NETWORK_WAIT: Duration = Duration::from_secs(10);

/// Rejected credentials end the daemon; an unreachable cloud is retried with each snapshot.
pub(super) async fn sign_in(cloud: &EchoStream) -> Result<(), Exit> {
    match timeout(SIGN_IN_WAIT, cloud.sign_in()).await {
        Ok(Ok(())) => {
            info!("signed in");
            Ok(())
        }
        Ok(Err(error)) if error.kind() == CloudErrorKind::Denied => {
            error!(error = chain(&error), "sign-in was refused; check USER_NAME, PASSWORD, CLIENT_ID and USER_POOL_ID");
            Err(Exit::SignInRefused)
        }
        Ok(Err(error)) => {
            warn!(error = chain(&error), "cannot sign in yet; continuing without the cloud");
            Ok(())
        }
        Err(_) => {
            warn!("the cloud does not respond yet; continuing without it");
            Ok(())
        }
    }
}

/// Waits until the engine responds, and chooses the destination of the nodes' output.
pub(super) async fn wait_for_engine(
    runtime: &dyn ContainerRuntime,
    config: &Config,
    limit: Duration,
) -> Result<(EngineInfo, NodeLogsChoice), Exit> {
    let info = engine_info(runtime, limit).await?;
    let node_logs = engine::node_logs(config, &info).await.map_err(|error| {
        error!(error, "the output of nodes cannot be kept as configured");
        Exit::Configuration
    })?;
    Ok((info, node_logs))
}

async fn engine_info(runtime: &dyn ContainerRuntime, limit: Duration) -> Result<EngineInfo, Exit> {
    let until = Instant::now() + limit;
    loop {
        let timed_out = |_| Err(RuntimeError::new(ErrorKind::TimedOut, "ask the engine for its version", ""));
        match timeout_at(until, runtime.info()).await.unwrap_or_else(timed_out) {
            Ok(info) => return Ok(info),
            Err(error) if Instant::now() + ENGINE_RETRY_DELAY < until => {
                warn!(error = chain(&error), "the engine does not respond yet");
                tokio::time::sleep(ENGINE_RETRY_DELAY).await;
            }
            Err(error) => {
                let remedy = engine::remedy(runtime.kind(), error.subject(), &error);
                error!(error = chain(&error), remedy, "the engine does not answer");
                return Err(Exit::Unavailable);
            }
        }
    }
}

/// `None` if a signal to end arrived first. A signal to hand over keeps the nodes running, whatever the settings are.
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

/// The shipper of the nodes' output, not started.
pub(super) fn shipper(daemon: &Daemon, engine: Arc<dyn WorkloadEngine>, requests: ShippingRequests) -> Shipper {
    let options = ShipperOptions {
        engine,
        aws: daemon.aws.clone(),
        group: &daemon.config.log_group,
        state_directory: &daemon.config.state_directory,
    };
    Shipper::new(options, requests)
}

/// Creates the app's network while the app is read. A node that needs the network earlier or later creates it itself,
/// so a failure here delays nothing.
pub(super) async fn ensure_network(runtime: Arc<dyn ContainerRuntime>, network: String, owner: Owner) {
    match timeout(NETWORK_WAIT, runtime.ensure_network(&network, &owner)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(network, error = chain(&error), "the app's network cannot be created yet"),
        Err(_) => warn!(network, "the app's network could not be created in time"),
    }
}

/// The engine keeps the output of nodes, within these limits, for itself or for the shipper.
pub(super) fn engine_logs(options: &NodeLogOptions) -> NodeLogSettings {
    NodeLogSettings::Engine { file_bytes_max: options.file_bytes_max, files_max: options.files_max }
}

/// The treatment of the nodes at the end of the daemon.
pub(super) fn end_of_nodes(on_exit: OnExit) -> EndOfNodes {
    match on_exit {
        OnExit::Stop => EndOfNodes::Stop,
        OnExit::Leave => EndOfNodes::Leave,
    }
}
