//! What a fresh machine with a Rust toolchain and Debian lacks. Each thing is installed only where it is missing, and said.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run::{Command, answers, output, root, step};

const CARGO_DENY: &str = "0.20.2";
const WASM_TARGET: &str = "wasm32-wasip2";

/// C for WebAssembly, which ring has: Debian's names, the same as in `.cargo/config.toml`.
const WASM_C: [(&str, &str); 2] = [("clang-19", "clang-19"), ("llvm-ar-19", "llvm-19")];

/// For building the component and the host: the wasm target, and a C compiler for it.
///
/// # Errors
/// Where it is missing and cannot be installed.
pub fn for_building() -> Result<()> {
    let libraries = output("rustc", &["--print", "target-libdir", "--target", WASM_TARGET])?;
    if !Path::new(libraries.trim()).exists() {
        step(&format!("Install the Rust target {WASM_TARGET}"), || {
            Command::new("rustup")
                .args(["target", "add", WASM_TARGET])
                .run()
                .context("without rustup, install the target by hand")
        })?;
    }
    // Other names for them do as well, where the environment says so.
    let chosen = std::env::var_os("CC_wasm32_wasip2").is_some_and(|compiler| compiler != "clang-19");
    let missing: Vec<&str> =
        WASM_C.iter().filter(|(program, _)| !answers(program, &["--version"])).map(|(_, package)| *package).collect();
    if chosen || missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// For the tests as well: rustfmt and clippy; Python for Microsoft's own client and for Apache's AMQP, which is built from
/// source; Node for the second host.
///
/// # Errors
/// Where something is missing and cannot be installed.
pub fn for_tests() -> Result<()> {
    for_building()?;
    for (component, probe) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !answers(env!("CARGO"), &[probe, "--version"]) {
            step(&format!("Install {component}"), || {
                Command::new("rustup").args(["component", "add", component]).run()
            })?;
        }
    }
    let mut missing = Vec::new();
    if !answers("python3", &["-c", "import venv, ensurepip"]) {
        missing.extend(["python3", "python3-venv"]);
    }
    if !answers("pkg-config", &["--exists", "openssl"]) {
        missing.extend(["pkg-config", "libssl-dev"]);
    }
    let header = "import os, sysconfig; os.stat(os.path.join(sysconfig.get_paths()['include'], 'Python.h'))";
    if !answers("python3", &["-c", header]) {
        missing.push("python3-dev");
    }
    if !answers("node", &["--version"]) || !answers("npm", &["--version"]) {
        missing.extend(["nodejs", "npm"]);
    }
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// The program `cargo-deny`: the one that is installed, or one of the project's own in `target/tools`.
///
/// # Errors
/// Where it is missing and cannot be built.
pub fn cargo_deny() -> Result<PathBuf> {
    if answers("cargo-deny", &["--version"]) {
        return Ok(PathBuf::from("cargo-deny"));
    }
    let tools = root()?.join("target").join("tools");
    let program = tools.join("bin").join("cargo-deny");
    if !program.exists() {
        let args = ["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--quiet", "--root"];
        step("Install cargo-deny into target/tools", || Command::new(env!("CARGO")).args(args).arg(&tools).run())?;
    }
    Ok(program)
}

fn install(packages: &[&str]) -> Result<()> {
    if !answers("apt-get", &["--version"]) {
        bail!("these are missing, and there is no apt-get to install them with: {}", packages.join(", "));
    }
    step(&format!("Install Debian packages: {}", packages.join(", ")), || {
        let as_root = output("id", &["-u"])?.trim() == "0";
        let apt = |args: &[&str]| {
            let command = if as_root { Command::new("apt-get") } else { Command::new("sudo").arg("apt-get") };
            command.args(args).env("DEBIAN_FRONTEND", "noninteractive").run()
        };
        apt(&["update", "--quiet"])?;
        let mut args = vec!["install", "--yes", "--no-install-recommends"];
        args.extend(packages);
        apt(&args)
    })
}
