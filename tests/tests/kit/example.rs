//! Tests of the example: a connector for any JSON API, written in 200 lines.

use std::collections::BTreeMap;
use std::fs;

use connector_host::conformance::{self, Rule, TestAccount, Verdict};
use connector_host::interface::action::{Call, Outcome};
use connector_host::interface::trigger::{Budget, Header, Page, PollRequest, ReceivedRequest, Start};
use connector_host::interface::types::{Cursor, ErrorCode, Retry};
use connector_host::{CallError, Connection, Connector, Tenant};
use connector_tests::workspace;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::plugin::{build, host};
use crate::server::Web;

fn wasm() -> Vec<u8> {
    fs::read(build(&workspace().join("examples/http"), "http_connector")).unwrap()
}

struct Example {
    web: Web,
    connector: Connector,
    tenant: Tenant,
    connection: Connection,
}

impl Example {
    async fn start() -> Self {
        let web = Web::start().await;
        let connector = host().load(wasm()).await.unwrap();
        let tenant = web.tenant(|_| ());
        let connection = account(&web.authority(), "right");
        Self { web, connector, tenant, connection }
    }

    async fn poll(&self, start: Start, cursor: Option<Cursor>, events: u32) -> Page {
        let request = PollRequest {
            trigger: "item-changed".to_owned(),
            partition: "all".to_owned(),
            config: json!({ "path": "items" }).to_string(),
            start,
            on_position_lost: Default::default(),
            cursor,
            budget: Budget { events, bytes: 1 << 20, wait_ms: 0 },
        };
        self.connector.account(&self.tenant, &self.connection).poll(&request).await.unwrap()
    }
}

fn account(host: &str, token: &str) -> Connection {
    let values = json!({ "host": host, "token": token, "webhookSecret": "shared-by-both" });
    Connection::new("bearer", values.to_string())
}

fn ids(page: &Page) -> Vec<&str> {
    page.events.iter().map(|event| event.id.as_str()).collect()
}

#[test]
fn it_is_under_200_lines() {
    let source = workspace().join("examples/http/src");
    let files = fs::read_dir(source).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let lines: usize = files.map(|text| text.lines().count()).sum();
    assert!(lines < 200, "{lines} lines");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_every_rule() {
    let example = Example::start().await;
    let items: Vec<Value> =
        (0..8).map(|n| json!({ "id": n, "updatedAt": format!("2026-05-04T07:00:0{n}Z") })).collect();
    example.web.put_items(&json!(items).to_string(), "");
    let account = TestAccount {
        tenant: example.tenant.clone(),
        connection: example.connection.clone(),
        configurations: BTreeMap::new(),
    };
    let report = conformance::judge(&host(), wasm(), Some(&account)).await;
    let failed: Vec<_> = report.failed().collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let judged = [Rule::PollRepeats, Rule::PollPositions, Rule::PollStateless, Rule::MalformedInput, Rule::SecretsKept];
    for rule in judged {
        let finding = report.findings.iter().find(|finding| finding.rule == rule).unwrap();
        assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_polls_a_collection() {
    let example = Example::start().await;
    let item = |id: &str, second: u32| json!({ "id": id, "updatedAt": format!("2026-05-04T07:00:{second:02}Z") });
    example.web.put_items(&json!([item("b", 2), item("a", 1), item("c", 2)]).to_string(), "\"one\"");
    let all = ["2026-05-04T07:00:01Z a", "2026-05-04T07:00:02Z b", "2026-05-04T07:00:02Z c"];
    assert_eq!(ids(&example.poll(Start::Earliest, None, 10).await), all);
    // Page after page, and from the middle of a page.
    let first = example.poll(Start::Earliest, None, 2).await;
    assert!(first.more);
    assert_eq!(ids(&first), all[..2]);
    assert_eq!(ids(&example.poll(Start::Earliest, Some(first.next), 2).await), all[2..]);
    let middle = Cursor { snapshot: Vec::new(), position: first.events[0].position.clone() };
    assert_eq!(ids(&example.poll(Start::Earliest, Some(middle), 10).await), all[1..]);
    // The first poll notes all records, the second finds no change, the third finds a change.
    let stock = example.poll(Start::Now, None, 10).await;
    assert!(stock.events.is_empty());
    let nothing = example.poll(Start::Now, Some(stock.next), 10).await;
    assert!(nothing.events.is_empty() && !nothing.more);
    assert!(example.web.heads().last().unwrap().contains("if-none-match: \"one\""));
    example.web.put_items(&json!([item("b", 3), item("a", 1), item("c", 2)]).to_string(), "\"two\"");
    assert_eq!(ids(&example.poll(Start::Now, Some(nothing.next), 10).await), ["2026-05-04T07:00:03Z b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_sends_requests_and_types_refusals() {
    let example = Example::start().await;
    example.web.put_items("{\"made\":true}", "");
    let send = async |connection: &Connection, input: Value, call: &Call| {
        example.connector.account(&example.tenant, connection).invoke("send-request", &input.to_string(), call).await
    };
    let input = json!({ "method": "POST", "path": "items", "body": { "name": "x" } });
    match send(&example.connection, input.clone(), &Call::default()).await.unwrap() {
        Outcome::Done(output) => {
            let output: Value = serde_json::from_str(&output).unwrap();
            assert_eq!(output, json!({ "status": 200, "body": { "made": true } }));
        }
        other => panic!("{other:?}"),
    }
    let dry = Call { dry_run: true, ..Call::default() };
    let sent = example.web.heads().len();
    let planned = send(&example.connection, input.clone(), &dry).await.unwrap();
    assert!(matches!(planned, Outcome::Planned(plan) if !plan.contains("right")));
    assert_eq!(example.web.heads().len(), sent);

    let wrong = account(&example.web.authority(), "wrong");
    let error = send(&wrong, input, &Call::default()).await.unwrap_err();
    let error = error.connector().unwrap();
    assert_eq!((error.code, error.retry), (ErrorCode::AuthFailed, Retry::AfterReauthentication));
    // The connection breaks in the middle of the answer.
    let tenant = example.tenant.with_deadline(std::time::Duration::from_secs(2));
    let stalled = json!({ "method": "GET", "path": "/stall" }).to_string();
    let ended = example
        .connector
        .account(&tenant, &example.connection)
        .invoke("send-request", &stalled, &Call::default())
        .await;
    assert!(
        matches!(&ended, Err(CallError::Connector(failure)) if failure.error.code == ErrorCode::Timeout),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_signed_webhooks_alone() {
    let example = Example::start().await;
    let body = br#"{"id":"7"}"#;
    let receive = async |signature: String| {
        let request = ReceivedRequest {
            method: "POST".to_owned(),
            path_with_query: "/hook".to_owned(),
            headers: vec![Header { name: "x-signature-256".to_owned(), value: signature.into_bytes() }],
            body: body.to_vec(),
        };
        let account = example.connector.account(&example.tenant, &example.connection);
        let received = account.receive("webhook-received", "{}", &[], &request);
        let received = received.await.unwrap();
        (received.status, received.events.len())
    };
    let sign = |secret: &[u8]| {
        let mac = Hmac::<Sha256>::new_from_slice(secret).unwrap().chain_update(body).finalize().into_bytes();
        format!("sha256={}", mac.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    assert_eq!(receive(sign(b"shared-by-both")).await, (204, 1));
    for forged in [sign(b"another secret"), String::new(), "sha256=".to_owned(), "sha256=zz".to_owned()] {
        assert_eq!(receive(forged).await, (401, 0));
    }
}
