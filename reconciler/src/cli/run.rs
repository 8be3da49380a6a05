//! `pci-segment run`: the controller in the foreground, its log on standard error.

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::output::Output;
use super::{Exit, LogFormat, RunArgs};
use crate::config::Config;
use crate::converge::{Outcome, Posture};
use crate::run::{Controller, EndedEarly};
use crate::store;

/// `EX_TEMPFAIL` of sysexits: the service manager starts us again.
const TEMPORARY_FAILURE: u8 = 75;

/// Runs the controller, or one trip of it.
///
/// # Errors
/// It could not start, or the one trip failed.
pub fn run(args: &RunArgs, out: Output) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config)?;
    log_to_stderr(args.log_format, out);
    keep_out_of_core_files();
    let posture = crate::run::settings(&config).posture;
    let runtime = runtime()?;
    let ended: anyhow::Result<Exit> = runtime.block_on(async {
        let controller = Controller::open(config).await?;
        if !args.once {
            return controller.run().await.map(|()| Exit::Done);
        }
        let (outcome, drift) = controller.once().await?;
        out.line(sentence(&outcome, posture));
        if drift > 0 {
            out.line(format!("drift: {drift} differences found; pci-segment drift lists them"));
        }
        let good = matches!(outcome, Outcome::InForce { .. }) && drift == 0;
        Ok(if good { Exit::Done } else { Exit::Violations })
    });
    // A fetch that still waits for a silent remote must not hold up the end.
    runtime.shutdown_background();
    match ended {
        Err(error) if wants_restart(&error) => {
            out.error(&error);
            Ok(Exit::Code(TEMPORARY_FAILURE))
        }
        ended => ended,
    }
}

/// Tokens are in our memory: neither a core file nor another process of this user may have it.
fn keep_out_of_core_files() {
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!("a core file of this process would hold its secrets: {error}");
    }
}

/// The store is lost, or a part of the controller; a start looks at everything again.
fn wants_restart(error: &anyhow::Error) -> bool {
    error.is::<EndedEarly>()
        || error.chain().filter_map(|cause| cause.downcast_ref::<store::Error>()).any(store::Error::wants_restart)
}

fn sentence(outcome: &Outcome, posture: Posture) -> String {
    match outcome {
        Outcome::InForce { commit, changes } => match posture {
            Posture::Enforced => format!("in force: {commit} ({changes} changes)"),
            Posture::Audited => format!("audited, nothing is dropped: {commit} ({changes} changes)"),
            Posture::JudgedOnly => format!("compliant, this controller enforces nothing: {commit}"),
        },
        Outcome::Rejected { commit, reason } => format!("rejected: {commit}: {reason}"),
        Outcome::Inexpressible { commit, reason } => format!("inexpressible: {commit}: {reason}"),
        Outcome::Held { reason } => format!("held: {reason}"),
    }
}

/// A runtime for a controller: one worker for the loop is enough, the rest is waiting.
///
/// # Errors
/// The system gives no threads.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

fn log_to_stderr(format: LogFormat, out: Output) {
    let level = match out.verbosity() {
        0 => "info,sqlx=warn,hyper=warn",
        1 => "debug,sqlx=info,hyper=info,h2=info,rustls=info",
        _ => "trace",
    };
    let named = std::env::var("PCI_SEGMENT_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = named.or_else(|| level.parse().ok()).unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_timer(SystemTime).with_target(false);
    let layer = match format {
        LogFormat::Human => layer.with_ansi(out.colour()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // A second start in one process (tests) keeps the first subscriber.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}
