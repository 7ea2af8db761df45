//! Measures the cost of the sandbox: calls of the component in the host, and native code that makes the same requests
//! to the emulator, in one run.
//!
//! The native side does as little as possible: one kept-alive TLS connection, a token that was signed beforehand, no
//! retries and no checks. The component's side is a call as an engine makes it: a new instance, a check of the input,
//! and a signed request. Only the ratio is meaningful, because absolute times depend on what else runs on the machine.
//! The rounds of both sides alternate.

#[path = "../../host-harness/emulator/tests/common/mod.rs"]
mod common;
mod tls;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_iot_emulator::Emulator;
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_tests::World;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

const ROUNDS: usize = 5;
const CALLS: usize = 400;
const ENROLLMENTS: usize = 20_000;

fn main() -> Result<()> {
    // `cargo test` runs benchmarks only to check that they build. `cargo bench` measures.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("0 measured: run `cargo xtask bench`");
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure())
}

async fn measure() -> Result<()> {
    let world = World::start().await?;
    world.done("create-device", json!({ "deviceId": "bench" })).await?;
    println!("{:<44} {:>12} {:>12} {:>8}", "", "component", "native", "ratio");

    let mut native = Native::connect(&world.emulator, &world.emulator.hub_host(), Service::Hub).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..CALLS {
            world.done("get-device", json!({ "deviceId": "bench" })).await?;
        }
        ours.push(started.elapsed() / CALLS as u32);
        let started = Instant::now();
        for _ in 0..CALLS {
            let (device, _) = native.send("GET", "/devices/bench?api-version=2021-04-12", None, None).await?;
            ensure!(device["deviceId"] == "bench");
        }
        theirs.push(started.elapsed() / CALLS as u32);
    }
    report("get-device, one after another", ours, theirs);

    let mut scan = Native::connect(&world.emulator, &world.emulator.dps_host(), Service::Dps).await?;
    for first in (0..ENROLLMENTS).step_by(10) {
        let ten: Vec<Value> = (first..first + 10)
            .map(|index| json!({ "registrationId": format!("plant-north-press-{index:06}"), "attestation": { "type": "symmetricKey" } }))
            .collect();
        let body = json!({ "mode": "create", "enrollments": ten });
        scan.send("POST", "/enrollments?api-version=2021-10-01", None, Some(&body)).await?;
    }
    let request = |cursor| PollRequest {
        trigger: "individual-enrollment-changed".to_owned(),
        partition: "all".to_owned(),
        config: "{}".to_owned(),
        start: Start::Now,
        on_position_lost: LostPolicy::Stop,
        cursor,
        budget: Budget::default(),
    };
    let mut cursor = None;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        loop {
            let page = world.account().poll(&request(cursor)).await?;
            ensure!(page.events.is_empty(), "nothing changes");
            cursor = Some(page.next);
            if !page.more {
                break;
            }
        }
        ours.push(started.elapsed());
        let started = Instant::now();
        let mut count = 0;
        let mut continuation = None;
        let query = json!({ "query": "SELECT * FROM enrollments" });
        loop {
            let path = "/enrollments/query?api-version=2021-10-01";
            let (page, next) = scan.send("POST", path, continuation.as_deref(), Some(&query)).await?;
            count += page.as_array().context("a page")?.len();
            continuation = next;
            if continuation.is_none() {
                break;
            }
        }
        ensure!(count == ENROLLMENTS, "{count} enrollments");
        theirs.push(started.elapsed());
    }
    report(&format!("a scan of {ENROLLMENTS} enrollments, none changed"), ours, theirs);
    let size = cursor.map(|cursor| cursor.snapshot.len() + cursor.position.len()).unwrap_or_default();
    println!("the cursor that knows them: {size} bytes, {:.1} a record", size as f64 / ENROLLMENTS as f64);
    world.emulator.shutdown().await;
    Ok(())
}

fn report(what: &str, mut ours: Vec<Duration>, mut theirs: Vec<Duration>) {
    ours.sort();
    theirs.sort();
    let (ours, theirs) = (ours[ours.len() / 2], theirs[theirs.len() / 2]);
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{what:<44} {ours:>12.1?} {theirs:>12.1?} {ratio:>7.2}x");
}

#[derive(Clone, Copy)]
enum Service {
    Hub,
    Dps,
}

/// One kept-alive connection.
struct Native {
    host: String,
    authorization: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Native {
    async fn connect(emulator: &Emulator, host: &str, service: Service) -> Result<Self> {
        let policy = match service {
            Service::Hub => emulator.hub_policy("connector"),
            Service::Dps => emulator.dps_policy("connector"),
        };
        let authorization = common::policy_token(host, policy.context("a policy")?, 3600);
        let stream = tls::connect(emulator.ca_pem(), host).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { host: host.to_owned(), authorization, sender })
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        continuation: Option<&str>,
        body: Option<&Value>,
    ) -> Result<(Value, Option<String>)> {
        self.sender.ready().await?;
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        request = request.header("authorization", &self.authorization).header("x-ms-max-item-count", "1000");
        if let Some(continuation) = continuation {
            request = request.header("x-ms-continuation", continuation);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let response = self.sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        let status = response.status();
        let next = response.headers().get("x-ms-continuation").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bytes = response.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{path}: {status}");
        Ok((serde_json::from_slice(&bytes).unwrap_or_default(), next))
    }
}
