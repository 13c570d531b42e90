//! The binary `snug`: arguments as typed → resolved settings → one command function.
//!
//! Owns the command line, the terminal and the exit codes. Everything else is asked of the server through [`client`],
//! like any program would; only `serve` holds a server.
//!
//! Exit codes are listed in [`exit::Exit`]. Data goes to stdout, everything else to stderr.

mod advice;
mod args;
mod commands;
mod exit;
mod failure;
mod own_server;
mod printer;
mod progress;
mod settings;
mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::advice::Advice;
use crate::args::{Args, Command, MachineArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::settings::Settings;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return not_a_command(&error),
    };
    let printer = Printer::new(args.global.json);
    let outcome = Settings::resolve(&args.global).and_then(|settings| run(args.command, &settings, &printer));
    match outcome {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            printer.failure(&failure);
            failure.exit().into()
        }
    }
}

fn run(command: Command, settings: &Settings, printer: &Printer) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => commands::serve::run(*args, settings),
        Command::Config => commands::config::run(printer),
        Command::Completions { shell } => commands::completions::run(shell, printer),
        Command::Version => commands::version::run(printer),
        Command::Run(args) => commands::run::run(args, settings, printer),
        Command::Catalog { action } => commands::catalog::run(&action, settings, printer),
        Command::Doctor(_) if settings.url_was_typed() => {
            Err(Failure::usage("`snug doctor` looks at this machine: run it where the server runs, without --url"))
        }
        Command::Doctor(machine) => commands::doctor::run(&Advice::here(settings, &machine)?, printer),
        Command::System(machine) => {
            advised(settings, &machine, printer, async |advice| commands::system::run(advice, printer).await)
        }
        Command::Fit(args) => {
            advised(settings, &args.machine, printer, async |advice| commands::fit::run(&args, advice, printer).await)
        }
        Command::Recommend { use_case, limit, machine } => advised(settings, &machine, printer, async |advice| {
            commands::fit::recommend(use_case.as_deref(), limit, advice, printer).await
        }),
        Command::Info { model, machine } => advised_on(&model, settings, &machine, printer, async |name, advice| {
            commands::info::run(&name, advice, printer).await
        }),
        Command::Plan(args) => advised_on(&args.model, settings, &args.machine, printer, async |name, advice| {
            commands::plan::run(&args, name, advice, printer).await
        }),
        Command::Ps => wait(commands::ps::run(&settings.client()?, printer)),
        Command::Models => wait(commands::models::run(&settings.client()?, printer)),
        Command::Load { model, context } => wait(commands::load::run(&settings.client()?, printer, &model, context)),
        Command::Pull { model } => wait(commands::pull::run(settings, printer, &model)),
        Command::Rm { model } => wait(commands::rm::run(settings, printer, &model)),
        Command::Pin { model } => wait(commands::pin::run(&settings.client()?, printer, &model, true)),
        Command::Unpin { model } => wait(commands::pin::run(&settings.client()?, printer, &model, false)),
        Command::Keys { action } => wait(commands::keys::run(action, &settings.client()?, printer)),
        Command::Unload { model } => wait(commands::unload::run(&settings.client()?, printer, &model)),
    }
}

/// Runs a command that advises, then says what should be known of the answer.
fn advised(
    settings: &Settings,
    machine: &MachineArgs,
    printer: &Printer,
    command: impl AsyncFnOnce(&Advice) -> Result<(), Failure>,
) -> Result<(), Failure> {
    wait(async {
        let advice = Advice::of(settings, machine).await?;
        noted(&advice, printer, command(&advice)).await
    })
}

/// The same about one model, which may be a file or a folder of this machine; the command is told what to call it.
fn advised_on(
    model: &str,
    settings: &Settings,
    machine: &MachineArgs,
    printer: &Printer,
    command: impl AsyncFnOnce(String, &Advice) -> Result<(), Failure>,
) -> Result<(), Failure> {
    wait(async {
        let (advice, name) = Advice::on(model, settings, machine).await?;
        noted(&advice, printer, command(name, &advice)).await
    })
}

/// Tells, after a command is done, what should be known of its answers.
async fn noted(
    advice: &Advice,
    printer: &Printer,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let done = command.await;
    for note in advice.notes() {
        printer.note(note);
    }
    done
}

/// Runs a client's command: one connection needs no threads.
fn wait(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command)
}

/// Help and version are answers; anything else that clap stops at is a mistake in the arguments.
fn not_a_command(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A reader that went away has seen enough of the help.
        let _ = error.print();
        return Exit::Ok.into();
    }
    if std::env::args_os().any(|arg| arg == "--json") {
        let message = error.to_string();
        let message = message.strip_prefix("error: ").unwrap_or(&message).trim().to_owned();
        Printer::new(true).failure(&Failure::usage(message));
    } else {
        let _ = error.print();
    }
    Exit::Usage.into()
}
