//! The binary: reads the command line and the configuration, starts the command, and ends the process with the
//! documented exit codes. Everything else is in the library.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use managed_app::cli::{self, Cli, Command};
use managed_app::cloud::{Aws, AwsOptions};
use managed_app::config::{self, ClientConfig, Config, ConfigErrors};
use managed_app::daemon::{Daemon, LogShipping, Reload, Requests};
use managed_app::exit::Exit;
use managed_app::host::{self, Signal};
use managed_app::logs::DaemonLog;
use managed_app::status::{self, DaemonInfo, ListenAddresses, Recorder};
use managed_app::tasks::Tasks;
use managed_app::telemetry::{self, Console, Telemetry};
use managed_app::{engine, text};
use managed_app_runtimes::Limits;
use tokio::sync::{mpsc, watch};

/// Time limit for reading the existing history.
const HISTORY_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// The daemon is idle nearly all of the time: more threads than this cost memory on large hosts and save no time.
const WORKERS_MAX: usize = 2;

/// Dependencies call one function of the C math library, for retry delays and the speed of progress bars. This
/// definition avoids loading that library, which would take half a megabyte of memory.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn pow(base: f64, exponent: f64) -> f64 {
    libm::pow(base, exponent)
}

fn main() -> ExitCode {
    let exit = match Cli::read(std::env::args_os()) {
        Ok(cli) => start(&cli),
        Err(exit) => exit,
    };
    exit.into()
}

fn start(cli: &Cli) -> Exit {
    if let Err(error) = config::adopt_library_variables(&cli.flags.0) {
        print_error(&format!("failed to restart with the variables of the environment file: {error}"));
        return Exit::Internal;
    }
    if !handles_signals(&cli.chosen()) {
        end_on_signals();
    }
    if let Err(error) = host::keep_memory_private() {
        print_error(&format!("core dumps of this process cannot be disabled: {error}"));
    }
    rustls::crypto::ring::default_provider().install_default().expect("nothing else installs a crypto provider");
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print_error(&format!("failed to start the asynchronous runtime: {error}"));
            return Exit::Internal;
        }
    };
    let exit = runtime.block_on(run(cli));
    // At most a blocking call is still running; nothing waits for it.
    runtime.shutdown_background();
    exit
}

/// Whether the command handles signals itself.
fn handles_signals(command: &Command) -> bool {
    match command {
        Command::Run(_) => true,
        #[cfg(feature = "demo")]
        Command::Demo | Command::FakeCloud(_) => true,
        _ => false,
    }
}

/// From now on SIGINT and SIGTERM end this process, however it was started: `nohup` in a script and background jobs of
/// shells without job control pass SIGINT on as ignored, and for process 1 of a container the kernel ignores signals
/// without a handler. SIGHUP keeps its inherited action, which is the purpose of `nohup`.
#[allow(unsafe_code)]
fn end_on_signals() {
    const SIG_DFL: usize = 0;
    const SIGINT: i32 = 2;
    const SIGTERM: i32 = 15;
    unsafe extern "C" {
        fn signal(number: i32, action: usize) -> usize;
        safe fn _exit(code: i32) -> !;
    }
    /// Uses the exit code by which shells report a death by signal.
    extern "C" fn end(number: i32) {
        _exit(128 + number)
    }
    // Shells check for a death by the signal itself before they end a loop or a script too.
    let action = if std::process::id() == 1 { end as extern "C" fn(i32) as usize } else { SIG_DFL };
    for number in [SIGINT, SIGTERM] {
        // SAFETY: the action is the default one, or a handler that only makes a call that is safe in handlers
        // (signal-safety(7)).
        unsafe { signal(number, action) };
    }
}

async fn run(cli: &Cli) -> Exit {
    if let Command::Generate { text } = cli.chosen() {
        return cli::generate(text);
    }
    #[cfg(feature = "demo")]
    match cli.chosen() {
        Command::Demo => {
            return managed_app::demo::run(cli.flags.0.get("MANAGED_APP_RUNTIME"), config::process_environment).await;
        }
        Command::FakeCloud(arguments) => return managed_app::demo::fake_cloud::run(*arguments).await,
        _ => {}
    }
    if let Some(exit) = query_daemon(cli).await {
        return exit;
    }
    let config = match Config::load(&cli.flags.0, config::process_environment) {
        Ok(config) => config,
        Err(errors) => return report_config_errors(&errors),
    };
    if let Command::Run(arguments) = cli.chosen() {
        // On the heap: its type is too deep to be part of this one.
        return Box::pin(run_alone(cli, config, arguments.takeover)).await;
    }
    let telemetry = match start_log(&config, Console::Stderr) {
        Ok(telemetry) => telemetry,
        Err(exit) => return exit,
    };
    let exit = match cli.chosen() {
        Command::Check(arguments) => {
            let listing = config::listing(&cli.flags.0, config::process_environment);
            cli::check(&config, &arguments, &listing, telemetry.redactor()).await
        }
        _ => cli::plan(&config).await,
    };
    drop(telemetry);
    exit
}

/// Changes nothing, including the log file, before it is the only daemon of its app on this host.
async fn run_alone(cli: &Cli, config: Config, takeover: bool) -> Exit {
    let mut requests = match Requests::listen() {
        Ok(requests) => requests,
        Err(error) => {
            print_error(&format!("failed to receive signals: {error}"));
            return Exit::Internal;
        }
    };
    // Both arms are cancel-safe. Nothing runs yet that needs an orderly shutdown.
    let locked = tokio::select! {
        locked = cli::only_daemon(&config, takeover) => locked,
        () = wait_for_end_signal(&mut requests.signals) => return Exit::Done,
    };
    let (lock, successors) = match locked {
        Ok(locked) => locked.unzip(),
        Err(exit) => return exit,
    };
    let telemetry = match start_log(&config, Console::Stdout) {
        Ok(telemetry) => telemetry,
        Err(exit) => return exit,
    };
    if let Some(successors) = successors {
        requests.answer(successors);
    }
    let exit = ship_and_run(config, &telemetry, reload(cli, &telemetry), requests.signals).await;
    drop(telemetry);
    // A blocking call may still run and write the state: the kernel releases the lock at the end of the process.
    std::mem::forget(lock);
    exit
}

/// Commands that query a running daemon; `None` for any other command.
async fn query_daemon(cli: &Cli) -> Option<Exit> {
    let command = cli.chosen();
    if !matches!(command, Command::Status(_) | Command::Why(_) | Command::Events(_)) {
        return None;
    }
    let client = match ClientConfig::load(&cli.flags.0, config::process_environment) {
        Ok(client) => client,
        Err(errors) => return Some(report_config_errors(&errors)),
    };
    Some(match command {
        Command::Status(options) => cli::status(&client, &options).await,
        Command::Why(options) => cli::why(&client, &options).await,
        Command::Events(options) => cli::events(&client, &options).await,
        _ => return None,
    })
}

fn report_config_errors(errors: &ConfigErrors) -> Exit {
    print_error(&errors.to_string());
    Exit::Configuration
}

fn start_log(config: &Config, console: Console) -> Result<Telemetry, Exit> {
    let file = if console == Console::Stdout { config.log_file.clone() } else { None };
    let options = telemetry::Options {
        level: config.logging_level,
        console,
        no_color: config.no_color,
        file,
        is_shipped: console == Console::Stdout && config.daemon_logs,
    };
    let telemetry = telemetry::start(options).map_err(|error| {
        print_error(&format!("failed to {}", text::chain(&error)));
        Exit::Internal
    })?;
    let redactor = telemetry.redactor();
    redactor.add(&config.password);
    // Other AWS credentials of the host come from files and roles, and only the SDK knows them.
    for name in ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        if let Some(secret) = config::process_environment(name) {
            redactor.add(&secret.into());
        }
    }
    telemetry.log_panics();
    Ok(telemetry)
}

/// Reads the configuration as at the start; a new password must not appear in the log either.
fn reload(cli: &Cli, telemetry: &Telemetry) -> Reload {
    let (flags, redactor) = (cli.flags.0.clone(), telemetry.redactor());
    Reload(Box::new(move || {
        let config = Config::load(&flags, config::process_environment)?;
        redactor.add(&config.password);
        Ok(config)
    }))
}

/// Ships all log lines of the daemon, from the first to the last.
async fn ship_and_run(config: Config, telemetry: &Telemetry, reload: Reload, signals: mpsc::Receiver<Signal>) -> Exit {
    let aws = Arc::new(Aws::new(AwsOptions::default()).with_redactor(telemetry.redactor()));
    let shipping = LogShipping::start(&config, telemetry, aws.clone());
    let exit = run_daemon(config, aws, reload, signals, shipping.log()).await;
    shipping.finish().await;
    exit
}

async fn run_daemon(
    config: Config,
    aws: Arc<Aws>,
    reload: Reload,
    signals: mpsc::Receiver<Signal>,
    log: Option<DaemonLog>,
) -> Exit {
    let mut tasks = Tasks::new();
    tasks.spawn("memory", host::give_back_memory());
    let recorder = start_status(&config, &mut tasks).await;
    if let Some(log) = log {
        recorder.watch_own_log(move || log.numbers());
    }
    let exit = connect_and_run(config, aws, reload, signals, &recorder).await;
    recorder.flush().await;
    tasks.shutdown().await;
    exit
}

/// Serves the status before anything else works.
async fn start_status(config: &Config, tasks: &mut Tasks) -> Arc<Recorder> {
    let about = DaemonInfo { app: config.app.clone(), tenant: config.tenant.clone() };
    let (for_history, directory) = (about.clone(), config.state_directory.clone());
    // A disk that does not respond costs the history, not the daemon.
    let open = tokio::task::spawn_blocking(move || Recorder::open(for_history, &directory));
    let opened = tokio::time::timeout(HISTORY_WAIT, open).await;
    let recorder = opened.ok().and_then(Result::ok).unwrap_or_else(|| {
        tracing::warn!("the existing history could not be read in time");
        Recorder::in_memory(about)
    });
    recorder.set_stage("waiting for the engine");
    let addresses =
        ListenAddresses { socket: config.status_socket.clone(), metrics: config.metrics, page: config.http };
    status::serve(tasks, &recorder, addresses);
    tasks.spawn("history", recorder.clone().keep_writing());
    recorder
}

async fn connect_and_run(
    config: Config,
    aws: Arc<Aws>,
    reload: Reload,
    mut signals: mpsc::Receiver<Signal>,
    recorder: &Arc<Recorder>,
) -> Exit {
    // Both arms are cancel-safe. Nothing runs yet that needs an orderly shutdown.
    let runtime = tokio::select! {
        runtime = engine::connect_patiently(&config, Limits::default()) => runtime,
        () = wait_for_end_signal(&mut signals) => return Exit::Done,
    };
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = error.tried(), remedy = error.remedy(), "no container engine can be used");
            return cli::exit_of(&error);
        }
    };
    let (status, _) = watch::channel(None);
    let recorder = recorder.clone();
    Daemon { config, runtime, aws, signals, status, recorder, search_path: None, reload }.run().await
}

async fn wait_for_end_signal(signals: &mut mpsc::Receiver<Signal>) {
    while signals.recv().await == Some(Signal::Hangup) {}
}

/// Prints to standard error. `eprintln!` would panic if nobody reads it any more.
fn print_error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
