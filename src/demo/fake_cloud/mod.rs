//! `fake-cloud`: a whole EchoStream cloud on one port, for authors of nodes. `serve` runs it; every other word is said to
//! one that runs. Keeps nothing: what was told to it ends with it.

mod address;
mod client;
mod commands;
mod parts;
mod reply;
mod seed;
mod server;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::exit::Exit;
use commands::Command;

/// Where `serve` listens, and where the other words look for it.
const DEFAULT_ADDRESS: &str = "127.0.0.1:4510";

/// What stands after `fake-cloud`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct FakeCloudArgs {
    /// Address of the running fake cloud
    #[arg(long, value_name = "HOST:PORT", default_value = DEFAULT_ADDRESS, global = true)]
    at: String,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
enum Action {
    /// Run the fake cloud until it is interrupted
    ///
    /// Without --seed the app has no nodes. To be reachable from containers, the fake cloud must listen on all addresses:
    /// `--listen 0.0.0.0:4510`. Every host of the network can then reach and change it without a password.
    Serve(ServeArgs),
    #[command(flatten)]
    Command(Command),
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
struct ServeArgs {
    /// Listen address; port 0 selects a free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = DEFAULT_ADDRESS)]
    listen: SocketAddr,
    /// Address of this host that clients connect to; default: the listen address, or the address of the default route
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// TOML file with the app and its nodes; see packaging/fake-cloud.toml
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
}

/// Serves, or says a word to the one that serves.
pub async fn run(arguments: FakeCloudArgs) -> Exit {
    let done = match arguments.action {
        Action::Serve(serve) => server::serve(serve.listen, serve.advertise, serve.seed.as_deref()).await,
        Action::Command(command) => client::say(&arguments.at, &command).await,
    };
    match done {
        Ok(()) => Exit::Done,
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "failed to {}", problem.text);
            problem.exit
        }
    }
}

/// What went wrong, to follow "failed to", and the code to end with.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    text: String,
    exit: Exit,
}

impl Problem {
    /// The user has to change something.
    fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: Exit::Usage }
    }

    /// Something is not there.
    fn unavailable(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: Exit::Unavailable }
    }
}
