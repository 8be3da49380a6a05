//! The `pci-segment` command: parses what was asked, asks for it, prints how it ended. No logic lives here.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use pci_segment::cli::output::Output;
use pci_segment::cli::{
    Cli, Command, Exit, audit, backup, boot, cloud_sync, cloud_validate, demo, diff, doctor, drift, enforce, events, explain,
    history, init, operate, plan, records, rescue, rules, run, usage, validate, webhook,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Output::new(cli.color, cli.verbose);
    match dispatch(cli.command, out) {
        Ok(exit) => exit.into(),
        Err(error) => {
            out.error(&error);
            Exit::CouldNotRun.into()
        }
    }
}

fn dispatch(command: Command, out: Output) -> anyhow::Result<Exit> {
    match command {
        Command::Demo(args) => demo::demo(&args, out),
        Command::Init(args) => init::init(&args, out),
        Command::Validate(args) => validate::validate(&args, out),
        Command::Rules(args) => rules::rules(&args, out),
        Command::Explain(args) => explain::explain(&args, out),
        Command::Diff(args) => diff::diff(&args, out),
        Command::Plan(args) => plan::plan(&args, out),
        Command::Run(args) => run::run(&args, out),
        Command::Enforce(args) => enforce::enforce(&args, out),
        Command::CloudSync(args) => cloud_sync::cloud_sync(&args, out),
        Command::CloudValidate(args) => cloud_validate::cloud_validate(&args, out),
        Command::Status(args) => records::status(&args, out),
        Command::History(args) => history::history(&args, out),
        Command::Drift(args) => drift::drift(&args, out),
        Command::Audit(command) => audit::audit(&command, out),
        Command::Events(args) => events::events(&args, out),
        Command::Usage(args) => usage::usage(&args, out),
        Command::Reconcile(args) => operate::reconcile(&args, out),
        Command::Confirm(args) => operate::confirm(&args, out),
        Command::Suspend(args) => operate::suspend(&args, out),
        Command::Resume(args) => operate::resume(&args, out),
        Command::Rollback(args) => operate::rollback(&args, out),
        Command::Disable(args) => operate::disable(&args, out),
        Command::Boot(args) => boot::boot(&args, out),
        Command::Rescue(command) => rescue::rescue(&command, out),
        Command::Webhook(command) => webhook::webhook(&command, out),
        Command::Backup(args) => backup::backup(&args, out),
        Command::Restore(args) => backup::restore(&args, out),
        Command::Doctor(args) => doctor::doctor(&args, out),
        Command::Completion { shell } => {
            // Into memory first: the generator panics when its pipe is closed.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pci-segment", &mut script);
            out.bytes(&script);
            Ok(Exit::Done)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            out.bytes(&page);
            Ok(Exit::Done)
        }
    }
}
