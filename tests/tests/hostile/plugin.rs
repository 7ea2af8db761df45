//! Builds the hostile plugin once, gives it the flaws that a test needs, and makes tenants and accounts for it.

use std::fs;
use std::sync::OnceLock;

use connector_host::interface::action::Outcome;
use connector_host::{CallError, Connection, Connector, Host, HostOptions, Limits, Tenant, TenantOptions};
use connector_tests::workspace;
use serde_json::{Value, json};

#[path = "../../../host-harness/tests/guests/mod.rs"]
mod guests;

pub use guests::build;

/// The only host of this process.
pub fn host() -> Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| {
        let mut options = HostOptions::default();
        (options.concurrent_calls, options.warm_instances) = (16, 16);
        options.cache_directory = Some(workspace().join("target/compiled"));
        Host::new(options).unwrap()
    })
    .clone()
}

/// The bytes of the plugin with these flaws.
pub fn flawed_wasm(flaws: &[&str]) -> Vec<u8> {
    const MARK: &[u8] = b"HOSTILE-FLAWS:";
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let wasm = BUILT.get_or_init(|| fs::read(build(&workspace().join("tests/hostile"), "hostile_guest")).unwrap());
    let mut wasm = wasm.clone();
    let places: Vec<usize> =
        wasm.windows(MARK.len()).enumerate().filter(|(_, bytes)| *bytes == MARK).map(|(at, _)| at).collect();
    let [place] = places[..] else { panic!("the mark is there {} times", places.len()) };
    let flaws: String = flaws.iter().map(|flaw| format!("{flaw},")).collect();
    let room = &mut wasm[place + MARK.len()..][..flaws.len()];
    assert!(room.iter().all(|byte| *byte == b'.'), "no room for {flaws}");
    room.copy_from_slice(flaws.as_bytes());
    wasm
}

/// The plugin with these flaws, loaded into the host.
pub async fn flawed(flaws: &[&str]) -> Connector {
    host().load(flawed_wasm(flaws)).await.unwrap()
}

/// A tenant whose operator permits servers on this machine.
pub fn tenant(change: impl FnOnce(&mut Limits)) -> Tenant {
    let mut limits = Limits::default();
    change(&mut limits);
    let mut options = TenantOptions::default();
    options.name = "hostile".to_owned();
    options.limits = limits;
    options.allow_hosts = vec!["localhost".parse().unwrap()];
    options.allow_private_networks = true;
    Tenant::new(options).unwrap()
}

/// An account with these two hosts.
pub fn account(web: &str, server: &str) -> Connection {
    Connection::new("key", json!({ "web": web, "server": server, "apiKey": "k" }).to_string())
}

/// The output of an action.
pub fn done(outcome: Result<Outcome, CallError>) -> Result<Value, CallError> {
    match outcome? {
        Outcome::Done(output) => Ok(serde_json::from_str(&output).unwrap()),
        other => panic!("{other:?}"),
    }
}
