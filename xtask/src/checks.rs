//! All checks that a change must pass. They are arranged in stages, each of which can be run alone.

use anyhow::{Context, Result};

use crate::run::{Command, cargo, root, step, target_dir};
use crate::{component, dependencies, setup};

/// A part of the checks that can be run alone.
struct Stage {
    name: &'static str,
    about: &'static str,
    /// Installs what the stage needs.
    set_up: fn() -> Result<()>,
    run: fn() -> Result<()>,
}

/// The stages in the order in which they run. Stages that fail quickly come first.
const STAGES: [Stage; 6] = [
    Stage { name: "fmt", about: "the format of every package", set_up: setup::for_formatting, run: format },
    Stage { name: "lint", about: "clippy for every package and target", set_up: setup::for_lints, run: lint },
    Stage {
        name: "unit",
        about: "unit tests; they need neither the component nor Python nor Node.js",
        // The unit tests of sockets build their own guest.
        set_up: setup::for_building,
        run: unit,
    },
    Stage {
        name: "e2e",
        about: "builds the component, then runs the integration tests",
        set_up: setup::for_tests,
        run: end_to_end,
    },
    Stage {
        name: "docs",
        about: "examples in the documentation, its links, and what the documents cite",
        set_up: setup::nothing,
        run: documentation,
    },
    Stage {
        name: "deps",
        about: "licences, sources, duplicate and yanked versions, known vulnerabilities",
        set_up: setup::nothing,
        run: dependencies::check,
    },
];

/// The packages outside of the workspace that become components.
const GUESTS: [&str; 5] =
    ["kit", "examples/http", "tests/hostile", "host-harness/tests/guests/frozen", "host-harness/tests/guests/stream"];

/// The package of the fuzz targets, which is outside of the workspace too.
const FUZZ: &str = "fuzz";

/// What clippy checks in the workspace.
const LINTS: [(&str, &[&str]); 5] = [
    ("Lints, host target", &["--workspace", "--all-targets"]),
    ("Lints, the host as it is embedded", &["--package", "connector-host", "--lib"]),
    ("Lints, component target", &["--package", "azure-iot-connector", "--target", "wasm32-wasip2", "--lib"]),
    (
        "Lints, component without AMQP",
        &["--package", "azure-iot-connector", "--target", "wasm32-wasip2", "--lib", "--no-default-features"],
    ),
    (
        "Lints, component that leaves TLS to its host",
        &[
            "--package",
            "azure-iot-connector",
            "--target",
            "wasm32-wasip2",
            "--lib",
            "--no-default-features",
            "--features",
            "amqp,host-tls",
        ],
    ),
];

/// The arguments for unit tests. They build the whole workspace, as all other stages do: with fewer packages, cargo
/// would choose other features of dependencies and build them a second time.
const UNIT_TESTS: [&str; 7] = ["--workspace", "--lib", "--bins", "--test", "corpus", "--test", "floors"];

/// The arguments for the tests that also run on the file that leaves TLS to its host: AMQP on both ports,
/// and what the test of a connection says of TLS.
const HOST_TLS_TESTS: [&str; 7] =
    ["--workspace", "--test", "telemetry", "--test", "web_sockets", "--test", "permissions"];

/// The arguments for all targets that have no unit tests.
const INTEGRATION_TESTS: [&str; 7] = ["--workspace", "--test", "*", "--bench", "*", "--example", "*"];

/// Runs the stages with these names, or all stages. The first failed check ends the run.
///
/// # Errors
/// The check that failed, or a name that is no stage's.
pub fn run(names: &[String]) -> Result<()> {
    let chosen: Vec<&Stage> = match names {
        [] => {
            setup::for_everything()?;
            STAGES.iter().collect()
        }
        names => names.iter().map(|name| stage(name)).collect::<Result<_>>()?,
    };
    for stage in chosen {
        (stage.set_up)()?;
        (stage.run)()?;
    }
    eprintln!("All checks passed.");
    Ok(())
}

/// One line for each stage, for the help.
pub fn stages() -> String {
    STAGES.iter().map(|stage| format!("  {:<6} {}\n", stage.name, stage.about)).collect()
}

fn stage(name: &str) -> Result<&'static Stage> {
    const ALL: &[Stage] = &STAGES;
    ALL.iter().find(|stage| stage.name == name).with_context(|| {
        format!("there is no stage `{name}`; it must be one of {}", STAGES.map(|stage| stage.name).join(", "))
    })
}

fn manifest(package: &str) -> String {
    format!("{package}/Cargo.toml")
}

/// The manifests of all packages outside of the workspace.
pub fn manifests_outside() -> impl Iterator<Item = String> {
    GUESTS.into_iter().chain([FUZZ]).map(manifest)
}

fn format() -> Result<()> {
    step("Format", || rewrite_format(&["--check"])).context("`cargo xtask fmt` formats every file")
}

/// Formats every file, or passes other arguments to rustfmt.
///
/// # Errors
/// Where rustfmt fails; with `--check`, where a file has another format.
pub fn rewrite_format(args: &[&str]) -> Result<()> {
    cargo(&[&["fmt", "--all", "--"], args].concat())?;
    for manifest in manifests_outside() {
        cargo(&[&["fmt", "--manifest-path", &manifest, "--"], args].concat())?;
    }
    // A macro declares the modules of these folders, which rustfmt does not follow.
    let mut command = Command::new("rustfmt").args(["--edition", "2024"]).args(args);
    for kind in ["src/actions", "src/triggers"] {
        for folder in std::fs::read_dir(root()?.join(kind))? {
            let folder = folder?.path();
            if folder.is_dir() {
                for file in std::fs::read_dir(folder)? {
                    let file = file?.path();
                    if file.is_file() {
                        command = command.arg(file);
                    }
                }
            }
        }
    }
    command.run()
}

fn lint() -> Result<()> {
    let clippy = |args: &[&str]| Command::new(env!("CARGO")).arg("clippy").args(args);
    let strictly = ["--", "--deny", "warnings"];
    for (title, args) in LINTS {
        step(title, || clippy(args).args(strictly).run())?;
    }
    for package in GUESTS {
        step(&format!("Lints, {package}"), || {
            // The tests build these packages in the same folder and with the same profile, so the results are shared.
            let args = ["--release", "--locked", "--target", "wasm32-wasip2", "--manifest-path", &manifest(package)];
            clippy(&args).arg("--target-dir").arg(target_dir()?.join("guests")).args(strictly).run()
        })?;
    }
    step("Lints, fuzz targets", || {
        let args = ["--locked", "--all-targets", "--manifest-path", &manifest(FUZZ)];
        let command = clippy(&args).arg("--target-dir").arg(target_dir()?.join("fuzz"));
        // The lint links nothing, so LLVM's fuzzer need not be compiled. `cargo fuzz` links it, and needs nightly Rust.
        command.args(strictly).env("CUSTOM_LIBFUZZER_PATH", "/not/linked/libfuzzer.a").run()
    })
}

fn unit() -> Result<()> {
    step("Unit tests", || match setup::nextest() {
        Some(program) => Command::new(program).args(["nextest", "run"]).args(UNIT_TESTS).run(),
        None => Command::new(env!("CARGO")).arg("test").args(UNIT_TESTS).run(),
    })
}

fn end_to_end() -> Result<()> {
    let component = component::build()?;
    step("Integration tests", || {
        let command = Command::new(env!("CARGO")).arg("test").args(INTEGRATION_TESTS);
        command.env("CONNECTOR_COMPONENT", &component).run()
    })?;
    step("Tests of AMQP, TLS by the host", || {
        let command = Command::new(env!("CARGO")).arg("test").args(HOST_TLS_TESTS);
        command.env("CONNECTOR_COMPONENT", component.with_file_name(component::HOST_TLS)).run()
    })
}

fn documentation() -> Result<()> {
    step("Tests in the documentation", || cargo(&["test", "--workspace", "--doc"]))?;
    step("Documentation", || {
        let command = Command::new(env!("CARGO")).args(["doc", "--workspace", "--no-deps", "--document-private-items"]);
        command.env("RUSTDOCFLAGS", "--deny warnings").run()
    })?;
    step("What the documents cite", || cargo(&["test", "--workspace", "--test", "documents"]))
}

/// Compares the component's descriptor with the committed file, or writes the file.
///
/// # Errors
/// Where they differ, or where the component cannot be built.
pub fn descriptor(write: bool) -> Result<()> {
    setup::for_building()?;
    let component = component::build()?;
    step("Descriptor", || {
        let command = Command::new(env!("CARGO")).args(["test", "--workspace", "--test", "descriptor"]);
        let command = command.env("CONNECTOR_COMPONENT", component);
        if write { command.env("CONNECTOR_DESCRIPTOR", "write") } else { command }.run()
    })
}

/// Renews all that is made of the component: the descriptor's snapshot, the reference pages, and the table of the
/// services' operations.
///
/// # Errors
/// Where the component cannot be built, or an operation has no scenario.
pub fn documents() -> Result<()> {
    descriptor(true)?;
    step("Reference", || {
        let write = |test| Command::new(env!("CARGO")).args(["test", "--workspace", "--test", test]);
        write("reference").env("CONNECTOR_REFERENCE", "write").run()?;
        write("contract").args(["every_exchange"]).env("CONNECTOR_REFERENCE", "write").run()
    })
}
