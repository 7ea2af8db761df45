//! `connector-host`: runs one connector from the command line.

mod commands;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    commands::run(commands::Arguments::parse())
}
