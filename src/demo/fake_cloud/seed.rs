//! The seed file: the content of a fake cloud at its start, in TOML. `packaging/fake-cloud.toml` shows all fields. Errors
//! contain the line number.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::Builder;
use serde::Deserialize;
use toml::{Spanned, Table};

use super::Problem;
use super::commands::{self, Command, NodeArgs};

/// A parsed seed file.
#[derive(Debug, Default)]
pub(super) struct Seed {
    path: PathBuf,
    text: String,
    file: File,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    app: Option<Spanned<String>>,
    tenant: Option<Spanned<String>>,
    region: Option<Spanned<String>>,
    log_group: Option<Spanned<String>>,
    user: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
    registry_password: Option<String>,
    registry_token_seconds: Option<u32>,
    audit: bool,
    table_access: bool,
    app_config: Option<Spanned<Table>>,
    tenant_config: Option<Spanned<Table>>,
    node: BTreeMap<String, Spanned<Node>>,
    edge: Vec<Spanned<Edge>>,
    message_type: BTreeMap<String, Spanned<MessageType>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Node {
    image: Option<String>,
    r#type: Option<String>,
    receives: Option<String>,
    sends: Option<String>,
    ports: Vec<String>,
    mounts: Vec<String>,
    config: Option<Table>,
    logging_level: Option<String>,
    stopped: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edge {
    source: String,
    target: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageType {
    auditor: String,
}

impl Seed {
    /// Reads the file and checks its syntax; [`Self::apply`] checks its content.
    pub(super) fn read(path: &Path) -> Result<Self, Problem> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| Problem::usage(format!("read the seed {}: {error}", path.display())))?;
        Self::parse(path, text)
    }

    fn parse(path: &Path, text: String) -> Result<Self, Problem> {
        let mut seed = Self { path: path.to_owned(), text, file: File::default() };
        match toml::from_str(&seed.text) {
            Ok(file) => seed.file = file,
            Err(error) => return Err(seed.error_at(error.span().unwrap_or_default().start, error.message())),
        }
        seed.check_names()?;
        Ok(seed)
    }

    /// These values are in environment files. systemd interprets quotes and Docker does not, so quotes are not allowed.
    fn check_names(&self) -> Result<(), Problem> {
        let file = &self.file;
        for name in [&file.app, &file.tenant, &file.region, &file.log_group, &file.user, &file.password] {
            let Some(name) = name else { continue };
            let text = name.get_ref();
            let odd = |c: char| c.is_control() || "\"'\\#".contains(c);
            if text.is_empty() || text.trim() != text || text.chars().any(odd) {
                let reason = "should be some text without quotes, backslash, # and outer spaces";
                return Err(self.error_at(name.span().start, reason));
            }
        }
        Ok(())
    }

    /// The builder of the cloud with the settings of the seed.
    pub(super) fn builder(&self) -> Builder {
        let file = &self.file;
        let or = |name: &Option<Spanned<String>>, default: &str| {
            name.as_ref().map_or_else(|| default.to_owned(), |name| name.get_ref().clone())
        };
        // One region for all services, as authors of nodes expect.
        let region = or(&file.region, "us-east-1");
        FakeCloud::builder()
            .app(&or(&file.app, "my app"))
            .tenant(&or(&file.tenant, "my tenant"))
            .log_group(&or(&file.log_group, "/echostream/my-tenant/my-app"))
            .user(&or(&file.user, "my-app-user"))
            .password(&or(&file.password, "Correct-Horse-7"))
            .region(&region)
            .default_region(&region)
            .pool_region(&region)
    }

    /// Creates all objects of the file. A daemon that starts later finds them, but no change messages about them.
    pub(super) fn apply(&self, cloud: &FakeCloud) -> Result<(), Problem> {
        for (at, command) in self.commands().map_err(|(at, reason)| self.error_at(at, &reason))? {
            commands::change(cloud, &command).map_err(|reason| self.error_at(at, &reason))?;
        }
        if let Some(password) = &self.file.registry_password {
            cloud.registry.set_password(password);
        }
        if let Some(seconds) = self.file.registry_token_seconds {
            cloud.registry.set_lifetime(time::Duration::seconds(seconds.into()));
        }
        cloud.queues.purge(&cloud.change_queue());
        Ok(())
    }

    /// All commands in a valid order, each with its position in the text.
    fn commands(&self) -> Result<Vec<(usize, Command)>, (usize, String)> {
        let file = &self.file;
        let mut commands = vec![
            (0, Command::SetAudit { audit: file.audit }),
            (0, Command::SetTableAccess { access: file.table_access }),
        ];
        for (name, node) in in_file_order(&file.node) {
            let at = node.span().start;
            commands.push((at, Command::AddNode(node_args(name, node.get_ref()).map_err(|reason| (at, reason))?)));
            if node.get_ref().stopped {
                commands.push((at, Command::SetStopped { node: name.clone(), stopped: true }));
            }
        }
        for (name, message_type) in in_file_order(&file.message_type) {
            let source = message_type.get_ref().auditor.clone();
            commands.push((message_type.span().start, Command::ChangeAuditor { message_type: name.clone(), source }));
        }
        for edge in &file.edge {
            let Edge { source, target } = edge.get_ref();
            commands.push((edge.span().start, Command::Connect { source: source.clone(), target: target.clone() }));
        }
        if let Some(config) = &file.app_config {
            let at = config.span().start;
            commands.push((at, Command::SetAppConfig { json: json(config.get_ref()).map_err(|reason| (at, reason))? }));
        }
        if let Some(config) = &file.tenant_config {
            let at = config.span().start;
            commands
                .push((at, Command::SetTenantConfig { json: json(config.get_ref()).map_err(|reason| (at, reason))? }));
        }
        Ok(commands)
    }

    fn error_at(&self, at: usize, reason: &str) -> Problem {
        let line = 1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        let reason = reason.trim_end().replace('\n', "; ");
        Problem::usage(format!("use the seed {}, line {line}: {reason}", self.path.display()))
    }
}

fn in_file_order<T>(map: &BTreeMap<String, Spanned<T>>) -> Vec<(&String, &Spanned<T>)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(_, value)| value.span().start);
    entries
}

fn node_args(name: &str, node: &Node) -> Result<NodeArgs, String> {
    Ok(NodeArgs {
        node: name.to_owned(),
        image: node.image.clone(),
        node_type: node.r#type.clone(),
        receives: node.receives.clone(),
        sends: node.sends.clone(),
        ports: node.ports.clone(),
        mounts: node.mounts.clone(),
        config: node.config.as_ref().map(json).transpose()?,
        level: node.logging_level.clone(),
    })
}

fn json(table: &Table) -> Result<String, String> {
    fn convert(value: &toml::Value) -> Result<serde_json::Value, String> {
        Ok(match value {
            toml::Value::Datetime(_) => return Err("JSON has no dates: write it in quotes".to_owned()),
            toml::Value::Table(table) => {
                let pairs = table.iter().map(|(key, value)| Ok((key.clone(), convert(value)?)));
                serde_json::Value::Object(pairs.collect::<Result<_, String>>()?)
            }
            toml::Value::Array(values) => values.iter().map(convert).collect::<Result<Vec<_>, _>>()?.into(),
            toml::Value::String(text) => text.clone().into(),
            toml::Value::Integer(number) => (*number).into(),
            toml::Value::Float(number) => (*number).into(),
            toml::Value::Boolean(truth) => (*truth).into(),
        })
    }
    convert(&toml::Value::Table(table.clone())).map(|value| value.to_string())
}

#[cfg(test)]
mod tests;
