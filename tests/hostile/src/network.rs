//! Ways in which a plugin may try to reach other hosts.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};

use serde_json::{Value, json};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp_create_socket::create_udp_socket;

use crate::workflow::connector::types::{Connection, Error, ErrorCode};
use crate::{error, misbehave};

/// A refusal as an error of the interface. The host adds the connections that it denied.
fn refused(what: impl std::fmt::Debug) -> Error {
    error(ErrorCode::Unavailable, format!("{what:?}"))
}

fn prepare(connection: &Connection, input: &Value) -> Result<OutgoingRequest, Error> {
    let own = serde_json::from_str::<Value>(&connection.values).unwrap_or_default();
    let text = |name: &str| input.get(name).and_then(Value::as_str);
    let mut headers = Vec::new();
    for (name, value) in input["headers"].as_object().into_iter().flatten() {
        headers.push((name.clone(), value.as_str().unwrap_or_default().as_bytes().to_vec()));
    }
    let fields = Fields::from_list(&headers).map_err(refused)?;
    let request = OutgoingRequest::new(fields);
    let scheme = match text("scheme") {
        None | Some("https") => Scheme::Https,
        Some("http") => Scheme::Http,
        Some(other) => Scheme::Other(other.to_owned()),
    };
    let authority = text("authority").or(own["web"].as_str()).unwrap_or_default();
    let method = text("method").map_or(Method::Get, |method| Method::Other(method.to_owned()));
    request.set_method(&method).map_err(|()| refused("the method"))?;
    request.set_scheme(Some(&scheme)).map_err(|()| refused("the scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| refused("the authority"))?;
    request.set_path_with_query(Some(text("path").unwrap_or("/"))).map_err(|()| refused("the path"))?;
    Ok(request)
}

fn wait(answer: &FutureIncomingResponse) -> Result<IncomingResponse, Error> {
    loop {
        match answer.get() {
            Some(Ok(response)) => return response.map_err(refused),
            Some(Err(())) => return Err(refused("the answer was taken twice")),
            None => answer.subscribe().block(),
        }
    }
}

/// Sends `count` requests, one after the other. Each request has its own options.
pub fn many_requests(connection: &Connection, input: &Value, count: u64) -> Result<Value, Error> {
    for _ in 0..count {
        let request = prepare(connection, input)?;
        let body = request.body().map_err(|()| refused("the body"))?;
        let options = RequestOptions::new();
        options.set_first_byte_timeout(Some(10_000_000_000)).map_err(|()| refused("the time-out"))?;
        let answer = outgoing_handler::handle(request, Some(options)).map_err(refused)?;
        OutgoingBody::finish(body, None).map_err(refused)?;
        read(&wait(&answer)?)?;
    }
    Ok(json!(count))
}

/// Sends one request. With `follow`, it follows one redirect to any address.
pub fn request(connection: &Connection, input: &Value) -> Result<Value, Error> {
    let request = prepare(connection, input)?;
    let body = request.body().map_err(|()| refused("the body"))?;
    let answer = outgoing_handler::handle(request, None).map_err(refused)?;
    OutgoingBody::finish(body, None).map_err(refused)?;
    let response = wait(&answer)?;
    let location = response.headers().get("location").pop().map(|value| String::from_utf8_lossy(&value).into_owned());
    if let Some(location) = location.filter(|_| input["follow"] == true) {
        let (scheme, rest) = location.split_once("://").ok_or_else(|| refused("the redirect"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        return self::request(
            connection,
            &json!({ "scheme": scheme, "authority": authority, "path": format!("/{path}") }),
        );
    }
    Ok(json!({ "status": response.status(), "bytes": read(&response)? }))
}

/// Reads the body of an answer to its end, and returns the body's length.
fn read(response: &IncomingResponse) -> Result<usize, Error> {
    let incoming = response.consume().map_err(|()| refused("the answer's body"))?;
    let stream = incoming.stream().map_err(|()| refused("the answer's body"))?;
    let mut length = 0;
    while let Ok(piece) = stream.blocking_read(64 << 10) {
        length += piece.len();
    }
    Ok(length)
}

/// Keeps requests for a moment. Each has a method and an authority of `bytes` bytes.
pub fn keep_requests(count: u64, bytes: usize) -> Value {
    let (method, authority) = (Method::Other("x".repeat(bytes)), "x".repeat(bytes));
    let (mut kept, mut refused) = (Vec::new(), 0);
    for _ in 0..count {
        let request = OutgoingRequest::new(Fields::new());
        refused += u64::from(request.set_method(&method).is_err());
        refused += u64::from(request.set_authority(Some(&authority)).is_err());
        kept.push(request);
    }
    misbehave::sleep(50);
    json!(refused)
}

/// Reads the beginning of an answer and then holds the rest.
pub fn hold(connection: &Connection, input: &Value) -> Result<Value, Error> {
    let request = prepare(connection, input)?;
    let body = request.body().map_err(|()| refused("the body"))?;
    let answer = outgoing_handler::handle(request, None).map_err(refused)?;
    OutgoingBody::finish(body, None).map_err(refused)?;
    let response = wait(&answer)?;
    let incoming = response.consume().map_err(|()| refused("the answer's body"))?;
    let stream = incoming.stream().map_err(|()| refused("the answer's body"))?;
    let _ = stream.blocking_read(1);
    match input["how"].as_str() {
        // Continues to read one byte from time to time.
        Some("slowly") => loop {
            misbehave::sleep(20);
            let _ = stream.read(1);
        },
        _ => stream.subscribe().block(),
    }
    misbehave::sleep(u64::MAX / 2_000_000);
    Ok(Value::Null)
}

/// Sends a body without end, one byte from time to time.
pub fn drip(connection: &Connection, input: &Value) -> Result<Value, Error> {
    let request = prepare(connection, input)?;
    let body = request.body().map_err(|()| refused("the body"))?;
    let _answer = outgoing_handler::handle(request, None).map_err(refused)?;
    let stream = body.write().map_err(|()| refused("the body"))?;
    loop {
        stream.blocking_write_and_flush(b"x").map_err(refused)?;
        misbehave::sleep(20);
    }
}

fn said<T>(result: std::io::Result<T>) -> Value {
    match result {
        Ok(_) => json!("reached"),
        Err(error) => json!(format!("{:?}", error.kind())),
    }
}

/// Connects as programs usually do: resolves the name, and tries the addresses.
pub fn connect(to: &str) -> Value {
    said(TcpStream::connect(to))
}

/// Connects to an address without resolving a name first.
pub fn connect_raw(to: &str) -> Value {
    let Ok(address) = to.parse::<SocketAddr>() else { return json!("no address") };
    let (family, address) = wasi_address(address);
    let socket = match create_tcp_socket(family) {
        Ok(socket) => socket,
        Err(code) => return json!(format!("{code:?}")),
    };
    if let Err(code) = socket.start_connect(&instance_network(), address) {
        return json!(format!("{code:?}"));
    }
    socket.subscribe().block();
    json!(match socket.finish_connect() {
        Ok(_) => "reached".to_owned(),
        Err(code) => format!("{code:?}"),
    })
}

fn wasi_address(address: SocketAddr) -> (IpAddressFamily, IpSocketAddress) {
    match address {
        SocketAddr::V4(v4) => {
            let [a, b, c, d] = v4.ip().octets();
            let address = Ipv4SocketAddress { port: v4.port(), address: (a, b, c, d) };
            (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(address))
        }
        SocketAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.ip().segments();
            let address =
                Ipv6SocketAddress { port: v6.port(), flow_info: 0, address: (a, b, c, d, e, f, g, h), scope_id: 0 };
            (IpAddressFamily::Ipv6, IpSocketAddress::Ipv6(address))
        }
    }
}

/// Opens as many connections as the host allows.
pub fn many_sockets(to: &str) -> Value {
    let mut held = Vec::new();
    for _ in 0..10_000 {
        match TcpStream::connect(to) {
            Ok(stream) => held.push(stream),
            Err(_) => break,
        }
    }
    json!(held.len())
}

/// Resolves a name.
pub fn resolve(name: &str) -> Value {
    said((name, 1).to_socket_addrs())
}

/// Binds and listens on IPv4 and on IPv6.
pub fn listen() -> Value {
    json!(["127.0.0.1:0", "0.0.0.0:0", "[::]:0"].map(|address| said(TcpListener::bind(address))))
}

/// Sends a datagram.
pub fn udp(to: &str) -> Value {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"secret", to));
    let raw = create_udp_socket(IpAddressFamily::Ipv4).map(drop).map_err(|code| format!("{code:?}"));
    json!([said(socket), raw.err()])
}

/// Waits for bytes that never come.
pub fn read_for_ever(to: &str) -> Value {
    said(TcpStream::connect(to).and_then(|mut stream| stream.read(&mut [0])))
}
