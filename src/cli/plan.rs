//! `plan`: prints what `run` would do now. Reads the cloud, the engine and the state file, runs the real reconciler, and
//! changes nothing.

mod simulation;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::{ContainerId, ContainerRuntime, EngineInfo, Revision, RuntimeError};
use tokio::task::spawn_blocking;

use super::query::{self, Problem, within};
use super::report::{print_error, print_line, print_row};
use crate::cloud::{Aws, AwsOptions};
use crate::config::{Config, OnRemoved};
use crate::daemon::settings_of;
use crate::driver::StateFile;
use crate::engine;
use crate::exit::Exit;
use crate::model::Snapshot;
use crate::reconciler::Settings;
use crate::text::chain;
use simulation::{Image, Preview, Simulation, Step};

/// The longest wait for the disk, which may be on a network.
const DISK_LIMIT: Duration = Duration::from_secs(10);

/// The inputs of the simulation.
struct Read {
    snapshot: Snapshot,
    runtime: Arc<dyn ContainerRuntime>,
    info: EngineInfo,
    settings: Settings,
    revisions: HashMap<ContainerId, Revision>,
    /// Whether `run` would set the state file aside.
    is_state_lost: bool,
}

/// Prints what `run` would do now on standard output, and failures on standard error.
pub async fn plan(config: &Config) -> Exit {
    match read_and_simulate(config).await {
        Ok((read, preview)) => print(config, &read, &preview),
        Err(problem) => {
            print_error(&format!("failed to plan: {} -> {}", problem.found, problem.remedy));
            problem.exit
        }
    }
}

async fn read_and_simulate(config: &Config) -> Result<(Read, Preview), Problem> {
    let read = read(config).await?;
    let preview = simulate(&read).await?;
    Ok((read, preview))
}

async fn read(config: &Config) -> Result<Read, Problem> {
    let aws = Arc::new(Aws::new(AwsOptions::default()));
    let cloud = query::sign_in(config, &aws).await?;
    let snapshot = query::snapshot(&cloud).await?;
    let (runtime, info) = query::engine(config).await?;
    let node_logs = engine::node_logs(config, &info)
        .await
        .map_err(|remedy| Problem::wrong("the configured log mode of nodes is not possible", remedy))?;
    let state = read_state(&config.state_directory).await?;
    Ok(Read {
        snapshot,
        runtime,
        info,
        settings: settings_of(config, &node_logs),
        is_state_lost: state.is_none(),
        revisions: state.unwrap_or_default(),
    })
}

/// `None`: the file is invalid, and `run` would set it aside.
async fn read_state(directory: &Path) -> Result<Option<HashMap<ContainerId, Revision>>, Problem> {
    let path = directory.to_owned();
    let work = async {
        let peeked = spawn_blocking(move || StateFile::peek(&path)).await.map_err(io::Error::other).flatten();
        match peeked {
            Ok(revisions) => Ok(Some(revisions)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(Problem::wrong(
                format!("the state file in {} cannot be read: {error}", directory.display()),
                "run `plan` as the user of the daemon, usually root, and check MANAGED_APP_STATE_DIRECTORY",
            )),
        }
    };
    within(DISK_LIMIT, "the disk does not answer", work).await
}

/// Runs the simulation with the images and containers of the engine.
async fn simulate(read: &Read) -> Result<Preview, Problem> {
    let runtime = read.runtime.as_ref();
    let problem = |error: RuntimeError| {
        Problem::unavailable(chain(&error), engine::remedy(runtime.kind(), &read.info.endpoint, &error))
    };
    let (mut simulation, required) = Simulation::begin(&read.settings, read.revisions.clone(), read.snapshot.clone());
    let mut images = Vec::new();
    for reference in required {
        let present = runtime.image(&reference).await.map_err(problem)?;
        images.push(Image { reference, present });
    }
    let containers = runtime.list(&read.settings.owner).await.map_err(problem)?;
    simulation.observe(images, containers);
    Ok(simulation.finish())
}

fn print(config: &Config, read: &Read, preview: &Preview) -> Exit {
    let Read { info, .. } = read;
    let identity = format!("app {:?} of tenant {:?}", config.app, config.tenant);
    print_line(&format!("{identity}, on {} {} at {}; nothing is changed", info.kind, info.version, info.endpoint));
    if read.is_state_lost {
        print_line("the state file makes no sense: it would be set aside, and nodes that run would restart once");
    }
    for image in &preview.images {
        let (word, text) = image_line(image);
        print_row(word, "image", &text);
    }
    for (node, step) in &preview.nodes {
        let (word, text) = match step {
            Step::Act { verb, reason } => (*verb, reason.as_str()),
            Step::Nothing => ("nothing", "matches the desired state"),
            Step::Blocked(reason) => ("left", reason.as_str()),
        };
        print_row(word, "node", &format!("{:?}: {text}", node.as_str()));
    }
    if !preview.images.is_empty() {
        print_line("image content is compared after the pull: a node whose image has changed by then is replaced");
    }
    if matches!(read.snapshot, Snapshot::Gone) {
        return print_app_removed(config);
    }
    print_line(&summary(preview));
    Exit::Done
}

/// An error, because a wrong name cannot be told from a removed app, and `run` would power the host off.
fn print_app_removed(config: &Config) -> Exit {
    let action = match config.on_removed {
        OnRemoved::Shutdown => "power this host off",
        OnRemoved::Exit => "end",
    };
    print_line(&format!(
        "the cloud has no such app: after a second read confirms it, `run` would do this and {action}"
    ));
    print_error("the app does not exist -> check APP and TENANT, unless the app was removed");
    Exit::Configuration
}

fn image_line(image: &Image) -> (&'static str, String) {
    match (&image.present, image.reference.digest()) {
        (Some(_), Some(_)) => ("nothing", format!("{}: it is here, and its digest never changes", image.reference)),
        (Some(_), None) => ("pull", format!("{}: a local copy exists", image.reference)),
        (None, _) => ("pull", format!("{}: it is not here yet", image.reference)),
    }
}

fn summary(preview: &Preview) -> String {
    let is_pulled = |image: &&Image| image.present.is_none() || image.reference.digest().is_none();
    let pulls = preview.images.iter().filter(is_pulled).count();
    match preview.count() {
        0 => format!("no action for {} nodes; {pulls} images to pull", preview.nodes.len()),
        count => format!("{count} of {} nodes need an action; {pulls} images to pull", preview.nodes.len()),
    }
}
