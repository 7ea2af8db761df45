//! Python virtual environments for the witnesses, which are independent implementations.
#![allow(dead_code, reason = "not every test binary runs every witness")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of the workspace.
pub fn root() -> PathBuf {
    let start = Path::new(env!("CARGO_MANIFEST_DIR"));
    start.ancestors().find(|folder| folder.join("wit").is_dir()).expect("a folder of the workspace").to_owned()
}

/// Microsoft's clients, in `target/witness-venv`; returns the interpreter.
pub fn virtual_environment() -> PathBuf {
    environment(&["requirements.txt"], "witness-venv")
}

/// Apache Qpid Proton, in `target/eventhub-venv`; returns the interpreter.
pub fn proton_environment() -> PathBuf {
    environment(&["eventhub-build-requirements.txt", "eventhub-requirements.txt"], "eventhub-venv")
}

/// Microsoft's client of devices, in `target/device-venv`; returns the interpreter.
pub fn device_environment() -> PathBuf {
    environment(&["device-build-requirements.txt", "device-requirements.txt"], "device-venv")
}

/// Makes an environment in the target folder, one time per version of its requirements, and returns its interpreter.
/// The files are installed in order, because packages of a file may be built with packages of the files before it.
/// Every package must have a known hash.
fn environment(requirements: &[&str], name: &str) -> PathBuf {
    let requirements: Vec<PathBuf> = requirements.iter().map(|name| root().join("tests/witness").join(name)).collect();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let directory = target.join(name);
    let python = directory.join("bin/python");
    let stamp = directory.join("requirements.txt");
    let wanted: Vec<u8> = requirements.iter().flat_map(|file| std::fs::read(file).expect("requirements")).collect();
    std::fs::create_dir_all(&target).expect("the target folder");
    let lock = std::fs::File::create(target.join(format!("{name}.lock"))).expect("lock file");
    // Tests run in parallel, and only one may make the folder. The lock is released when the file is closed.
    lock.lock().expect("lock");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    let version = Command::new("python3").arg("--version").output();
    assert!(
        version.is_ok_and(|output| output.status.success()),
        "python3 is missing: the witnesses are Python programs and need CPython with venv and pip"
    );
    let made = Command::new("python3").args(["-m", "venv"]).arg(&directory).output().expect("python3 -m venv");
    report(&made, "");
    for file in &requirements {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        let installed = Command::new(&python)
            .args(pip)
            // The hashes ensure that neither a replaced index nor a cache can install anything else.
            .args(["--require-hashes", "--no-build-isolation", "-r"])
            .arg(file)
            .output()
            .expect("pip install");
        report(&installed, "");
    }
    std::fs::write(&stamp, wanted).expect("stamp");
    python
}

/// Fails with the program's whole output, unless the program succeeded and its last line ends with `ending`.
#[track_caller]
pub fn report(output: &Output, ending: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.trim_end().ends_with(ending),
        "{}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{text}");
}
