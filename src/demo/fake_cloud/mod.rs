//! `fake-cloud`: a complete fake EchoStream cloud on one port, for authors of nodes. `serve` runs it; all other commands
//! are sent to a running one. Its state is in memory only.

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

/// Default listen address of `serve`, and default address for the other commands.
const DEFAULT_ADDRESS: &str = "127.0.0.1:4510";

/// Options of `fake-cloud`.
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

/// Runs a fake cloud, or sends a command to a running one.
pub async fn run(arguments: FakeCloudArgs) -> Exit {
    let result = match arguments.action {
        Action::Serve(serve) => server::serve(serve.listen, serve.advertise, serve.seed.as_deref()).await,
        Action::Command(command) => client::send(&arguments.at, &command).await,
    };
    match result {
        Ok(()) => Exit::Done,
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "failed to {}", problem.text);
            problem.exit
        }
    }
}

/// The failed operation, to follow "failed to", and the exit code.
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

    /// Something is unavailable.
    fn unavailable(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: Exit::Unavailable }
    }
}
