//! The project's own commands, which `cargo xtask help` lists. Each command first installs what it needs, and says what
//! it installs.

mod bench;
mod checks;
mod component;
mod dependencies;
mod run;
mod setup;
mod soak;

use std::path::Path;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  setup            install what the other commands need: the wasm target, Debian packages where one is missing, cargo-deny
                   and cargo-nextest
  build            build both files of the component in target/component/: azure_iot_connector.wasm for every host,
                   azure_iot_connector_host_tls.wasm for hosts that offer `workflow:connector-host/tls`
  demo [ARGS]      build, then run a workflow on the embedded emulator; ARGS go to `connector-host demo`
  test             every stage of `check`
  check [STAGE...] the stages that are named, or all; see below
  fmt              format every file, also those that `cargo fmt` does not find
  bench [CASE...]  measure ratios: the component beside other clients and beside itself; all cases where none is named.
                   --json prints an object a line, --baseline FILE compares with the component of an older version;
                   `bench growth [CURVE...]` draws how figures grow with the work; --help lists the rest
  soak WHAT [ARGS] long runs: telemetry (seed after seed of faults), tenants (200 in one process), lifetimes (one instance over
                   100,000 requests, 10,000 tenants that come and go), peers (every way in which a server can misbehave);
                   --help lists ARGS
  descriptor [--write]
                   compare what the component says of itself with tests/snapshots/descriptor.json, or write that file
  docs             write what is made of the component: the descriptor's snapshot, docs/reference/, and the table of the
                   services' operations that are reached (needs AZURE_API_SPECS)
  advisories [--database FOLDER]
                   look for known vulnerabilities in all that is depended on; the database is a clone of RustSec's: FOLDER, or
                   the folder that ADVISORY_DB names, otherwise it is fetched
  ci               what continuous integration runs: the same as test

Stages of `check`, in their order:

";

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_else(|| "help".to_owned());
    let rest: Vec<String> = args.collect();
    let words: Vec<&str> = rest.iter().map(String::as_str).collect();
    match (command.as_str(), &words[..]) {
        ("setup", []) => setup::for_everything(),
        ("build", []) => setup::for_building().and_then(|()| component::build()).map(drop),
        ("demo", _) => demo(&rest),
        ("test" | "ci", []) => checks::run(&[]),
        ("check", _) => checks::run(&rest),
        ("fmt", []) => setup::for_formatting().and_then(|()| checks::rewrite_format(&[])),
        ("descriptor", []) => checks::descriptor(false),
        ("descriptor", ["--write"]) => checks::descriptor(true),
        ("docs", []) => checks::documents(),
        ("advisories", []) => dependencies::advisories(None),
        ("advisories", ["--database", folder]) => dependencies::advisories(Some(Path::new(folder))),
        ("bench", _) => bench::run(&rest),
        ("soak", _) => soak::run(&rest),
        ("help" | "--help" | "-h", _) => {
            print!("{}", help());
            Ok(())
        }
        ("setup" | "build" | "test" | "ci" | "descriptor" | "advisories", _) => {
            bail!("`{command}` does not take `{}`\n\n{}", rest.join(" "), help())
        }
        (other, _) => bail!("there is no command `{other}`\n\n{}", help()),
    }
}

fn help() -> String {
    HELP.to_owned() + &checks::stages()
}

fn demo(args: &[String]) -> Result<()> {
    setup::for_building()?;
    let component = component::build()?;
    run::step("Build the program", || run::cargo(&["build", "--package", "connector-host-cli"]))?;
    run::Command::new(run::target_dir()?.join("debug").join("connector-host"))
        .arg("--component")
        .arg(component)
        .arg("demo")
        .args(args)
        .run()
}
