//! Versions of the interface side by side: connectors that were built for an older version continue to work.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

use std::fs;
use std::path::Path;

use connector_host::interface::action::{Call, Outcome};
use connector_host::{Account, Connection, Host, HostOptions, LoadError, Tenant, TenantOptions};
use sha2::{Digest as _, Sha256};

mod guests;

/// SHA-256 over the files of a frozen version, sorted by name. Each file contributes its name, a line feed and its
/// text.
const FROZEN: [(&str, &str); 1] = [("0.1.0", "6baff3c0baede8a3a9ded8655276056df20753db013fbc12ca7285224bf4cc13")];

#[test]
fn what_is_frozen_stays_as_it_is() {
    for (version, expected) in FROZEN {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/frozen").join(version);
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let mut hash = Sha256::new();
        for file in files {
            hash.update(file.file_name().unwrap().as_encoded_bytes());
            hash.update(b"\n");
            hash.update(fs::read(file).unwrap());
        }
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected, "wit/frozen/{version} was changed; a change belongs into a new version in wit/");
    }
}

async fn done(warm: &Account, action: &str, input: &str) -> String {
    match warm.invoke(action, input, &Call::default()).await.unwrap() {
        Outcome::Done(output) => output,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_connector_of_an_older_version_runs_beside_one_of_the_newest() {
    let mut options = HostOptions::default();
    options.cache_directory = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
    (options.concurrent_calls, options.warm_instances) = (8, 8);
    let host = Host::new(options).unwrap();
    let frozen = host.load_file(guests::frozen_guest()).await.unwrap();
    let newest = host.load_file(guests::stream_guest()).await.unwrap();
    assert_eq!(frozen.interface_version().to_string(), "0.1.0");
    assert_eq!(frozen.descriptor().interface_version, "0.1.0");
    assert_eq!(newest.interface_version().to_string(), "0.2.0");

    let tenant = Tenant::new(TenantOptions::default()).unwrap();
    let connection = Connection::new("none", "{}".to_owned());
    let (old, new) =
        (frozen.open(&tenant, &connection).await.unwrap(), newest.open(&tenant, &connection).await.unwrap());
    for expected in ["1", "2"] {
        assert_eq!(done(&old, "count", "{}").await, expected);
        assert_eq!(done(&new, "run", "\"count\"").await, format!("\"{expected}\""));
    }
    // The older connector has no `release`; its instance must end without it.
    old.discard().await;
    new.discard().await;
    assert_eq!(done(&old, "count", "{}").await, "1");
}

#[tokio::test]
async fn an_operator_can_insist_on_newer_versions() {
    let mut options = HostOptions::default();
    options.interface = "^0.2".parse().unwrap();
    (options.concurrent_calls, options.warm_instances) = (1, 1);
    let error = Host::new(options).unwrap().load_file(guests::frozen_guest()).await.unwrap_err();
    assert!(matches!(error, LoadError::InterfaceVersion { .. }), "{error}");
    assert!(error.to_string().contains("0.1.0") && error.to_string().contains("^0.2"), "{error}");
}
