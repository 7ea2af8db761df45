//! The same component in another host: Node.js, with the Bytecode Alliance's transpiler and WASI shim. Its results must
//! equal those of this project's host, so the component needs only its interface and WASI 0.2.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use connector_host::interface::action::Outcome;
use connector_host::interface::trigger::Start;
use connector_host::interface::types::Cursor;
use connector_tests::{World, component, values, workspace};
use serde_json::{Value, json};

/// The oldest version of Node.js that can run the transpiled code.
const OLDEST_NODE: u32 = 20;
/// The longest time for installing, and the longest time for running.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn the_component_behaves_the_same_in_node() -> Result<()> {
    let world = World::start().await?;
    for id in ["press-1", "press-2"] {
        world.done("create-device", json!({ "deviceId": id })).await?;
        let enrollment = json!({ "registrationId": id, "attestation": { "type": "symmetricKey" } });
        world.done("create-or-update-individual-enrollment", enrollment).await?;
    }
    let connection = json!({
        "authProfile": world.connection.auth_profile(),
        "values": values(&world.emulator, "connector", "connector")?,
    });
    let ca_pem = world.emulator.ca_pem().to_owned();
    let node = tokio::task::spawn_blocking(move || run_in_node(&connection, &ca_pem)).await??;

    let descriptor = world.connector.descriptor();
    expect_same("describe", &serde_json::to_value(descriptor)?, &node["describe"])?;
    expect_same("describe, once more", &node["describe"], &node["again"])?;
    let here =
        descriptor.triggers.iter().map(|it| &it.operation).chain(descriptor.actions.iter().map(|it| &it.operation));
    let there =
        ["triggers", "actions"].into_iter().flat_map(|kind| node["describe"][kind].as_array().into_iter().flatten());
    for (here, there) in here.zip(there) {
        for (text, name) in [
            (&here.input_schema, "inputSchema"),
            (&here.output_schema, "outputSchema"),
            (&here.input_sample, "inputSample"),
            (&here.output_sample, "outputSample"),
        ] {
            ensure!(there["operation"][name] == text.as_str(), "{name} of {} is not the same text", here.id);
        }
    }

    let validation = world.account().validate().await?;
    expect_same("validate", &serde_json::to_value(validation)?, &node["validate"])?;

    // An object that was created in Node.js can be read from this host.
    let read = Outcome::Done(world.done("get-device", json!({ "deviceId": "from-node" })).await?.to_string());
    let read = json!({ "ok": read });
    ensure!(read["ok"]["done"]["status"] == "disabled", "the device was not created as requested");
    expect_same("create-device", &read, &node["created"])?;
    expect_same("get-device", &read, &node["got"])?;
    expect_same("get-device after release", &read, &node["gotAfterRelease"])?;
    for (name, action, input) in [
        ("missing", "get-device", json!({ "deviceId": "missing" })),
        ("senseless", "create-device", json!({ "deviceId": 1, "nonsense": true })),
    ] {
        let mut here = json!({ "err": world.refused(action, input).await? });
        // Each response of the service has its own id, which is left out of the comparison.
        let mut there = node[name].clone();
        for error in [&mut here, &mut there] {
            if let Some(service) = error.pointer_mut("/err/service").and_then(Value::as_object_mut) {
                service.remove("trackingId");
            }
        }
        expect_same(name, &here, &there)?;
    }

    for (name, trigger, least) in
        [("twins", "device-twin-changed", 3), ("enrollments", "individual-enrollment-changed", 2)]
    {
        let here = world.poll(trigger, json!({}), Start::Earliest, None).await?;
        ensure!(here.events.len() == least, "{} events of {trigger}", here.events.len());
        let ids = |page: &Value| -> Vec<Value> {
            page["events"].as_array().into_iter().flatten().map(|event| event["id"].clone()).collect()
        };
        let mut here = serde_json::to_value(here)?;
        ensure!(ids(&here) == ids(&node[name]["ok"]), "the events of {trigger} have other ids in Node.js");
        // Each new cursor has a random number, so snapshots are not compared. The next poll shows that the cursor is
        // valid.
        let mut there = node[name]["ok"].clone();
        for page in [&mut here, &mut there] {
            let snapshot = page.pointer_mut("/next/snapshot").map(Value::take);
            ensure!(
                snapshot.is_some_and(|it| it.as_str().is_some_and(|it| !it.is_empty())),
                "{trigger} has no snapshot"
            );
        }
        expect_same(trigger, &here, &there)?;
        // A trigger can move from one host to the other and continue where it was.
        let cursor: Cursor = serde_json::from_value(node[name]["ok"]["next"].clone())?;
        let after = world.poll(trigger, json!({}), Start::Earliest, Some(cursor)).await?;
        ensure!(after.events.is_empty(), "{trigger} repeats events that it delivered in Node.js: {:?}", after.events);
    }
    Ok(())
}

/// Compares results of this host with results of Node.js. This host has JSON texts as JSON, and null for absent
/// members; Node.js has JSON texts as texts, and leaves absent members out.
fn expect_same(at: &str, here: &Value, there: &Value) -> Result<()> {
    match (here, there) {
        (Value::Object(here), Value::Object(there)) => {
            if let Some(name) = there.keys().find(|name| !here.contains_key(*name)) {
                bail!("{at}/{name} exists only in Node.js");
            }
            for (name, value) in here.iter().filter(|(name, value)| !value.is_null() || there.contains_key(*name)) {
                let other = there.get(name).with_context(|| format!("{at}/{name} is missing in Node.js"))?;
                expect_same(&format!("{at}/{name}"), value, other)?;
            }
        }
        (Value::Array(here), Value::Array(there)) => {
            ensure!(here.len() == there.len(), "{at} has {} entries here and {} in Node.js", here.len(), there.len());
            for (index, (here, there)) in here.iter().zip(there).enumerate() {
                expect_same(&format!("{at}/{index}"), here, there)?;
            }
        }
        (here, Value::String(text)) if !here.is_string() => {
            let parsed: Value = serde_json::from_str(text).with_context(|| format!("{at} is not JSON in Node.js"))?;
            ensure!(*here == parsed, "{at} differs");
        }
        (here, there) => ensure!(here == there, "{at} differs"),
    }
    Ok(())
}

#[test]
fn differences_are_found() {
    let here = json!({ "text": "a", "json": { "n": [1, 2] }, "none": null, "list": [1] });
    let same = json!({ "text": "a", "json": "{\"n\":[1,2]}", "list": [1] });
    assert!(expect_same("", &here, &same).is_ok());
    for (name, value) in [
        ("text", json!("b")),
        ("json", json!("{\"n\":[2,1]}")),
        ("json", json!("no JSON")),
        ("list", json!([])),
        ("list", json!([2])),
        ("none", json!(1)),
        ("more", json!(null)),
    ] {
        let mut other = same.clone();
        other[name] = value;
        assert!(expect_same("", &here, &other).is_err(), "{other}");
    }
    assert!(expect_same("", &here, &json!({ "text": "a", "list": [1] })).is_err());
}

/// Installs the packages below `target/`, runs the component in Node.js, and returns the results of its functions.
fn run_in_node(connection: &Value, ca_pem: &str) -> Result<Value> {
    check_node()?;
    let source = workspace().join("tests/second-host");
    let place = workspace().join("target/second-host");
    fs::create_dir_all(&place)?;
    install(&source, &place)?;
    fs::copy(source.join("run.mjs"), place.join("run.mjs"))?;
    let (certificates, result) = (place.join("ca.pem"), place.join("result.json"));
    fs::write(&certificates, ca_pem)?;
    let mut command = Command::new("node");
    command
        .arg("run.mjs")
        .current_dir(&place)
        .env("COMPONENT", fs::canonicalize(component()?)?)
        .env("CONNECTION", connection.to_string())
        .env("RESULT", &result)
        .env("NODE_EXTRA_CA_CERTS", &certificates);
    let status = finish(&mut command, "node")?;
    ensure!(status.success(), "the component did not run in Node.js ({status}); see above");
    let answers = serde_json::from_str(&fs::read_to_string(&result)?)?;
    fs::remove_file(&result)?;
    Ok(answers)
}

fn check_node() -> Result<()> {
    let needed = format!("this test needs Node.js {OLDEST_NODE} or newer, with npm");
    let version = |program: &str| -> Result<String> {
        let output = Command::new(program).arg("--version").output();
        let output = output.with_context(|| format!("{needed}; `{program}` cannot be started"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let node = version("node")?;
    let major = node.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    ensure!(major.is_some_and(|major| major >= OLDEST_NODE), "{needed}; this is {node}");
    version("npm").map(drop)
}

/// Runs `npm ci`, unless the same packages are installed already.
fn install(source: &Path, place: &Path) -> Result<()> {
    let lock = fs::read(source.join("package-lock.json"))?;
    let installed: PathBuf = place.join("installed-package-lock.json");
    if fs::read(&installed).is_ok_and(|earlier| earlier == lock) {
        return Ok(());
    }
    for name in ["package.json", "package-lock.json", ".npmrc"] {
        fs::copy(source.join(name), place.join(name)).with_context(|| name.to_owned())?;
    }
    let mut command = Command::new("npm");
    command.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]).current_dir(place);
    let status = finish(&mut command, "npm")?;
    ensure!(
        status.success(),
        "the packages of tests/second-host could not be installed by `npm ci` ({status}); see above"
    );
    fs::write(installed, lock)?;
    Ok(())
}

/// Waits for a program, and ends it after too long a time. Node's own timers cannot do this, because a guest that waits
/// for ever blocks them.
fn finish(command: &mut Command, name: &str) -> Result<ExitStatus> {
    let mut child = command.spawn().with_context(|| format!("`{name}` cannot be started"))?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            bail!("`{name}` did not come to its end within {} seconds", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
