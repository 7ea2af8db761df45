//! The command-line program: one file for each subcommand, and what they share.

mod conformance;
mod connection;
mod cursor;
mod demo;
mod describe;
mod emulator;
mod files;
mod invoke;
mod options;
mod output;
mod poll;
mod sample;
mod schema;
mod session;
mod signals;
mod test;
mod validate;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use connector_host::CallError;

use self::output::Output;
use self::session::{Session, SessionArguments};

/// Runs a workflow connector: describes it, tries an account out, polls triggers and invokes actions.
///
/// Secrets come from a connection file, the environment variable CONNECTOR_CONNECTION or a prompt, never
/// from an argument. Exit codes: 0 success, 1 the connector or the host refused or failed, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "connector-host", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    session: SessionArguments,
    /// Write JSON for machines instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what the connector is, what it needs and what it can do.
    Describe,
    /// List the triggers.
    Triggers,
    /// List the actions.
    Actions,
    /// Judge the values of the connection, without a network.
    Validate,
    /// Try the account out, changing nothing: checks, permissions, and what they unlock.
    Test,
    /// List the values that a field offers.
    Options(options::OptionsArguments),
    /// Print the JSON Schema of an operation.
    Schema(schema::SchemaArguments),
    /// Print example events of a trigger.
    Sample(sample::SampleArguments),
    /// Poll a trigger once.
    Poll(poll::PollArguments),
    /// Poll all partitions of a trigger continuously, committing each event.
    Watch(watch::WatchArguments),
    /// Invoke an action.
    Invoke(invoke::InvokeArguments),
    /// Judge whether a component keeps the rules of the connector interface.
    Conformance(conformance::ConformanceArguments),
    /// Serve an emulator of IoT Hub and the Device Provisioning Service on this machine.
    Emulator(emulator::EmulatorArguments),
    /// Show it all: an emulator, a plant full of devices, and a workflow that answers them, with a check at the end.
    Demo(demo::DemoArguments),
}

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Exit {
    /// The program was used wrongly, or a file that was named cannot be used.
    Usage(anyhow::Error),
    /// The call failed.
    Call(CallError),
    /// Something else failed.
    Failed(anyhow::Error),
    /// What went wrong was said already.
    Said,
    /// The reader of the output has gone.
    OutputClosed,
}

impl From<CallError> for Exit {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// Shorthand for what every command answers.
pub(crate) type Done<T = ()> = Result<T, Exit>;

/// Marks what goes wrong with an argument or a file that it names.
pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Exit {
    Exit::Usage(error.into())
}

/// Runs a command and says how it ended.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let output = Output::new(arguments.json);
    session::start_log(arguments.session.verbose());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.error(&Exit::Failed(error.into()));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        signals::survive_limits_of_files();
        dispatch(arguments, &output).await
    });
    // A name that is being resolved must not keep the program from ending.
    runtime.shutdown_background();
    match ended {
        Ok(()) | Err(Exit::OutputClosed) => ExitCode::SUCCESS,
        Err(exit) => {
            output.error(&exit);
            match exit {
                Exit::Usage(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn dispatch(arguments: Arguments, output: &Output) -> Done {
    let session = Session::new(arguments.session, output);
    match arguments.command {
        Command::Describe => describe::describe(&session, output).await,
        Command::Triggers => describe::triggers(&session, output).await,
        Command::Actions => describe::actions(&session, output).await,
        Command::Validate => validate::run(&session, output).await,
        Command::Test => test::run(&session, output).await,
        Command::Options(arguments) => options::run(&session, output, arguments).await,
        Command::Schema(arguments) => schema::run(&session, output, arguments).await,
        Command::Sample(arguments) => sample::run(&session, output, arguments).await,
        Command::Poll(arguments) => poll::run(&session, output, arguments).await,
        Command::Watch(arguments) => watch::run(&session, output, arguments).await,
        Command::Invoke(arguments) => invoke::run(&session, output, arguments).await,
        Command::Conformance(arguments) => conformance::run(&session, output, arguments).await,
        Command::Emulator(arguments) => emulator::run(output, arguments).await,
        Command::Demo(arguments) => demo::run(&session, output, arguments).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
