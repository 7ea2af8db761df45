//! The project's own commands: `cargo xtask help` lists them. Each does the set-up that it needs and says what it installs.

mod bench;
mod checks;
mod component;
mod run;
mod setup;
mod soak;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  setup            install what the other commands need: the wasm target, Debian packages where one is missing
  build            build the component: target/component/azure_iot_connector.wasm
  demo [ARGS]      build, then run a workflow on the embedded emulator; ARGS go to `connector-host demo`
  test             format, lints on both targets, build, all tests, documentation, examples
  bench [NAME]     measure as ratios: sandbox (calls beside native code), telemetry (reading beside other clients), density
                   (a thousand tenants, and what they notice of each other); all where none is named
  soak WHAT [ARGS] long runs: telemetry (seed after seed of faults), tenants (200 in one process), lifetimes (one instance over
                   100,000 requests, 10,000 tenants that come and go), peers (every way in which a server can misbehave);
                   --help lists ARGS
  advisories [--if-available]
                   known vulnerabilities of what is depended on; fetches the database of them
  ci               what continuous integration runs: the same as test
";

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_else(|| "help".to_owned());
    let rest: Vec<String> = args.collect();
    if !matches!(command.as_str(), "demo" | "bench" | "soak" | "advisories") && !rest.is_empty() {
        bail!("`{command}` takes no arguments\n\n{HELP}");
    }
    match command.as_str() {
        "setup" => setup::for_tests(),
        "build" => setup::for_building().and_then(|()| component::build()).map(drop),
        "demo" => demo(&rest),
        "test" | "ci" => checks::all(),
        "advisories" => match rest.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => checks::advisories(false),
            ["--if-available"] => checks::advisories(true),
            _ => bail!("`advisories` takes `--if-available` alone\n\n{HELP}"),
        },
        "bench" => bench::run(&rest),
        "soak" => soak::run(&rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("there is no command `{other}`\n\n{HELP}"),
    }
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
