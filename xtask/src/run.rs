//! Runs other programs, and prints what it runs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The folder of the workspace.
pub fn root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).context("the workspace has no folder")
}

/// The folder for cargo's build results.
pub fn target_dir() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => Ok(PathBuf::from(dir)),
        None => Ok(root()?.join("target")),
    }
}

/// Runs a task, prints its title, and prints how long it took.
///
/// # Errors
/// Those of the task, with its title.
pub fn step<T>(title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {title}");
    let started = Instant::now();
    let result = work().with_context(|| format!("{title}: failed"))?;
    eprintln!("    {title}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(result)
}

/// Runs cargo in the workspace.
///
/// # Errors
/// Where cargo fails.
pub fn cargo(args: &[&str]) -> Result<()> {
    Command::new(env!("CARGO")).args(args).run()
}

/// Whether a program exists and succeeds with these arguments.
pub fn answers(program: impl AsRef<OsStr>, args: &[&str]) -> bool {
    std::process::Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The standard output of a program.
///
/// # Errors
/// Where the program cannot be run or fails.
pub fn output(program: &str, args: &[&str]) -> Result<String> {
    let output = std::process::Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("`{program}` cannot be run"))?;
    if !output.status.success() {
        bail!("`{program} {}` failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program that runs in the folder of the workspace.
pub struct Command(std::process::Command);

impl Command {
    /// A command that runs this program.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = std::process::Command::new(program);
        // Cargo sets these variables to describe xtask's own package. ring's build script depends on them. If another
        // cargo inherited them, it would build ring and all packages above it differently than a cargo that was started
        // by hand.
        let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_package)) {
            command.env_remove(name);
        }
        Self(command)
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs the program and waits for its end.
    ///
    /// # Errors
    /// Where the program cannot be run or fails.
    pub fn run(mut self) -> Result<()> {
        self.0.current_dir(root()?);
        let name = self.0.get_program().to_string_lossy().into_owned();
        let status = self.0.status().with_context(|| format!("`{name}` cannot be run"))?;
        if !status.success() {
            let args: Vec<_> = self.0.get_args().map(|arg| arg.to_string_lossy()).collect();
            bail!("`{name} {}` ended with {status}", args.join(" "));
        }
        Ok(())
    }
}
