//! Tests of scheduled jobs, and of import and export jobs.

use serde_json::json;

use super::*;
use crate::bindings::exports::workflow::connector::action::Pending;
use crate::error::EffectState;
use crate::platform::{ExchangeError, ExchangeErrorKind};

fn pending(outcome: Result<Outcome>) -> Pending {
    match outcome {
        Ok(Outcome::Pending(pending)) => pending,
        other => panic!("not pending: {other:?}"),
    }
}

fn resume(platform: &FakePlatform, action: &str, token: &str) -> Result<Outcome> {
    crate::actions::resume(platform, &connection(), action, token, &call(false))
}

fn keyed(platform: &FakePlatform, action: &str, input: Value, key: &str) -> Result<Outcome> {
    let call = Call { idempotency_key: Some(key.to_owned()), ..call(false) };
    crate::actions::invoke(platform, &connection(), action, &input.to_string(), &call)
}

/// Lets the next answer be lost after the request was sent.
fn lost(platform: &FakePlatform) {
    platform.then(|_, _| Err(ExchangeError { kind: ExchangeErrorKind::Broken, sent: true, detail: String::new() }));
}

fn line(method: &str, path: &str) -> String {
    format!("{method} hub/jobs/{path}?{HUB}")
}

#[test]
fn jobs_are_created_as_the_description_says() {
    let platform = platform();
    let job = json!({ "jobId": "j", "status": "queued", "unheardOf": 1 });
    for _ in 0..3 {
        platform.then_status(200, &[], &job.to_string());
    }
    let input = json!({
        "jobId": "j", "condition": "tags.site = 'north'", "tags": { "a": null }, "desired": { "b": 1, "$version": 3 },
        "startTime": "2026-05-04T22:00:00+02:00", "maxExecutionTimeSeconds": 60,
    });
    assert_eq!(done(invoke(&platform, "schedule-twin-update", input)), job);
    let input = json!({ "jobId": "j", "deviceIds": ["a", "o'b"], "methodName": "m", "payload": [1], "connectTimeoutSeconds": 5 });
    done(invoke(&platform, "schedule-direct-method", input));
    done(invoke(&platform, "schedule-direct-method", json!({ "jobId": "j", "condition": "*", "methodName": "m" })));
    let method = |more: Value| {
        let mut method = json!({ "methodName": "m", "payload": null, "responseTimeoutInSeconds": 30 });
        for (name, value) in more.as_object().into_iter().flatten() {
            method[name] = value.clone();
        }
        method
    };
    let put = |body: Value| sent(&line("PUT", "v2/j"), &[], Some(body));
    assert_eq!(
        requests(&platform),
        [
            put(json!({
                "jobId": "j", "type": "scheduleUpdateTwin", "queryCondition": "tags.site = 'north'",
                "updateTwin": { "etag": "*", "tags": { "a": null }, "properties": { "desired": { "b": 1 } } },
                "startTime": "2026-05-04T20:00:00.000Z", "maxExecutionTimeInSeconds": 60,
            })),
            put(json!({
                "jobId": "j", "type": "scheduleDeviceMethod", "queryCondition": r"deviceId IN ['a','o\'b']",
                "cloudToDeviceMethod": method(json!({ "payload": [1], "connectTimeoutInSeconds": 5 })),
            })),
            put(json!({
                "jobId": "j", "type": "scheduleDeviceMethod", "queryCondition": "*",
                "cloudToDeviceMethod": method(json!({})),
            })),
        ]
    );
}

#[test]
fn a_key_makes_the_id_of_a_job() {
    let platform = platform();
    let mut ids = Vec::new();
    for (key, site) in [("k1", "north"), ("k1", "north"), ("k1", "south"), ("k2", "north")] {
        platform.then_status(200, &[], r#"{"jobId":"x"}"#);
        done(keyed(&platform, "schedule-twin-update", json!({ "condition": "*", "tags": { "site": site } }), key));
        ids.push(
            requests(&platform).pop().and_then(|sent| sent.body).map(|body| body["jobId"].clone()).expect("an id"),
        );
    }
    assert_eq!(ids[0], ids[1]);
    assert!(ids[0] != ids[2] && ids[0] != ids[3] && ids[2] != ids[3], "{ids:?}");
    assert_eq!(ids[0].as_str().map(str::len), Some(32));
}

/// An attempt that is repeated finds the job of the first attempt.
#[test]
fn a_job_that_does_the_same_counts_as_created() {
    let input = || json!({ "jobId": "j", "condition": "*", "tags": { "site": "north", "gone": null }, "startTime": "2026-05-04T22:00:00Z" });
    let job = |twin: Value, condition: &str, start: &str| {
        json!({
            "jobId": "j", "type": "scheduleUpdateTwin", "queryCondition": condition, "updateTwin": twin, "startTime": start,
            "createdTime": "2026-05-04T21:00:00Z", "maxExecutionTimeInSeconds": 3600, "status": "running",
        })
    };
    let twin = json!({ "deviceId": null, "etag": "*", "tags": { "site": "north" }, "properties": { "desired": {} } });
    let start = "2026-05-04T22:00:00Z";
    let same = job(twin.clone(), "*", start);
    let other_twin = json!({ "etag": "*", "tags": { "site": "north", "line": 1 } });
    for (found, fine) in [
        (same.clone(), true),
        (job(other_twin, "*", start), false),
        (job(json!({ "etag": "*", "tags": { "site": "south" } }), "*", start), false),
        (job(twin.clone(), "tags.site = 'north'", start), false),
        (job(twin, "*", "2026-05-05T22:00:00Z"), false),
        (json!({ "jobId": "j", "type": "scheduleDeviceMethod", "queryCondition": "*" }), false),
    ] {
        let platform = platform();
        refusal(&platform, 409, "JobAlreadyExists");
        platform.then_status(200, &[], &found.to_string());
        let outcome = invoke(&platform, "schedule-twin-update", input());
        if fine {
            assert_eq!(done(outcome), found);
        } else {
            let error = fails(outcome);
            assert_eq!(error.code(), ErrorCode::Conflict, "{found}");
            assert_eq!(error.record().fields[0].pointer, "/jobId");
        }
        let lines: Vec<String> = requests(&platform).into_iter().map(|sent| sent.line).collect();
        assert_eq!(lines, [line("PUT", "v2/j"), line("GET", "v2/j")]);
    }
    // The answer is lost: the request is repeated, and the job of the first attempt is found.
    let platform = platform();
    lost(&platform);
    refusal(&platform, 409, "JobAlreadyExists");
    platform.then_status(200, &[], &same.to_string());
    assert_eq!(done(invoke(&platform, "schedule-twin-update", input())), same);
    // No attempt is answered, and no job is found.
    for _ in 0..4 {
        lost(&platform);
    }
    refusal(&platform, 404, "JobNotFound");
    let error = fails(invoke(&platform, "schedule-twin-update", input()));
    assert_eq!((error.code(), error.record().effect), (ErrorCode::Unavailable, EffectState::Unknown));
}

#[test]
fn what_no_job_takes_is_not_sent() {
    let long: Vec<String> = (0..100).map(|number| format!("{number:0>100}")).collect();
    for (action, input, expected) in [
        ("schedule-twin-update", json!({ "tags": { "a": 1 } }), ("/condition", "missing")),
        (
            "schedule-twin-update",
            json!({ "condition": "*", "deviceIds": ["a"], "tags": { "a": 1 } }),
            ("/deviceIds", "not-used"),
        ),
        ("schedule-twin-update", json!({ "deviceIds": long, "tags": { "a": 1 } }), ("/deviceIds", "too-long")),
        ("schedule-twin-update", json!({ "deviceIds": ["a b"], "tags": { "a": 1 } }), ("/deviceIds/0", "characters")),
        ("schedule-twin-update", json!({ "condition": "*" }), ("", "nothing-to-change")),
        ("update-twins-by-query", json!({ "condition": "*", "tags": { "a b": 1 } }), ("/tags/a b", "characters")),
        (
            "schedule-direct-method",
            json!({ "condition": "*", "methodName": "m", "startTime": "soon" }),
            ("/startTime", "not-a-time"),
        ),
        (
            "invoke-method-by-query",
            json!({ "condition": "*", "methodName": "m", "jobId": "query" }),
            ("/jobId", "not-addressable"),
        ),
        ("get-job", json!({ "jobId": ".." }), ("/jobId", "not-addressable")),
        ("cancel-import-export-job", json!({ "jobId": "." }), ("/jobId", "not-addressable")),
        ("get-import-export-job", json!({ "jobId": "a/b" }), ("/jobId", "characters")),
        (
            "create-export-job",
            json!({ "outputBlobContainerUri": "https://a/b?sv=1" }),
            ("/outputBlobContainerUri", "no-token"),
        ),
        (
            "create-export-job",
            json!({ "outputBlobContainerUri": "https://a/b?sig=c", "userAssignedIdentity": "i" }),
            ("/userAssignedIdentity", "not-used"),
        ),
        (
            "create-import-job",
            json!({ "inputBlobContainerUri": "ftp://a/b?sig=c", "outputBlobContainerUri": "https://a/b?sig=c" }),
            ("/inputBlobContainerUri", "characters"),
        ),
    ] {
        assert_eq!(problems(&platform(), action, input), pairs(&[expected]), "{action}");
    }
}

#[test]
fn jobs_are_read_and_listed() {
    let platform = platform();
    let job = json!({ "jobId": "a#1", "status": "running", "unheardOf": [1] });
    let with_nulls =
        json!({ "jobId": "a#1", "status": "running", "unheardOf": [1], "endTime": null, "failureReason": null });
    platform.then_status(200, &[], &with_nulls.to_string());
    assert_eq!(done(invoke(&platform, "get-job", json!({ "jobId": "a#1" }))), job);
    // The description's form, and that of the .NET client.
    platform.then_status(
        200,
        &[],
        &json!({ "type": "jobResponse", "items": [job], "continuationToken": "t" }).to_string(),
    );
    platform.then_status(200, &[], &json!([job]).to_string());
    let input = json!({ "type": "scheduleUpdateTwin", "status": "running", "pageSize": 1 });
    let Ok(Outcome::Page(page)) = invoke(&platform, "list-jobs", input) else { panic!("no page") };
    assert_eq!(page.output, json!({ "items": [job] }).to_string());
    assert_eq!(done(resume(&platform, "list-jobs", &page.token)), json!({ "items": [job] }));
    let query = format!("GET hub/jobs/v2/query?jobType=scheduleUpdateTwin&jobStatus=running&{HUB}");
    let size = ("x-ms-max-item-count", "1");
    assert_eq!(
        requests(&platform),
        [
            sent(&line("GET", "v2/a%231"), &[], None),
            sent(&query, &[size], None),
            sent(&query, &[size, ("x-ms-continuation", "t")], None),
        ]
    );
    for strange in ["{}", "1", r#"{"items":{}}"#] {
        platform.then_status(200, &[], strange);
        assert_eq!(fails(invoke(&platform, "list-jobs", json!({}))).code(), ErrorCode::Protocol, "{strange}");
    }
}

#[test]
fn results_of_a_job_are_those_of_a_job_that_exists() {
    let platform = platform();
    refusal(&platform, 404, "JobNotFound");
    assert_eq!(fails(invoke(&platform, "list-job-results", json!({ "jobId": "j" }))).code(), ErrorCode::NotFound);
    platform.then_status(200, &[], r#"{"jobId":"j"}"#);
    platform.then_status(200, &[("x-ms-continuation", "next")], r#"[{"deviceId":"a","error":null}]"#);
    platform.then_status(200, &[], "[]");
    let input = json!({ "jobId": "j'", "status": "failed" });
    let Ok(Outcome::Page(page)) = invoke(&platform, "list-job-results", input) else { panic!("no page") };
    assert_eq!(page.output, r#"{"items":[{"deviceId":"a"}]}"#);
    assert_eq!(done(resume(&platform, "list-job-results", &page.token)), json!({ "items": [] }));
    let sent = requests(&platform);
    assert_eq!(sent.len(), 4, "the job is read once");
    let query = r"SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'j\'' AND devices.jobs.status = 'failed'";
    assert_eq!(sent[3].body, Some(json!({ "query": query })));
}

#[test]
fn a_job_is_awaited_with_growing_pauses() {
    let platform = platform();
    let running = json!({ "jobId": "j", "status": "running", "deviceJobStatistics": { "deviceCount": 4, "succeededCount": 1, "failedCount": 2 } });
    let mut pauses = Vec::new();
    platform.then_status(200, &[], &running.to_string());
    let mut wait = pending(invoke(&platform, "wait-for-job", json!({ "jobId": "j", "timeoutSeconds": 200 })));
    assert_eq!(wait.message, "running: 3 of 4 devices are done");
    let ended = loop {
        pauses.push(wait.after_ms / 1000);
        platform.now.set(platform.now.get() + std::time::Duration::from_millis(wait.after_ms));
        platform.then_status(200, &[], &running.to_string());
        match resume(&platform, "wait-for-job", &wait.token) {
            Ok(Outcome::Pending(next)) => wait = next,
            other => break fails(other),
        }
    };
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 19]);
    assert_eq!((ended.code(), ended.record().effect), (ErrorCode::Timeout, EffectState::None));

    let job = json!({ "jobId": "j", "status": "failed", "failureReason": "no" });
    platform.then_status(200, &[], &job.to_string());
    assert_eq!(done(resume(&platform, "wait-for-job", &wait.token)), job, "a job that failed has ended");
    refusal(&platform, 404, "JobNotFound");
    assert_eq!(fails(resume(&platform, "wait-for-job", &wait.token)).code(), ErrorCode::NotFound);
    refusal(&platform, 429, "ThrottlingException");
    for _ in 0..3 {
        refusal(&platform, 429, "ThrottlingException");
    }
    assert_eq!(fails(resume(&platform, "wait-for-job", &wait.token)).code(), ErrorCode::RateLimited);
    for state in [json!(1), json!({}), json!({ "job": "j", "since": -1, "looks": 0 })] {
        let token = json!({ "format": 1, "action": "wait-for-job", "input": { "jobId": "j" }, "continuation": state })
            .to_string();
        assert_eq!(fails(resume(&platform, "wait-for-job", &token)).code(), ErrorCode::InvalidInput);
    }
}

#[test]
fn a_change_by_query_ends_with_its_failures() {
    let platform = platform();
    platform.then_status(200, &[], r#"{"jobId":"j","status":"queued"}"#);
    let input = json!({ "jobId": "j", "condition": "*", "tags": { "a": 1 } });
    let wait = pending(invoke(&platform, "update-twins-by-query", input));
    let ended =
        json!({ "jobId": "j", "status": "completed", "deviceJobStatistics": { "deviceCount": 3, "failedCount": 2 } });
    let failure = json!({ "deviceId": "a", "status": "failed", "error": { "code": "404103" } });
    platform.then_status(200, &[], &ended.to_string()).then_status(200, &[], &json!([failure]).to_string());
    let output = done(resume(&platform, "update-twins-by-query", &wait.token));
    let expected = json!({
        "jobId": "j", "status": "completed", "statistics": { "deviceCount": 3, "failedCount": 2 },
        "failures": [failure], "failuresComplete": false,
    });
    assert_eq!(output, expected);
    let lines: Vec<String> = requests(&platform).into_iter().map(|sent| sent.line).collect();
    assert_eq!(lines, [line("PUT", "v2/j"), line("GET", "v2/j"), format!("POST hub/devices/query?{HUB}")]);

    // Nothing failed: nothing is asked. A job without the id that the answer should have is reported.
    let ended = json!({ "jobId": "j", "status": "completed", "deviceJobStatistics": { "failedCount": 0 } });
    platform.then_status(200, &[], &ended.to_string());
    let output = done(resume(&platform, "update-twins-by-query", &wait.token));
    assert_eq!((&output["failures"], &output["failuresComplete"]), (&json!([]), &json!(true)));
    platform.then_status(200, &[], "{}");
    let error = fails(invoke(&platform, "invoke-method-by-query", json!({ "condition": "*", "methodName": "m" })));
    assert_eq!((error.code(), error.record().effect), (ErrorCode::Protocol, EffectState::Applied));

    // A wait that ends early says that the job goes on.
    platform.now.set(platform.now.get() + std::time::Duration::from_secs(3601));
    platform.then_status(200, &[], r#"{"jobId":"j","status":"running"}"#);
    let error = fails(resume(&platform, "update-twins-by-query", &wait.token));
    assert_eq!((error.code(), error.record().effect), (ErrorCode::Timeout, EffectState::Applied));
}

#[test]
fn a_job_is_cancelled_once() {
    let cancelled = json!({ "jobId": "j", "status": "cancelled" });
    let completed = json!({ "jobId": "j", "status": "completed" });
    let platform = platform();
    platform.then_status(200, &[], &cancelled.to_string());
    assert_eq!(done(invoke(&platform, "cancel-job", json!({ "jobId": "j" }))), cancelled);
    assert_eq!(requests(&platform), [sent(&line("POST", "v2/j/cancel"), &[], None)]);
    // The answer to the first attempt is lost.
    lost(&platform);
    refusal(&platform, 400, "InvalidOperation");
    platform.then_status(200, &[], &cancelled.to_string());
    assert_eq!(done(invoke(&platform, "cancel-job", json!({ "jobId": "j" }))), cancelled);
    for (if_ended, code) in [("fail", Some(ErrorCode::Conflict)), ("ignore", None)] {
        refusal(&platform, 400, "InvalidOperation");
        platform.then_status(200, &[], &completed.to_string());
        let outcome = invoke(&platform, "cancel-job", json!({ "jobId": "j", "ifEnded": if_ended }));
        match code {
            Some(code) => assert_eq!(fails(outcome).code(), code),
            None => assert_eq!(done(outcome), completed),
        }
    }
    refusal(&platform, 404, "JobNotFound");
    assert_eq!(fails(invoke(&platform, "cancel-job", json!({ "jobId": "j" }))).code(), ErrorCode::NotFound);
}

const SIGNATURE: &str = "c2VjcmV0LXNpZ25hdHVyZS1vZi1hLWNvbnRhaW5lcg%3D%3D";

fn container(name: &str) -> String {
    format!("https://plant.blob.core.windows.net/{name}?sv=2022-11-02&sig={SIGNATURE}")
}

#[test]
fn imports_and_exports_are_created() {
    let platform = platform();
    let answer = json!({
        "jobId": "1", "type": "export", "status": "enqueued", "endTimeUtc": null, "inputBlobContainerUri": null,
        "outputBlobContainerUri": container("out"), "unheardOf": 1,
    });
    platform.then_status(200, &[], &answer.to_string()).then_status(200, &[], r#"{"jobId":"2"}"#);
    let input = json!({ "outputBlobContainerUri": container("out"), "excludeKeysInExport": true });
    let shown = "https://plant.blob.core.windows.net/out?sv=(secret)&sig=(secret)";
    let expected = json!({ "jobId": "1", "type": "export", "status": "enqueued", "outputBlobContainerUri": shown, "unheardOf": 1 });
    assert_eq!(done(invoke(&platform, "create-export-job", input.clone())), expected);
    let identity = json!({
        "inputBlobContainerUri": "https://a/in", "outputBlobContainerUri": "https://a/out", "inputBlobName": "new.txt",
        "storageAuthenticationType": "identityBased", "userAssignedIdentity": "/subscriptions/s",
        "includeConfigurations": true, "configurationsBlobName": "c.txt",
    });
    done(invoke(&platform, "create-import-job", identity));
    assert_eq!(
        requests(&platform),
        [
            sent(
                &line("POST", "create"),
                &[],
                Some(
                    json!({ "type": "export", "outputBlobContainerUri": container("out"), "excludeKeysInExport": true })
                )
            ),
            sent(
                &line("POST", "create"),
                &[],
                Some(json!({
                    "type": "import", "inputBlobContainerUri": "https://a/in", "outputBlobContainerUri": "https://a/out",
                    "inputBlobName": "new.txt", "storageAuthenticationType": "identityBased",
                    "identity": { "userAssignedIdentity": "/subscriptions/s" },
                    "includeConfigurations": true, "configurationsBlobName": "c.txt",
                }))
            ),
        ]
    );
    // No plan and no error has the key to a container.
    let plan = dry_run(&platform, "create-export-job", input.clone());
    assert_eq!(plan["body"]["outputBlobContainerUri"], shown);
    let said = json!({ "Message": format!("ErrorCode:ArgumentInvalid;cannot reach {}", container("out")) }).to_string();
    platform.then_status(400, &[("iothub-errorcode", "ArgumentInvalid")], &said);
    let error = fails(invoke(&platform, "create-export-job", input.clone()));
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    assert!(!format!("{:?}", error.record()).contains("c2VjcmV0"), "{error}");
    // The hub chooses the id, so that nothing is sent twice.
    lost(&platform);
    let error = fails(invoke(&platform, "create-export-job", input));
    assert_eq!(error.record().effect, EffectState::Unknown);
    assert_eq!(requests(&platform).len(), 4);
}

#[test]
fn imports_and_exports_are_read_without_keys() {
    let platform = platform();
    let reason = format!("cannot write to {}", container("out"));
    let job = json!({ "jobId": "1", "status": "failed", "outputBlobContainerUri": container("out"), "failureReason": reason });
    let running = json!({ "jobId": "1", "status": "running", "progress": 40 });
    platform.then_status(200, &[], &job.to_string()).then_status(200, &[], &json!([job, running]).to_string());
    let output = done(invoke(&platform, "get-import-export-job", json!({ "jobId": "1" })));
    assert!(!output.to_string().contains("c2VjcmV0"), "{output}");
    let output = done(invoke(&platform, "list-import-export-jobs", json!({})));
    assert!(!output.to_string().contains("c2VjcmV0") && output["items"][1] == running, "{output}");

    platform.then_status(200, &[], &running.to_string()).then_status(200, &[], &job.to_string());
    let wait = pending(invoke(&platform, "wait-for-import-export-job", json!({ "jobId": "1" })));
    assert_eq!((wait.after_ms, wait.message.as_str()), (1000, "running: 40 %"));
    let output = done(resume(&platform, "wait-for-import-export-job", &wait.token));
    assert!(output["status"] == "failed" && !output.to_string().contains("c2VjcmV0"), "{output}");

    platform.then_status(204, &[], "").then_status(200, &[], r#"{"jobId":"1","status":"cancelled"}"#);
    let output = done(invoke(&platform, "cancel-import-export-job", json!({ "jobId": "1" })));
    assert_eq!(output, json!({ "jobId": "1", "status": "cancelled" }));
    let lines: Vec<String> = requests(&platform).into_iter().map(|sent| sent.line).collect();
    let expected =
        ["GET hub/jobs/1", "GET hub/jobs", "GET hub/jobs/1", "GET hub/jobs/1", "DELETE hub/jobs/1", "GET hub/jobs/1"];
    assert_eq!(lines, expected.map(|line| format!("{line}?{HUB}")));
    // The change is known even if the job cannot be read after it.
    platform.then_status(204, &[], "").then_status(200, &[], "[]");
    let error = fails(invoke(&platform, "cancel-import-export-job", json!({ "jobId": "1" })));
    assert_eq!((error.code(), error.record().effect), (ErrorCode::Protocol, EffectState::Applied));
}

/// Refusals that every action must pass on.
#[test]
fn refusals_are_typed() {
    let method = json!({ "condition": "*", "methodName": "m" });
    let export = json!({ "outputBlobContainerUri": container("out") });
    for (action, input) in [
        ("schedule-direct-method", &method),
        ("invoke-method-by-query", &method),
        ("create-export-job", &export),
        ("get-job", &json!({ "jobId": "j" })),
        ("list-jobs", &json!({})),
        ("list-import-export-jobs", &json!({})),
        ("cancel-job", &json!({ "jobId": "j" })),
    ] {
        let platform = platform();
        refusal(&platform, 403, "JobQuotaExceeded");
        let error = fails(invoke(&platform, action, input.clone()));
        assert_eq!((error.code(), error.record().effect), (ErrorCode::QuotaExceeded, EffectState::None), "{action}");
        platform.then_status(200, &[], "not JSON");
        let error = fails(invoke(&platform, action, input.clone()));
        assert_eq!(error.code(), ErrorCode::Protocol, "{action}");
    }
}
