//! The demonstration, from end to end: the built component, the emulator, a plant and a workflow.

use std::path::{Path, PathBuf};

use connector_host::demo::check::Collection;
use connector_host::demo::{Demo, DemoOptions, Fleet, PLANT};
use connector_host::interface::connection::Grant;
use connector_host::{Host, HostOptions};

/// The rows of the committed fleet that are used.
const ROWS: usize = 30;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in a folder of the workspace")
}

fn component() -> PathBuf {
    let path = std::env::var_os("CONNECTOR_COMPONENT")
        .map_or_else(|| workspace().join("target/component/azure_iot_connector.wasm"), PathBuf::from);
    assert!(path.exists(), "{} is not there: run cargo xtask build", path.display());
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_made_up() {
    let mut options = HostOptions::default();
    options.cache_directory = Some(workspace().join("target/compiled"));
    options.concurrent_calls = 16;
    let connector = Host::new(options).expect("as set up").load_file(component()).await.expect("as set up");
    let rows: Vec<&str> = PLANT.lines().take(1 + ROWS).collect();
    let fleet = Fleet::parse(&rows.join("\n")).expect("as set up");
    let demo = Demo::start(connector, DemoOptions { fleet, seed: 7, speed: 4.0 }).await.expect("as set up");

    let (validation, label) = demo.validate().await.expect("as set up");
    assert!(validation.is_usable(), "{:?}", validation.problems);
    assert!(!label.is_empty());
    let report = demo.test().await.expect("as set up");
    assert!(report.permissions.iter().all(|finding| finding.grant != Grant::Denied), "{:?}", report.permissions);

    let summary = demo.run(&|_| ()).await.expect("as set up");
    demo.shutdown().await;
    assert!(summary.check.holds, "{:#?}", summary.check);
    assert_eq!(summary.plant.devices, ROWS);
    for collection in Collection::ALL {
        let trigger = collection.trigger();
        assert!(summary.events.iter().any(|it| it.trigger == trigger && it.change == "created"), "{trigger}");
        // The engine died at least once, and went on from what it had committed.
        assert!(summary.polling.crashes.get(trigger).is_some_and(|count| *count > 0), "{trigger}");
    }
    let done = |caller, action| {
        summary.actions.iter().any(|it| it.caller == caller && it.action == action && it.outcome == "done")
    };
    assert!(done("plant", "create-or-update-individual-enrollment"));
    assert!(done("workflow", "update-twin") && done("workflow", "invoke-direct-method"));
    // The services misbehaved, and the component or the engine tried again.
    assert!(summary.traffic.injected > 0 && summary.traffic.overcome_inside > 0, "{:?}", summary.traffic);
}
