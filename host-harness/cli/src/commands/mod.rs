//! The command-line program: one file for each subcommand, and what they share.

mod conformance;
mod connection;
mod cursor;
mod demo;
mod describe;
mod device;
mod emulator;
mod exit;
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

use self::exit::{Done, Exit, usage};
use self::output::Output;
use self::session::{Session, SessionArguments};

/// Runs a workflow connector: describes it, tests an account, polls triggers and invokes actions.
///
/// An account's secrets come from a connection file, the environment variable CONNECTOR_CONNECTION or a prompt, never
/// from an argument. Exit codes: 0 for success, 1 if the connector or the host refused or failed, 2 for wrong usage.
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
    /// Describe the connector: its accounts, permissions, network rules, triggers and actions.
    Describe,
    /// List the triggers.
    Triggers,
    /// List the actions.
    Actions,
    /// Check the values of the connection, without using the network.
    Validate,
    /// Test the account without changing anything: print checks, permissions, and what each permission unlocks.
    Test,
    /// List the values that a person can choose from in a field.
    Options(options::OptionsArguments),
    /// Print the JSON Schema of an operation.
    Schema(schema::SchemaArguments),
    /// Print example events of a trigger.
    Sample(sample::SampleArguments),
    /// Poll each partition of a trigger one time.
    Poll(poll::PollArguments),
    /// Poll all partitions of a trigger continuously, and commit the cursor after each event.
    Watch(watch::WatchArguments),
    /// Invoke an action.
    Invoke(invoke::InvokeArguments),
    /// Check whether a component follows the rules of the connector interface.
    Conformance(conformance::ConformanceArguments),
    /// Run an emulator of IoT Hub and the Device Provisioning Service on this machine.
    Emulator(emulator::EmulatorArguments),
    /// Be one device: connect to a hub over MQTT, send, report, upload, and answer messages and direct methods.
    Device(Box<device::DeviceArguments>),
    /// Run a demonstration: an emulator, simulated devices, and workflows that answer them, with a self-check at the
    /// end.
    Demo(demo::DemoArguments),
}

/// Runs a command, prints its error if it fails, and returns the exit code.
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
    // A name look-up that is still under way must not delay the end of the program.
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
        Command::Device(arguments) => device::run(&session, output, *arguments).await,
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
