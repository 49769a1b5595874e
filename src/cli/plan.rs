//! `plan`: what `run` would do now. Reads the cloud, the engine and the state file, asks the real planner, and changes
//! nothing anywhere.

mod foresight;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::{ContainerId, ContainerRuntime, EngineInfo, RuntimeError};
use tokio::task::spawn_blocking;

use super::query::{self, Problem, within};
use super::report::{complain, remark, tell};
use crate::cloud::{Aws, AwsOptions};
use crate::config::{Config, OnRemoved};
use crate::daemon::settings_of;
use crate::driver::{StateFile, chain};
use crate::engine;
use crate::exit::Exit;
use crate::model::Snapshot;
use crate::reconciler::{Revision, Settings};
use foresight::{Foreseen, Foresight, Image, Step};

/// The longest wait for the disk, which may be on a network.
const DISK_LIMIT: Duration = Duration::from_secs(10);

/// What was read, before anything is planned.
struct Read {
    snapshot: Snapshot,
    runtime: Arc<dyn ContainerRuntime>,
    info: EngineInfo,
    settings: Settings,
    remembered: HashMap<ContainerId, Revision>,
    /// Whether the state file would be set aside.
    is_state_lost: bool,
}

/// Prints what `run` would do now, on standard output; what keeps it from knowing, on standard error.
pub async fn plan(config: &Config) -> Exit {
    match look(config).await {
        Ok((read, foreseen)) => print(config, &read, &foreseen),
        Err(problem) => {
            complain(&format!("failed to plan: {} -> {}", problem.found, problem.remedy));
            problem.exit
        }
    }
}

async fn look(config: &Config) -> Result<(Read, Foreseen), Problem> {
    let read = read(config).await?;
    let foreseen = foresee(&read).await?;
    Ok((read, foreseen))
}

async fn read(config: &Config) -> Result<Read, Problem> {
    let aws = Arc::new(Aws::new(AwsOptions::default()));
    let cloud = query::sign_in(config, &aws).await?;
    let snapshot = query::snapshot(&cloud).await?;
    let (runtime, info) = query::engine(config).await?;
    let node_logs = engine::node_logs(config, &info)
        .await
        .map_err(|remedy| Problem::wrong("the output of nodes cannot be kept as was chosen", remedy))?;
    let known = read_state(&config.state_directory).await?;
    Ok(Read {
        snapshot,
        runtime,
        info,
        settings: settings_of(config, &node_logs),
        is_state_lost: known.is_none(),
        remembered: known.unwrap_or_default(),
    })
}

/// `None`: the file makes no sense, and `run` would set it aside.
async fn read_state(directory: &Path) -> Result<Option<HashMap<ContainerId, Revision>>, Problem> {
    let path = directory.to_owned();
    let work = async {
        let peeked = spawn_blocking(move || StateFile::peek(&path)).await.map_err(io::Error::other).flatten();
        match peeked {
            Ok(known) => Ok(Some(known)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(Problem::wrong(
                format!("the state file in {} cannot be read: {error}", directory.display()),
                "plan as the user that runs the daemon, usually root, and check MANAGED_APP_STATE_DIRECTORY",
            )),
        }
    };
    within(DISK_LIMIT, "the disk does not answer", work).await
}

/// Asks the planner, and the engine for what the planner wants to know.
async fn foresee(read: &Read) -> Result<Foreseen, Problem> {
    let runtime = read.runtime.as_ref();
    let problem = |error: RuntimeError| {
        Problem::unavailable(chain(&error), engine::remedy(runtime.kind(), &read.info.endpoint, &error))
    };
    let (mut foresight, wanted) = Foresight::begin(&read.settings, read.remembered.clone(), read.snapshot.clone());
    let mut images = Vec::new();
    for reference in wanted {
        let present = runtime.image(&reference).await.map_err(problem)?;
        images.push(Image { reference, present });
    }
    let containers = runtime.list(&read.settings.owner).await.map_err(problem)?;
    foresight.absorb(images, containers);
    Ok(foresight.finish())
}

fn print(config: &Config, read: &Read, foreseen: &Foreseen) -> Exit {
    let Read { info, .. } = read;
    let whose = format!("app {:?} of tenant {:?}", config.app, config.tenant);
    remark(&format!("{whose}, on {} {} at {}; nothing is changed", info.kind, info.version, info.endpoint));
    if read.is_state_lost {
        remark("the state file makes no sense: it would be set aside, and nodes that run would restart once");
    }
    for image in &foreseen.images {
        let (word, text) = image_line(image);
        tell(word, "image", &text);
    }
    for (node, step) in &foreseen.nodes {
        let (word, text) = match step {
            Step::Do { verb, reason } => (*verb, reason.as_str()),
            Step::Nothing => ("nothing", "it is as wanted"),
            Step::Left(reason) => ("left", reason.as_str()),
        };
        tell(word, "node", &format!("{:?}: {text}", node.as_str()));
    }
    if !foreseen.images.is_empty() {
        remark("image content is compared after the pull: a node whose image has changed by then is replaced");
    }
    if matches!(read.snapshot, Snapshot::Gone) {
        return tell_gone(config);
    }
    remark(&summary(foreseen));
    Exit::Done
}

/// A name that is wrong looks the same as an app that was removed, and the host would be powered off.
fn tell_gone(config: &Config) -> Exit {
    let end = match config.on_removed {
        OnRemoved::Shutdown => "power this host off",
        OnRemoved::Exit => "end",
    };
    remark(&format!("the cloud has no such app: once it has said so twice, `run` would do this and {end}"));
    complain("the app does not exist -> check APP and TENANT, unless the app was removed");
    Exit::Configuration
}

fn image_line(image: &Image) -> (&'static str, String) {
    match (&image.present, image.reference.digest()) {
        (Some(_), Some(_)) => ("nothing", format!("{}: it is here, and its digest never changes", image.reference)),
        (Some(_), None) => ("pull", format!("{}: a copy is here", image.reference)),
        (None, _) => ("pull", format!("{}: it is not here yet", image.reference)),
    }
}

fn summary(foreseen: &Foreseen) -> String {
    let is_pulled = |image: &&Image| image.present.is_none() || image.reference.digest().is_none();
    let pulls = foreseen.images.iter().filter(is_pulled).count();
    match foreseen.count() {
        0 => format!("nothing to do to {} nodes; {pulls} images to pull", foreseen.nodes.len()),
        count => format!("{count} of {} nodes to act on; {pulls} images to pull", foreseen.nodes.len()),
    }
}
