//! Tests of one tenant's pool, with servers that keep the rules of HTTP/1.1 and HTTP/2 and servers that break them.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use wasmtime_wasi_http::{Error, RequestOptions};

use super::exchange::Exchange;
use super::exchange::tests::{Warnings, acceptor, exchange, exchange_within, get, simple};
use super::resolver::testing::silent;
use crate::egress::CallContext;
use crate::limits::cpu::thread_time;
use crate::limits::fair::Gate;
use crate::limits::processor::Processors;
use crate::limits::{EPOCH_TICK, LimitExceeded, LimitName, Limits};
use crate::options::Resolve;
use crate::options::{TenantOptions, TrustRoots};
use crate::tenant::Tenant;

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Served = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A TLS server on this machine. The test decides how the server treats a connection.
struct Server {
    port: u16,
    ca: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    open: AtomicUsize,
    resumed: AtomicUsize,
    requests: AtomicUsize,
}

impl Server {
    async fn start(
        alpn: &[&str],
        serve: impl Fn(TlsStream<TcpStream>, Arc<Counts>) -> Served + Send + 'static,
    ) -> Self {
        let (acceptor, ca) = acceptor(alpn);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::<Counts>::default();
        let counting = counts.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                counting.connections.fetch_add(1, Ordering::SeqCst);
                let Ok(tls) = acceptor.accept(tcp).await else { continue };
                if tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                    counting.resumed.fetch_add(1, Ordering::SeqCst);
                }
                let (served, counts) = (serve(tls, counting.clone()), counting.clone());
                counts.open.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    served.await;
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { port, ca, counts }
    }

    /// A server for HTTP/2 whose response depends on the path.
    async fn http2() -> Self {
        let barrier = Arc::new(Barrier::new(8));
        Self::start(&["h2"], move |tls, counts| {
            let barrier = barrier.clone();
            Box::pin(async move {
                let service = service_fn(move |request| answer(request, counts.clone(), barrier.clone()));
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(tls), service).await;
            })
        })
        .await
    }

    /// A server for HTTP/1.1 that sends `answer` to each request, and closes a connection after `requests` requests.
    async fn http1(answer: &'static str, requests: usize) -> Self {
        Self::start(&["http/1.1"], move |mut tls, counts| {
            Box::pin(async move {
                for _ in 0..requests {
                    if !read_head(&mut tls).await {
                        return;
                    }
                    counts.requests.fetch_add(1, Ordering::SeqCst);
                    if tls.write_all(answer.as_bytes()).await.is_err() || tls.flush().await.is_err() {
                        return;
                    }
                }
                let _ = tls.shutdown().await;
            })
        })
        .await
    }

    fn authority(&self) -> String {
        format!("localhost:{}", self.port)
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.authority())
    }

    fn tenant(&self, change: impl FnOnce(&mut Limits)) -> Tenant {
        let mut limits = Limits::default();
        change(&mut limits);
        Tenant::new(TenantOptions {
            limits,
            trust_roots: TrustRoots::Only(self.ca.clone()),
            allow_private_networks: true,
            ..TenantOptions::default()
        })
        .unwrap()
    }

    async fn get(&self, tenant: &Tenant, path: &str) -> Result<Bytes, Error> {
        simple(&exchange(tenant, &self.authority()), &self.url(path)).await
    }

    fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    async fn wait_for_open(&self, count: usize) {
        let begun = Instant::now();
        while self.counts.open.load(Ordering::SeqCst) != count {
            assert!(begun.elapsed() < Duration::from_secs(20), "{} open", self.counts.open.load(Ordering::SeqCst));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// Reads the head of a request. Returns false at the end of the connection.
async fn read_head(tls: &mut TlsStream<TcpStream>) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match tls.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

async fn answer(
    request: Request<Incoming>,
    counts: Arc<Counts>,
    barrier: Arc<Barrier>,
) -> Result<Response<Body>, std::io::Error> {
    counts.requests.fetch_add(1, Ordering::SeqCst);
    let full = |text: String| Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    Ok(match request.uri().path() {
        "/together" => {
            barrier.wait().await;
            full("together".to_owned())
        }
        "/host" => {
            let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
            full(format!("{authority} {}", request.headers().contains_key("host")))
        }
        "/big" => full(" ".repeat(1 << 20)),
        "/silent" => std::future::pending().await,
        "/stall" => {
            let first = futures_util::stream::once(async { Ok(Frame::data(Bytes::from_static(b"x"))) });
            let rest = futures_util::stream::pending();
            Response::new(StreamBody::new(futures_util::StreamExt::chain(first, rest)).boxed_unsync())
        }
        "/headers" => {
            let mut response = full(String::new());
            for number in 0..20 {
                let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
                response.headers_mut().insert(name, http::HeaderValue::try_from("x".repeat(1_000)).unwrap());
            }
            response
        }
        // The response is sent before the request has ended; then the rest of the request is read.
        "/early" => {
            tokio::spawn(request.into_body().collect());
            full("early".to_owned())
        }
        "/reset" => return Err(std::io::Error::other("reset")),
        "/busy" => {
            let mut response = full(String::new());
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            response
        }
        _ => full("hello".to_owned()),
    })
}

#[tokio::test]
async fn http2_is_spoken_where_the_server_does_and_one_connection_carries_all() {
    let server = Server::http2().await;
    for expected in 1..=2 {
        let tenant = server.tenant(|_| ());
        assert_eq!(server.get(&tenant, "small").await.unwrap(), "hello");
        // The server responds only after all eight requests have arrived. Each belongs to a call of its own.
        let together = futures_util::future::join_all((0..8).map(|_| server.get(&tenant, "together")));
        let answers = tokio::time::timeout(Duration::from_secs(30), together).await.unwrap();
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == "together"));
        // Connections are never shared between tenants.
        assert_eq!(server.connections(), expected);
    }
}

#[tokio::test]
async fn the_host_is_named_once_in_the_way_of_each_protocol() {
    let server = Server::http2().await;
    let said = server.get(&server.tenant(|_| ()), "host").await.unwrap();
    assert_eq!(said, format!("{} false", server.authority()));

    let server = Server::start(&["http/1.1"], |mut tls, _| {
        Box::pin(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(tls.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            let hosts: Vec<_> = head.lines().filter(|line| line.starts_with("host:")).collect();
            let hosts = hosts.join(",");
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{hosts}", hosts.len());
            tls.write_all(answer.as_bytes()).await.unwrap();
        })
    })
    .await;
    let said = server.get(&server.tenant(|_| ()), "").await.unwrap();
    assert_eq!(said, format!("host: {}", server.authority()));
}

#[tokio::test]
async fn limits_and_timeouts_hold_on_http2_and_spare_the_connection() {
    let server = Server::http2().await;
    let tenant = server.tenant(|limits| {
        limits.response_bytes = 1_000;
        limits.header_bytes = 16 << 10;
    });
    let call = exchange(&tenant, &server.authority());
    let error = simple(&call, &server.url("big")).await.unwrap_err();
    assert!(matches!(error, Error::HttpResponseBodySize(Some(1_000))), "{error}");
    let limits = call.take_refusals().limits;
    assert_eq!(limits, [LimitExceeded { name: LimitName::ResponseBytes, wanted: 1 << 20, allowed: 1_000 }]);
    let error = server.get(&tenant, "headers").await.unwrap_err();
    assert!(matches!(error, Error::HttpProtocolError), "{error}");
    let timeout = Some(Duration::from_millis(200));
    let options = RequestOptions { connect_timeout: None, first_byte_timeout: timeout, between_bytes_timeout: timeout };
    for path in ["silent", "stall"] {
        let error = get(&exchange(&tenant, &server.authority()), &server.url(path), options).await.unwrap_err();
        assert!(matches!(error, Error::ConnectionReadTimeout), "{path}: {error}");
    }
    // Many streams that the server resets do not end the connection.
    for _ in 0..100 {
        let error = server.get(&tenant, "reset").await.unwrap_err();
        assert!(matches!(error, Error::ConnectionTerminated), "{error}");
    }
    assert_eq!(server.get(&tenant, "small").await.unwrap(), "hello");
    assert_eq!(server.connections(), 1);
    let hasty = tenant.with_deadline(Duration::from_millis(200));
    let error = server.get(&hasty, "silent").await.unwrap_err();
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error}");
}

/// A server that never responds and sends frames as fast as it can must not keep an exchange from ending in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_pings_and_settings_do_not_hold_an_exchange() {
    // The fields of a frame: length, type, flags, stream, content.
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    for frame in [SETTINGS, PING] {
        let server = Server::start(&["h2"], move |mut tls, _| {
            Box::pin(async move {
                let _ = tls.write_all(SETTINGS).await;
                let flood = frame.repeat(1_000);
                let mut ignored = [0; 4_096];
                loop {
                    tokio::select! {
                        written = tls.write_all(&flood) => if written.is_err() { return },
                        () = tokio::time::sleep(Duration::from_millis(1)) => match tls.read(&mut ignored).await {
                            Ok(1..) => {}
                            _ => return,
                        },
                    }
                }
            })
        })
        .await;
        let tenant = server.tenant(|_| ()).with_deadline(Duration::from_millis(500));
        let begun = Instant::now();
        let error = server.get(&tenant, "").await.unwrap_err();
        use Error::{ConnectionReadTimeout, ConnectionTerminated, HttpProtocolError};
        assert!(matches!(error, ConnectionReadTimeout | ConnectionTerminated | HttpProtocolError), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        // The connection ends with its tenant, and the flood ends with the connection.
        drop(tenant);
        server.wait_for_open(0).await;
    }
}

#[tokio::test]
async fn tls_sessions_are_resumed_within_a_tenant_alone() {
    let server = Server::http1("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello", 1).await;
    let resumed = || server.counts.resumed.load(Ordering::SeqCst);
    let tenant = server.tenant(|_| ());
    for expected in 0..3 {
        assert_eq!(server.get(&tenant, "").await.unwrap(), "hello");
        assert_eq!((server.connections(), resumed()), (expected + 1, expected));
    }
    assert_eq!(server.get(&server.tenant(|_| ()), "").await.unwrap(), "hello");
    assert_eq!((server.connections(), resumed()), (4, 2));
}

#[tokio::test]
async fn a_connection_that_went_stale_is_replaced_and_nothing_is_sent_twice() {
    // The server closes the connection after each response, without announcing it.
    let server = Server::http1(HELLO, 1).await;
    let tenant = server.tenant(|_| ());
    for expected in 1..=3 {
        assert_eq!(server.get(&tenant, "").await.unwrap(), "hello");
        server.wait_for_open(0).await;
        assert_eq!((server.connections(), server.counts.requests.load(Ordering::SeqCst)), (expected, expected));
    }

    // The second request arrives and gets no response, so nobody knows whether it had an effect.
    let server = Server::start(&["http/1.1"], |mut tls, counts| {
        Box::pin(async move {
            for answer in [HELLO, ""] {
                if read_head(&mut tls).await {
                    counts.requests.fetch_add(1, Ordering::SeqCst);
                    let _ = tls.write_all(answer.as_bytes()).await;
                    let _ = tls.flush().await;
                }
            }
        })
    })
    .await;
    let tenant = server.tenant(|_| ());
    assert_eq!(server.get(&tenant, "").await.unwrap(), "hello");
    let error = server.get(&tenant, "").await.unwrap_err();
    assert!(matches!(error, Error::ConnectionTerminated), "{error}");
    assert_eq!((server.connections(), server.counts.requests.load(Ordering::SeqCst)), (1, 2));
}

#[tokio::test]
async fn what_is_about_a_connection_does_not_reach_the_guest() {
    let server = Server::http1(
        "HTTP/1.1 200 OK\r\nconnection: close, X-Hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nproxy-authenticate: x\r\n\
         x-end: 1\r\ncontent-length: 0\r\n\r\n",
        1,
    )
    .await;
    let tenant = server.tenant(|_| ());
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get(server.url("")).body(body).unwrap();
    let call = exchange(&tenant, &server.authority());
    let response = call.send(request, RequestOptions::default()).await.unwrap();
    let names: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["x-end", "content-length"]);
}

#[tokio::test]
async fn tunnels_are_refused() {
    let server = Server::http2().await;
    let tenant = server.tenant(|_| ());
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::connect(server.url("")).body(body).unwrap();
    let call = exchange(&tenant, &server.authority());
    let error = call.clone().send(request, RequestOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::HttpRequestDenied), "{error}");
    assert!(call.take_refusals().denials[0].reason.contains("CONNECT"));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn requests_and_connections_have_a_rate() {
    let server = Server::http1(HELLO, 1).await;
    let over = |call: &Exchange| call.take_refusals().limits.iter().map(|it| (it.name, it.allowed)).collect::<Vec<_>>();
    let tenant = server.tenant(|limits| {
        limits.http_requests_per_second = 2;
        limits.connect_timeout = Duration::from_millis(200);
    });
    let call = exchange(&tenant, &server.authority());
    let url = server.url("");
    let (first, second, third) = tokio::join!(simple(&call, &url), simple(&call, &url), simple(&call, &url));
    assert!(first.is_ok() && second.is_ok());
    assert!(matches!(third, Err(Error::ConnectionLimitReached)), "{third:?}");
    assert_eq!(over(&call), [(LimitName::HttpRequestsPerSecond, 2)]);

    let tenant = server.tenant(|limits| {
        limits.connections_per_second = 1;
        limits.connect_timeout = Duration::from_millis(400);
    });
    let call = exchange(&tenant, &server.authority());
    let (first, second) = tokio::join!(simple(&call, &url), simple(&call, &url));
    assert!(first.is_ok(), "{first:?}");
    assert!(matches!(second, Err(Error::ConnectionLimitReached)), "{second:?}");
    assert_eq!(over(&call), [(LimitName::ConnectionsPerSecond, 1)]);
    // An exchange that can wait longer gets its turn.
    let tenant = server.tenant(|limits| limits.connections_per_second = 1);
    let call = exchange(&tenant, &server.authority());
    let (first, second) = tokio::join!(simple(&call, &url), simple(&call, &url));
    assert!(first.is_ok() && second.is_ok(), "{second:?}");
}

#[tokio::test]
async fn a_tenant_that_floods_the_host_with_exchanges_does_not_starve_another() {
    let server = Server::http2().await;
    let [flood, quiet] = [server.tenant(|_| ()), server.tenant(|_| ())];
    let context = CallContext { exchanges: Some(Gate::new(2)), ..CallContext::default() };
    let within = |tenant: &Tenant| exchange_within(tenant, &server.authority(), context.clone());
    let (inside, outside) = (within(&flood), within(&flood));
    let urls = [server.url("silent"), server.url("small")];
    let began = |count| {
        let requests = &server.counts.requests;
        async move {
            while requests.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    // Two exchanges of the flood are running and ten wait before the quiet tenant's exchange arrives.
    let two = futures_util::future::join_all((0..2).map(|_| simple(&inside, &urls[0])));
    let ten = async {
        began(2).await;
        futures_util::future::join_all((0..10).map(|_| simple(&outside, &urls[0]))).await
    };
    let quiet = async {
        began(2).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let calling = within(&quiet);
        let (answer, _) = tokio::join!(simple(&calling, &urls[1]), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            inside.end().await
        });
        answer
    };
    // Meanwhile another exchange of the flood reaches the limit, and its error names the limit.
    let late = within(&flood);
    let hasty = async {
        began(2).await;
        let options = RequestOptions { connect_timeout: Some(Duration::from_millis(50)), ..RequestOptions::default() };
        let error = get(&late, &urls[1], options).await.unwrap_err();
        assert!(matches!(error, Error::ConnectionLimitReached), "{error}");
        let limits = late.take_refusals().limits;
        assert_eq!(limits, [LimitExceeded { name: LimitName::ConcurrentExchanges, wanted: 3, allowed: 2 }]);
    };
    let quiet = async { tokio::join!(hasty, quiet).1 };
    tokio::select! {
        answers = async { tokio::join!(two, ten) } => panic!("{answers:?}"),
        answer = quiet => assert_eq!(answer.unwrap(), "hello"),
    }
}

#[tokio::test]
async fn a_deadline_ends_even_a_look_up() {
    let options = TenantOptions { resolver: silent(), ..TenantOptions::default() };
    let tenant = Tenant::new(options).unwrap().with_deadline(Duration::from_millis(200));
    let begun = Instant::now();
    let error = simple(&exchange(&tenant, "localhost:1"), "https://localhost:1/").await.unwrap_err();
    assert!(matches!(error, Error::ConnectionTimeout), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_dropped_exchange_ends_its_connection_at_once() {
    let server = Server::http1("", usize::MAX).await;
    let tenant = server.tenant(|_| ());
    let waiting = tokio::time::timeout(Duration::from_millis(300), server.get(&tenant, ""));
    assert!(waiting.await.is_err());
    assert_eq!(server.counts.requests.load(Ordering::SeqCst), 1);
    server.wait_for_open(0).await;
}

/// A tenant that trusts several servers.
fn tenant_of(servers: &[&Server], change: impl FnOnce(&mut Limits)) -> Tenant {
    let mut limits = Limits::default();
    change(&mut limits);
    let trust_roots = TrustRoots::Only(servers.iter().map(|server| server.ca.as_str()).collect());
    Tenant::new(TenantOptions { limits, trust_roots, allow_private_networks: true, ..TenantOptions::default() })
        .unwrap()
}

/// The beginning of a response that never ends.
const ENDLESS: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx";

/// Sends a request, and returns its response without reading the body.
async fn held(call: &Arc<Exchange>, url: &str) -> Response<wasmtime_wasi_http::WasiBody> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    call.clone().send(Request::get(url).body(body).unwrap(), RequestOptions::default()).await.unwrap()
}

#[tokio::test]
async fn connections_are_bounded_over_all_hosts_and_idle_ones_make_room() {
    let (one, two) = (Server::http1(HELLO, usize::MAX).await, Server::http2().await);
    let tenant = tenant_of(&[&one, &two], |limits| limits.http_connections = 1);
    // A server's connection stays open until the other server needs its slot.
    for expected in 1..=3 {
        for server in [&one, &two] {
            for _ in 0..3 {
                assert_eq!(server.get(&tenant, "small").await.unwrap(), "hello");
            }
            assert_eq!(server.connections(), expected);
        }
        one.wait_for_open(0).await;
    }

    // Only the connection that has been idle for the longest is closed.
    let servers = [Server::http1(HELLO, usize::MAX).await, Server::http1(HELLO, usize::MAX).await, one];
    let tenant = tenant_of(&servers.each_ref(), |limits| limits.http_connections = 2);
    let before = servers[2].connections();
    for server in [0, 1, 0, 2, 0] {
        assert_eq!(servers[server].get(&tenant, "").await.unwrap(), "hello");
    }
    servers[1].wait_for_open(0).await;
    assert_eq!((servers[0].connections(), servers[2].connections()), (1, before + 1));
}

#[tokio::test]
async fn an_exchange_waits_for_a_place_and_says_which_limit_it_was() {
    let (one, two) = (Server::http1(ENDLESS, usize::MAX).await, Server::http2().await);
    let tenant = tenant_of(&[&one, &two], |limits| limits.http_connections = 1);
    let holding = exchange(&tenant, &one.authority());
    let response = held(&holding, &one.url("")).await;
    let call = exchange(&tenant, &two.authority());
    let options = RequestOptions { connect_timeout: Some(Duration::from_millis(100)), ..RequestOptions::default() };
    let error = get(&call, &two.url("small"), options).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLimitReached), "{error}");
    let limits = call.take_refusals().limits;
    assert_eq!(limits, [LimitExceeded { name: LimitName::HttpConnections, wanted: 2, allowed: 1 }]);
    assert_eq!(two.connections(), 0);
    // An exchange that can wait longer gets its turn.
    let (answer, ()) = tokio::join!(two.get(&tenant, "small"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(two.connections(), 0);
        drop(response);
    });
    assert_eq!(answer.unwrap(), "hello");
    // A connection that becomes idle while an exchange waits for a slot is closed, too, even if it was opened for
    // another host.
    let three = Server::http1(HELLO, usize::MAX).await;
    let tenant = tenant_of(&[&two, &three], |limits| limits.http_connections = 1);
    let stalled = held(&exchange(&tenant, &two.authority()), &two.url("stall")).await;
    let (answer, ()) = tokio::join!(three.get(&tenant, ""), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(three.connections(), 0);
        drop(stalled);
    });
    assert_eq!(answer.unwrap(), "hello");
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    for server in [Server::http1(HELLO, usize::MAX).await, Server::http2().await] {
        let tenant = server.tenant(|limits| limits.http_idle = Duration::from_millis(100));
        for expected in 1..=2 {
            assert_eq!(server.get(&tenant, "small").await.unwrap(), "hello");
            server.wait_for_open(0).await;
            assert_eq!(server.connections(), expected);
        }
    }
    // A connection in use is not idle, no matter how long its exchange takes.
    let server = Server::http2().await;
    let tenant = server.tenant(|limits| limits.http_idle = Duration::from_millis(20));
    let response = held(&exchange(&tenant, &server.authority()), &server.url("stall")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.get(&tenant, "small").await.unwrap(), "hello");
    assert_eq!(server.connections(), 1);
    drop(response);
    server.wait_for_open(0).await;
}

#[tokio::test]
async fn idle_connections_are_closed_on_request_and_with_their_tenant() {
    for server in [Server::http1(HELLO, usize::MAX).await, Server::http2().await] {
        let tenant = server.tenant(|_| ());
        server.get(&tenant, "small").await.unwrap();
        tenant.close_idle_connections();
        server.wait_for_open(0).await;
        server.get(&tenant, "small").await.unwrap();
        assert_eq!(server.connections(), 2);
        tenant.drain(Duration::ZERO).await;
        server.wait_for_open(0).await;
        let tenant = server.tenant(|_| ());
        server.get(&tenant, "small").await.unwrap();
        tenant.close();
        server.wait_for_open(0).await;
    }
    // A connection that an exchange uses is closed after the exchange.
    let server = Server::http2().await;
    let tenant = server.tenant(|_| ());
    let response = held(&exchange(&tenant, &server.authority()), &server.url("stall")).await;
    tenant.close_idle_connections();
    assert_eq!(server.get(&tenant, "small").await.unwrap(), "hello");
    assert_eq!(server.connections(), 1);
    tenant.close();
    drop(response);
    server.wait_for_open(0).await;
}

/// Bytes that an exchange with default limits reserves for its request and for its response.
const REQUEST: u64 = (128 << 10) + (64 << 10);
const RESPONSE: u64 = (256 << 10) + (64 << 10);

#[tokio::test]
async fn an_exchange_sets_its_buffers_aside_and_one_that_waits_its_requests() {
    let server = Server::http1(ENDLESS, usize::MAX).await;
    let url = server.url("");
    for (name, change) in [
        (LimitName::BufferBytes, (|limits, bytes| limits.buffer_bytes = bytes) as fn(&mut Limits, u64)),
        (LimitName::TenantBufferBytes, |limits, bytes| limits.tenant_buffer_bytes = bytes),
    ] {
        for (bytes, wanted) in [(REQUEST - 1, REQUEST), (REQUEST + RESPONSE - 1, REQUEST + RESPONSE)] {
            let tenant = server.tenant(|limits| change(limits, bytes));
            let call = exchange(&tenant, &server.authority());
            let error = simple(&call, &url).await.unwrap_err();
            assert!(matches!(error, Error::ConnectionLimitReached), "{error}");
            assert_eq!(call.take_refusals().limits, [LimitExceeded { name, wanted, allowed: bytes }]);
            // A refused exchange keeps nothing reserved.
            assert_eq!(tenant.network().buffers.left(), tenant.limits().tenant_buffer_bytes);
        }
    }

    let tenant = server.tenant(|limits| limits.http_concurrency = 1);
    let taken = || tenant.limits().tenant_buffer_bytes - tenant.network().buffers.left();
    let call = exchange(&tenant, &server.authority());
    let response = held(&call, &url).await;
    assert_eq!(taken(), REQUEST + RESPONSE);
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(simple(&call, &url))).collect();
    for waiting in &mut waiting {
        assert!(futures_util::FutureExt::now_or_never(waiting).is_none());
    }
    assert_eq!(taken(), REQUEST + RESPONSE + 3 * REQUEST);
    drop((waiting, response));
    assert_eq!(taken(), 0);
}

#[tokio::test]
async fn an_upload_that_goes_on_after_the_response_keeps_its_share() {
    for (alpn, server) in [("http/1.1", Server::http1(HELLO, usize::MAX).await), ("h2", Server::http2().await)] {
        let tenant = server.tenant(|limits| limits.http_concurrency = 1);
        let taken = || tenant.limits().tenant_buffer_bytes - tenant.network().buffers.left();
        let call = exchange(&tenant, &server.authority());
        let (writing, written) = tokio::sync::mpsc::unbounded_channel::<Result<Frame<Bytes>, Error>>();
        let written = futures_util::stream::unfold(written, |mut written| async move {
            written.recv().await.map(|frame| (frame, written))
        });
        let request = Request::post(server.url("early")).body(StreamBody::new(written).boxed_unsync()).unwrap();
        writing.send(Ok(Frame::data(Bytes::from_static(b"the beginning")))).unwrap();
        let response = call.clone().send(request, RequestOptions::default()).await.unwrap();
        // The server has responded, and the guest drops the response.
        drop(response.into_body().collect().await.unwrap());
        assert_eq!(taken(), REQUEST + RESPONSE, "{alpn}");
        let late = exchange(&tenant, &server.authority());
        let options = RequestOptions { connect_timeout: Some(Duration::from_millis(50)), ..RequestOptions::default() };
        let error = get(&late, &server.url("small"), options).await.unwrap_err();
        assert!(matches!(error, Error::ConnectionLimitReached), "{alpn}: {error}");
        assert_eq!(late.take_refusals().limits[0].name, LimitName::HttpConcurrency);
        assert!(!call.end().await, "{alpn}");
        drop(writing);
        assert!(call.end().await, "{alpn}");
        assert_eq!(taken(), 0);
    }
}

#[tokio::test]
async fn limits_may_be_as_large_as_can_be() {
    for server in [Server::http1(HELLO, usize::MAX).await, Server::http2().await] {
        let tenant = server.tenant(|limits| *limits = Limits::largest());
        let call = exchange(&tenant, &server.authority());
        let url = server.url("small");
        let answers = tokio::join!(simple(&call, &url), simple(&call, &url));
        assert_eq!((answers.0.unwrap(), answers.1.unwrap()), ("hello".into(), "hello".into()));
        let timeout = Some(Duration::MAX);
        let options =
            RequestOptions { connect_timeout: timeout, first_byte_timeout: timeout, between_bytes_timeout: timeout };
        assert_eq!(get(&call, &url, options).await.unwrap(), "hello");
    }
}

#[tokio::test]
async fn look_ups_have_a_rate_and_take_turns_over_all_tenants() {
    let server = Server::http2().await;
    let tenant = server.tenant(|limits| limits.lookups_per_second = 0);
    let call = exchange(&tenant, &server.authority());
    let error = simple(&call, &server.url("small")).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLimitReached), "{error}");
    let limits = call.take_refusals().limits;
    assert_eq!(limits, [LimitExceeded { name: LimitName::LookupsPerSecond, wanted: 1, allowed: 0 }]);

    let gate = Gate::new(1);
    let context = CallContext { lookups: Some(gate.clone()), ..CallContext::default() };
    let tenant = server.tenant(|_| ());
    let call = exchange_within(&tenant, &server.authority(), context);
    // Another tenant holds the only turn.
    let turn = gate.enter(1).await;
    let options = RequestOptions { connect_timeout: Some(Duration::from_millis(100)), ..RequestOptions::default() };
    let error = get(&call, &server.url("small"), options).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLimitReached), "{error}");
    let limits = call.take_refusals().limits;
    assert_eq!(limits, [LimitExceeded { name: LimitName::ConcurrentLookups, wanted: 2, allowed: 1 }]);
    assert_eq!(server.connections(), 0);
    drop(turn);
    assert_eq!(simple(&call, &server.url("small")).await.unwrap(), "hello");
    // The turn ends with the look-up, not with the connection.
    assert!(futures_util::FutureExt::now_or_never(gate.enter(1)).is_some());
}

/// Starts a server on a thread of its own, so that its computing time is not counted as the test's.
fn start_apart(
    alpn: &'static [&'static str],
    serve: impl Fn(TlsStream<TcpStream>, Arc<Counts>) -> Served + Send + 'static,
) -> Server {
    let (started, server) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            started.send(Server::start(alpn, serve).await).unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
        });
    });
    server.recv().unwrap()
}

/// Starts a server that responds to a request with the same bytes again and again.
fn start_flooding(alpn: &'static [&'static str], piece: &'static [u8]) -> Server {
    start_apart(alpn, move |mut tls, _| {
        Box::pin(async move {
            if alpn == ["h2"] {
                begin_h2(&mut tls).await;
            } else {
                read_head(&mut tls).await;
            }
            flood(&mut tls, piece, &AtomicUsize::new(0)).await;
        })
    })
}

/// An informational HTTP/1.1 response, which another response must follow.
const H1_EARLY_HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
/// Frames of HTTP/2: length, type, flags, stream, content.
const H2_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const H2_PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
/// A response with status 200 that ends the first stream.
const H2_OK: &[u8] = &[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];
/// An informational response (status 103) on the first stream, which another response must follow.
const H2_EARLY_HINTS: &[u8] = &[0, 0, 5, 1, 4, 0, 0, 0, 1, 0x08, 3, b'1', b'0', b'3'];

/// Reads the client's preface, its settings and the beginning of its first request.
async fn begin_h2(tls: &mut TlsStream<TcpStream>) {
    let _ = tls.write_all(H2_SETTINGS).await;
    let mut seen = vec![0; 24];
    tls.read_exact(&mut seen).await.unwrap();
    loop {
        let mut head = [0; 9];
        tls.read_exact(&mut head).await.unwrap();
        let mut content = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        tls.read_exact(&mut content).await.unwrap();
        if head[3] == 1 {
            return;
        }
    }
}

/// Sends `what` again and again, and discards everything that it receives.
async fn flood(tls: &mut TlsStream<TcpStream>, what: &[u8], sent: &AtomicUsize) {
    let flood = what.repeat(1_000);
    let mut ignored = vec![0; 64 << 10];
    let (mut reading, mut writing) = tokio::io::split(tls);
    let writing = async {
        while writing.write_all(&flood).await.is_ok() && writing.flush().await.is_ok() {
            sent.fetch_add(flood.len(), Ordering::SeqCst);
        }
    };
    let reading = async { while let Ok(1..) = reading.read(&mut ignored).await {} };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
}

/// Servers that respond before they have read the upload and then stop reading, and one that does not even respond.
async fn servers_that_read_no_more() -> Vec<(&'static str, Server)> {
    let silent = Server::start(&["http/1.1"], |mut tls, _| {
        Box::pin(async move {
            read_head(&mut tls).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        })
    });
    let http1 = Server::start(&["http/1.1"], |mut tls, _| {
        Box::pin(async move {
            read_head(&mut tls).await;
            let _ = tls.write_all(HELLO.as_bytes()).await;
            let _ = tls.flush().await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        })
    });
    let http2 = Server::start(&["h2"], |mut tls, _| {
        Box::pin(async move {
            begin_h2(&mut tls).await;
            let _ = tls.write_all(H2_OK).await;
            let _ = tls.flush().await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        })
    });
    vec![("silent", silent.await), ("http/1.1", http1.await), ("h2", http2.await)]
}

/// The connections of a tenant must end with its calls and with the tenant, even if servers stop reading.
#[tokio::test]
async fn no_connection_outlives_its_tenant() {
    #[derive(Clone, Copy, Debug)]
    enum End {
        Call,
        DroppedCall,
        Close,
        Drain,
        Drop,
    }
    let mut left = Vec::new();
    for (name, server) in servers_that_read_no_more().await {
        for end in [End::Call, End::DroppedCall, End::Close, End::Drain, End::Drop] {
            let tenant = server.tenant(|_| ());
            let (inner, slots) = (Arc::downgrade(tenant.network()), tenant.network().pool.slots());
            let call = exchange(&tenant, &server.authority());
            let (writing, written) = tokio::sync::mpsc::unbounded_channel::<Result<Frame<Bytes>, Error>>();
            let written = futures_util::stream::unfold(written, |mut written| async move {
                written.recv().await.map(|frame| (frame, written))
            });
            let request = Request::post(server.url("")).body(StreamBody::new(written).boxed_unsync()).unwrap();
            // More bytes than the kernel buffers.
            for _ in 0..256 {
                writing.send(Ok(Frame::data(Bytes::from(vec![0; 64 << 10])))).unwrap();
            }
            let sending = call.clone().send(request, RequestOptions::default());
            let sent = tokio::time::timeout(Duration::from_millis(300), sending).await;
            assert_eq!(sent.is_ok(), name != "silent", "{name}");
            if let Ok(response) = sent {
                drop(response.unwrap().into_body().collect().await.unwrap());
            }
            let begun = Instant::now();
            // The end of a guest's store drops the guest's end of the body.
            drop(writing);
            match end {
                End::DroppedCall => drop(call.until_dropped()),
                _ => drop(call.end().await),
            }
            drop(call);
            match end {
                End::Call | End::DroppedCall => {}
                End::Close => tenant.close(),
                End::Drain => drop(tenant.drain(Duration::ZERO).await),
                End::Drop => drop(tenant),
            }
            let all = Limits::default().http_connections;
            while slots.available_permits() < all && begun.elapsed() < Duration::from_secs(3) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let open = all - slots.available_permits();
            println!("{name}, {end:?}: {open} connections left after {:.1?}", begun.elapsed());
            let kept = matches!(end, End::Drop) && inner.strong_count() > 0;
            if open > 0 || kept {
                left.push((name, end));
            }
        }
    }
    assert!(left.is_empty(), "{left:?}");
}

/// A connection that no exchange uses must cost nearly nothing, even if its server floods it.
#[tokio::test]
async fn a_server_that_floods_an_idle_connection_is_cut_off() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counting = sent.clone();
    let server = start_apart(&["h2"], move |mut tls, _| {
        let sent = counting.clone();
        Box::pin(async move {
            begin_h2(&mut tls).await;
            let _ = tls.write_all(H2_OK).await;
            flood(&mut tls, H2_PING, &sent).await;
        })
    });
    let tenant = server.tenant(|_| ());
    let call = exchange(&tenant, &server.authority());
    assert_eq!(simple(&call, &server.url("")).await.unwrap(), "");
    assert!(call.end().await);
    let (begun, computed) = (Instant::now(), thread_time());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let share = (thread_time() - computed).as_secs_f64() / begun.elapsed().as_secs_f64();
    let sent = sent.load(Ordering::SeqCst);
    println!("an idle connection took {:.1} % of a processor, {} KiB were sent", share * 100.0, sent >> 10);
    assert!(share < 0.1, "{share}");
    server.wait_for_open(0).await;
}

/// A server must not send without end to a call that waits for its response.
#[tokio::test]
async fn a_server_that_sends_more_than_a_call_can_use_is_cut_off() {
    for (what, alpn, frame) in [
        ("informational answers, HTTP/1.1", &["http/1.1"][..], H1_EARLY_HINTS),
        ("informational answers, HTTP/2", &["h2"], H2_EARLY_HINTS),
        ("pings", &["h2"], H2_PING),
        ("settings", &["h2"], H2_SETTINGS),
    ] {
        let server = start_flooding(alpn, frame);
        let tenant = server.tenant(|_| ()).with_deadline(Duration::from_secs(3));
        let call = exchange(&tenant, &server.authority());
        let (begun, computed) = (Instant::now(), thread_time());
        let error = simple(&call, &server.url("")).await.unwrap_err();
        let (computed, charged) = (thread_time() - computed, call.computed());
        println!("{what}: {error} after {:.1?}, {computed:.1?} computed, {charged:.1?} charged", begun.elapsed());
        // The TLS handshake counts as the test's time, because the test polls the exchange itself.
        assert!(charged > computed / 2, "{charged:?}");
        let limits: Vec<_> = call.take_refusals().limits.iter().map(|limit| limit.name.as_str()).collect();
        assert_eq!(limits, ["http_excess_bytes"], "{what}: {error}");
        server.wait_for_open(0).await;
    }
}

/// The connections of a tenant compute in its turns. In this test no limit stops the floods.
#[tokio::test]
async fn a_flooded_connection_takes_no_more_than_its_tenants_share() {
    /// A guest that computes yields at every epoch.
    const SLICE: Duration = EPOCH_TICK;
    const SLICES: u32 = 20;
    for (what, alpn, frame) in [
        ("informational answers, HTTP/1.1", &["http/1.1"][..], H1_EARLY_HINTS),
        ("informational answers, HTTP/2", &["h2"], H2_EARLY_HINTS),
        ("pings", &["h2"], H2_PING),
    ] {
        let server = start_flooding(alpn, frame);
        let tenant = server.tenant(|limits| {
            limits.http_excess_bytes = u64::MAX;
            limits.cpu = Duration::from_secs(60);
        });
        let processors = Processors::new(1);
        let context = CallContext { processors: Some(processors.clone()), ..CallContext::default() };
        let call = exchange_within(&tenant, &server.authority(), context);
        let url = server.url("");
        let quiet = processors.share(tenant.id() ^ 1, async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let begun = thread_time();
            for _ in 0..SLICES {
                let until = thread_time() + SLICE;
                while thread_time() < until {
                    std::hint::spin_loop();
                }
                tokio::task::yield_now().await;
            }
            thread_time() - begun
        });
        tokio::select! {
            ended = simple(&call, &url) => panic!("{what}: {ended:?}"),
            took = quiet => {
                let own = SLICE * SLICES;
                println!("{what}: a quiet tenant's {own:?} took {:.2} times as long", took.as_secs_f64() / own.as_secs_f64());
                assert!(took < own * 3, "{what}: {took:?}");
            }
        }
    }
}

/// h2 logs a warning for each unexpected ping acknowledgement. Such warnings must not fill the log, neither in a call
/// nor after it.
#[tokio::test]
async fn a_server_cannot_fill_the_log_through_a_library() {
    const PONG: &[u8] = &[0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    for (when, answer) in [("in a call", &b""[..]), ("beside calls", H2_OK)] {
        let warnings = Warnings::default();
        let _guard = tracing::subscriber::set_default(warnings.clone());
        let server = start_apart(&["h2"], move |mut tls, _| {
            Box::pin(async move {
                begin_h2(&mut tls).await;
                let _ = tls.write_all(answer).await;
                flood(&mut tls, PONG, &AtomicUsize::new(0)).await;
            })
        });
        let tenant = server.tenant(|limits| limits.log_lines = 100).with_deadline(Duration::from_secs(2));
        let call = exchange(&tenant, &server.authority());
        assert_eq!(simple(&call, &server.url("")).await.is_ok(), !answer.is_empty());
        call.end().await;
        server.wait_for_open(0).await;
        drop((call, tenant));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let lines = std::mem::take(&mut *warnings.0.lock().unwrap());
        let reported: Vec<_> = lines.iter().filter(|line| line.contains("the rest of what libraries logged")).collect();
        println!("{when}: {} lines, {reported:?}", lines.len());
        assert!((100..220).contains(&lines.len()), "{}", lines.len());
        assert!((1..3).contains(&reported.len()), "{reported:?}");
    }
}

/// A resolver that finds every name on this machine, and remembers the names and ports that it was asked for.
#[derive(Debug, Default)]
struct Book(Mutex<Vec<(String, Option<u16>)>>);

impl Resolve for Book {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: Option<u16>,
    ) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(async move {
            self.0.lock().unwrap().push((host.to_owned(), port));
            Ok(vec![IpAddr::from([127, 0, 0, 1])])
        })
    }
}

#[tokio::test]
async fn an_embedders_resolver_is_asked_and_its_addresses_are_vetted() {
    let server = Server::http2().await;
    let book = Arc::new(Book::default());
    for (allow_private_networks, connections) in [(false, 0), (true, 1)] {
        let options = TenantOptions {
            resolver: Some(book.clone()),
            trust_roots: TrustRoots::Only(server.ca.clone()),
            allow_private_networks,
            ..TenantOptions::default()
        };
        let answer = server.get(&Tenant::new(options).unwrap(), "small").await;
        match answer {
            Ok(answer) => assert!(allow_private_networks && answer == "hello"),
            Err(error) => {
                assert!(!allow_private_networks && matches!(error, Error::DestinationIpProhibited), "{error}")
            }
        }
        assert_eq!(server.connections(), connections);
    }
    let asked = ("localhost".to_owned(), Some(server.port));
    assert_eq!(*book.0.lock().unwrap(), [asked.clone(), asked]);
}

/// Sends a request as a guest does: the task of the call polls the connection, too.
async fn attended(call: &Arc<Exchange>, url: &str) -> Result<Bytes, Error> {
    call.errands().attend().beside(simple(call, url)).await
}

#[tokio::test]
async fn a_call_polls_the_connection_that_it_uses() {
    let server = Server::http1(HELLO, usize::MAX).await;
    let tenant = server.tenant(|_| ());
    for _ in 0..3 {
        let call = exchange(&tenant, &server.authority());
        let mut errands = call.errands().attend();
        for _ in 0..3 {
            assert_eq!(errands.beside(simple(&call, &server.url(""))).await.unwrap(), "hello");
        }
    }
    // A call that nobody attends to uses the same connection, which its task then polls.
    assert_eq!(server.get(&tenant, "").await.unwrap(), "hello");
    assert_eq!(attended(&exchange(&tenant, &server.authority()), &server.url("")).await.unwrap(), "hello");
    assert_eq!(server.connections(), 1);
    tenant.close();
    server.wait_for_open(0).await;
}

#[tokio::test]
async fn a_connection_that_went_stale_at_rest_is_replaced_or_noticed() {
    // The server closes the connection after each response. The next request may come before anybody has noticed.
    let server = Server::http1(HELLO, 1).await;
    let tenant = server.tenant(|_| ());
    for expected in 1..=3 {
        let call = exchange(&tenant, &server.authority());
        assert_eq!(attended(&call, &server.url("")).await.unwrap(), "hello");
        server.wait_for_open(0).await;
        assert_eq!((server.connections(), server.counts.requests.load(Ordering::SeqCst)), (expected, expected));
    }
    // Without another request, its place is free soon.
    let (slots, all) = (tenant.network().pool.slots(), Limits::default().http_connections);
    let begun = Instant::now();
    while slots.available_permits() < all {
        assert!(begun.elapsed() < Duration::from_secs(5), "{} free", slots.available_permits());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_ends_the_connection_that_it_polls() {
    for answer in ["", ENDLESS] {
        let server = Server::http1(answer, usize::MAX).await;
        let tenant = server.tenant(|_| ());
        let call = exchange(&tenant, &server.authority());
        let url = server.url("");
        let waiting = tokio::time::timeout(Duration::from_millis(300), attended(&call, &url)).await;
        assert!(waiting.is_err(), "{waiting:?}");
        assert_eq!(server.counts.requests.load(Ordering::SeqCst), 1);
        drop(call.until_dropped());
        server.wait_for_open(0).await;
    }
}

/// What the host computes for a connection in the polls of a call counts as the call's, and is bounded like it.
#[tokio::test]
async fn a_flood_into_a_call_that_polls_its_connection_ends_with_the_calls_limits() {
    let server = start_flooding(&["http/1.1"], H1_EARLY_HINTS);
    let call = exchange(&server.tenant(|_| ()), &server.authority());
    assert!(call.counting(attended(&call, &server.url(""))).await.is_err());
    let limits: Vec<_> = call.take_refusals().limits.iter().map(|limit| limit.name).collect();
    assert_eq!(limits, [LimitName::HttpExcessBytes]);

    let server = start_flooding(&["http/1.1"], H1_EARLY_HINTS);
    let tenant = server.tenant(|limits| {
        limits.http_excess_bytes = u64::MAX;
        limits.cpu = Duration::from_millis(100);
    });
    let call = exchange(&tenant, &server.authority());
    let url = server.url("");
    tokio::select! {
        ended = call.counting(attended(&call, &url)) => panic!("{ended:?}"),
        () = call.exhausted() => assert!(call.computed() >= Duration::from_millis(100)),
    }
}
