//! Builds the connectors that the tests need, once for each process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The connector that uses TCP; see `stream/src/lib.rs`.
#[allow(dead_code, reason = "not every binary of the tests needs it")]
pub fn stream_guest() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build(&workspace().join("host-harness/tests/guests/stream"), "stream_guest"))
}

/// The connector that was built for interface 0.1.0; see `frozen/src/lib.rs`.
#[allow(dead_code, reason = "not every binary of the tests needs it")]
pub fn frozen_guest() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build(&workspace().join("host-harness/tests/guests/frozen"), "frozen_guest"))
}

/// Builds a guest, whose package is outside of the workspace.
pub fn build(package: &Path, name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let target = target.join("guests");
    // If several tests build at the same time, Cargo's lock makes them wait for each other.
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        // Flags for the build of the host must not apply to the guest.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the guest cannot be built: is the target wasm32-wasip2 installed?");
    target.join(format!("wasm32-wasip2/release/{name}.wasm"))
}

/// The folder of the workspace that contains the package under test.
pub fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().find(|folder| folder.join("Cargo.lock").exists()).expect("this package is in a workspace")
}
