//! Tests of the sockets, with a guest that tries permitted and forbidden uses.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

use super::Sockets;
use crate::call::Connector;
use crate::connection::Connection;
use crate::egress::Exchange;
use crate::egress::resolver::testing::{answering, silent};
use crate::error::EgressLayer;
use crate::error::{CallError, Failure};
use crate::interface::action::{Call, Outcome};
use crate::limits::{LimitExceeded, LimitName, Limits};
use crate::loading::Host;
use crate::options::HostOptions;
use crate::options::TenantOptions;
use crate::tenant::Tenant;

#[path = "../../../tests/guests/mod.rs"]
mod guests;

async fn connector() -> Connector {
    static LOADED: OnceCell<Vec<u8>> = OnceCell::const_new();
    let wasm = LOADED.get_or_init(|| async { std::fs::read(guests::stream_guest()).unwrap() }).await;
    let mut options = HostOptions::default();
    (options.concurrent_calls, options.warm_instances) = (4, 4);
    options.cache_directory = guests::stream_guest().parent().map(|folder| folder.join("compiled"));
    Host::new(options).unwrap().load(wasm.clone()).await.unwrap()
}

/// A server that sends all bytes back and counts its connections.
struct Echo {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let (mut reader, mut writer) = tcp.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                    let _ = writer.shutdown().await;
                });
            }
        });
        Self { port, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The number of connections after all pending ones are accepted: a connection of our own is accepted after them.
    async fn connections_so_far(&self) -> usize {
        let mut last = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        last.write_all(b"!").await.unwrap();
        last.read_exact(&mut [0]).await.unwrap();
        self.connections() - 1
    }
}

/// A resolver for the tests, which counts the look-ups.
#[derive(Clone, Default)]
struct Names(Arc<AtomicUsize>);

impl Names {
    fn asked(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// A tenant whose look-ups return the entries of `addresses` in turn. Further look-ups return the last entry.
    fn tenant(&self, options: TenantOptions, addresses: &'static [&'static str]) -> Tenant {
        let asked = self.0.clone();
        let resolver = answering(move |_| {
            let turn = asked.fetch_add(1, Ordering::SeqCst).min(addresses.len() - 1);
            Ok(addresses[turn].split(' ').map(|address| address.parse::<IpAddr>().unwrap()).collect())
        });
        Tenant::new(TenantOptions { resolver, ..options }).unwrap()
    }
}

fn local() -> TenantOptions {
    TenantOptions {
        allow_hosts: vec!["server.stream.example.com".parse().unwrap(), "127.0.0.1".parse().unwrap()],
        allow_private_networks: true,
        ..TenantOptions::default()
    }
}

fn account(server: &str) -> Connection {
    Connection::new("none", json!({ "server": server, "web": "api.web.example.com" }).to_string())
}

struct Guest {
    connector: Connector,
    tenant: Tenant,
    connection: Connection,
}

impl Guest {
    async fn new(tenant: Tenant, server: &str) -> Self {
        Self { connector: connector().await, tenant, connection: account(server) }
    }

    async fn call(&self, command: &str) -> Result<String, CallError> {
        let input = json!(command).to_string();
        let call = Call::default();
        match self.connector.account(&self.tenant, &self.connection).invoke("run", &input, &call).await? {
            Outcome::Done(text) => Ok(serde_json::from_str(&text).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    async fn said(&self, command: &str) -> String {
        self.call(command).await.unwrap()
    }
}

#[tokio::test]
async fn connects_to_what_the_connection_leads_to() {
    let echo = Echo::start().await;
    let names = Names::default();
    let server = format!("server.stream.example.com:{}", echo.port);
    let guest = Guest::new(names.tenant(local(), &["127.0.0.1"]), &server).await;
    let (host, port) = server.split_once(':').unwrap();
    assert_eq!(guest.said(&format!("echo {host} {port} hello")).await, "hello");
    assert_eq!(guest.said(&format!("echo SERVER.Stream.Example.COM. {port} hello")).await, "hello");
    assert_eq!(guest.said(&format!("connect-timeout {host} {port} 1000")).await, "ok");
    // More bytes than all buffers hold, so that sending and receiving must wait for each other.
    assert_eq!(guest.said(&format!("send {host} {port} 300000")).await, "300000");
    assert_eq!(echo.connections(), 4);
}

#[tokio::test]
async fn nothing_else_is_reached_and_no_name_server_is_asked() {
    let (echo, other) = (Echo::start().await, Echo::start().await);
    let names = Names::default();
    let guest =
        Guest::new(names.tenant(local(), &["127.0.0.1"]), &format!("server.stream.example.com:{}", echo.port)).await;
    let port = echo.port;
    for command in [
        format!("connect other.stream.example.com {port}"),
        format!("connect stream.example.com {port}"),
        "resolve secret-data.attacker.example".to_owned(),
        // Hosts of https rules are permitted only for HTTP.
        "resolve api.web.example.com".to_owned(),
        "resolve localhost".to_owned(),
        // The suffix itself of the rule for any host.
        "resolve redirect.example.com".to_owned(),
        // Addresses to which no name resolved in the call.
        format!("connect 127.0.0.1 {port}"),
        "connect 169.254.169.254 80".to_owned(),
    ] {
        let said = guest.said(&command).await;
        assert!(said.starts_with("error: "), "{command}: {said}");
    }
    assert_eq!(names.asked(), 0);
    // Another port of the permitted host is refused.
    let said = guest.said(&format!("connect server.stream.example.com {}", other.port)).await;
    assert_eq!(said, "error: PermissionDenied");
    assert_eq!(guest.said("bind").await, "error: PermissionDenied");
    assert_eq!(guest.said("udp").await, "error: PermissionDenied");
    assert_eq!((echo.connections(), other.connections()), (0, 0));
}

#[tokio::test]
async fn a_second_answer_of_a_name_server_has_no_effect_within_a_call() {
    let names = Names::default();
    let tenant = names.tenant(local(), &["127.0.0.1", "127.0.0.2"]);
    let guest = Guest::new(tenant, "server.stream.example.com:5671").await;
    assert_eq!(guest.said("resolve-twice server.stream.example.com").await, "127.0.0.1 127.0.0.1");
    assert_eq!(names.asked(), 1);
    // The next call may get another address for the name.
    assert_eq!(guest.said("resolve server.stream.example.com").await, "127.0.0.2");
}

#[tokio::test]
async fn addresses_that_are_not_public_are_never_handed_out() {
    let names = Names::default();
    let options = TenantOptions { allow_private_networks: false, ..local() };
    let tenant = names.tenant(options, &["127.0.0.1", "169.254.169.254 10.0.0.1", "8.8.8.8 ::ffff:10.0.0.1"]);
    let guest = Guest::new(tenant, "server.stream.example.com:5671").await;
    assert!(guest.said("resolve server.stream.example.com").await.starts_with("error: "));
    assert!(guest.said("connect server.stream.example.com 5671").await.starts_with("error: "));
    assert_eq!(guest.said("resolve server.stream.example.com").await, "8.8.8.8");
    // An address that the connection itself names is refused, too.
    let guest = Guest::new(guest.tenant, "127.0.0.1:5671").await;
    assert_eq!(guest.said("connect 127.0.0.1 5671").await, "error: PermissionDenied");
    // Addresses in a network that the operator permits are returned, and all others stay refused.
    let options = |network: &str| TenantOptions {
        allow_private_networks: false,
        allow_networks: vec![network.parse().unwrap()],
        ..local()
    };
    let tenant = names.tenant(options("10.0.0.0/24"), &["169.254.169.254 10.0.0.1 10.0.1.1"]);
    let own = Guest { tenant, connection: account("server.stream.example.com:5671"), ..guest };
    assert_eq!(own.said("resolve server.stream.example.com").await, "10.0.0.1");
    // Nobody listens at the address, but the connection is permitted.
    let tenant = names.tenant(options("127.0.0.1/32"), &["10.0.0.1"]);
    let own = Guest { tenant, connection: account("127.0.0.1:5671"), ..own };
    assert_eq!(own.said("connect 127.0.0.1 5671").await, "error: ConnectionRefused");
}

#[tokio::test]
async fn an_address_that_the_connection_names_needs_no_look_up() {
    let echo = Echo::start().await;
    let names = Names::default();
    let guest = Guest::new(names.tenant(local(), &["127.0.0.9"]), &format!("127.0.0.1:{}", echo.port)).await;
    assert_eq!(guest.said(&format!("echo 127.0.0.1 {} hello", echo.port)).await, "hello");
    assert_eq!(names.asked(), 0);
}

#[tokio::test]
async fn redirected_hosts_are_reached_below_the_rules_suffix_alone() {
    let names = Names::default();
    let tenant = names.tenant(local(), &["127.0.0.1"]);
    let guest = Guest::new(tenant, "server.stream.example.com:5671").await;
    // Nobody listens at the address, but the connection is permitted.
    assert_eq!(guest.said("connect ns1.redirect.example.com 5671").await, "error: ConnectionRefused");
    assert_eq!(guest.said("connect ns1.redirect.example.com 5672").await, "error: PermissionDenied");
    let options = TenantOptions { allow_redirected_hosts: false, ..local() };
    let guest = Guest { tenant: names.tenant(options, &["127.0.0.1"]), ..guest };
    let asked = names.asked();
    assert!(guest.said("connect ns1.redirect.example.com 5671").await.starts_with("error: "));
    assert_eq!(names.asked(), asked);

    // The operator permits an emulator by name.
    let echo = Echo::start().await;
    let options = TenantOptions {
        allow_hosts: vec![
            "server.stream.example.com".parse().unwrap(),
            format!("emulator:{}", echo.port).parse().unwrap(),
        ],
        ..local()
    };
    let guest = Guest { tenant: names.tenant(options, &["127.0.0.1"]), ..guest };
    assert_eq!(guest.said(&format!("echo emulator {} hello", echo.port)).await, "hello");
    assert_eq!(guest.said("connect emulator 5671").await, "error: PermissionDenied");
}

async fn failure(guest: &Guest) -> Failure {
    // The guest's error contains the refusals, because its check fails due to them.
    let request = crate::interface::trigger::PollRequest {
        trigger: "lines".to_owned(),
        partition: "0".to_owned(),
        config: "{}".to_owned(),
        start: crate::interface::trigger::Start::Earliest,
        on_position_lost: Default::default(),
        cursor: None,
        budget: Default::default(),
    };
    match guest.connector.account(&guest.tenant, &guest.connection).poll(&request).await {
        Err(CallError::Connector(failure)) => *failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn refusals_are_typed_and_say_what_to_do() {
    let names = Names::default();
    let options = TenantOptions { allow_private_networks: false, ..local() };
    let guest = Guest::new(names.tenant(options, &["10.1.2.3"]), "server.stream.example.com:5671").await;
    let denied = failure(&guest).await.denials;
    assert_eq!(denied.len(), 1, "{denied:?}");
    assert_eq!(denied[0].layer, EgressLayer::Address);
    assert!(denied[0].to_string().contains("--allow-private-networks"), "{}", denied[0]);

    let limits = Limits { sockets: 0, ..Limits::default() };
    let guest =
        Guest::new(names.tenant(TenantOptions { limits, ..local() }, &["127.0.0.1"]), "server.stream.example.com:5671")
            .await;
    let limits = failure(&guest).await.limits;
    assert_eq!(limits, [LimitExceeded { name: LimitName::Sockets, wanted: 1, allowed: 0 }]);

    for (name, limits) in [
        (LimitName::BufferBytes, Limits { buffer_bytes: 100 << 10, ..Limits::default() }),
        (LimitName::TenantBufferBytes, Limits { tenant_buffer_bytes: 100 << 10, ..Limits::default() }),
    ] {
        let tenant = names.tenant(TenantOptions { limits, ..local() }, &["127.0.0.1"]);
        let guest = Guest::new(tenant, "server.stream.example.com:5671").await;
        let limits = failure(&guest).await.limits;
        assert_eq!(limits, [LimitExceeded { name, wanted: 128 << 10, allowed: 100 << 10 }]);
    }
}

#[tokio::test]
async fn sockets_and_their_bytes_are_bounded() {
    let echo = Echo::start().await;
    let names = Names::default();
    let server = format!("server.stream.example.com:{}", echo.port);
    let limits = Limits { socket_bytes: 100_000, ..Limits::default() };
    let guest = Guest::new(names.tenant(TenantOptions { limits, ..local() }, &["127.0.0.1"]), &server).await;
    let (host, port) = server.split_once(':').unwrap();
    // 40 000 bytes are sent and 40 000 come back. Every call has its own budget.
    for _ in 0..2 {
        assert_eq!(guest.said(&format!("send {host} {port} 40000")).await, "40000");
    }
    assert!(guest.said(&format!("send {host} {port} 60000")).await.starts_with("error: "));
    assert!(guest.said(&format!("send {host} {port} 200000")).await.starts_with("error: "));

    let limits = Limits { sockets: 2, ..Limits::default() };
    let guest = Guest::new(names.tenant(TenantOptions { limits, ..local() }, &["127.0.0.1"]), &server).await;
    let warm = guest.connector.open(&guest.tenant, &guest.connection).await.unwrap();
    let mut said = Vec::new();
    for _ in 0..3 {
        let input = json!(format!("keep {host} {port}")).to_string();
        match warm.invoke("run", &input, &Call::default()).await.unwrap() {
            Outcome::Done(text) => said.push(serde_json::from_str::<String>(&text).unwrap()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(said[..2], ["1", "2"]);
    assert!(said[2].starts_with("error: "), "{said:?}");
}

/// Connecting to a server that does not respond must not make a call hang.
#[tokio::test]
async fn connecting_takes_no_longer_than_the_connect_timeout() {
    // A listener with a full queue does not respond.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    loop {
        let attempt = tokio::time::timeout(Duration::from_millis(100), tokio::net::TcpStream::connect(address)).await;
        match attempt {
            Ok(stream) => held.push(stream.unwrap()),
            Err(_) => break,
        }
    }
    let names = Names::default();
    let limits = Limits { connect_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = format!("server.stream.example.com:{}", address.port());
    let guest = Guest::new(names.tenant(TenantOptions { limits, ..local() }, &["127.0.0.1"]), &server).await;
    let begun = Instant::now();
    let said = guest.said(&format!("connect server.stream.example.com {}", address.port())).await;
    assert_eq!(said, "error: TimedOut");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_guests_own_read_timeout_fires() {
    let echo = Echo::start().await;
    let names = Names::default();
    let server = format!("server.stream.example.com:{}", echo.port);
    let guest = Guest::new(names.tenant(local(), &["127.0.0.1"]), &server).await;
    let said = guest.said(&format!("timeout server.stream.example.com {} 150", echo.port)).await;
    assert_eq!(said, "error: WouldBlock");
}

#[tokio::test]
async fn a_peer_that_closes_is_distinguished_from_one_that_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut byte = [0];
                let _ = tcp.read(&mut byte).await;
            });
        }
    });
    let names = Names::default();
    let guest = Guest::new(names.tenant(local(), &["127.0.0.1"]), &format!("server.stream.example.com:{port}")).await;
    // The server closes the connection after one byte, so its answer is empty.
    assert_eq!(guest.said(&format!("echo server.stream.example.com {port} x")).await, "");
}

/// The guest waits in the host for an event that never comes, and only the call's deadline can end the call.
#[tokio::test]
async fn a_deadline_ends_look_ups_and_reads_that_wait_for_ever() {
    let deadline = Duration::from_millis(300);
    // The look-up and the read would wait for ever, so any end within this time is due to the deadline.
    let in_time = Duration::from_secs(20);
    let tenant = Tenant::new(TenantOptions { resolver: silent(), ..local() }).unwrap().with_deadline(deadline);
    let guest = Guest::new(tenant, "server.stream.example.com:5671").await;
    let error =
        tokio::time::timeout(in_time, guest.call("resolve server.stream.example.com")).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Deadline { limit } if limit == deadline), "{error}");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let names = Names::default();
    let tenant = names.tenant(local(), &["127.0.0.1"]).with_deadline(deadline);
    let guest = Guest::new(tenant, &format!("server.stream.example.com:{port}")).await;
    let command = format!("echo server.stream.example.com {port} hello");
    let error = tokio::time::timeout(in_time, guest.call(&command)).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Deadline { limit } if limit == deadline), "{error}");
    // The connection is closed with the call.
    let (mut accepted, _) = silent.accept().await.unwrap();
    let mut sent = Vec::new();
    accepted.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, b"hello");
}

#[tokio::test]
async fn connections_have_a_rate() {
    let echo = Echo::start().await;
    let names = Names::default();
    let server = format!("server.stream.example.com:{}", echo.port);
    let limits = Limits { connections_per_second: 1, connect_timeout: Duration::from_millis(300), ..Limits::default() };
    let guest = Guest::new(names.tenant(TenantOptions { limits, ..local() }, &["127.0.0.1"]), &server).await;
    let (host, port) = server.split_once(':').unwrap();
    assert_eq!(guest.said(&format!("connect-often {host} {port} 3")).await, "1");
    assert_eq!(echo.connections_so_far().await, 1);
}

#[tokio::test]
async fn look_ups_are_bounded() {
    for (name, limits) in [
        (LimitName::SocketNames, Limits { socket_names: 0, ..Limits::default() }),
        (LimitName::LookupsPerSecond, Limits { lookups_per_second: 0, ..Limits::default() }),
    ] {
        let names = Names::default();
        let tenant = names.tenant(TenantOptions { limits, ..local() }, &["127.0.0.1"]);
        let guest = Guest::new(tenant, "server.stream.example.com:5671").await;
        assert_eq!(failure(&guest).await.limits, [LimitExceeded { name, wanted: 1, allowed: 0 }]);
        assert_eq!(names.asked(), 0);
    }
}

#[tokio::test]
async fn names_are_bounded_for_each_call() {
    let limits = Limits { socket_names: 2, ..Limits::default() };
    let tenant = Tenant::new(TenantOptions { limits: limits.clone(), ..local() }).unwrap();
    let exchange = || Exchange::new(tenant.network(), Arc::default(), crate::limits::from_now(tenant.deadline()));
    let mut sockets = Sockets::new(&limits, exchange());
    let pinned = ["a", "b", "a", "c", "b", "d"].map(|name| sockets.pin(name));
    assert_eq!(pinned, [true, true, true, false, true, false]);
    let exceeded = sockets.exchange.take_refusals().limits;
    assert_eq!(exceeded, [LimitExceeded { name: LimitName::SocketNames, wanted: 3, allowed: 2 }]);
    sockets.begin_call(&limits, exchange());
    assert!(sockets.pin("c"));
}
