//! Compiled components on disk.

use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// A directory of compiled components.
///
/// Loading one runs whatever machine code is in it, so the directory must be the operator's alone.
#[derive(Debug)]
pub(crate) struct CompiledCache {
    directory: PathBuf,
}

impl CompiledCache {
    /// Creates the directory where it is missing.
    ///
    /// # Errors
    ///
    /// Where it cannot be created, or others than its owner may write to it.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        require_private(directory)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// The component, from the cache or compiled and then put there.
    pub(crate) fn load(&self, engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Component> {
        let path = self.directory.join(file_name(engine, wasm));
        if path.exists() {
            #[allow(unsafe_code, reason = "only `store` writes here, and `open` saw to it that nobody else can")]
            // SAFETY: the file was written by `store` of this or another process of the same owner, whole
            // (renamed into place), for an engine with the same compatibility hash.
            match unsafe { Component::deserialize_file(engine, &path) } {
                Ok(component) => return Ok(component),
                Err(error) => tracing::warn!(%error, "a cached component is not usable; compiling"),
            }
        }
        let component = Component::from_binary(engine, wasm)?;
        if let Err(error) = self.store(&path, &component.serialize()?) {
            tracing::warn!(%error, "a compiled component could not be cached");
        }
        Ok(component)
    }

    fn store(&self, path: &Path, compiled: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(compiled)?;
        file.persist(path)?;
        Ok(())
    }
}

/// The hash of the component and that of everything about the engine that its code depends on.
fn file_name(engine: &Engine, wasm: &[u8]) -> String {
    let mut name = String::with_capacity(64 + 1 + 16 + 6);
    for byte in Sha256::digest(wasm) {
        // Writing to a string does not fail.
        let _ = write!(name, "{byte:02x}");
    }
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let _ = write!(name, "-{:016x}.cwasm", hasher.finish());
    name
}

#[cfg(unix)]
fn require_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    if fs::metadata(directory)?.permissions().mode() & 0o022 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("others may write to the cache of compiled components; run `chmod go-w {}`", directory.display()),
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn require_private(_directory: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiles_once() {
        let directory = tempfile::tempdir().unwrap();
        let cache = CompiledCache::open(&directory.path().join("compiled")).unwrap();
        let engine = Engine::default();
        let wasm = wat::parse_str("(component)").unwrap();
        cache.load(&engine, &wasm).unwrap();
        let files: Vec<_> = fs::read_dir(&cache.directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        // A file that is no compiled component is replaced, not trusted.
        fs::write(&files[0], b"rubbish").unwrap();
        cache.load(&engine, &wasm).unwrap();
        assert!(fs::read(&files[0]).unwrap() != b"rubbish");
    }

    #[cfg(unix)]
    #[test]
    fn refuses_a_directory_that_others_can_write_to() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = CompiledCache::open(directory.path()).unwrap_err();
        assert!(error.to_string().contains("chmod"));
    }
}
