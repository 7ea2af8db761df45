//! The demonstration, from end to end: the built component, the emulator, simulated devices and workflows.

use std::path::{Path, PathBuf};

use connector_host::interface::connection::Grant;
use connector_host::{Host, HostOptions};
use connector_host_cli::demo::{Collection, Demo, DemoOptions, Fleet, PLANT, Progress, Script, Summary};

/// The number of rows of the committed fleet that are used.
const ROWS: usize = 30;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders below the workspace's")
}

fn component() -> PathBuf {
    let path = std::env::var_os("CONNECTOR_COMPONENT")
        .map_or_else(|| workspace().join("target/component/azure_iot_connector.wasm"), PathBuf::from);
    assert!(path.exists(), "{} is not there: run cargo xtask build", path.display());
    path
}

async fn run(script: Script, speed: f64, report_progress: &(dyn Fn(Progress) + Sync)) -> Summary {
    let mut options = HostOptions::default();
    options.cache_directory = Some(workspace().join("target/compiled"));
    options.concurrent_calls = 16;
    let connector = Host::new(options).expect("as set up").load_file(component()).await.expect("as set up");
    let demo = Demo::start(connector, DemoOptions { script, seed: 7, speed }).await.expect("as set up");

    let (validation, label) = demo.validate().await.expect("as set up");
    assert!(validation.is_usable(), "{:?}", validation.problems);
    assert!(!label.is_empty());
    let report = demo.test().await.expect("as set up");
    assert!(report.permissions.iter().all(|finding| finding.grant != Grant::Denied), "{:?}", report.permissions);

    let summary = demo.run(report_progress).await.expect("as set up");
    demo.shutdown().await;
    assert!(summary.check.holds, "{:#?}", summary.check);
    summary
}

fn done(summary: &Summary, caller: &str, action: &str) -> bool {
    summary.actions.iter().any(|it| it.caller == caller && it.action == action && it.outcome == "done")
}

#[tokio::test(flavor = "multi_thread")]
async fn hot_machines_are_cooled_whatever_happens_on_the_way() {
    let reported = std::sync::Mutex::new(Vec::new());
    let script = Script { cooling: true, commissioning: None };
    let summary = run(script, 2.0, &|progress| reported.lock().expect("as set up").push(progress)).await;
    assert!(done(&summary, "cooling", "invoke-direct-method") && done(&summary, "cooling", "update-twin"));
    let cooling = summary.cooling.expect("it ran");

    // Every machine that could be reached was hot, and is cool at the end.
    let (reached, others): (Vec<_>, Vec<_>) = cooling.machines.iter().partition(|machine| machine.cooled > 0);
    assert!(reached.len() > 10, "{:?}", cooling.machines);
    assert!(reached.iter().all(|machine| machine.hottest > 80.0 && machine.temperature < 80.0), "{reached:?}");
    // One machine cannot be reached by a direct method: its events were parked, and all other events were handled.
    let letters = &cooling.dead_letters;
    let parked = |id: &String| letters.iter().any(|letter| letter.device_id == *id && letter.code == "device-offline");
    assert!(others.iter().any(|machine| machine.stopped && parked(&machine.device_id)), "{others:?} {letters:?}");
    let hot: u64 = cooling.partitions.iter().map(|it| it.hot_readings).sum();
    assert!(cooling.answered + letters.len() as u64 >= hot, "{cooling:?}");

    // Loops died, continued from what they had committed, and received events again.
    assert!(cooling.partitions.iter().any(|it| it.restarts > 0 && it.deliveries > it.hot_readings), "{cooling:?}");
    // The services misbehaved, and the component or the engine tried again.
    assert!(summary.traffic.injected > 0 && summary.traffic.overcome_inside > 0, "{:?}", summary.traffic);
    let reported = reported.into_inner().expect("as set up");
    let last = reported.last().and_then(|progress| progress.cooling.as_ref()).expect("it is reported at the end");
    assert_eq!((last.hot_readings, last.answered), (hot, cooling.answered));
    assert!(reported.iter().flat_map(|progress| &progress.news).any(|text| text.starts_with("restart")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_fleet_is_lost_doubled_or_made_up() {
    let rows: Vec<&str> = PLANT.lines().take(1 + ROWS).collect();
    let fleet = Fleet::parse(&rows.join("\n")).expect("as set up");
    let summary = run(Script { cooling: false, commissioning: Some(fleet) }, 4.0, &|_| ()).await;
    assert!(done(&summary, "plant", "create-or-update-individual-enrollment"));
    assert!(done(&summary, "commissioning", "update-twin") && done(&summary, "commissioning", "invoke-direct-method"));
    let commissioning = summary.commissioning.expect("it ran");
    assert_eq!(commissioning.plant.devices, ROWS);
    for collection in Collection::ALL {
        let trigger = collection.trigger();
        assert!(commissioning.events.iter().any(|it| it.trigger == trigger && it.change == "created"), "{trigger}");
        // The engine died at least one time, and continued from what it had committed.
        assert!(commissioning.polling.crashes.get(trigger).is_some_and(|count| *count > 0), "{trigger}");
    }
    // The services misbehaved, and the component or the engine tried again.
    assert!(summary.traffic.injected > 0 && summary.traffic.overcome_inside > 0, "{:?}", summary.traffic);
}
