//! A subject for engines with a command line that has Docker's commands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Mutex;

use super::inspect;
use super::registry::FixedResponse;
use super::{
    Act, Disturbance, Failure, Outcome, PROGRAM_VARIABLE, Program, Runtime, Seen, StallingProxy, Subject, TestRegistry,
    image,
};
use crate::{ImageReference, Limits, RegistryCredentials, Result as RuntimeResult};

/// Longest duration of a command.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Attempts of a command that other checks can disturb.
const ATTEMPTS: usize = 10;

/// A handle that is being created.
pub type Connecting = BoxFuture<'static, RuntimeResult<Runtime>>;

/// Creates a handle of the backend to the engine at a Unix socket.
pub type Connect = Box<dyn Fn(PathBuf, Limits) -> Connecting + Send + Sync>;

/// The engine's own command.
#[derive(Debug, Clone)]
pub struct Cli {
    program: String,
    args: Vec<String>,
}

impl Cli {
    /// `program` with arguments that precede each command, such as `--host`.
    pub fn new(program: &str, args: &[&str]) -> Self {
        Self { program: program.to_owned(), args: args.iter().map(|&arg| arg.to_owned()).collect() }
    }

    /// The output of the command; a failure contains its standard error.
    pub async fn run(&self, args: &[&str]) -> Outcome<String> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).args(args).stdin(Stdio::null()).kill_on_drop(true);
        let what = || format!("{} {}", self.program, args.join(" "));
        let output = tokio::time::timeout(COMMAND_LIMIT, command.output()).await;
        let output = output.map_err(|_| Failure::new(format!("{} took over {COMMAND_LIMIT:?}", what())))?;
        let output = output.map_err(|error| Failure::new(format!("cannot run {}: {error}", what())))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Failure::new(format!("{} failed: {}", what(), String::from_utf8_lossy(&output.stderr).trim())))
    }

    async fn lines(&self, args: &[&str]) -> Outcome<Vec<String>> {
        Ok(self.run(args).await?.lines().map(str::to_owned).collect())
    }

    /// The output of `inspect` for one object, if it exists. `kind` is `container` or `network`.
    async fn inspect(&self, kind: &str, name: &str) -> Outcome<Option<Value>> {
        match self.run(&[kind, "inspect", name]).await {
            Ok(text) => {
                let values: Vec<Value> = serde_json::from_str(&text)
                    .map_err(|error| Failure::new(format!("{kind} inspect {name} printed no JSON: {error}")))?;
                Ok(values.into_iter().next())
            }
            Err(Failure::Failed(text)) if text.to_lowercase().contains("no such") => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// An engine with a command line that has Docker's commands, and a Unix socket.
pub struct CliSubject {
    name: String,
    cli: Cli,
    socket: PathBuf,
    connect: Connect,
    restart: Option<Cli>,
    /// Directory of the engine with a file for each network, for engines that reject the removal of a network in use.
    networks: Option<PathBuf>,
    exceptions: Vec<(&'static str, &'static str)>,
    registry: TestRegistry,
    silent: FixedResponse,
    throttling: FixedResponse,
    /// Images already on the engine.
    loaded: Mutex<BTreeSet<String>>,
}

impl CliSubject {
    /// Starts the registries that the checks need. `name` is the column's title, `socket` the engine's.
    pub async fn new(name: &str, cli: Cli, socket: impl AsRef<Path>, connect: Connect) -> Outcome<Self> {
        Ok(Self {
            name: name.to_owned(),
            cli,
            socket: socket.as_ref().to_owned(),
            connect,
            restart: None,
            networks: None,
            exceptions: Vec::new(),
            registry: TestRegistry::start().await?,
            silent: FixedResponse::silence().await?,
            throttling: FixedResponse::too_many_requests().await?,
            loaded: Mutex::default(),
        })
    }

    /// Excludes a check that cannot run or pass on this engine for `reason`, which appears in the table.
    #[must_use]
    pub fn except(mut self, check: &'static str, reason: &'static str) -> Self {
        self.exceptions.push((check, reason));
        self
    }

    /// The command that restarts the engine and returns when it responds again. Without one, checks with a real restart
    /// do not run.
    #[must_use]
    pub fn restarted_by(mut self, command: Cli) -> Self {
        self.restart = Some(command);
        self
    }

    /// The directory on this host where the engine keeps a file `<name>.json` for each network. For engines whose own
    /// tools reject the removal of a network in use: the file is removed instead.
    #[must_use]
    pub fn networks_in(mut self, folder: PathBuf) -> Self {
        self.networks = Some(folder);
        self
    }

    async fn remove_network(&self, name: &str) -> Outcome {
        match (self.cli.run(&["network", "rm", name]).await, &self.networks) {
            (Err(Failure::Failed(text)), Some(folder)) if text.contains("being used") => {
                Ok(std::fs::remove_file(folder.join(format!("{name}.json")))?)
            }
            (removed, _) => removed.map(drop),
        }
    }

    /// Podman's scan of the host's interfaces fails while one of them vanishes with a container of another check.
    async fn make_network(&self, name: &str) -> Outcome {
        for _ in 1..ATTEMPTS {
            match self.cli.run(&["network", "create", name]).await {
                Err(Failure::Failed(text)) if text.contains("no such network interface") => {}
                other => return other.map(drop),
            }
        }
        self.cli.run(&["network", "create", name]).await.map(drop)
    }

    async fn run_container(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        network: &str,
        image: &ImageReference,
    ) -> Outcome {
        if self.network_labels(network).await?.is_empty() {
            self.make_network(network).await?;
        }
        let program = format!("{PROGRAM_VARIABLE}={}", Program::Idle.as_str());
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut args = vec!["run", "--detach", "--name", name, "--network", network, "--env", &program];
        for label in &labels {
            args.extend(["--label", label]);
        }
        let image = image.to_pull();
        args.push(&image);
        self.cli.run(&args).await.map(drop)
    }

    /// Removes the listed objects whose names start with `prefix`.
    async fn remove_all(&self, list: &[&str], remove: &[&str], prefix: &str) -> Outcome {
        let names = self.cli.lines(list).await?;
        let ours: Vec<&str> = names.iter().map(String::as_str).filter(|name| name.starts_with(prefix)).collect();
        if ours.is_empty() {
            return Ok(());
        }
        self.cli.run(&[remove, ours.as_slice()].concat()).await.map(drop)
    }

    /// Repository, tag and digest of all images. Podman's list fails while another check removes an image.
    async fn images(&self) -> Outcome<Vec<String>> {
        let args = ["images", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}"];
        for _ in 1..ATTEMPTS {
            if let Ok(lines) = self.cli.lines(&args).await {
                return Ok(lines);
            }
        }
        self.cli.lines(&args).await
    }

    async fn remove_images(&self, prefix: &str) -> Outcome {
        for line in self.images().await? {
            let mut fields = line.split(' ');
            let (Some(repository), Some(tag), Some(digest)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            if !repository.split('/').any(|part| part.starts_with(prefix)) {
                continue;
            }
            let separator = if tag == "<none>" { '@' } else { ':' };
            let reference = if tag == "<none>" { digest } else { tag };
            // One reference may go with another of the same image, so that the second is gone by its turn.
            match self.cli.run(&["image", "rm", &format!("{repository}{separator}{reference}")]).await {
                Err(Failure::Failed(text)) if !text.to_lowercase().contains("no such image") => {
                    return Err(Failure::Failed(text));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Subject for CliSubject {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn exceptions(&self) -> Vec<(&'static str, &'static str)> {
        self.exceptions.clone()
    }

    async fn connect(&self, limits: Limits) -> Outcome<Runtime> {
        Ok((self.connect)(self.socket.clone(), limits).await?)
    }

    async fn connect_disturbed(&self, limits: Limits) -> Outcome<(Runtime, Box<dyn Disturbance>)> {
        let proxy = StallingProxy::start(&self.socket)?;
        let runtime = (self.connect)(proxy.path().to_owned(), limits).await?;
        Ok((runtime, Box::new(proxy)))
    }

    async fn load_image(&self, reference: &ImageReference, marker: &str) -> Outcome {
        let mut loaded = self.loaded.lock().await;
        let name = reference.to_pull();
        if loaded.contains(&name) {
            return Ok(());
        }
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), image::layer(marker)?)?;
        let path = file.path().to_string_lossy().into_owned();
        self.cli.run(&["import", "--change", &image::command_change(), &path, &name]).await?;
        loaded.insert(name);
        Ok(())
    }

    async fn publish_image(&self, repository: &str, tag: &str, marker: &str) -> Outcome<ImageReference> {
        self.registry.publish(repository, tag, marker).await
    }

    async fn digest_of(&self, image: &ImageReference) -> Outcome<String> {
        self.registry.digest_of(image).await
    }

    fn credentials(&self) -> RegistryCredentials {
        self.registry.credentials()
    }

    async fn stalled_image(&self) -> Outcome<ImageReference> {
        self.silent.image()
    }

    async fn throttled_image(&self) -> Outcome<ImageReference> {
        self.throttling.image()
    }

    async fn restart_engine(&self) -> Outcome {
        let Some(command) = &self.restart else {
            return Err(Failure::CannotRun("no command is known that restarts this engine".to_owned()));
        };
        command.run(&[]).await.map(drop)
    }

    async fn prepare(&self, _name: &str, _program: Program) -> Outcome {
        Ok(())
    }

    async fn inspect(&self, name: &str) -> Outcome<Option<Seen>> {
        let value = self.cli.inspect("container", name).await?;
        // Engines also find containers by a part of their id.
        Ok(value.as_ref().map(inspect::container).transpose()?.filter(|seen| seen.name == name))
    }

    async fn network_labels(&self, name: &str) -> Outcome<Vec<BTreeMap<String, String>>> {
        let ids = self.cli.lines(&["network", "ls", "--format", "{{.ID}} {{.Name}}"]).await?;
        let mut found = Vec::new();
        for id in ids.iter().filter_map(|line| line.split_once(' ')).filter(|(_, n)| *n == name).map(|(id, _)| id) {
            if let Some(network) = self.cli.inspect("network", id).await? {
                found.push(inspect::network_labels(&network));
            }
        }
        Ok(found)
    }

    async fn network_id(&self, name: &str) -> Outcome<Option<String>> {
        let lines = self.cli.lines(&["network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}"]).await?;
        let found = lines.iter().filter_map(|line| line.split_once(' ')).find(|(_, found)| *found == name);
        Ok(found.map(|(id, _)| id.to_owned()))
    }

    async fn resolves(&self, from: &str, name: &str) -> Outcome<bool> {
        // Busybox says "can't find" for one family of addresses and still ends well, or the other way round.
        let script = format!("/bin/busybox nslookup {name} 2>&1; true");
        let text = self.cli.run(&["exec", from, "/bin/busybox", "sh", "-c", &script]).await?;
        Ok(text.lines().any(|line| line.starts_with("Name:")))
    }

    async fn volumes(&self) -> Outcome<BTreeSet<String>> {
        Ok(self.cli.lines(&["volume", "ls", "--quiet"]).await?.into_iter().collect())
    }

    async fn act(&self, act: Act<'_>) -> Outcome {
        match act {
            Act::Run { name, labels, network, image } => self.run_container(name, labels, network, image).await,
            Act::Kill(name) => self.cli.run(&["kill", name]).await.map(drop),
            Act::Pause(name) => self.cli.run(&["pause", name]).await.map(drop),
            Act::Unpause(name) => self.cli.run(&["unpause", name]).await.map(drop),
            Act::Rename(name, new_name) => self.cli.run(&["rename", name, new_name]).await.map(drop),
            Act::Remove(name) => self.cli.run(&["rm", "--force", "--volumes", name]).await.map(drop),
            Act::Disconnect(name, network) => self.cli.run(&["network", "disconnect", network, name]).await.map(drop),
            Act::MakeNetwork(name) => self.make_network(name).await,
            Act::RemoveFolder(path) => Ok(std::fs::remove_dir(path)?),
            Act::MakeFolder(path) => Ok(std::fs::create_dir(path)?),
            Act::RemoveNetwork(name) => self.remove_network(name).await,
            Act::RemoveVolumeByForce(name) => self.cli.run(&["volume", "rm", "--force", name]).await.map(drop),
            Act::RemoveImageByForce(image) => {
                let name = image.to_pull();
                self.loaded.lock().await.remove(&name);
                self.cli.run(&["image", "rm", "--force", &name]).await.map(drop)
            }
            Act::RemoveImage(image) => self.cli.run(&["image", "rm", &image.to_pull()]).await.map(drop),
        }
    }

    fn disturbs_one_handle_only(&self) -> bool {
        true // Each has a proxy of its own.
    }

    async fn clear(&self, prefix: &str) -> Outcome {
        let containers = ["ps", "--all", "--format", "{{.Names}}"];
        self.remove_all(&containers, &["rm", "--force", "--volumes"], prefix).await?;
        self.remove_all(&["network", "ls", "--format", "{{.Name}}"], &["network", "rm"], prefix).await
    }

    async fn clean(&self, prefix: &str) -> Outcome {
        self.clear(prefix).await?;
        self.remove_all(&["volume", "ls", "--quiet"], &["volume", "rm"], prefix).await?;
        self.remove_images(prefix).await
    }
}
