//! Microsoft's clients for Node.js, installed below the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest version of Node.js that the clients are tried with.
const OLDEST_NODE: u32 = 20;

/// Installs the packages of `tests/witness/node`, one time per lock file, and returns the folder with its scripts.
pub fn environment(root: &Path) -> PathBuf {
    let source = root.join("tests/witness/node");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let place = target.join("device-node");
    std::fs::create_dir_all(&place).expect("the target folder");
    let lock = std::fs::File::create(target.join("device-node.lock")).expect("lock file");
    // Tests run in parallel, and only one may install. The lock is released when the file is closed.
    lock.lock().expect("lock");
    std::fs::copy(source.join("device_sdk.cjs"), place.join("device_sdk.cjs")).expect("the witness");
    let version = Command::new("node").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    assert!(
        major.is_some_and(|major| major >= OLDEST_NODE),
        "Node.js {OLDEST_NODE} or newer is missing, with npm: Microsoft's clients for Node.js are the witnesses here"
    );
    let wanted = std::fs::read(source.join("package-lock.json")).expect("the lock file of the packages");
    let stamp = place.join("installed-package-lock.json");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return place;
    }
    for name in ["package.json", "package-lock.json", ".npmrc"] {
        std::fs::copy(source.join(name), place.join(name)).expect(name);
    }
    let installed = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])
        .current_dir(&place)
        .output()
        .expect("npm");
    assert!(installed.status.success(), "npm ci: {}", String::from_utf8_lossy(&installed.stderr));
    std::fs::write(&stamp, wanted).expect("stamp");
    place
}
