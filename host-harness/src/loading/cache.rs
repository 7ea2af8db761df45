//! A cache of compiled components on disk.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

const ENDING: &str = "cwasm";
/// The prefix of a file's name while the file is being written.
const UNFINISHED: &str = ".writing-";
/// A file that has not been written for this long is abandoned.
const ABANDONED: Duration = Duration::from_secs(3600);
/// The length of the SHA-256 digest at the end of each file.
const DIGEST_BYTES: usize = 32;

/// A directory of compiled components.
///
/// Loading a component from the cache runs the machine code in its file, so only the operator may have write access to
/// the directory.
#[derive(Debug)]
pub(crate) struct CompiledCache {
    directory: PathBuf,
    /// The largest total size of all files.
    most_bytes: u64,
}

impl CompiledCache {
    /// Creates the directory if it is missing, with access for its owner only.
    ///
    /// # Errors
    ///
    /// If it cannot be created, belongs to another user, or is writable by others.
    pub(crate) fn open(directory: &Path, most_bytes: u64) -> io::Result<Self> {
        create(directory)?;
        require_own_directory(directory)?;
        Ok(Self { directory: directory.to_owned(), most_bytes })
    }

    /// Whether there is a file for this component. It is not read, so `load` can still find that it has to compile.
    pub(crate) fn has(&self, engine: &Engine, wasm: &[u8]) -> bool {
        self.directory.join(file_name(engine, wasm)).is_file()
    }

    /// Loads the component from the cache, or compiles it and then stores it there.
    pub(crate) fn load(&self, engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Component> {
        let name = file_name(engine, wasm);
        match self.read(&name) {
            Ok(compiled) => {
                #[allow(
                    unsafe_code,
                    reason = "only `store` writes to this directory, and `open` has checked that no other user can"
                )]
                // SAFETY: the file belongs to this user and its digest proves that it is complete; `store` of this or
                // another process wrote it, for an engine with the same compatibility hash.
                match unsafe { Component::deserialize(engine, compiled) } {
                    Ok(component) => return Ok(component),
                    Err(error) => tracing::warn!(%error, "a cached component cannot be used; compiling it again"),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "a cached component cannot be read; compiling it again"),
        }
        let component = Component::from_binary(engine, wasm)?;
        if let Err(error) = self.store(&name, &component.serialize()?) {
            tracing::warn!(%error, "a compiled component could not be cached");
        }
        Ok(component)
    }

    /// Reads the file with this name, and marks it as the most recently used one.
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut file = open_own_file(&self.directory.join(name))?;
        let mut compiled = Vec::new();
        file.read_to_end(&mut compiled)?;
        let content = compiled.len().checked_sub(DIGEST_BYTES);
        let is_whole = content.is_some_and(|content| compiled[content..] == digest(name, &compiled[..content])[..]);
        if !is_whole {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its digest does not match its content"));
        }
        compiled.truncate(compiled.len() - DIGEST_BYTES);
        // If this fails, the file may only be removed from the cache too early.
        let _ = file.set_modified(SystemTime::now());
        Ok(compiled)
    }

    fn store(&self, name: &str, compiled: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.directory)?;
        file.write_all(compiled)?;
        file.write_all(&digest(name, compiled))?;
        // The content must be on disk before the name is: otherwise a power loss can leave an incomplete file under
        // this name.
        file.as_file().sync_all()?;
        file.persist(self.directory.join(name))?;
        self.shrink(name)
    }

    /// Removes the files that were used the longest ago, until the rest fits into the limit.
    fn shrink(&self, newest: &str) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            // Another process has removed this file in the meantime.
            let Ok(metadata) = entry.metadata() else { continue };
            let (name, path) = (entry.file_name(), entry.path());
            let used = metadata.modified()?;
            if name.to_string_lossy().starts_with(UNFINISHED) {
                if used.elapsed().is_ok_and(|age| age > ABANDONED) {
                    let _ = fs::remove_file(path);
                }
            } else if path.extension().is_some_and(|ending| ending == ENDING) && metadata.is_file() {
                // The newest file is kept, whatever the clocks say.
                files.push((name == newest, used, metadata.len(), path));
            }
        }
        files.sort_unstable();
        let mut bytes: u64 = files.iter().map(|(_, _, bytes, _)| bytes).sum();
        for (is_newest, _, size, path) in files {
            if bytes <= self.most_bytes || is_newest {
                break;
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => bytes -= size,
            }
        }
        Ok(())
    }
}

/// The name consists of the component's hash and the hash of every engine setting on which the machine code depends.
fn file_name(engine: &Engine, wasm: &[u8]) -> String {
    let mut name = String::with_capacity(64 + 1 + 16 + 6);
    for byte in Sha256::digest(wasm) {
        // Writing to a `String` cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let _ = write!(name, "-{:016x}.{ENDING}", hasher.finish());
    name
}

/// The digest covers the name, too, so that a file copied to another name is not accepted.
fn digest(name: &str, compiled: &[u8]) -> [u8; DIGEST_BYTES] {
    Sha256::new().chain_update(name).chain_update(compiled).finalize().into()
}

fn create(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn refuse<T>(why: &str, path: &Path) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", path.display())))
}

/// The directory must be a real directory (no symbolic link), owned by the user who runs this process, and not writable
/// by others.
fn require_own_directory(directory: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(directory)?;
    if !metadata.is_dir() {
        return refuse("must be a real directory, not a symbolic link", directory);
    }
    require_own(&metadata, directory)
}

#[cfg(unix)]
fn require_own(metadata: &fs::Metadata, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return refuse("must belong to the user that the host runs as", path);
    }
    if metadata.mode() & 0o022 != 0 {
        return refuse(&format!("must not be writable by other users; run `chmod go-w {}`", path.display()), path);
    }
    Ok(())
}

#[cfg(not(unix))]
fn require_own(_metadata: &fs::Metadata, _path: &Path) -> io::Result<()> {
    Ok(())
}

/// Opens a file, which must be a regular file (no symbolic link) owned by this user.
fn open_own_file(path: &Path) -> io::Result<File> {
    if !fs::symlink_metadata(path)?.is_file() {
        return refuse("must be a regular file, not a symbolic link", path);
    }
    let file = File::open(path)?;
    require_own(&file.metadata()?, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        cache: CompiledCache,
        engine: Engine,
        _directory: tempfile::TempDir,
    }

    fn component(number: u32) -> Vec<u8> {
        wat::parse_str(format!("(component (core module (func (result i32) i32.const {number})))")).unwrap()
    }

    impl Scene {
        fn new(most_bytes: u64) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let cache = CompiledCache::open(&directory.path().join("compiled"), most_bytes).unwrap();
            Self { cache, engine: Engine::default(), _directory: directory }
        }

        fn files(&self) -> Vec<PathBuf> {
            fs::read_dir(&self.cache.directory).unwrap().map(|entry| entry.unwrap().path()).collect()
        }

        /// Loads a different component for each number, and returns whether it was in the cache.
        fn load(&self, number: u32) -> bool {
            let wasm = component(number);
            let was_there = self.cache.read(&file_name(&self.engine, &wasm)).is_ok();
            self.cache.load(&self.engine, &wasm).unwrap();
            was_there
        }
    }

    #[test]
    fn compiles_once() {
        let scene = Scene::new(u64::MAX);
        assert!(!scene.load(1));
        assert_eq!(scene.files().len(), 1);
        assert!(scene.load(1));
        assert!(scene.cache.has(&scene.engine, &component(1)));
        assert!(!scene.cache.has(&scene.engine, &component(2)));
    }

    /// An incomplete file, for example after a power loss, is replaced and not trusted.
    #[test]
    fn a_file_that_is_not_whole_is_not_used() {
        let scene = Scene::new(u64::MAX);
        scene.load(1);
        let [file] = &scene.files()[..] else { panic!() };
        let whole = fs::read(file).unwrap();
        let half = whole.len() / 2;
        let zeroed_tail = [&whole[..half], &vec![0; whole.len() - half]].concat();
        let mut flipped = whole.clone();
        flipped[half] ^= 1;
        for broken in [b"rubbish".to_vec(), Vec::new(), whole[..half].to_vec(), zeroed_tail, flipped] {
            fs::write(file, broken).unwrap();
            assert!(!scene.load(1));
            assert!(scene.load(1));
        }
        // A complete file, but of another component.
        scene.load(2);
        let other = scene.files().into_iter().find(|other| other != file).unwrap();
        fs::copy(file, &other).unwrap();
        assert!(!scene.load(2));
    }

    #[test]
    fn what_was_used_the_longest_ago_makes_room() {
        let scene = Scene::new(u64::MAX);
        for number in 1..=3 {
            assert!(!scene.load(number));
            std::thread::sleep(Duration::from_millis(20));
        }
        // From here on the file of the second component is the oldest one.
        assert!(scene.load(1));
        let bytes: u64 = scene.files().iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        let scene = Scene { cache: CompiledCache { most_bytes: bytes, ..scene.cache }, ..scene };
        let abandoned = scene.cache.directory.join(format!("{UNFINISHED}1"));
        File::create(&abandoned).unwrap().set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(!scene.load(4));
        assert_eq!(scene.files().len(), 3);
        assert!(scene.load(1) && scene.load(3) && scene.load(4));
        // The newest file stays, even if it alone exceeds the limit.
        let scene = Scene { cache: CompiledCache { most_bytes: 0, ..scene.cache }, ..scene };
        assert!(!scene.load(5));
        assert_eq!(scene.files().len(), 1);
        assert!(scene.load(5));
    }

    #[cfg(unix)]
    mod unix {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

        use super::*;

        fn refused(directory: &Path) -> String {
            CompiledCache::open(directory, u64::MAX).unwrap_err().to_string()
        }

        #[test]
        fn what_is_made_is_nobody_elses() {
            let scene = Scene::new(u64::MAX);
            scene.load(1);
            let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
            assert_eq!(mode(&scene.cache.directory), 0o700);
            assert_eq!(mode(&scene.files()[0]), 0o600);
        }

        #[test]
        fn a_directory_that_others_can_write_to_is_refused() {
            let directory = tempfile::tempdir().unwrap();
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o770)).unwrap();
            assert!(refused(directory.path()).contains("chmod"));
        }

        #[test]
        fn links_are_refused() {
            let directory = tempfile::tempdir().unwrap();
            let link = directory.path().join("link");
            symlink(directory.path(), &link).unwrap();
            assert!(refused(&link).contains("link"));

            let scene = Scene::new(u64::MAX);
            scene.load(1);
            let [file] = &scene.files()[..] else { panic!() };
            let elsewhere = directory.path().join("elsewhere");
            fs::rename(file, &elsewhere).unwrap();
            symlink(&elsewhere, file).unwrap();
            assert!(!scene.load(1));
            assert!(fs::symlink_metadata(file).unwrap().is_file(), "the link is replaced");
        }

        /// Only the superuser can give a file to another user.
        #[test]
        fn what_belongs_to_another_user_is_refused() {
            let directory = tempfile::tempdir().unwrap();
            let metadata = fs::metadata(directory.path()).unwrap();
            assert!(require_own(&metadata, directory.path()).is_ok());
            if std::os::unix::fs::chown(directory.path(), Some(65_534), None).is_ok() {
                assert!(refused(directory.path()).contains("belong"));
            }
            let roots = fs::metadata("/").unwrap();
            if roots.uid() != rustix::process::geteuid().as_raw() {
                assert!(require_own(&roots, Path::new("/")).is_err());
            }
        }
    }
}
