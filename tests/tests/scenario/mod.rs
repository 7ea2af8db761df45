//! One run through all operations of the connector: each action with its successes and its usual failures, each trigger
//! from the first poll to created, changed and deleted records, and all other functions.
//!
//! If an operation of the descriptor has no entry here, the run fails.
#![allow(dead_code, reason = "every test binary uses another part of it")]

#[path = "../../../host-harness/emulator/tests/common/mod.rs"]
pub mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use azure_iot_emulator::{
    Credential, Emulator, EmulatorOptions, EventSource, Exchange, FileUpload, Permission, Policy, Scenario,
    TelemetryEvent,
};
use connector_host::interface::action::{Call, Outcome};
use connector_host::interface::discovery::{ChoicesRequest, Direction};
use connector_host::interface::metadata::{Effect, Operation};
use connector_host::interface::trigger::{Budget, Event, LostPolicy, PollRequest, Start};
use connector_host::interface::types::{Error, ErrorCode};
use connector_host::{CallError, Connection};
use connector_tests::World;
use connector_tests::heads::{self, Change, Head, Source, Watch};
use serde_json::{Value, json};

use ErrorCode::{Conflict, DeviceOffline, InvalidInput, NotFound, PermissionDenied, PreconditionFailed, Timeout};

/// The results of a run.
pub struct Recording {
    /// The component, and the services after the run.
    pub world: World,
    /// All exchanges between the component and the services.
    pub exchanges: Vec<Exchange>,
    /// The outputs of each action, page by page.
    pub outputs: BTreeMap<String, Vec<Value>>,
    /// The events of each trigger.
    pub events: BTreeMap<String, Vec<Event>>,
    /// The expected errors of each action and trigger.
    pub failures: BTreeMap<String, Vec<Error>>,
    /// Which of the exchanges each operation made, in the order of the run.
    pub made_by: Vec<(String, Range<usize>)>,
    /// The id of each operation, and whether it is one of the `triggers` or `actions`.
    pub kinds: Vec<(String, &'static str)>,
}

/// The scenario of an action.
pub struct Calls {
    /// The calls, in their order.
    pub steps: Vec<Step>,
    /// The errors that the action cannot have although it has a field for what they are about.
    never: BTreeMap<String, String>,
}

/// One call of an action.
pub struct Step {
    input: Value,
    /// The fault of the service during the call.
    fault: Option<String>,
    /// Where the input's ETag comes from: the action that reads the object, and that action's input.
    tagged: Option<(String, Value)>,
    expected: Expected,
}

enum Expected {
    Done,
    /// Success with several pages.
    Pages,
    Failure(ErrorCode),
}

impl Calls {
    /// Whether the scenario has all results that an action with such an input can have.
    fn check(&self, operation: &Operation) -> Result<()> {
        let schema: Value = serde_json::from_str(&operation.input_schema)?;
        let has = |field: &str| schema["properties"].get(field).is_some();
        let needs = |field: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|it| it == field));
        let mut wanted = Vec::new();
        if has("etag") {
            wanted.push((&[PreconditionFailed][..], "precondition-failed", "etag"));
        }
        let ids = ["deviceId", "moduleId", "registrationId", "enrollmentGroupId", "configurationId", "jobId"];
        if let Some(id) = ids.into_iter().find(|id| needs(id)) {
            // A creation cannot miss what it creates.
            wanted.push((&[NotFound, Conflict][..], "not-found", id));
        }
        for (codes, name, field) in wanted {
            let tried =
                self.steps.iter().any(|step| matches!(step.expected, Expected::Failure(own) if codes.contains(&own)));
            ensure!(
                tried || self.never.contains_key(name),
                "the input has the field `{field}`, so the scenario needs a line that expects `{name}`, or a line `never {name}: REASON`"
            );
            ensure!(!(tried && self.never.contains_key(name)), "`never {name}` contradicts another line");
        }
        Ok(())
    }
}

impl Step {
    /// The input without the ETag, which is read before the call.
    pub fn input(&self) -> &Value {
        &self.input
    }

    /// The action that reads the input's ETag, and that action's input.
    pub fn tagged(&self) -> Option<&(String, Value)> {
        self.tagged.as_ref()
    }

    /// Whether the call succeeds by itself: without a fault of the service.
    pub fn succeeds(&self) -> bool {
        self.fault.is_none() && !matches!(self.expected, Expected::Failure(_))
    }
}

/// The longest pause before an action that waits is asked again, however long it asks to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// An operation whose scenario takes longer is named.
const SLOW: Duration = Duration::from_secs(1);
/// The number of records that the emulator puts into a page at most.
const LARGEST_PAGE: usize = 3;
/// An ETag that no object has.
const STALE: &str = "AAAAAAAAAAA=";
const KEYS: [&str; 2] =
    ["a2V5LW9uZS1rZXktb25lLWtleS1vbmUta2V5LW9uZS0=", "a2V5LXR3by1rZXktdHdvLWtleS10d28ta2V5LXR3by0="];
const THUMBPRINTS: [&str; 2] = ["0123456789ABCDEF0123456789ABCDEF01234567", "89ABCDEF0123456789ABCDEF0123456789ABCDEF"];
/// A device id with characters that must be encoded in a path.
const ODD: &str = "odd%1#?('$;@:.+,=*!)_-";
/// The stand-in for the id of the export job that exists already.
pub const EXPORT_JOB: &str = "$export-job";
/// The largest number of calls in which an action must reach its end.
const MOST_CALLS: u32 = 100;
/// A policy at both services that has no permission that any operation needs.
const POWERLESS: &str = "powerless";
/// DPS policies that may only read objects of one kind. A DPS policy without any readable kind would look like a
/// missing policy.
const ENROLLMENTS_ONLY: &str = "enrollments-only";
const REGISTRATIONS_ONLY: &str = "registrations-only";

/// The calls of each action, read from the head of its file in `src/actions`. The first call of each action must have
/// the same result each time: success, or its expected error. A text `$name` stands for one of [`stand_ins`].
///
/// # Errors
/// Where a file cannot be read, or a line cannot be understood.
pub fn actions(certificate: &str) -> Result<BTreeMap<String, Calls>> {
    let heads = heads::read(&connector_tests::workspace().join("src/actions"))?;
    let of = |(id, head): (String, Head)| {
        let steps = head.calls.iter().map(|call| step(call, certificate)).collect::<Result<_>>();
        let steps = steps.with_context(|| format!("the scenario of {id}"))?;
        Ok((id, Calls { steps, never: head.never }))
    };
    heads.into_iter().map(of).collect()
}

fn step(call: &heads::Call, certificate: &str) -> Result<Step> {
    let real = |value: &Value| {
        let mut value = value.clone();
        stand_ins(&mut value, certificate).map(|()| value)
    };
    let expected = match call.expected.as_str() {
        "done" => Expected::Done,
        "pages" => Expected::Pages,
        code => Expected::Failure(code_of(code)?),
    };
    let tagged = match &call.tagged {
        Some((action, input)) => Some((action.clone(), real(input)?)),
        None => None,
    };
    Ok(Step { input: real(&call.input)?, fault: call.under.clone(), tagged, expected })
}

/// The error code with this name of the interface.
fn code_of(name: &str) -> Result<ErrorCode> {
    const CODES: [ErrorCode; 13] = [
        ErrorCode::AuthFailed,
        Conflict,
        DeviceOffline,
        InvalidInput,
        NotFound,
        ErrorCode::PayloadTooLarge,
        PermissionDenied,
        PreconditionFailed,
        ErrorCode::Protocol,
        ErrorCode::QuotaExceeded,
        ErrorCode::RateLimited,
        Timeout,
        ErrorCode::Unavailable,
    ];
    let letters = name.replace('-', "");
    let known = CODES.into_iter().find(|code| format!("{code:?}").eq_ignore_ascii_case(&letters));
    known.with_context(|| format!("`{name}` is neither `done` nor `pages` nor the code of an error"))
}

/// Replaces names in a scenario by texts that are long, or new in each run.
fn stand_ins(value: &mut Value, certificate: &str) -> Result<()> {
    match value {
        Value::String(text) => {
            let Some(name) = text.strip_prefix('$') else { return Ok(()) };
            let real = match name {
                "odd" => ODD.to_owned(),
                "stale" => STALE.to_owned(),
                "key-1" => KEYS[0].to_owned(),
                "key-2" => KEYS[1].to_owned(),
                "thumbprint-1" => THUMBPRINTS[0].to_owned(),
                "thumbprint-2" => THUMBPRINTS[1].to_owned(),
                "certificate" => certificate.to_owned(),
                // The service chooses this id, so it is known only when the object exists.
                "export-job" => return Ok(()),
                _ => {
                    let count = name.strip_prefix("x*").with_context(|| format!("the name `{text}` is not known"))?;
                    "x".repeat(count.parse()?)
                }
            };
            *text = real;
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| stand_ins(item, certificate))?,
        Value::Object(members) => members.values_mut().try_for_each(|member| stand_ins(member, certificate))?,
        _ => {}
    }
    Ok(())
}

/// The scenario of each trigger, read from the head of its file in `src/triggers`.
///
/// # Errors
/// Where a file cannot be read, or a line cannot be understood.
pub fn triggers() -> Result<BTreeMap<String, Watch>> {
    heads::read_triggers(&connector_tests::workspace().join("src/triggers"))
}

/// Lets something happen that a trigger's scenario states.
async fn change(world: &World, change: &Change) -> Result<()> {
    let input = &change.input;
    let devices = world.emulator.devices();
    let id = |name: &str| input[name].as_str().with_context(|| format!("no {name}"));
    if let Some(method) = change.what.strip_prefix("hub:") {
        let (hub, path, body) = (raw::hub(&world.emulator, "iothubowner"), change.path.as_str(), input.clone());
        let answer = match method {
            "PUT" => hub.put(path, body).await,
            "REPLACE" => hub.put_if(path, "\"*\"", body).await,
            "DELETE" => hub.delete(path).await,
            other => bail!("the method {other} is not one of PUT, REPLACE and DELETE"),
        };
        ensure!((200..300).contains(&answer.status), "the hub answered {}: {}", answer.status, answer.message());
        return Ok(());
    }
    match change.what.as_str() {
        "device:report" => devices.report(id("deviceId")?, input["reported"].clone()).await?,
        "device:connect" => devices.connect(id("deviceId")?).await?,
        "device:disconnect" => devices.disconnect(id("deviceId")?).await?,
        "device:silent" => {
            let minutes = input["minutes"].as_u64().context("no minutes")?;
            devices.be_silent_for(id("deviceId")?, Duration::from_secs(60 * minutes)).await?;
        }
        "device:provision" => provision_by_group(world, &[id("registrationId")?]).await?,
        "emulator:fault" => world.emulator.faults().add_text(id("rule")?)?,
        other if other.starts_with("device:") => bail!("no device does `{other}`"),
        action => {
            let mut result = world.invoke(action, input.clone()).await;
            for _ in 0..MOST_CALLS {
                let Outcome::Pending(pending) = result? else { return Ok(()) };
                tokio::time::sleep(Duration::from_millis(pending.after_ms).min(LONGEST_PAUSE)).await;
                result = world.account().resume(action, &pending.token, &Call::default()).await;
            }
            bail!("{action} does not end");
        }
    }
    Ok(())
}

async fn all_changes(world: &World, changes: &[Change]) -> Result<()> {
    for step in changes {
        change(world, step).await.with_context(|| format!("{} {} {}", step.what, step.path, step.input))?;
    }
    Ok(())
}

/// The path of the scenario file whose objects exist when a run begins.
pub fn plant_file() -> PathBuf {
    connector_tests::workspace().join("tests/tests/scenario/plant.json")
}

/// Runs all scenarios.
pub async fn run() -> Result<Recording> {
    let plant = Scenario::parse(&std::fs::read_to_string(plant_file())?)?;
    let mut options = EmulatorOptions { max_page_size: LARGEST_PAGE, ..EmulatorOptions::default() };
    plant.set_up(&mut options)?;
    // A trigger on the log is tried with events of its own, which must be all that the log has.
    options.system_event_routes.clear();
    options.hub_policies.push(Policy::generate(POWERLESS, [Permission::DeviceConnect], 32));
    for (name, permission) in [
        (POWERLESS, Permission::ServiceConfig),
        (ENROLLMENTS_ONLY, Permission::EnrollmentRead),
        (REGISTRATIONS_ONLY, Permission::RegistrationStatusRead),
    ] {
        options.dps_policies.push(Policy::generate(name, [permission], 64));
    }
    let world = World::with(options).await?;
    let descriptor = world.connector.descriptor().clone();
    let mut run = Run {
        world,
        export_job: String::new(),
        outputs: BTreeMap::new(),
        events: BTreeMap::new(),
        failures: BTreeMap::new(),
    };

    run.world.emulator.traffic().record(true);
    plant.fill(&run.world.emulator).await?;
    run.export_job = export_job(&run.world.emulator).await?;

    let mut made_by = Vec::new();
    let mut scenarios = actions(run.world.emulator.ca_pem())?;
    for action in &descriptor.actions {
        let id = action.operation.id.as_str();
        let scenario = scenarios.remove(id).with_context(|| {
            format!(
                "the action {id} has no scenario: add a block `scenario` to the head of its file, which must be called {}.rs, as CONTRIBUTING.md describes",
                id.replace('-', "_")
            )
        })?;
        let before = run.exchanges();
        let started = std::time::Instant::now();
        run.action(&action.operation, &scenario, action.effect).await.with_context(|| id.to_owned())?;
        if started.elapsed() > SLOW {
            println!("{id} took {:.1?}", started.elapsed());
        }
        made_by.push((id.to_owned(), before..run.exchanges()));
    }
    ensure!(scenarios.is_empty(), "there are scenarios of actions that do not exist: {:?}", scenarios.keys());

    let mut scenarios = triggers()?;
    for trigger in &descriptor.triggers {
        let id = trigger.operation.id.as_str();
        let before = run.exchanges();
        let watch = scenarios.remove(id).with_context(|| {
            format!(
                "the trigger {id} has no scenario: add a block `scenario` to the head of its file, which must be called {}.rs, as CONTRIBUTING.md describes",
                id.replace('-', "_")
            )
        })?;
        run.watch(&trigger.operation, watch).await.with_context(|| id.to_owned())?;
        made_by.push((id.to_owned(), before..run.exchanges()));
    }
    ensure!(scenarios.is_empty(), "there are scenarios of triggers that do not exist: {:?}", scenarios.keys());

    run.around(&descriptor).await?;
    let Run { world, outputs, events, failures, .. } = run;
    world.emulator.traffic().record(false);
    let exchanges = world.emulator.traffic().take();
    let ids = |kind, operations: Vec<&Operation>| {
        operations.into_iter().map(move |operation| (operation.id.clone(), kind)).collect::<Vec<_>>()
    };
    let mut kinds = ids("triggers", descriptor.triggers.iter().map(|it| &it.operation).collect());
    kinds.extend(ids("actions", descriptor.actions.iter().map(|it| &it.operation).collect()));
    Ok(Recording { world, exchanges, outputs, events, failures, made_by, kinds })
}

/// Creates an export job. A scenario file has none, since the hub chooses the id. Returns the id.
async fn export_job(emulator: &Emulator) -> Result<String> {
    let export = json!({
        "type": "export",
        "outputBlobContainerUri": "https://plant.blob.core.windows.net/registry?sig=c2VjcmV0LW9mLXRoZS1jb250YWluZXI",
        "excludeKeysInExport": true,
    });
    let job = raw::hub(emulator, "iothubowner").post("/jobs/create", export).await.expect(200);
    job.body["jobId"].as_str().map(str::to_owned).context("the export job has no id")
}

struct Run {
    world: World,
    /// The id of an export job.
    export_job: String,
    outputs: BTreeMap<String, Vec<Value>>,
    events: BTreeMap<String, Vec<Event>>,
    failures: BTreeMap<String, Vec<Error>>,
}

impl Run {
    /// Makes an action's own calls, and calls for the errors that every action can have.
    async fn action(&mut self, operation: &Operation, scenario: &Calls, effect: Effect) -> Result<()> {
        let id = operation.id.as_str();
        let steps = &scenario.steps;
        scenario.check(operation)?;
        for step in steps {
            self.step(id, step).await.with_context(|| step.input.to_string())?;
        }
        let usual = &self.named(&steps.first().context("no step")?.input);
        let World { connector, tenant, .. } = &self.world;
        let lacking = self.lacking(operation, effect)?;
        let refused = connector.account(tenant, &lacking).invoke(id, &usual.to_string(), &Call::default()).await;
        self.expect_failure(id, refused, PermissionDenied).context("without the permission")?;

        self.throttle()?;
        let throttled = self.world.invoke(id, usual.clone()).await;
        self.world.emulator.faults().clear();
        self.expect_failure(id, throttled, ErrorCode::RateLimited).context("throttled")?;

        self.garbled(id, usual, effect).await.context("with an answer that is not JSON")?;

        let before = self.exchanges();
        let senseless = self.world.invoke(id, json!({ "nonsense": true })).await;
        self.expect_failure(id, senseless, InvalidInput).context("with an unknown field")?;
        ensure!(self.exchanges() == before, "the service was asked although the input is invalid");

        if effect != Effect::Read {
            let dry = Call { dry_run: true, ..Call::default() };
            let World { connector, tenant, connection, .. } = &self.world;
            let planned = connector.account(tenant, connection).invoke(id, &usual.to_string(), &dry).await?;
            ensure!(matches!(planned, Outcome::Planned(_)), "a dry run did not return a plan");
        }
        Ok(())
    }

    /// Answers that are not JSON end a read with the error `protocol`. A change may succeed if the service's answer says
    /// nothing that the action needs, and an action on many things reports the error for each of them.
    async fn garbled(&mut self, id: &str, input: &Value, effect: Effect) -> Result<()> {
        // The contract's judge must not see these answers.
        self.world.emulator.traffic().record(false);
        self.world.emulator.faults().add_text("* /=garbage")?;
        let result = self.world.invoke(id, input.clone()).await;
        self.world.emulator.faults().clear();
        self.world.emulator.traffic().record(true);
        match result {
            Ok(Outcome::Done(_) | Outcome::Pending(_) | Outcome::Page(_)) if effect != Effect::Read => Ok(()),
            // The service refuses to repeat what an earlier call has done. The hub names the error in a header, so that a
            // text that cannot be read hides nothing; DPS names it in the text only.
            Err(error) if effect != Effect::Read && error.connector().is_some_and(is_refusal) => {
                self.failures.entry(id.to_owned()).or_default().extend(error.connector().cloned());
                Ok(())
            }
            result => self.expect_failure(id, result, ErrorCode::Protocol),
        }
    }

    async fn step(&mut self, id: &str, step: &Step) -> Result<()> {
        let mut input = self.named(&step.input);
        if let Some((action, subject)) = &step.tagged {
            input["etag"] = self.world.done(action, subject.clone()).await?["etag"].clone();
        }
        if let Some(fault) = &step.fault {
            self.world.emulator.faults().add_text(fault)?;
        }
        let mut result = self.world.invoke(id, input).await;
        self.world.emulator.faults().clear();
        if let Expected::Failure(code) = step.expected {
            // An action that waits fails in a later call.
            let mut calls = 0;
            while let Ok(Outcome::Pending(pending)) = &result {
                calls += 1;
                ensure!(calls < MOST_CALLS, "the end is not reached in {MOST_CALLS} calls");
                tokio::time::sleep(Duration::from_millis(pending.after_ms).min(LONGEST_PAUSE)).await;
                result = self.resume(id, &pending.token).await;
            }
            return self.expect_failure(id, result, code);
        }
        let mut pages = 1;
        for _ in 0..MOST_CALLS {
            match result? {
                Outcome::Done(output) => {
                    self.keep(id, &output)?;
                    ensure!(
                        (pages > 1) == matches!(step.expected, Expected::Pages),
                        "it answered {pages} page(s): `done` stands for one page and `pages` for several, and a page of this run has at most {LARGEST_PAGE} records"
                    );
                    return Ok(());
                }
                Outcome::Page(page) => {
                    pages += 1;
                    self.keep(id, &page.output)?;
                    result = self.resume(id, &page.token).await;
                }
                Outcome::Pending(pending) => {
                    // What an action waits for may be up to the devices.
                    for number in 1..=5 {
                        self.world.emulator.devices().take_messages(&format!("press-{number}")).await?;
                    }
                    tokio::time::sleep(Duration::from_millis(pending.after_ms).min(LONGEST_PAUSE)).await;
                    result = self.resume(id, &pending.token).await;
                }
                other => bail!("it answered {other:?}"),
            }
        }
        bail!("the end is not reached in {MOST_CALLS} calls")
    }

    async fn resume(&self, id: &str, token: &str) -> Result<Outcome, CallError> {
        let World { connector, tenant, connection, .. } = &self.world;
        connector.account(tenant, connection).resume(id, token, &Call::default()).await
    }

    /// The input with the ids that the services chose.
    fn named(&self, input: &Value) -> Value {
        let mut input = input.clone();
        for member in input.as_object_mut().into_iter().flat_map(|members| members.values_mut()) {
            if *member == EXPORT_JOB {
                *member = self.export_job.as_str().into();
            }
        }
        input
    }

    /// Runs a trigger's scenario.
    async fn watch(&mut self, operation: &Operation, watch: Watch) -> Result<()> {
        all_changes(&self.world, &watch.given).await?;
        match &watch.source {
            Source::Collection { changes, expected } => self.trigger(operation, watch.config, changes, expected).await,
            Source::Log { source, properties, body } => {
                let source = source.parse().unwrap_or(EventSource::Telemetry);
                self.stream(&operation.id, source, properties, body).await
            }
            Source::Queue(queue) => self.queue(operation, queue).await,
        }
    }

    /// Reads all records first, then all changes, then causes the trigger's errors.
    async fn trigger(
        &mut self,
        operation: &Operation,
        config: Value,
        changes: &[Change],
        expected: &[String],
    ) -> Result<()> {
        let id = operation.id.as_str();
        let before = self.exchanges();
        let (first, old) = self.world.drain(id, config.clone(), Start::Earliest, None).await?;
        ensure!(first.len() > 2, "only {} record(s) at the beginning", first.len());
        ensure!(self.exchanges() > before, "the service was not asked");
        let (none, started_now) = self.world.drain(id, config.clone(), Start::Now, None).await?;
        ensure!(none.is_empty(), "events of what was there before: {none:?}");
        all_changes(&self.world, changes).await?;
        let (second, cursor) = self.world.drain(id, config.clone(), Start::Earliest, Some(old.clone())).await?;
        let words: BTreeSet<&str> =
            second.iter().map(|event| event.event_type.rsplit('.').next().unwrap_or_default()).collect();
        let summaries = second.iter().map(|it| &it.summary).collect::<Vec<_>>();
        let wanted: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
        ensure!(words == wanted, "the types of the events are {words:?} instead of {wanted:?}: {summaries:?}");
        let (third, _) = self.world.drain(id, config.clone(), Start::Earliest, Some(cursor)).await?;
        ensure!(third.is_empty(), "events without a change: {third:?}");
        let told = |events: &[Event]| {
            let mut told: Vec<_> =
                events.iter().map(|it| format!("{} {:?} {:?}", it.event_type, it.subject, it.data)).collect();
            told.sort();
            told
        };
        let (same, _) = self.world.drain(id, config.clone(), Start::Now, Some(started_now)).await?;
        ensure!(told(&same) == told(&second), "after a start with `now`: {:?}", told(&same));
        for read in 0..4 {
            // The fault ends a poll in the middle of a scan, and the next poll goes on.
            self.world.emulator.faults().add_text(&format!("* /=503+600~{read}x1"))?;
            let interrupted = self.world.drain(id, config.clone(), Start::Earliest, Some(old.clone())).await;
            self.world.emulator.faults().clear();
            let (events, _) = interrupted.with_context(|| format!("the request {read} is refused"))?;
            let distinct: BTreeSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
            ensure!(distinct.len() == events.len(), "an event came twice after request {read} was refused");
            ensure!(told(&events) == told(&second), "after request {read} was refused: {:?}", told(&events));
        }
        self.events.entry(id.to_owned()).or_default().extend(first.into_iter().chain(second));

        self.throttle()?;
        let throttled = self.world.poll(id, config.clone(), Start::Earliest, None).await;
        self.world.emulator.faults().clear();
        self.expect_failure(id, throttled, ErrorCode::RateLimited).context("throttled")?;
        let senseless = self.world.poll(id, json!({ "nonsense": true }), Start::Earliest, None).await;
        self.expect_failure(id, senseless, ErrorCode::InvalidConfig).context("with an unknown field")?;
        let World { connector, tenant, connection, .. } = &self.world;
        let sample = connector.account(tenant, connection).sample(id, &config.to_string(), 3).await?;
        ensure!(!sample.is_empty(), "no sample");
        connector.account(tenant, connection).partitions(id, &config.to_string()).await?;
        let lacking = self.lacking(operation, Effect::Read)?;
        let refused = connector.account(tenant, &lacking).sample(id, &config.to_string(), 3).await;
        self.expect_failure(id, refused, PermissionDenied).context("without the permission")
    }

    /// A trigger on the hub's log must deliver its own events and no others.
    async fn stream(&mut self, id: &str, source: EventSource, properties: &Value, body: &Value) -> Result<()> {
        let telemetry = self.world.emulator.telemetry();
        // An action has already sent messages as a device.
        let partitions = EmulatorOptions::default().partitions;
        let logged = (0..partitions).flat_map(|partition| telemetry.events(partition));
        let expected = 2 + logged.filter(|(_, _, event)| event.source == source).count();
        for (device, source) in [("press-1", source), ("press-2", source), ("press-1", EventSource::DeviceJobLifecycle)]
        {
            let mut event = TelemetryEvent::new(device, body.to_string()).json();
            event.source = source;
            for (name, value) in properties.as_object().into_iter().flatten() {
                event = event.property(name, value.as_str().unwrap_or_default());
            }
            telemetry.send(event);
        }
        let World { connector, tenant, connection, .. } = &self.world;
        let mut delivered = Vec::new();
        for partition in connector.account(tenant, connection).partitions(id, "{}").await? {
            let mut cursor = None;
            loop {
                let page = self.world.poll_partition(id, &partition.id, json!({}), Start::Earliest, cursor).await?;
                let done = page.events.is_empty() && !page.more;
                delivered.extend(page.events);
                cursor = Some(page.next);
                if done {
                    break;
                }
            }
        }
        ensure!(
            delivered.len() == expected,
            "{} events instead of {expected}: {:?}",
            delivered.len(),
            delivered.iter().map(|it| &it.summary).collect::<Vec<_>>()
        );
        let sample = connector.account(tenant, connection).sample(id, "{}", 1).await?;
        ensure!(sample.first().is_some_and(|sample| sample.id != "sample"), "no live sample");
        self.events.entry(id.to_owned()).or_default().extend(delivered);
        let senseless = self.world.poll_partition(id, "0", json!({ "nonsense": true }), Start::Earliest, None).await;
        self.expect_failure(id, senseless, ErrorCode::InvalidConfig)
    }

    /// A trigger on a queue delivers all notices. After they are committed, the queue is empty.
    async fn queue(&mut self, operation: &Operation, queue: &str) -> Result<()> {
        let id = operation.id.as_str();
        ensure!(["feedback", "files"].contains(&queue), "the hub has no queue {queue}");
        let is_feedback = queue == "feedback";
        // Devices take the messages of earlier actions. Their feedback is older than the trigger's start.
        let devices = self.world.emulator.devices();
        for device in ["press-1", "press-2", "press-3"] {
            devices.take_messages(device).await?;
        }
        let (_, cursor) = self.world.drain(id, json!({}), Start::Now, None).await?;
        for number in 0..3 {
            let device = format!("press-{}", number + 1);
            if is_feedback {
                let message = json!({ "deviceId": device, "body": number, "acknowledgement": "full" });
                self.world.done("send-cloud-to-device-message", message).await?;
                devices.take_messages(&device).await?;
            } else {
                let name = format!("{device}/{number}.jpg");
                let uri = format!("https://plant.blob.core.windows.net/uploads/{name}");
                devices
                    .upload_file(FileUpload { device_id: device, blob_uri: uri, blob_name: name, size: 1_024 })
                    .await?;
            }
        }
        let mut delivered = Vec::new();
        let mut next = Some(cursor);
        while delivered.len() < 3 {
            let page = self.world.poll(id, json!({}), Start::Now, next).await?;
            delivered.extend(page.events);
            next = Some(page.next);
        }
        ensure!(delivered.len() == 3, "{} events instead of 3", delivered.len());
        let left = || {
            if is_feedback { self.world.emulator.feedback_left() } else { self.world.emulator.file_notices_left() }
        };
        ensure!(left() >= 1, "a notice was completed before it was committed");
        // Each poll is a new instance. The hub notices that the last instance is gone, and gives its notices again.
        while left() > 0 {
            let page = self.world.poll(id, json!({}), Start::Now, next).await?;
            ensure!(page.events.is_empty(), "delivered again: {:?}", page.events);
            next = Some(page.next);
        }
        self.events.entry(id.to_owned()).or_default().extend(delivered);

        self.throttle()?;
        let throttled = self.world.poll(id, json!({}), Start::Now, None).await;
        self.world.emulator.faults().clear();
        self.expect_failure(id, throttled, ErrorCode::RateLimited).context("throttled")?;
        let senseless = self.world.poll(id, json!({ "nonsense": true }), Start::Now, None).await;
        self.expect_failure(id, senseless, ErrorCode::InvalidConfig).context("with an unknown field")?;
        let World { connector, tenant, connection, .. } = &self.world;
        let sample = connector.account(tenant, connection).sample(id, "{}", 3).await?;
        ensure!(sample.len() == 1, "the static sample");
        let lacking = self.lacking(operation, Effect::Read)?;
        let request = PollRequest {
            trigger: id.to_owned(),
            partition: "all".to_owned(),
            config: "{}".to_owned(),
            start: Start::Now,
            on_position_lost: LostPolicy::Stop,
            cursor: None,
            budget: Budget::default(),
        };
        let refused = connector.account(tenant, &lacking).poll(&request).await;
        self.expect_failure(id, refused, PermissionDenied).context("without the permission")
    }

    /// Calls the functions around the operations: the test of the account, dropdowns and schemas.
    async fn around(&self, descriptor: &connector_host::interface::metadata::Descriptor) -> Result<()> {
        let World { connector, tenant, connection, .. } = &self.world;
        let report = connector.account(tenant, connection).test().await?;
        ensure!(!report.usable.is_empty(), "no operation is usable");
        let report = connector.account(tenant, &self.world.linked_by(POWERLESS, POWERLESS)?).test().await?;
        // The report says that this policy may connect as a device, because it cannot tell a policy without permissions
        // from a missing one.
        ensure!(report.usable == ["send-device-to-cloud-message"], "usable without a permission: {:?}", report.usable);
        let operations =
            descriptor.triggers.iter().map(|it| &it.operation).chain(descriptor.actions.iter().map(|it| &it.operation));
        let mut sources = Vec::new();
        for operation in operations {
            collect_sources(&serde_json::from_str(&operation.input_schema)?, &mut sources);
            if operation.dynamic_output {
                connector.account(tenant, connection).resolve_schema(&operation.id, Direction::Output, "{}").await?;
            }
        }
        sources.sort();
        sources.dedup();
        ensure!(!sources.is_empty(), "no field has a dropdown");
        for source in sources {
            for search in [None, Some("press".to_owned())] {
                let request =
                    ChoicesRequest { source: source.clone(), context: "{}".to_owned(), search, page: None, limit: 2 };
                connector.account(tenant, connection).options(&request).await.with_context(|| source.clone())?;
            }
        }
        Ok(())
    }

    /// Makes all services answer that calls must slow down, each in its own protocol.
    fn throttle(&self) -> Result<()> {
        for rule in ["* /=429/429001+120", "hub-amqp:PUT-TOKEN /=429"] {
            self.world.emulator.faults().add_text(rule)?;
        }
        Ok(())
    }

    /// An account without a permission that the operation needs.
    fn lacking(&self, operation: &Operation, effect: Effect) -> Result<Connection> {
        let enrollments = operation.permissions.iter().any(|permission| permission.starts_with("enrollment"));
        let dps_policy = match effect {
            Effect::Read if enrollments => REGISTRATIONS_ONLY,
            _ => ENROLLMENTS_ONLY,
        };
        // The policy must have some other permission, because a policy without any cannot be told from a missing one.
        let as_device = operation.permissions.iter().any(|permission| permission == "device-connect");
        self.world.linked_by(if as_device { "registryRead" } else { POWERLESS }, dps_policy)
    }

    fn keep(&mut self, id: &str, output: &str) -> Result<()> {
        self.outputs.entry(id.to_owned()).or_default().push(serde_json::from_str(output)?);
        Ok(())
    }

    fn exchanges(&self) -> usize {
        self.world.emulator.traffic().exchanges().len()
    }

    fn expect_failure<T>(&mut self, id: &str, result: Result<T, CallError>, code: ErrorCode) -> Result<()> {
        let Err(error) = result else { bail!("the call did not fail with {code:?}") };
        let Some(found) = error.connector().cloned() else { bail!("the call failed in the host: {error}") };
        ensure!(found.code == code, "the call failed with {found:?} instead of {code:?}");
        self.failures.entry(id.to_owned()).or_default().push(found);
        Ok(())
    }
}

/// Whether the service understood a call and refused it.
fn is_refusal(error: &Error) -> bool {
    error.service.as_ref().and_then(|service| service.status).is_some_and(|status| (400..500).contains(&status))
        && matches!(error.code, Conflict | InvalidInput | NotFound)
}

async fn provision_by_group(world: &World, ids: &[&str]) -> Result<()> {
    for id in ids {
        let credential = Credential::derived(KEYS[0], id).context("no key of a group")?;
        world.emulator.devices().provision(id, credential).await?;
    }
    Ok(())
}

fn collect_sources(schema: &Value, sources: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            sources.extend(members.get("x-options").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|inner| collect_sources(inner, sources));
        }
        Value::Array(items) => items.iter().for_each(|inner| collect_sources(inner, sources)),
        _ => {}
    }
}
