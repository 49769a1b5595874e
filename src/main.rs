//! The binary: reads the command line and the configuration, starts what they ask for, and ends the process with the
//! documented codes. Everything else is in the library.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use managed_app::cli::{self, Cli, Command};
use managed_app::cloud::{Aws, AwsOptions};
use managed_app::config::{self, Config};
use managed_app::daemon::{self, Daemon, Reload};
use managed_app::exit::Exit;
use managed_app::host::Signal;
use managed_app::telemetry::{self, Console, Telemetry};
use managed_app::{driver, engine};
use managed_app_runtimes::Limits;
use tokio::sync::{mpsc, watch};

fn main() -> ExitCode {
    let exit = match Cli::read(std::env::args_os()) {
        Ok(cli) => begin(&cli),
        Err(exit) => exit,
    };
    exit.into()
}

fn begin(cli: &Cli) -> Exit {
    if let Err(error) = config::adopt_library_variables(&cli.flags.0) {
        complain(&format!("failed to start over with the variables of the environment file: {error}"));
        return Exit::Internal;
    }
    rustls::crypto::ring::default_provider().install_default().expect("nothing else installs a crypto provider");
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("failed to start the asynchronous runtime: {error}"));
            return Exit::Internal;
        }
    };
    let exit = runtime.block_on(run(cli));
    // What still runs is a blocking call at most; nobody waits for it.
    runtime.shutdown_background();
    exit
}

async fn run(cli: &Cli) -> Exit {
    #[cfg(feature = "demo")]
    match cli.chosen() {
        Command::Demo => {
            return managed_app::demo::run(cli.flags.0.get("MANAGED_APP_RUNTIME"), config::process_environment).await;
        }
        Command::FakeCloud(arguments) => return managed_app::demo::fake_cloud::run(*arguments).await,
        _ => {}
    }
    let config = match Config::load(&cli.flags.0, config::process_environment) {
        Ok(config) => config,
        Err(errors) => {
            complain(&errors.to_string());
            return Exit::Configuration;
        }
    };
    let console = if cli.chosen() == Command::Run { Console::Stdout } else { Console::Stderr };
    let telemetry = match start_log(&config, console) {
        Ok(telemetry) => telemetry,
        Err(exit) => return exit,
    };
    let exit = match cli.chosen() {
        Command::Check => cli::check(&config).await,
        Command::Plan => cli::plan(&config).await,
        _ => run_daemon(config, reload(cli, &telemetry)).await,
    };
    drop(telemetry);
    exit
}

fn start_log(config: &Config, console: Console) -> Result<Telemetry, Exit> {
    let file = if console == Console::Stdout { config.log_file.clone() } else { None };
    let telemetry =
        telemetry::start(telemetry::Options { level: config.logging_level, console, no_color: config.no_color, file });
    let telemetry = telemetry.map_err(|error| {
        complain(&format!("failed to {}", driver::chain(&error)));
        Exit::Internal
    })?;
    telemetry.redactor().add(&config.password);
    Ok(telemetry)
}

/// Reads the configuration as at the start; a new password must not show in the log either.
fn reload(cli: &Cli, telemetry: &Telemetry) -> Reload {
    let (flags, redactor) = (cli.flags.0.clone(), telemetry.redactor());
    Reload(Box::new(move || {
        let config = Config::load(&flags, config::process_environment)?;
        redactor.add(&config.password);
        Ok(config)
    }))
}

async fn run_daemon(config: Config, reload: Reload) -> Exit {
    let mut signals = match daemon::signals() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "signals cannot be followed");
            return Exit::Internal;
        }
    };
    // Both arms are cancel-safe. Nothing runs yet that a signal would have to end in order.
    let runtime = tokio::select! {
        runtime = engine::connect_patiently(&config, Limits::default()) => runtime,
        () = told_to_end(&mut signals) => return Exit::Done,
    };
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = error.tried(), remedy = error.remedy(), "no container engine can be used");
            return cli::exit_of(&error);
        }
    };
    let aws = Arc::new(Aws::new(AwsOptions::default()));
    let (status, _) = watch::channel(None);
    Daemon { config, runtime, aws, signals, status, search_path: None, reload }.run().await
}

async fn told_to_end(signals: &mut mpsc::Receiver<Signal>) {
    while signals.recv().await == Some(Signal::Hangup) {}
}

/// Says it on standard error. `eprintln!` would panic when nobody reads there any more.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
