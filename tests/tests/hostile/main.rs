//! Hostile plugins: each misbehaviour ends with the error that names the broken rule, and other tenants are not
//! disturbed.
//!
//! The plugin is `tests/hostile/`, which misbehaves as its input says. While it runs for one tenant, a well-behaved
//! connector runs for another tenant in the same host. Every attack is repeated until this neighbour has made progress.
//! Afterwards, memory and file descriptors must be back at their earlier values.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

mod arena;
mod plugin;
mod server;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arena::Arena;
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_host::{
    CallError, Connection, DomainRefusal, EgressLayer, LimitName, LoadError, LoadOptions, Resolve, Tenant,
};
use plugin::{account, done, flawed, flawed_wasm, host, tenant};
use serde_json::{Value, json};
use server::{Silent, Web};

fn ends_by(error: &CallError, name: LimitName) {
    assert_eq!(error.limit(), Some(name), "{error}");
    assert!(error.to_string().contains(&format!("limit: {name}")), "the error names its limit: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn computing_memory_and_stack_are_bounded() {
    let arena = Arena::enter("resources").await;
    let tenant = tenant(|limits| {
        limits.cpu = Duration::from_millis(150);
        limits.memory_bytes = 16 << 20;
        limits.handles = 200;
    });
    for (what, limit) in
        [("loop", LimitName::Cpu), ("memory", LimitName::MemoryBytes), ("pollables", LimitName::Handles)]
    {
        let error = arena.attack(what, async || arena.misbehave(&tenant, json!({ "do": what })).await).await;
        ends_by(&error.unwrap_err(), limit);
    }
    for what in ["stack", "trap"] {
        let error = arena.attack(what, async || arena.misbehave(&tenant, json!({ "do": what })).await).await;
        assert!(matches!(error, Err(CallError::Trap { .. })), "{what}: {error:?}");
    }
    // An exit is an error with either code, because a plugin must return instead.
    for code in [0, 1] {
        let error =
            arena.attack("exit", async || arena.misbehave(&tenant, json!({ "do": "exit", "code": code })).await).await;
        assert!(matches!(error, Err(CallError::Trap { .. })), "{error:?}");
    }
    let error = arena
        .attack("random", async || arena.misbehave(&tenant, json!({ "do": "random", "bytes": 1_u64 << 30 })).await)
        .await;
    assert!(matches!(error, Err(CallError::Trap { .. })), "{error:?}");
    arena.leave().await;
}

/// The process's private memory in MiB. None where the operating system does not report it.
fn private_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(kib.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_handles_keep_is_bounded() {
    const KEPT: u64 = 100;
    const HANDLES: usize = 500;

    let arena = Arena::enter("handles").await;
    let tenant = tenant(|limits| limits.handles = HANDLES);
    let before = private_mib();
    let over = std::sync::atomic::AtomicBool::new(false);
    let watching = async {
        let mut most = before;
        while !over.load(std::sync::atomic::Ordering::SeqCst) {
            most = most.max(private_mib());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        most
    };
    let attacking = async {
        let input = json!({ "do": "requests", "count": KEPT, "bytes": 16 << 20 });
        let refused = arena.attack("requests", async || arena.misbehave(&tenant, input.clone()).await).await;
        assert_eq!(refused.unwrap(), json!(2 * KEPT), "long methods and authorities are refused");
        let input = json!({ "do": "requests", "count": 500, "bytes": 16 << 20 });
        let ended = arena.attack("many requests", async || arena.misbehave(&tenant, input.clone()).await).await;
        ends_by(&ended.unwrap_err(), LimitName::HeaderSets);
        over.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    let (most, ()) = tokio::join!(watching, attacking);
    if let Some((before, most)) = before.zip(most) {
        // The guest may have 64 MiB of memory, and a host call may pass 16 MiB.
        assert!(most < before + 160, "{before} MiB before, {most} MiB during the attack");
    }

    let input = |count: usize| json!({ "do": "poll-many", "count": count });
    let ready = HANDLES / 2;
    assert_eq!(arena.misbehave(&tenant, input(ready)).await.unwrap(), json!(ready));
    let ended = arena.attack("poll", async || arena.misbehave(&tenant, input(1_000_000)).await).await;
    ends_by(&ended.unwrap_err(), LimitName::Handles);
    arena.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_bounded() {
    let arena = Arena::enter("output").await;
    let tenant = tenant(|limits| {
        limits.output_bytes = 1 << 20;
        limits.hostcall_bytes = 8 << 20;
        limits.cursor_bytes = 1 << 20;
        limits.log_bytes = 10_000;
    });
    for (bytes, limit) in [(2 << 20, LimitName::OutputBytes), (12 << 20, LimitName::HostcallBytes)] {
        let ended = arena
            .attack("large", async || arena.misbehave(&tenant, json!({ "do": "large", "bytes": bytes })).await)
            .await;
        ends_by(&ended.unwrap_err(), limit);
    }
    let ended =
        arena.attack("deep", async || arena.misbehave(&tenant, json!({ "do": "deep", "bytes": 400_000 })).await).await;
    assert!(matches!(ended, Err(CallError::Protocol { .. })), "{ended:?}");
    // The host limits the log lines, and the call continues.
    let logged =
        arena.attack("log", async || arena.misbehave(&tenant, json!({ "do": "log", "lines": 2_000 })).await).await;
    assert_eq!(logged.unwrap(), json!("done"));
    // If the plugin crashes after it has met a limit, the error names that limit.
    let crash = json!({ "do": "log", "lines": 2_000, "then": "trap" });
    let ended = arena.attack("log and trap", async || arena.misbehave(&tenant, crash.clone()).await).await;
    let Err(CallError::Trap { refusals, .. }) = &ended else { panic!("{ended:?}") };
    let met: Vec<_> = refusals.limits.iter().map(|limit| limit.name).collect();
    assert!(met == [LimitName::LogBytes] || met == [LimitName::LogLines], "{met:?}");

    let wrong = flawed(OUTPUT_FLAWS).await;
    let asked = request(json!({ "count": 5_000 }), 10);
    let ended = arena.attack("events", async || wrong.account(&tenant, &arena.connection).poll(&asked).await).await;
    assert!(
        matches!(&ended, Err(CallError::Protocol { field, .. }) if field == "events"),
        "more events than were asked for: {ended:?}"
    );
    let few = plugin::tenant(|limits| limits.output_events = 1_000);
    let ended = arena.attack("event flood", async || wrong.account(&few, &arena.connection).poll(&asked).await).await;
    ends_by(&ended.unwrap_err(), LimitName::OutputEvents);
    let asked = request(json!({ "count": 1 }), 10);
    let ended = arena
        .attack("giant cursor", async || wrong.account(&tenant_of_cursors(), &arena.connection).poll(&asked).await)
        .await;
    ends_by(&ended.unwrap_err(), LimitName::CursorBytes);
    let call = Default::default();
    let ended = arena
        .attack("invalid JSON", async || {
            wrong.account(&tenant, &arena.connection).invoke("misbehave", r#"{"do":"nothing"}"#, &call).await
        })
        .await;
    assert!(matches!(&ended, Err(CallError::Protocol { field, .. }) if field == "done"), "{ended:?}");
    // Egress rules are filled in from the tenant's values and from the plugin's normalized values. Both are limited.
    let giant = account("giant.hostile.example.com", "");
    let ended = arena.attack("giant normalized", async || wrong.open(&tenant, &giant).await.map(drop)).await;
    assert!(matches!(&ended, Err(CallError::Protocol { field, .. }) if field == "normalized"), "{ended:?}");
    let giant = account("api.hostile.example.com", &"x".repeat(100_000));
    let opened = arena.attack("giant connection", async || wrong.open(&tenant, &giant).await.map(drop)).await;
    assert!(matches!(&opened, Err(CallError::ConnectionTooLarge { limit: 65_536, .. })), "{opened:?}");
    let validated = wrong.account(&tenant, &giant).validate().await;
    assert!(matches!(&validated, Err(CallError::ConnectionTooLarge { .. })), "{validated:?}");
    arena.leave().await;
}

/// All these flaws are in one component, because compiling a component takes some time.
const OUTPUT_FLAWS: &[&str] = &["over-budget", "giant-cursor", "invalid-output", "release-hangs", "giant-normalized"];

fn tenant_of_cursors() -> Tenant {
    tenant(|limits| limits.cursor_bytes = 1 << 20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_described_is_not_loaded() {
    let arena = Arena::enter("loading").await;
    let wasm = flawed_wasm(&["giant-descriptor"]);
    let refused = arena.attack("giant descriptor", async || arena.host.load(wasm.clone()).await).await;
    let Err(LoadError::Describe(error)) = refused else { panic!("{refused:?}") };
    ends_by(&error, LimitName::OutputBytes);
    let wasm = flawed_wasm(&["many-rules"]);
    let refused = arena.attack("many rules", async || arena.host.load(wasm.clone()).await).await;
    assert!(
        matches!(&refused, Err(LoadError::Describe(CallError::Protocol { field, .. })) if field == "egress"),
        "{refused:?}"
    );
    let wasm = flawed_wasm(&["public-suffix"]);
    let refused = arena.attack("public suffix", async || arena.host.load(wasm.clone()).await).await;
    let refused_rule = |refused: &Result<_, LoadError>, at: &str, why: DomainRefusal| matches!(refused, Err(LoadError::EgressRule { field, reason, .. }) if field == at && *reason == why);
    assert!(refused_rule(&refused, "egress[1].suffixes[1]", DomainRefusal::Shared), "{refused:?}");
    let refused = {
        // The suffix does not belong to the service, because the operator has not named it.
        let mut options = LoadOptions::default();
        options.service_domains = Some(vec!["github.io".to_owned()]);
        arena.host.load_with(wasm, &options).await
    };
    assert!(refused_rule(&refused, "egress[0].suffixes[0]", DomainRefusal::Foreign), "{refused:?}");
    let wasm = flawed_wasm(&["describe-traps"]);
    let refused = arena.attack("trap in describe", async || arena.host.load(wasm.clone()).await).await;
    assert!(matches!(refused, Err(LoadError::Describe(CallError::Trap { .. }))), "{refused:?}");
    arena.leave().await;
}

#[tokio::test]
async fn what_does_not_fit_the_interface_is_refused_before_anything_runs() {
    let host = host();
    let load = async |version: &str, skip: &str| host.load(wrong_component(version, skip)).await.unwrap_err();
    let error = load("0.3.0", "").await;
    assert!(matches!(error, LoadError::InterfaceVersion { .. }), "{error}");
    assert!(error.to_string().contains("0.3.0"), "{error}");
    let error = load("0.2.0", "lifecycle").await;
    assert!(matches!(&error, LoadError::MissingInterface(name) if name.contains("lifecycle")), "{error}");
    let error = load("0.1.0", "poll").await;
    assert!(matches!(&error, LoadError::MissingInterface(name) if name.ends_with("#poll")), "{error}");
    for version in ["0.1.0", "0.2.0"] {
        let error = load(version, "").await;
        assert!(
            matches!(&error, LoadError::FunctionType { function, .. } if function == "metadata.describe"),
            "{error}"
        );
    }
    let imports = r#"(component (import "wasi:nn/tensor@0.2.0" (instance (export "f" (func)))))"#;
    let error = host.load(wat::parse_str(imports).unwrap()).await.unwrap_err();
    assert!(matches!(error, LoadError::NotAConnector), "{error}");
}

/// A component that exports every function of the interface except `skip`. All functions have the same type.
fn wrong_component(version: &str, skip: &str) -> Vec<u8> {
    let interfaces: [(&str, &[&str]); 6] = [
        ("metadata", &["describe", "migrate"]),
        ("connection", &["validate", "test", "label"]),
        ("discovery", &["options", "resolve-schema"]),
        ("trigger", &["partitions", "poll", "sample", "subscribe", "renew", "unsubscribe", "receive"]),
        ("action", &["invoke", "resume", "invoke-batch"]),
        ("lifecycle", &["release"]),
    ];
    let exports: String = interfaces
        .iter()
        .filter(|(interface, _)| *interface != skip)
        .map(|(interface, functions)| {
            let functions: String = functions
                .iter()
                .filter(|function| **function != skip)
                .map(|function| format!("(export \"{function}\" (func $f))"))
                .collect();
            format!(
                "(instance ${interface} {functions}) \
                 (export \"workflow:connector/{interface}@{version}\" (instance ${interface}))"
            )
        })
        .collect();
    wat::parse_str(format!(
        r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            {exports})"#
    ))
    .unwrap()
}

fn request(config: Value, events: u32) -> PollRequest {
    PollRequest {
        trigger: "numbers".to_owned(),
        partition: "all".to_owned(),
        config: config.to_string(),
        start: Start::Earliest,
        on_position_lost: LostPolicy::Stop,
        cursor: None,
        budget: Budget { events, bytes: 1 << 20, wait_ms: 0 },
    }
}

/// The layers on which the host denied connections, for a call that the connector answered with an error.
fn denials(ended: Result<Value, CallError>) -> Vec<EgressLayer> {
    match ended {
        Err(CallError::Connector(failure)) => failure.denials.iter().map(|denied| denied.layer).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_reaches_the_accounts_own_host_alone() {
    let arena = Arena::enter("HTTP egress").await;
    let (own, evil) = (Web::start().await, Web::start().await);
    let tenant = own.tenant(|_| ());
    let connection = account(&own.authority(), "");
    let port = own.port;
    let redirect = format!("/redirect/https://localhost:{}/stolen", evil.port);
    let ask = async |input: Value| arena.misbehave_with(&tenant, &connection, input).await;
    assert_eq!(ask(json!({ "do": "http", "path": "/ok" })).await.unwrap()["status"], 200);

    // The host denies each request: only the account's own host and port over HTTPS are allowed.
    for (what, input) in [
        ("forbidden host", json!({ "authority": "attacker.example" })),
        ("forbidden port", json!({ "authority": format!("localhost:{}", evil.port) })),
        ("IP literal", json!({ "authority": format!("127.0.0.1:{port}") })),
        ("IPv6 literal", json!({ "authority": format!("[::1]:{port}") })),
        ("mapped IPv6 literal", json!({ "authority": format!("[::ffff:127.0.0.1]:{port}") })),
        ("number for an address", json!({ "authority": format!("2130706433:{port}") })),
        ("hexadecimal address", json!({ "authority": format!("0x7f.1:{port}") })),
        ("metadata service", json!({ "authority": "169.254.169.254", "path": "/metadata/instance" })),
        ("plain HTTP", json!({ "scheme": "http" })),
        ("own name as a prefix", json!({ "authority": format!("localhost.attacker.example:{port}") })),
        ("redirect", json!({ "path": redirect, "follow": true })),
    ] {
        let mut input = input;
        input["do"] = json!("http");
        let denied = denials(arena.attack(what, async || ask(input.clone()).await).await);
        assert_eq!(denied, [EgressLayer::Request], "{what}");
    }
    // These are malformed requests. The first check that meets them refuses them.
    for (what, input) in [
        ("user name in the authority", json!({ "authority": format!("attacker.example@localhost:{port}") })),
        ("own host as the user name", json!({ "authority": format!("localhost:{port}@localhost:{}", evil.port) })),
        ("percent in the authority", json!({ "authority": format!("loc%61lhost:{port}") })),
        ("space in the authority", json!({ "authority": format!("localhost:{port} attacker.example") })),
        ("line break in the authority", json!({ "authority": format!("localhost:{port}\r\nX: y") })),
        ("NUL in the authority", json!({ "authority": format!("localhost\0.attacker.example:{port}") })),
        ("line break in the path", json!({ "path": "/ok HTTP/1.1\r\nHost: attacker.example\r\n\r\n" })),
        ("another scheme", json!({ "scheme": "file", "path": "/etc/passwd" })),
        ("line break in a header", json!({ "headers": { "x-a": "b\r\nhost: attacker.example" } })),
        ("Host header", json!({ "headers": { "host": "attacker.example" } })),
        ("Connection header", json!({ "headers": { "connection": "upgrade" } })),
        ("Upgrade header", json!({ "headers": { "upgrade": "websocket" } })),
        ("Transfer-Encoding header", json!({ "headers": { "transfer-encoding": "chunked" } })),
        ("Proxy-Authorization header", json!({ "headers": { "proxy-authorization": "Basic x" } })),
        ("method with a line break", json!({ "method": "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET" })),
    ] {
        let mut input = input;
        input["do"] = json!("http");
        let ended = arena.attack(what, async || ask(input.clone()).await).await;
        assert!(matches!(ended, Err(CallError::Connector(_))), "{what}: {ended:?}");
    }
    // These requests may only reach the account's own host: a path is never read as another host.
    for (what, input) in [
        ("absolute form", json!({ "path": format!("https://localhost:{}/stolen", evil.port) })),
        ("CONNECT", json!({ "method": "CONNECT", "path": format!("localhost:{}", evil.port) })),
        ("double slash", json!({ "path": format!("//localhost:{}/stolen", evil.port) })),
        ("another case", json!({ "authority": format!("LOCALHOST:{port}"), "path": "/ok" })),
    ] {
        let mut input = input;
        input["do"] = json!("http");
        let ended = arena.attack(what, async || ask(input.clone()).await).await;
        assert!(matches!(ended, Ok(_) | Err(CallError::Connector(_))), "{what}: {ended:?}");
    }
    assert_eq!(evil.connections(), 0, "the attacker's own server was reached");
    for head in own.heads() {
        let hosts: Vec<&str> = head.lines().filter(|line| line.to_ascii_lowercase().starts_with("host:")).collect();
        assert_eq!(hosts.len(), 1, "{head}");
        assert!(hosts[0].to_ascii_lowercase().ends_with(&format!("localhost:{port}")), "{head}");
        assert!(!head.to_ascii_lowercase().contains("attacker"), "{head}");
    }
    arena.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_addresses_are_not_reached_over_http() {
    let arena = Arena::enter("private addresses").await;
    let own = Web::start().await;
    // The operator permits the name, but no private networks.
    let tenant = own.tenant_of(|options| options.allow_private_networks = false);
    let connection = account(&own.authority(), "");
    let ask = async || arena.misbehave_with(&tenant, &connection, json!({ "do": "http", "path": "/ok" })).await;
    assert_eq!(denials(arena.attack("name of a loopback address", ask).await), [EgressLayer::Address]);
    assert_eq!(own.connections(), 0);
    arena.leave().await;
}

/// A resolver that returns these addresses in turn, again and again.
#[derive(Debug)]
struct Turning {
    answers: [&'static str; 4],
    asked: AtomicUsize,
}

impl Resolve for Turning {
    fn resolve<'a>(
        &'a self,
        _host: &'a str,
        _port: Option<u16>,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst) % self.answers.len();
        let answer = self.answers[turn].split(' ').map(|address| address.parse().unwrap()).collect();
        Box::pin(std::future::ready(Ok(answer)))
    }
}

/// The attacker controls the account's name server. It first returns a permitted address, then the address of a server
/// on this machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_server_that_changes_its_answer_gains_nothing() {
    let arena = Arena::enter("rebinding").await;
    let own = Web::start().await;
    // No server listens on the permitted address.
    let answers = ["127.0.0.2", "127.0.0.1", "127.0.0.2 127.0.0.1 ::1", "::ffff:127.0.0.1 ::1"];
    let resolver = Arc::new(Turning { answers, asked: AtomicUsize::new(0) });
    let tenant = own.tenant_of(|options| {
        options.allow_private_networks = false;
        options.allow_networks = vec!["127.0.0.2/32".parse().unwrap()];
        options.resolver = Some(resolver.clone());
    });
    let connection = account(&own.authority(), &own.authority());
    for input in [
        json!({ "do": "http", "path": "/ok" }),
        json!({ "do": "tcp", "to": own.authority() }),
        json!({ "do": "raw-tcp", "to": format!("127.0.0.1:{}", own.port) }),
    ] {
        arena
            .attack(&input["do"], async || {
                for _ in answers {
                    let ended = arena.misbehave_with(&tenant, &connection, input.clone()).await;
                    assert!(!matches!(&ended, Ok(said) if said == "reached" || said["status"] == 200), "{ended:?}");
                }
            })
            .await;
    }
    assert!(resolver.asked.load(Ordering::SeqCst) >= 2 * answers.len(), "the name server was not asked");
    assert_eq!(own.connections(), 0);
    arena.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_reach_the_accounts_own_host_alone() {
    let arena = Arena::enter("sockets").await;
    let (own, other) = (Silent::start().await, Silent::start().await);
    let tenant = tenant(|limits| limits.sockets = 5);
    let connection = account("api.hostile.example.com", &format!("localhost:{}", own.port));
    let ask = async |input: Value| arena.misbehave_with(&tenant, &connection, input).await;
    assert_eq!(ask(json!({ "do": "tcp", "to": format!("localhost:{}", own.port) })).await.unwrap(), "reached");
    own.connected().await;

    for to in [
        format!("localhost:{}", other.port),
        format!("attacker.example:{}", own.port),
        format!("localhost.attacker.example:{}", own.port),
        "api.hostile.example.com:443".to_owned(),
        format!("127.0.0.1:{}", own.port),
    ] {
        let said = arena.attack(&to, async || ask(json!({ "do": "tcp", "to": to })).await).await.unwrap();
        assert_ne!(said, "reached", "{to}");
    }
    for to in [
        // The address and port are the account's own, but this call has not resolved the name.
        format!("127.0.0.1:{}", own.port),
        format!("127.0.0.2:{}", own.port),
        format!("0.0.0.0:{}", own.port),
        format!("[::1]:{}", own.port),
        format!("[::ffff:127.0.0.1]:{}", own.port),
        format!("[::127.0.0.1]:{}", own.port),
        "169.254.169.254:80".to_owned(),
        "[fe80::1]:80".to_owned(),
        "[fd00:ec2::254]:80".to_owned(),
        "10.0.0.1:5671".to_owned(),
        "192.168.0.1:22".to_owned(),
        "172.16.0.1:5671".to_owned(),
        "100.64.0.1:5671".to_owned(),
        "168.63.129.16:80".to_owned(),
        "8.8.8.8:53".to_owned(),
        "255.255.255.255:9".to_owned(),
        "224.0.0.1:9".to_owned(),
    ] {
        let said = arena.attack(&to, async || ask(json!({ "do": "raw-tcp", "to": to })).await).await.unwrap();
        assert!(
            said.as_str().is_some_and(|said| said.contains("access-denied") || said.contains("invalid-argument")),
            "{to}: {said}"
        );
    }
    for name in ["attacker.example", "c2VjcmV0.attacker.example", "api.hostile.example.com", "localhost."] {
        let said = ask(json!({ "do": "resolve", "to": name })).await.unwrap();
        // The account's own host may be written with a final dot.
        assert_eq!(said == "reached", name == "localhost.", "{name}: {said}");
    }
    let said = arena.attack("listen", async || ask(json!({ "do": "listen" })).await).await.unwrap();
    assert!(said.as_array().unwrap().iter().all(|said| said != "reached"), "{said}");
    let to = format!("localhost:{}", own.port);
    let said = arena.attack("udp", async || ask(json!({ "do": "udp", "to": to })).await).await.unwrap();
    assert!(said[0] != "reached" && said[1].as_str().unwrap().contains("access-denied"), "{said}");
    assert_eq!((own.connections(), other.connections()), (1, 0));

    let held = arena.attack("many sockets", async || ask(json!({ "do": "sockets", "to": to })).await).await.unwrap();
    assert_eq!(held, 5);
    arena.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_meets_the_deadline() {
    let arena = Arena::enter("waiting").await;
    let (web, silent) = (Web::start().await, Silent::start().await);
    let deadline = Duration::from_millis(300);
    let tenant = web.tenant(|limits| {
        limits.deadline = deadline;
        // Waking up needs little computing time, but it counts.
        limits.cpu = Duration::from_secs(30);
    });
    let connection = account(&web.authority(), &format!("localhost:{}", silent.port));
    for (what, input) in [
        ("sleep", json!({ "do": "sleep", "ms": 3_600_000 })),
        ("clock", json!({ "do": "clock" })),
        ("poll", json!({ "do": "poll" })),
        ("busy waiting", json!({ "do": "busy-wait", "ms": 3_600_000 })),
        ("socket read", json!({ "do": "read", "to": format!("localhost:{}", silent.port) })),
        ("HTTP body", json!({ "do": "hold", "path": "/stall" })),
        ("slow reading", json!({ "do": "hold", "path": "/endless", "how": "slowly" })),
        ("slow upload", json!({ "do": "drip", "path": "/ok", "method": "POST" })),
        ("late answer", json!({ "do": "late", "ms": 400, "path": "/late" })),
    ] {
        let ended = arena.attack(what, async || arena.misbehave_with(&tenant, &connection, input.clone()).await).await;
        ends_by(&ended.expect_err(what), LimitName::Deadline);
    }
    // A call that was cut off continues no more: its later request was never sent.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!web.heads().iter().any(|head| head.contains("/late")), "a call continued after it was cut off");
    web.all_closed().await;
    silent.all_closed().await;

    // A cancelled call ends at once, and later calls do not start.
    let input = json!({ "do": "sleep", "ms": 3_600_000 });
    let (ended, ()) = tokio::join!(arena.misbehave_with(&tenant, &connection, input.clone()), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        tenant.close();
    });
    assert!(matches!(ended, Err(CallError::Cancelled)), "{ended:?}");
    assert!(matches!(arena.misbehave_with(&tenant, &connection, input).await, Err(CallError::Cancelled)));
    arena.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_another_tenant_is_to_be_found() {
    let arena = Arena::enter("state").await;
    let tenants: [Tenant; 2] = [tenant(|_| ()), tenant(|_| ())];
    let accounts: [Connection; 2] = ["one", "two"].map(|name| account(&format!("{name}.hostile.example.com"), ""));
    let leave = json!({ "do": "leave", "text": "SECRET" });
    let find = json!({ "do": "find" });
    let expected = |memory: Value| {
        json!({
            "memory": memory, "environment": [], "arguments": [], "folders": 0, "file": null, "host-file": null,
            "input": [],
        })
    };
    // Cold calls: each instance serves one call.
    for (tenant, account) in tenants.iter().zip(&accounts) {
        arena.misbehave_with(tenant, account, leave.clone()).await.unwrap();
    }
    for (tenant, account) in tenants.iter().zip(&accounts) {
        let found = arena.attack("instances", async || arena.misbehave_with(tenant, account, find.clone()).await).await;
        assert_eq!(found.unwrap(), expected(json!([])));
    }
    // Warm instances find what earlier calls for the same tenant and account left behind, and nothing from others.
    let mut warm = Vec::new();
    for tenant in &tenants {
        for account in &accounts {
            warm.push(arena.hostile.open(tenant, account).await.unwrap());
        }
    }
    for instance in &warm[..3] {
        done(instance.invoke("misbehave", &leave.to_string(), &Default::default()).await).unwrap();
    }
    for (index, instance) in warm.iter().enumerate() {
        let found = done(instance.invoke("misbehave", &find.to_string(), &Default::default()).await).unwrap();
        let left = found["memory"].as_array().unwrap();
        assert_eq!(left.len(), usize::from(index < 3), "{found}");
        let name = ["one", "two"][index % 2];
        assert!(left.iter().all(|left| left.as_str().unwrap().contains(&format!("{name}.hostile"))), "{found}");
        assert_eq!(found["environment"], json!([]));
        instance.discard().await;
    }
    let found = done(warm[0].invoke("misbehave", &find.to_string(), &Default::default()).await).unwrap();
    assert_eq!(found["memory"], json!([]), "a discarded instance leaves nothing behind");
    arena.leave().await;
}

/// Handles that requests leave behind would end a long-lived instance. Each request has its own options, and both must
/// be released.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_holds_nothing_after_thousands_of_requests() {
    let arena = Arena::enter("requests").await;
    let web = Web::start().await;
    let tenant = web.tenant(|limits| {
        limits.http_requests_per_second = 1_000_000;
        limits.cpu = Duration::from_secs(60);
    });
    let warm = arena.hostile.open(&tenant, &account(&web.authority(), "")).await.unwrap();
    let mut held = Vec::new();
    arena
        .attack("requests", async || {
            for _ in 0..30 {
                let input = json!({ "do": "http-often", "count": 100, "path": "/ok" }).to_string();
                let ended = done(warm.invoke("misbehave", &input, &Default::default()).await);
                assert_eq!(ended.unwrap(), json!(100));
                held.push(warm.handles().await);
            }
        })
        .await;
    println!("requests: handles of the instance after 100 requests {:?}, at the end {:?}", held[0], held.last());
    assert!(held.iter().all(|now| now.is_some() && *now == held[0]), "{held:?}");
    assert_eq!(web.connections(), 1);
    warm.discard().await;
    arena.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_without_end_is_cut_off() {
    let arena = Arena::enter("release").await;
    let hanging = flawed(OUTPUT_FLAWS).await;
    let tenant = tenant(|limits| limits.release_timeout = Duration::from_millis(100));
    arena
        .attack("release", async || {
            let warm = hanging.open(&tenant, &arena.connection).await.unwrap();
            done(warm.invoke("echo", r#"{"text":"x"}"#, &Default::default()).await).unwrap();
            warm.discard().await;
        })
        .await;
    arena.leave().await;
}
