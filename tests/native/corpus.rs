//! Runs the corpus of the fuzz targets with any toolchain, so that an error that was found once cannot return.

#[path = "../../fuzz/fuzz_targets/properties.rs"]
mod properties;

use std::path::Path;

/// Runs every file of a target's corpus, and many prefixes of each file, through the target.
fn replay(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus") {
        let path = entry.expect("a file").path();
        let bytes = std::fs::read(&path).expect("its bytes");
        println!("{}", path.display());
        for length in (0..bytes.len()).step_by(1 + bytes.len() / 64).chain([bytes.len()]) {
            property(&bytes[..length]);
        }
        files += 1;
    }
    assert!(files >= 5, "{} has {files} files", folder.display());
}

#[test]
fn types() {
    replay("types", properties::types);
}

#[test]
fn messages() {
    replay("messages", properties::messages);
}

#[test]
fn frames() {
    replay("frames", properties::frames);
}
