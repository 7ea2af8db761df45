//! Every trigger and every action, seen firing from the command line: an emulator (`connector-host emulator`), a device
//! at its network (`device`), and `poll`, `watch` and `invoke` of the built component.
//!
//! An action's input is the first successful line of the scenario at the head of its file. A trigger's row below says
//! what makes it fire. Both act on the plant of `scenario/plant.json`. Actions that create something go first, and those
//! that remove it go last, so that each finds what its line names.
//!
//! The program must be newer than its source: `cargo build --workspace --bin connector-host`.

mod scenario;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use connector_tests::{component, host_program, workspace};
use serde_json::{Value, json};

use scenario::Step;

/// What makes each trigger fire: its id, its configuration, and a command.
///
/// - `device ID …` is the device of this id, with these arguments.
/// - `register ID …` is a device that registers by the enrollment group first.
/// - `invoke ACTION INPUT` invokes an action.
const TRIGGERS: &[(&str, &str, &[&str])] = &[
    ("device-telemetry", "{}", &["device", "press-2", "--send", r#"{"temperature": 81.5}"#, "--once"]),
    ("device-connection-state-events", "{}", &["device", "press-3", "--once"]),
    ("device-lifecycle-events", "{}", &["invoke", "create-device", r#"{"deviceId": "fired-1"}"#]),
    ("device-twin-change-events", "{}", &["device", "press-4", "--report", r#"{"battery": 0.4}"#, "--once"]),
    ("digital-twin-change-events", "{}", &["device", "press-5", "--report", r#"{"battery": 0.4}"#, "--once"]),
    (
        "cloud-to-device-message-feedback",
        "{}",
        &["invoke", "send-cloud-to-device-message", r#"{"deviceId": "press-1", "body": 1, "acknowledgement": "full"}"#],
    ),
    ("file-upload-notifications", "{}", &["device", "caster-1", "--upload", "notes.txt=all is well", "--once"]),
    (
        "individual-enrollment-changed",
        "{}",
        &[
            "invoke",
            "create-or-update-individual-enrollment",
            r#"{"registrationId": "fired-2", "attestation": {"type": "symmetricKey"}}"#,
        ],
    ),
    ("registration-status-changed", "{}", &["register", "fired-3", "--once"]),
    (
        "service-configuration-changed",
        "{}",
        &["invoke", "update-configuration", r#"{"configurationId": "interval-1", "priority": 11}"#],
    ),
    ("device-registry-changed", "{}", &["invoke", "create-device", r#"{"deviceId": "fired-4"}"#]),
    ("device-silent", r#"{"minutes": 30}"#, &["device", "float-1", "--send", r#"{"swell": 2}"#, "--once"]),
    (
        "enrollment-group-changed",
        "{}",
        &[
            "invoke",
            "create-or-update-enrollment-group",
            r#"{"enrollmentGroupId": "fired-5", "attestation": {"type": "symmetricKey"}}"#,
        ],
    ),
    (
        "job-finished",
        "{}",
        &["invoke", "update-twins-by-query", r#"{"condition": "deviceId = 'leaf-2'", "desired": {"shift": 1}}"#],
    ),
    (
        "query-result-changed",
        r#"{"condition": "properties.reported.charge < 20"}"#,
        &["device", "caster-1", "--report", r#"{"charge": 10}"#, "--once"],
    ),
    (
        "twin-value-changed",
        r#"{"paths": ["/tags/site"]}"#,
        &["invoke", "update-twin", r#"{"deviceId": "leaf-2", "tags": {"site": "south"}}"#],
    ),
    (
        "device-twin-changed",
        r#"{"condition": "tags.site = 'north'"}"#,
        &["invoke", "update-twin", r#"{"deviceId": "press-3", "tags": {"line": "B"}}"#],
    ),
];

/// The device that stays connected. It gets messages and answers direct methods.
const CONNECTED: &str = "press-1";
/// The device that takes the message whose end an action waits for. It connects after the triggers have fired, because
/// one of them needs another connection of this device.
const TAKES_MESSAGES: &str = "press-4";
/// A job that does not begin in the time of the test.
const SOMEDAY: &str =
    r#"{"jobId": "someday", "condition": "*", "tags": {"site": "east"}, "startTime": "2099-01-01T00:00:00Z"}"#;
/// The actions that make what the lines of other actions name.
const FIRST: [&str; 3] = ["create-", "schedule-", "invoke-method-by-query"];
/// The actions that take away what the lines of other actions name.
const LAST: [&str; 3] = ["delete-", "cancel-", "update-device"];
/// The key of all devices and of the enrollment group in `scenario/plant.json`.
const KEY: &str = "a2V5LW9uZS1rZXktb25lLWtleS1vbmUta2V5LW9uZS0=";
/// How long an operation may take until it is seen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the first use of a newly built component may take, with a program that is not optimized.
const COMPILATION: Duration = Duration::from_secs(300);
/// How many operations are tried at the same time.
const AT_ONCE: usize = 4;

/// A child process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It fails only if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The services, and the programs' arguments for them.
struct Plant {
    folder: tempfile::TempDir,
    program: PathBuf,
    component: PathBuf,
    /// What `connector-host emulator` has printed.
    services: Value,
    _emulator: Running,
}

impl Plant {
    fn start() -> Result<Self> {
        let (program, component) = (host_program()?, component()?);
        let folder = tempfile::tempdir()?;
        let mut child = Command::new(&program)
            .args(["--json", "emulator", "--scenario"])
            .arg(scenario::plant_file())
            .arg("--connection-out")
            .arg(folder.path().join("account.json"))
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let services = serde_json::from_str(&line).context("the emulator did not start")?;
        let plant = Self { folder, program, component, services, _emulator: Running(child) };
        plant.compile()?;
        Ok(plant)
    }

    /// Lets the program compile the component, if that was not done earlier. The compiled code stays in the workspace's
    /// target folder.
    fn compile(&self) -> Result<()> {
        // Two programs that compile at the same time take twice as long.
        static COMPILING: Mutex<()> = Mutex::new(());
        let _compiling = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut describe = self.command();
        describe.arg("describe");
        self.run_for(describe, "", COMPILATION).map(drop).context("the component cannot be compiled")
    }

    fn service(&self, name: &str) -> &str {
        self.services[name].as_str().unwrap_or_default()
    }

    /// The program with the arguments that all commands share.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--json").arg("--component").arg(&self.component);
        command.arg("--connection").arg(self.folder.path().join("account.json"));
        command.arg("--trust-roots").arg(self.folder.path().join("account.json.ca.pem"));
        command.args([
            "--allow-host",
            "localhost",
            "--allow-host",
            self.service("eventHub"),
            "--allow-private-networks",
        ]);
        command.arg("--cache").arg(workspace().join("target/compiled"));
        command.env_remove("CONNECTOR_CONNECTION").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The command of a row.
    fn cause(&self, words: &[&str]) -> Result<Command> {
        let mut command = self.command();
        let port = |service| Some(self.service(service).rsplit_once(':')?.1);
        let (mqtt, https) = (port("mqtt").context("no port of MQTT")?, port("hub").context("no port of the hub")?);
        match words {
            ["device", id, rest @ ..] => {
                let device = format!("HostName={};DeviceId={id};SharedAccessKey={KEY}", self.service("mqtt"));
                command.args(["device", "--https-port", https, "--connection-string", &device]).args(rest);
            }
            ["register", id, rest @ ..] => {
                command.args(["device", "--port", mqtt, "--register", "--dps-host", "localhost", "--group-key", KEY]);
                command.args(["--id-scope", self.service("idScope"), "--registration-id", id]).args(rest);
            }
            _ => bail!("the command {words:?} is neither `device` nor `register` nor `invoke`"),
        }
        Ok(command)
    }

    /// Runs a command to its end, with this standard input. Returns the JSON lines that it printed.
    fn run(&self, command: Command, input: &str) -> Result<Vec<Value>> {
        self.run_for(command, input, PATIENCE)
    }

    fn run_for(&self, mut command: Command, input: &str, longest: Duration) -> Result<Vec<Value>> {
        let mut child = Running(command.spawn()?);
        child.0.stdin.take().context("no input")?.write_all(input.as_bytes())?;
        let read = |mut stream: Box<dyn std::io::Read + Send>| {
            thread::spawn(move || {
                let mut text = String::new();
                stream.read_to_string(&mut text).map(|_| text)
            })
        };
        let printed = read(Box::new(child.0.stdout.take().context("no output")?));
        let warned = read(Box::new(child.0.stderr.take().context("no errors")?));
        let begun = Instant::now();
        let status = loop {
            match child.0.try_wait()? {
                Some(status) => break Some(status),
                None if begun.elapsed() > longest => break None,
                None => thread::sleep(Duration::from_millis(20)),
            }
        };
        drop(child);
        let text =
            |reader: thread::JoinHandle<std::io::Result<String>>| reader.join().unwrap_or_else(|_| Ok(String::new()));
        let (printed, warned) = (text(printed)?, text(warned)?);
        match status {
            Some(status) if status.success() => {
                Ok(printed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
            }
            Some(status) => bail!("the program ended with {status}: {printed}{warned}"),
            None => bail!("the program had not ended after {} s: {printed}{warned}", longest.as_secs()),
        }
    }

    /// Invokes an action, and follows it to its end: all pages, and what the service does after the call. Returns its
    /// last output.
    fn invoke(&self, action: &str, input: &str) -> Result<Value> {
        let mut command = self.command();
        command.args(["invoke", action, "--all-pages", "--wait", "--timeout", "50", "--input", "-"]);
        let outcome = self.run(command, input)?.pop().context("nothing was printed")?;
        outcome.get("done").cloned().with_context(|| format!("the last outcome is {outcome}"))
    }

    /// Invokes an action by the first successful line of its scenario.
    fn action(&self, id: &str, steps: &[Step], export_job: &str) -> Result<Value> {
        let step = steps.iter().find(|step| step.succeeds()).context("no line of its scenario succeeds")?;
        let mut input = step.input().clone();
        if let Some((reader, subject)) = step.tagged() {
            input["etag"] = self.invoke(reader, &subject.to_string())?["etag"].clone();
        }
        self.invoke(id, &input.to_string().replace(scenario::EXPORT_JOB, export_job))
    }

    /// Takes the trigger's position, lets something happen, and watches until an event comes.
    fn trigger(&self, id: &str, config: &str, cause: &[&str]) -> Result<()> {
        let polling = |command: &str| {
            let mut polling = self.command();
            polling.args([command, id, "--config", "-", "--cursor"]).arg(self.folder.path().join(id));
            polling
        };
        let before = self.run(polling("poll"), config)?;
        ensure!(!before.is_empty(), "a poll printed nothing");
        match cause {
            ["invoke", action, input] => drop(self.invoke(action, input).context("the action that makes it fire")?),
            words => drop(self.run(self.cause(words)?, "").context("the device that makes it fire")?),
        }
        let mut watching = polling("watch");
        watching.args(["--until", "1", "--interval", "0.5"]);
        let events = self.run(watching, config)?;
        ensure!(events.iter().any(|event| event["id"].is_string()), "no event: {events:?}");
        Ok(())
    }
}

/// Tries everything in a list, several at the same time. Returns what failed.
fn all<T: Sync>(
    list: &[T],
    name: impl Fn(&T) -> String + Sync,
    try_one: impl Fn(&T) -> Result<()> + Sync,
) -> Vec<String> {
    let next = Mutex::new(list.iter());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(item) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else { break };
                    let begun = Instant::now();
                    let result = try_one(item);
                    println!("{:>5.1} s  {}", begun.elapsed().as_secs_f64(), name(item));
                    if let Err(error) = result {
                        let problem = format!("{}: {error:#}", name(item));
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Collects the lines of a device, and returns when it is connected.
fn connected(output: ChildStdout) -> Result<Arc<Mutex<Vec<Value>>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (collected, (sender, ready)) = (seen.clone(), std::sync::mpsc::channel());
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let line: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
            if line["event"] == "connected" {
                let _ = sender.send(());
            }
            collected.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    ready.recv_timeout(PATIENCE).context("the device did not connect")?;
    Ok(seen)
}

fn ids(descriptor: &Value, kind: &str) -> BTreeSet<String> {
    let operations = descriptor[kind].as_array().into_iter().flatten();
    operations.filter_map(|it| Some(it.pointer("/operation/id")?.as_str()?.to_owned())).collect()
}

#[test]
fn every_operation_fires_from_the_command_line() -> Result<()> {
    let plant = Plant::start()?;
    let mut describe = plant.command();
    describe.arg("describe");
    let descriptor = plant.run(describe, "")?.into_iter().next().context("no descriptor")?;

    let rows: BTreeSet<String> = TRIGGERS.iter().map(|(id, ..)| (*id).to_owned()).collect();
    let triggers = ids(&descriptor, "triggers");
    ensure!(
        triggers == rows,
        "triggers without a row: {:?}; rows without a trigger: {:?}. Add a row to TRIGGERS in tests/tests/firing.rs: the \
         trigger's id, its configuration and the command that makes it fire",
        triggers.difference(&rows).collect::<Vec<_>>(),
        rows.difference(&triggers).collect::<Vec<_>>()
    );
    let authority = std::fs::read_to_string(plant.folder.path().join("account.json.ca.pem"))?;
    let scenarios = scenario::actions(&authority)?;
    let actions = ids(&descriptor, "actions");
    let missing: Vec<_> = actions.iter().filter(|id| !scenarios.contains_key(*id)).collect();
    ensure!(
        missing.is_empty() && !actions.is_empty(),
        "actions without a scenario: {missing:?}. Add a block `scenario` to the head of the action's file, as CONTRIBUTING.md \
         describes"
    );

    let mut device = Running(plant.cause(&["device", CONNECTED])?.spawn()?);
    let seen = connected(device.0.stdout.take().context("no output")?)?;
    let mut failed = all(TRIGGERS, |(id, ..)| (*id).to_owned(), |(id, config, cause)| plant.trigger(id, config, cause));

    let mut taker = Running(plant.cause(&["device", TAKES_MESSAGES])?.spawn()?);
    let _taken = connected(taker.0.stdout.take().context("no output")?)?;
    plant.invoke("schedule-twin-update", SOMEDAY)?;
    let export = plant.action("create-export-job", &scenarios["create-export-job"].steps, "")?;
    let export_job = export["jobId"].as_str().context("the export job has no id")?;
    let is_one_of = |id: &str, starts: &[&str]| starts.iter().any(|start| id.starts_with(start));
    let (first, rest): (Vec<_>, Vec<_>) = actions.into_iter().partition(|id| is_one_of(id, &FIRST));
    let (last, between): (Vec<_>, Vec<_>) = rest.into_iter().partition(|id| is_one_of(id, &LAST));
    for actions in [first, between, last] {
        failed.extend(all(&actions, String::clone, |id| plant.action(id, &scenarios[id].steps, export_job).map(drop)));
    }
    ensure!(
        failed.is_empty(),
        "{}\n\nWhat a line of a scenario acts on must be in tests/tests/scenario/plant.json.",
        failed.join("\n")
    );

    // The device at the other end has seen what was sent to it.
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    for (events, member, value) in [
        (&["method"][..], "/name", json!("reboot")),
        (&["message"], "/body/command", json!("cool-down")),
        // Some of the actions close its connection. A property that is set then is in the twin that it reads afterwards.
        (&["desired", "twin"], "/desired/intervalSeconds", json!(30)),
    ] {
        let of = |line: &Value| events.iter().any(|event| line["event"] == *event);
        let found = seen.iter().any(|line| of(line) && line.pointer(member) == Some(&value));
        ensure!(found, "the device saw no {events:?} with {member} {value}: {seen:?}");
    }
    Ok(())
}

#[test]
fn a_wait_ends_at_its_timeout_and_says_how_to_go_on() -> Result<()> {
    let plant = Plant::start()?;
    plant.invoke("schedule-twin-update", SOMEDAY)?;
    let mut command = plant.command();
    command.args(["invoke", "wait-for-job", "--wait", "--timeout", "2", "--input", "-"]);
    let begun = Instant::now();
    let error = plant.run(command, r#"{"jobId": "someday"}"#).err().context("the wait did not fail")?.to_string();
    ensure!(error.contains("had not ended after 2 s") && error.contains("--resume"), "{error}");
    ensure!(begun.elapsed() < PATIENCE / 2, "it took {:?}", begun.elapsed());
    Ok(())
}
