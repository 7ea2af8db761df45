//! All requests of the component and all answers of the emulator must fit the API descriptions that Microsoft
//! publishes. `AZURE_API_SPECS` names the folder with these descriptions; they are not part of this repository.

mod generated;
mod scenario;
mod schemas;
mod swagger;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use azure_iot_emulator::{Emulator, Exchange, Service};
use connector_host::interface::action::Call;
use connector_host::interface::types::ErrorCode;
use connector_tests::World;
use scenario::raw;
use serde_json::{Value, json};
use swagger::{Description, RefusalJudge, Seen};

/// The known differences between Microsoft's services and their descriptions, and the calls that no description has.
const EXCEPTIONS: &[Exception] = &[
    Exception {
        method: "DELETE",
        path: "/devices/*/messages/deviceBound/*",
        problem: "there is no such operation",
        // Completing a message belongs to the hub's API for devices, which has no published description. There is no
        // other way to test the permission "Device Connect".
        reason: "the API for devices",
    },
    Exception {
        method: "POST",
        path: "/devices/*/messages/events",
        problem: "there is no such operation",
        // The action sends as a device, which only the API for devices can do.
        reason: "the API for devices",
    },
    Exception {
        method: "GET",
        path: "/jobs/v2/query",
        problem: "header x-ms-",
        // The description has a continuation token in the answer, but no parameter for it. Microsoft's clients for .NET
        // and Node.js send and read the headers of other queries (`JobClient`).
        reason: "the pages of Microsoft's clients",
    },
    Exception {
        method: "POST",
        path: "/devices/query",
        problem: "/status': value is not one of \"enabled\" or \"disabled\"",
        // The description knows only twins. The rows of `devices.jobs` have the status of a job ("Queries for jobs").
        reason: "the collection devices.jobs",
    },
];

/// The published operations that the scenarios cannot reach because they need a lock token of a batch. The test
/// `feedback_is_read_over_https_by_custom_requests` (`tests/tests/messages.rs`) reaches them.
const BY_TOKEN: [&str; 3] = [
    "CloudToDeviceMessages_ReceiveFeedbackNotification",
    "CloudToDeviceMessages_CompleteFeedbackNotification",
    "CloudToDeviceMessages_AbandonFeedbackNotification",
];

struct Exception {
    method: &'static str,
    /// A path. `*` stands for one segment.
    path: &'static str,
    problem: &'static str,
    reason: &'static str,
}

impl Exception {
    fn covers(&self, seen: &Seen, problem: &str) -> bool {
        let (own, other): (Vec<&str>, Vec<&str>) = (self.path.split('/').collect(), seen.path.split('/').collect());
        self.method == seen.method
            && own.len() == other.len()
            && own.iter().zip(&other).all(|(own, other)| *own == "*" || own == other)
            && problem.contains(self.problem)
    }
}

/// The descriptions of each service, from the oldest version to the newest.
struct Contract {
    hub: Vec<Description>,
    dps: Vec<Description>,
}

impl Contract {
    /// Reads the descriptions. Prints a line and returns none where the folder is not there.
    fn load() -> Result<Option<(Self, PathBuf)>> {
        let Some(folder) = std::env::var_os("AZURE_API_SPECS").filter(|it| !it.is_empty()).map(PathBuf::from) else {
            println!("skipped: AZURE_API_SPECS is not set; it names the folder with Microsoft's API descriptions");
            return Ok(None);
        };
        let all = |oldest: Value, newer: Vec<(&str, Members)>, refusal: Option<RefusalJudge>| {
            let mut document = oldest;
            let mut all = vec![Description::new(document.clone(), refusal)?];
            for (version, members) in newer {
                document = newer_version(document, version, members)?;
                all.push(Description::new(document.clone(), refusal)?);
            }
            anyhow::Ok(all)
        };
        let hub = all(read(&folder.join("iothub-service.json"))?, hub_versions(), Some(hub_refusal))?;
        let dps = all(read(&folder.join("dps/service-2021-10-01.json"))?, dps_versions(), None)?;
        Ok(Some((Self { hub, dps }, folder)))
    }

    /// The description of the version that the request's query states, or else of the oldest version.
    fn of(&self, service: Service, query: &str) -> Option<&Description> {
        let all = match service {
            // The hub's API for devices is compared with the hub's description, which does not have it. The exceptions
            // allow these calls.
            Service::Hub | Service::Device => &self.hub,
            Service::Dps => &self.dps,
            Service::EventHub | Service::HubAmqp => return None,
        };
        let of_version = |description: &&Description| {
            query.split('&').any(|pair| pair.strip_prefix("api-version=") == Some(description.version()))
        };
        all.iter().find(of_version).or(all.first())
    }

    /// Judges exchanges, prints their number, and returns all problems.
    fn judge(&self, exchanges: &[Exchange]) -> Vec<String> {
        let mut counts: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        let mut problems = BTreeMap::new();
        let mut beyond = BTreeSet::new();
        let mut used = BTreeSet::new();
        for exchange in exchanges {
            let seen = Seen::from(exchange);
            let Some(description) = self.of(exchange.service, &seen.query) else {
                problems.insert(format!("{} {}: the API for devices was called", seen.method, seen.path), 1);
                continue;
            };
            let verdict = description.judge(&seen);
            let operation = verdict.operation.unwrap_or_else(|| format!("({} {})", seen.method, shape(&seen.path)));
            let status = seen.status.map_or_else(|| "dropped".to_owned(), |status| status.to_string());
            for problem in verdict.problems {
                match EXCEPTIONS.iter().position(|exception| exception.covers(&seen, &problem)) {
                    Some(index) => {
                        used.insert(index);
                    }
                    None => *problems.entry(format!("{operation} {status}: {problem}")).or_insert(0) += 1,
                }
            }
            beyond.extend(verdict.beyond.into_iter().map(|it| format!("{operation} {status}: {it}")));
            let service = if exchange.service == Service::Hub { "hub" } else { "dps" };
            *counts.entry(format!("{service} {operation}")).or_default().entry(status).or_default() += 1;
        }
        println!("{} exchanges", exchanges.len());
        for (operation, statuses) in counts {
            let total: usize = statuses.values().sum();
            let statuses: Vec<String> = statuses.iter().map(|(status, count)| format!("{status}×{count}")).collect();
            println!("{total:5}  {operation}  {}", statuses.join(" "));
        }
        for index in used {
            println!(
                "excepted: {} {} ({})",
                EXCEPTIONS[index].method, EXCEPTIONS[index].path, EXCEPTIONS[index].reason
            );
        }
        beyond.iter().for_each(|it| println!("beyond the description: {it}"));
        problems.into_iter().map(|(problem, count)| format!("{problem} ({count}×)")).collect()
    }
}

/// The members that a version added: the definition, the member's name and the member's schema.
type Members = Vec<(&'static str, &'static str, Value)>;

/// These versions of the hub's API have no published description. The members come from the clients that the Azure
/// CLI's IoT extension generates from it. Members that the extension never writes are marked as read-only.
fn hub_versions() -> Vec<(&'static str, Members)> {
    let attributes = || json!({ "type": "object", "additionalProperties": true });
    let text = json!({ "type": "string" });
    let properties = json!({ "uuid": text, "name": text, "etag": text, "systemData": { "type": "object" } });
    let status = json!({ "state": text, "errorMessage": { "type": "string", "x-nullable": true } });
    let validation = json!({ "scheme": text, "value": { "type": "object" } });
    vec![
        ("2024-03-31", ["Device", "Module", "Twin"].map(|of| (of, "attributes", attributes())).into()),
        (
            "2026-11-01-preview",
            vec![
                (
                    "Device",
                    "adrDeviceProperties",
                    json!({ "type": "object", "readOnly": true, "properties": properties }),
                ),
                ("Device", "deviceResourceId", json!({ "type": "string", "readOnly": true })),
                ("Device", "armSyncStatus", json!({ "type": "object", "readOnly": true, "properties": status })),
                ("AuthenticationMechanism", "policyResourceId", text.clone()),
                ("AuthenticationMechanism", "x509CaValidation", json!({ "type": "object", "properties": validation })),
            ],
        ),
    ]
}

/// The members that the description of 2026-11-01 has, that of 2021-10-01 does not have, and the connector uses.
fn dps_versions() -> Vec<(&'static str, Members)> {
    let name = |longest: u32, pattern: &str| json!({ "type": "string", "minLength": 3, "maxLength": longest, "pattern": pattern });
    let of = |definition| {
        [
            (definition, "namespaceName", name(64, "^[a-z0-9][a-z0-9-]*[a-z0-9]$")),
            (definition, "certificateAuthorityName", name(63, "^[0-9a-zA-Z][a-zA-Z0-9-]*$")),
            (definition, "certificatePolicyName", name(63, "^[0-9a-zA-Z][a-zA-Z0-9-]*$")),
        ]
    };
    vec![("2026-11-01", ["IndividualEnrollment", "EnrollmentGroup"].into_iter().flat_map(of).collect())]
}

/// Adds a newer version's members to a description.
fn newer_version(mut document: Value, version: &str, members: Members) -> Result<Value> {
    document["info"]["version"] = version.into();
    for (definition, name, schema) in members {
        let properties = document.pointer_mut(&format!("/definitions/{definition}/properties"));
        let properties = properties.and_then(Value::as_object_mut).context(definition)?;
        ensure!(properties.insert(name.to_owned(), schema).is_none(), "{definition} has {name} already");
    }
    Ok(document)
}

/// A path with `*` instead of its ids.
fn shape(path: &str) -> String {
    let segments: Vec<&str> =
        path.split('/').skip(1).enumerate().map(|(i, it)| if i % 2 == 0 { it } else { "*" }).collect();
    format!("/{}", segments.join("/"))
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// The problems of an error response of the hub. The hub's description has no errors, so the check follows Microsoft's
/// C# client: `Message` is an object, or such an object as text, or `ErrorCode:Name;text`.
fn hub_refusal(description: &Description, seen: &Seen) -> Vec<String> {
    let status = seen.status.unwrap_or_default();
    let names = "/definitions/DeviceRegistryOperationError/properties/errorCode/enum";
    let names = description.document().pointer(names).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut problems = Vec::new();
    let mut judge_name = |name: &str, whose: &str| {
        if !names.iter().any(|known| known == name) {
            problems.push(format!("{whose} {name:?} is no error code of the description"));
        }
    };
    match seen.response_headers.iter().find(|(name, _)| name == "iothub-errorcode") {
        Some((_, name)) => judge_name(name, "the header iothub-errorcode"),
        None => problems.push("the refusal has no header iothub-errorcode".to_owned()),
    }
    let body: Value = serde_json::from_slice(&seen.response_body).unwrap_or_default();
    let nested = match &body["Message"] {
        Value::String(text) => serde_json::from_str::<Value>(text).ok().filter(Value::is_object),
        object @ Value::Object(_) => Some(object.clone()),
        _ => None,
    };
    if let Some(details) = nested {
        let code = details["errorCode"].as_u64().unwrap_or_default();
        if code / 1000 != u64::from(status) {
            problems.push(format!("the refusal's code is {code}, and its status {status}"));
        }
        for member in ["trackingId", "message", "timestampUtc"] {
            if !details[member].is_string() {
                problems.push(format!("the refusal's details have no {member}"));
            }
        }
    } else if let Some((name, text)) =
        body["Message"].as_str().and_then(|text| text.strip_prefix("ErrorCode:")).and_then(|text| text.split_once(';'))
    {
        if !names.iter().any(|known| known == name) {
            problems.push(format!("the code {name:?} of the refusal is no error code of the description"));
        }
        if text.is_empty() || !body["ExceptionMessage"].as_str().is_some_and(|it| it.starts_with("Tracking ID:")) {
            problems.push("the refusal has no text or no tracking id".to_owned());
        }
    } else {
        problems.push("the refusal's body is in none of the forms that Microsoft's clients read".to_owned());
    }
    problems
}

/// One run of all scenarios. What it did is judged by Microsoft's descriptions and by the connector's own schemas.
#[tokio::test(flavor = "multi_thread")]
async fn every_exchange_keeps_to_the_descriptions() -> Result<()> {
    let contract = Contract::load()?;
    ensure!(
        contract.is_some() || !writes_reference(),
        "docs/reference/coverage.md cannot be written without the descriptions"
    );
    let recording = scenario::run().await?;
    if let Some((contract, _)) = contract {
        check_coverage(&contract, &recording)?;
        judge_all(&contract, &recording);
    }
    schemas::what_happens_is_what_is_described(&recording).await?;
    schemas::resolved_schemas_fit_what_is_there(&recording).await
}

/// Judges all exchanges of the run, and whether the run was large enough.
fn judge_all(contract: &Contract, recording: &scenario::Recording) {
    let problems = contract.judge(&recording.exchanges);
    assert!(problems.is_empty(), "{} breaches of the descriptions:\n{}", problems.len(), problems.join("\n"));
    for exception in EXCEPTIONS {
        let needed = recording.exchanges.iter().any(|it| exception.covers(&Seen::from(it), exception.problem));
        assert!(needed, "the exception for {} {} is no longer needed", exception.method, exception.path);
    }
    // The run must have enough exchanges with each service, and pages after the first page.
    for (service, path) in [
        (Service::Hub, "/devices/query"),
        (Service::Dps, "/enrollments/query"),
        (Service::Dps, "/registrations/looms/query"),
    ] {
        let of_service = recording.exchanges.iter().filter(|exchange| exchange.service == service);
        assert!(of_service.clone().count() > 50, "{service:?} received too few requests");
        let mut pages = of_service.filter(|exchange| exchange.path == path).map(Seen::from);
        let goes_on = |seen: Seen| seen.request_headers.iter().any(|(name, _)| name == "x-ms-continuation");
        assert!(pages.any(goes_on), "{path} never had a second page");
    }
}

/// Whether `cargo xtask docs` runs the test.
fn writes_reference() -> bool {
    std::env::var("CONNECTOR_REFERENCE").is_ok_and(|wish| wish == "write")
}

/// Compares docs/reference/coverage.md with what the run reached, or writes it.
fn check_coverage(contract: &Contract, recording: &scenario::Recording) -> Result<()> {
    let mut reached: BTreeMap<(bool, &str), BTreeSet<&str>> = BTreeMap::new();
    for (id, exchanges) in &recording.made_by {
        for exchange in recording.exchanges.get(exchanges.clone()).context("the run has fewer exchanges")? {
            if !exchange.status.is_some_and(|status| (200..300).contains(&status)) {
                continue;
            }
            let description = contract.of(exchange.service, &exchange.query);
            if let Some(operation) = description.and_then(|it| it.operation_of(&exchange.method, &exchange.path)) {
                reached.entry((exchange.service == Service::Dps, operation)).or_default().insert(id);
            }
        }
    }
    let kinds: BTreeMap<&str, &str> = recording.kinds.iter().map(|(id, kind)| (id.as_str(), *kind)).collect();
    let mut missing = Vec::new();
    let mut tables = String::new();
    let (mut count, mut total) = (0, 0);
    for (is_dps, title, descriptions) in
        [(false, "IoT Hub", &contract.hub), (true, "Device Provisioning Service", &contract.dps)]
    {
        let description = descriptions.first().context("no description")?;
        tables += &format!(
            "\n## {title}, {}\n\n| published operation | request | reached by |\n|---|---|---|\n",
            description.version()
        );
        let ids: BTreeSet<&str> = description.operations().collect();
        for id in ids {
            total += 1;
            let (method, path) = description.route(id).context("no route")?;
            let by = match reached.get(&(is_dps, id)) {
                Some(by) => {
                    count += 1;
                    let link = |own: &&str| format!("[`{own}`]({}/{own}.md)", kinds.get(own).unwrap_or(&"actions"));
                    by.iter().map(link).collect::<Vec<_>>().join(", ")
                }
                None if BY_TOKEN.contains(&id) => {
                    count += 1;
                    "[`custom-request`](actions/custom-request.md), in `feedback_is_read_over_https_by_custom_requests` \
                     (`tests/tests/messages.rs`); over AMQP \
                     [`cloud-to-device-message-feedback`](triggers/cloud-to-device-message-feedback.md)"
                        .to_owned()
                }
                None => {
                    missing.push(id);
                    continue;
                }
            };
            tables += &format!("| `{id}` | {} `{path}` | {by} |\n", method.to_uppercase());
        }
    }
    ensure!(missing.is_empty(), "no operation of the connector reaches {missing:?}");
    let page = format!(
        "<!-- Written by `cargo xtask docs` from a run of all scenarios. Do not edit. -->\n# Published operations\n\n\
         {count} of the {total} operations that Microsoft publishes for the services' back ends are reached. Each row was seen to \
         succeed against the emulator, most of them in the test `every_exchange_keeps_to_the_descriptions` (`tests/tests/contract.rs`), \
         with requests and answers that fit the descriptions.\n{tables}"
    );
    let path = connector_tests::workspace().join("docs/reference/coverage.md");
    if writes_reference() {
        return Ok(std::fs::write(path, page)?);
    }
    let found = std::fs::read_to_string(path)?;
    ensure!(found == page, "docs/reference/coverage.md is not what the run reached: run `cargo xtask docs`");
    Ok(())
}

/// Exchanges without a problem. Tests alter copies of them.
async fn good_ones(emulator: &Emulator) -> Vec<(Service, Seen)> {
    emulator.traffic().record(true);
    let (hub, dps) = (raw::hub(emulator, "iothubowner"), raw::dps(emulator, "connector"));
    let device = json!({ "deviceId": "press-1", "status": "enabled", "authentication": { "type": "sas" } });
    hub.put("/devices/press-1", device).await.expect(200);
    hub.get("/devices/missing").await.expect(404);
    hub.query("/devices/query", "SELECT * FROM devices", 10, None).await.expect(200);
    let enrollment = json!({ "registrationId": "loom-1", "attestation": { "type": "symmetricKey" } });
    dps.put("/enrollments/loom-1", enrollment).await.expect(200);
    dps.get("/enrollments/missing").await.expect(404);
    dps.query("/enrollments/query", "SELECT * FROM enrollments", 10, None).await.expect(200);
    emulator.traffic().take().iter().map(|exchange| (exchange.service, Seen::from(exchange))).collect()
}

type Doctor = fn(&mut Seen);

/// Tests the judge itself: it must find every alteration that breaks a description, and nothing else.
#[tokio::test]
async fn doctored_exchanges_are_found() -> Result<()> {
    let Some((contract, _)) = Contract::load()? else { return Ok(()) };
    let emulator = raw::start().await;
    let good = good_ones(&emulator).await;
    let (put, missing, query, enroll, unknown, list) = (0, 1, 2, 3, 4, 5);
    for (service, seen) in &good {
        let verdict = contract.of(*service, &seen.query).context("no description")?.judge(seen);
        assert_eq!(verdict.problems, Vec::<String>::new(), "{} {}", seen.method, seen.path);
    }
    let table: &[(usize, &str, Doctor)] = &[
        (put, "no such operation", |it| it.path = "/device/press-1".to_owned()),
        (put, "no such operation", |it| it.path = "/devices/press-1/keys".to_owned()),
        (put, "no such operation", |it| it.method = "POST".to_owned()),
        (put, "api-version is missing", |it| it.query = String::new()),
        (put, "api-version 2099-01-01", |it| it.query = "api-version=2099-01-01".to_owned()),
        (put, "parameter force is not declared", |it| it.query += "&force=true"),
        (put, "header x-ms-force is not declared", |it| {
            it.request_headers.push(("x-ms-force".to_owned(), "1".to_owned()))
        }),
        (put, "'/status'", |it| it.request_body = br#"{"deviceId":"press-1","status":true}"#.to_vec()),
        (put, "'/status'", |it| it.request_body = br#"{"deviceId":"press-1","status":"asleep"}"#.to_vec()),
        (put, "request's body at ''", |it| it.request_body = br#"{"deviceId":"press-1","colour":"red"}"#.to_vec()),
        (put, "'/statusReason'", |it| it.request_body = br#"{"deviceId":"press-1","statusReason":null}"#.to_vec()),
        (put, "'/adrDeviceProperties'", |it| {
            it.query = "api-version=2026-11-01-preview".to_owned();
            it.request_body = br#"{"deviceId":"press-1","adrDeviceProperties":{"uuid":"u"}}"#.to_vec();
        }),
        (put, "request's body at ''", |it| {
            it.query = "api-version=2021-04-12".to_owned();
            it.request_body = br#"{"deviceId":"press-1","attributes":{}}"#.to_vec();
        }),
        (put, "body is missing", |it| it.request_body.clear()),
        (put, "status 202 is not declared", |it| it.status = Some(202)),
        (put, "answer's body at '/cloudToDeviceMessageCount'", |it| {
            replace(&mut it.response_body, "Count\":0", "Count\":\"0\"")
        }),
        (put, "answer's body at '/lastActivityTime'", |it| {
            replace(&mut it.response_body, "ActivityTime\":\"0001-01-01T00:00:00Z", "ActivityTime\":\"never")
        }),
        (put, "answer's header x-ms-more", |it| it.response_headers.push(("x-ms-more".to_owned(), "1".to_owned()))),
        (missing, "none of the forms", |it| it.response_body = br#"{"error":"not found"}"#.to_vec()),
        (missing, "no error code", |it| replace(&mut it.response_body, "DeviceNotFound", "NoSuchDevice")),
        (missing, "no header iothub-errorcode", |it| {
            it.response_headers.retain(|(name, _)| name != "iothub-errorcode")
        }),
        (missing, "header if-match is not declared", |it| {
            it.request_headers.push(("if-match".to_owned(), "\"*\"".to_owned()))
        }),
        (missing, "request has a body", |it| it.request_body = b"{}".to_vec()),
        (query, "'/query'", |it| it.request_body = br#"{"query":["SELECT"]}"#.to_vec()),
        (query, "content type", |it| it.request_headers.retain(|(name, _)| name != "content-type")),
        (query, "answer's body at ''", |it| it.response_body = br#"{"items":[]}"#.to_vec()),
        (enroll, "'/createdDateTimeUtc'", |it| {
            replace(&mut it.request_body, "{", "{\"createdDateTimeUtc\":\"2026-01-01T00:00:00Z\",")
        }),
        (enroll, "request's body at ''", |it| it.request_body = br#"{"registrationId":"loom-1"}"#.to_vec()),
        (enroll, "answer's body at ''", |it| replace(&mut it.response_body, "\"registrationId\":", "\"id\":")),
        (enroll, "'/namespaceName'", |it| {
            it.query = "api-version=2026-11-01".to_owned();
            replace(&mut it.request_body, "{", "{\"namespaceName\":\"Plant\",");
        }),
        (enroll, "request's body at ''", |it| replace(&mut it.request_body, "{", "{\"namespaceName\":\"plant\",")),
        (unknown, "'/errorCode'", |it| replace(&mut it.response_body, ":404201", ":\"404201\"")),
        (unknown, "'/timestampUtc'", |it| replace(&mut it.response_body, "Z\"", "\"")),
        (list, "header x-ms-max-item-count", |it| set_header(&mut it.request_headers, "x-ms-max-item-count", "ten")),
        (list, "answer's header x-ms-max-item-count", |it| {
            set_header(&mut it.response_headers, "x-ms-max-item-count", "ten")
        }),
    ];
    for (index, expected, doctor) in table {
        let (service, seen) = &good[*index];
        let mut doctored = seen.clone();
        doctor(&mut doctored);
        let problems = contract.of(*service, &doctored.query).context("no description")?.judge(&doctored).problems;
        let found = !problems.is_empty() && problems.iter().all(|problem| problem.contains(expected));
        assert!(found, "{expected} of {} {}: {problems:?}", seen.method, seen.path);
    }
    println!("{} doctored exchanges found", table.len());
    Ok(())
}

fn replace(body: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(std::mem::take(body)).expect("text");
    assert!(text.contains(from), "{from} is not in {text}");
    *body = text.replacen(from, to, 1).into_bytes();
}

fn set_header(headers: &mut [(String, String)], name: &str, value: &str) {
    let header = headers.iter_mut().find(|(own, _)| own == name).expect("the header is there");
    header.1 = value.to_owned();
}

/// Microsoft's own examples must pass the judge, and the emulator must accept them after their placeholder values were
/// replaced.
#[tokio::test]
async fn published_examples_pass() -> Result<()> {
    let Some((contract, folder)) = Contract::load()? else { return Ok(()) };
    let emulator = raw::start().await;
    emulator.traffic().record(true);
    let dps = raw::dps(&emulator, "connector");
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder.join("dps/examples"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    names.sort();
    ensure!(!names.is_empty(), "there are no examples");
    for name in &names {
        let example = read(name)?;
        let id = example["operationId"].as_str().context("no operation")?;
        let seen = exchange_of(&contract.dps[0], id, &example).with_context(|| id.to_owned())?;
        let mut verdict = contract.dps[0].judge(&seen);
        verdict.problems.retain(|problem| !is_of_examples(problem));
        assert_eq!(verdict.problems, Vec::<String>::new(), "{id}");
        assert_eq!(verdict.operation.as_deref(), Some(id));

        // The emulator rejects placeholder texts for keys and certificates. Its answer must still fit the description.
        let body: Option<Value> = serde_json::from_slice(&seen.request_body).ok();
        let status = dps.call(&seen.method, &seen.path, &[], body.clone()).await.status;
        println!("{id}: {status} as it is");
        if let Some(mut body) = body {
            make_sense(&mut body, seen.path.rsplit('/').next().unwrap_or_default());
            let answer = dps.call(&seen.method, &seen.path, &[], Some(body)).await.expect(200);
            assert_ne!(answer.body["isSuccessful"], false, "{id}: {}", answer.body);
        }
    }
    let mut problems = contract.judge(&emulator.traffic().take());
    problems.retain(|problem| !is_of_examples(problem));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    println!("{} examples", names.len());
    Ok(())
}

/// Whether a problem comes from the examples: some fill in every member, so they send read-only members too.
fn is_of_examples(problem: &str) -> bool {
    problem.contains("/registrationState': False schema")
}

/// An example as an exchange.
fn exchange_of(description: &Description, id: &str, example: &Value) -> Result<Seen> {
    let (method, path) = description.route(id).context("no such operation")?;
    let parameters = example["parameters"].as_object().context("no parameters")?;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut request_headers = vec![("authorization".to_owned(), String::new())];
    let mut request_body = Vec::new();
    for (name, value) in parameters {
        if name.starts_with("x-ms-") || name == "If-Match" {
            request_headers.push((name.to_ascii_lowercase(), text(value)));
        } else if value.is_object() {
            request_headers.push(("content-type".to_owned(), "application/json".to_owned()));
            request_body = value.to_string().into_bytes();
        }
    }
    let (status, answer) = example["responses"].as_object().and_then(|it| it.iter().next()).context("no response")?;
    // One example names this member like the request's body instead of `body`.
    let answer = answer.as_object().and_then(|it| it.values().next());
    Ok(Seen {
        method: method.to_owned(),
        path: path.replace("{id}", &text(&parameters.get("id").cloned().unwrap_or_default())),
        query: format!("api-version={}", text(&parameters["api-version"])),
        request_headers,
        request_body,
        status: Some(status.parse()?),
        response_headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        response_body: answer.map(Value::to_string).unwrap_or_default().into_bytes(),
    })
}

/// Replaces placeholder values: the ids must match the path, the attestation must work, and the write must be the first
/// one.
fn make_sense(body: &mut Value, id: &str) {
    match body {
        Value::Object(members) => {
            let entries = ["enrollments", "enrollmentGroups"].into_iter().find(|name| members.contains_key(*name));
            if let Some(entries) = entries.and_then(|name| members.get_mut(name)).and_then(Value::as_array_mut) {
                for (index, entry) in entries.iter_mut().enumerate() {
                    make_sense(entry, &format!("entry-{index}"));
                }
                members.insert("mode".to_owned(), "create".into());
                return;
            }
            for name in ["registrationId", "enrollmentGroupId"] {
                if let Some(own) = members.get_mut(name) {
                    *own = id.into();
                }
            }
            members.insert("attestation".to_owned(), json!({ "type": "symmetricKey" }));
            members.remove("etag");
        }
        other => panic!("{other} is no body"),
    }
}

/// The ids that generated inputs may name, by the input's member.
const KNOWN: &[(&str, &[&str])] = &[
    ("deviceId", &["press-1", "press-2", "missing"]),
    ("moduleId", &["gauge", "missing"]),
    ("registrationId", &["loom-1", "missing"]),
    ("enrollmentGroupId", &["looms", "missing"]),
    ("configurationId", &["interval-1", "missing"]),
    ("jobId", &["job-1", "missing"]),
];
/// The inputs that are made for each action.
const INPUTS: usize = 16;

/// Inputs that a generator makes from each action's schema are accepted, or refused with the field that is wrong. They
/// never cause an internal error, and never a request that the descriptions forbid.
#[tokio::test(flavor = "multi_thread")]
async fn generated_inputs_make_no_request_that_is_forbidden() -> Result<()> {
    let Some((contract, _)) = Contract::load()? else { return Ok(()) };
    let world = World::start().await?;
    for device in ["press-1", "press-2"] {
        world.done("create-device", json!({ "deviceId": device })).await?;
    }
    world.emulator.traffic().record(true);
    let mut runner = generated::runner();
    let (mut problems, mut slow) = (Vec::new(), Vec::new());
    let account = world.connector.open(&world.tenant, &world.connection).await?;
    let (mut accepted, mut refused, mut answered) = (0, 0, 0);
    for action in world.connector.descriptor().actions.clone() {
        let id = action.operation.id.as_str();
        // Its caller chooses the path, so its requests may be any.
        if id == "custom-request" {
            continue;
        }
        let started = std::time::Instant::now();
        let schema: Value = serde_json::from_str(&action.operation.input_schema)?;
        for _ in 0..INPUTS {
            let input = generated::input(&mut runner, &schema, KNOWN);
            let before = world.emulator.traffic().exchanges().len();
            let result = account.invoke(id, &input.to_string(), &Call::default()).await;
            let asked = world.emulator.traffic().exchanges().len() > before;
            let Err(error) = result else {
                accepted += 1;
                continue;
            };
            let Some(error) = error.connector() else {
                problems.push(format!("{id} {input}: the host ended the call: {error}"));
                continue;
            };
            if error.code == ErrorCode::Internal {
                problems.push(format!("{id} {input}: {error:?}"));
            }
            if asked {
                answered += 1;
            } else {
                refused += 1;
                let typed = error.code != ErrorCode::InvalidInput || !error.fields.is_empty();
                if !typed {
                    problems.push(format!("{id} {input}: no field is named: {}", error.message));
                }
            }
        }
        slow.extend((started.elapsed().as_secs() > 0).then(|| (id.to_owned(), started.elapsed())));
    }
    for (id, time) in slow {
        println!("{id} took {time:.1?}");
    }
    println!("{accepted} accepted, {answered} refused by the service, {refused} refused before a request");
    ensure!(accepted > 0 && answered > 0 && refused > 0, "the generator is one-sided");
    problems.extend(contract.judge(&world.emulator.traffic().take()));
    problems.truncate(40);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}
