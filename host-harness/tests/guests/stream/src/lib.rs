//! A connector that uses a small protocol of lines over TCP, and tries everything that a guest can do with sockets.
//!
//! Connection: `{"server": "host:port"}`. Trigger `lines`: sends `READ partition offset max wait-ms` to the server over
//! a connection that stays open, and receives the number of lines and the lines. Action `run`: see [`run`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

wit_bindgen::generate!({ path: "../../../../wit", world: "workflow:connector/exports" });

use exports::workflow::connector::action::{Call, Outcome};
use exports::workflow::connector::connection::{Check, CheckOutcome, Report, Validation};
use exports::workflow::connector::discovery::{Choices, ChoicesRequest, Direction};
use exports::workflow::connector::metadata::{
    ActionDescriptor, AuthProfile, Descriptor, Effect, EgressProtocol, EgressRule, Idempotency, Operation, StartMode,
    Stored, TriggerDescriptor, TriggerKind,
};
use exports::workflow::connector::trigger::{
    Event, Page, Partition, Payload, PollRequest, Received, ReceivedRequest, Start, Subscription,
};
use workflow::connector::types::{Connection, Cursor, EffectState, Error, ErrorCode, Retry};

struct Guest;
export!(Guest);

thread_local! {
    /// The open connections of the trigger, by partition.
    static STREAMS: RefCell<HashMap<String, BufReader<TcpStream>>> = RefCell::default();
    /// The connections that the command `keep` opened.
    static KEPT: RefCell<Vec<TcpStream>> = RefCell::default();
    static CALLS: Cell<u32> = const { Cell::new(0) };
    /// The command that `release` runs at its end. The command `on-release` sets it.
    static ON_RELEASE: RefCell<String> = RefCell::default();
}

fn error(code: ErrorCode, message: String, retry: Retry) -> Error {
    Error {
        code,
        message,
        detail: None,
        fields: Vec::new(),
        item: None,
        retry,
        effect: EffectState::None,
        service: None,
        missing_permission: None,
    }
}

fn unsupported<T>() -> Result<T, Error> {
    Err(error(ErrorCode::Unsupported, "not in this connector".to_owned(), Retry::Never))
}

fn unavailable(cause: impl std::fmt::Display) -> Error {
    error(ErrorCode::Unavailable, cause.to_string(), Retry::Backoff)
}

/// The text of a field of a flat JSON object.
fn field<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let after = json.split_once(&format!("\"{name}\""))?.1.trim_start().strip_prefix(':')?.trim_start();
    match after.strip_prefix('"') {
        Some(text) => text.split('"').next(),
        None => after.split([',', '}']).next().map(str::trim),
    }
}

fn operation(id: &str) -> Operation {
    let object = r#"{"type":"object"}"#.to_owned();
    Operation {
        id: id.to_owned(),
        revision: 1,
        deprecated_by: None,
        title: id.to_owned(),
        help: String::new(),
        group: "Test".to_owned(),
        input_schema: object.clone(),
        output_schema: object,
        input_sample: "{}".to_owned(),
        output_sample: "{}".to_owned(),
        dynamic_input: false,
        dynamic_output: false,
        permissions: Vec::new(),
        limits: Vec::new(),
    }
}

fn rule(protocol: EgressProtocol, host: &str, default_port: u16, suffix: &str) -> EgressRule {
    EgressRule {
        protocol,
        host: host.to_owned(),
        default_port,
        suffixes: vec![suffix.to_owned()],
        purpose: "the test".to_owned(),
    }
}

impl exports::workflow::connector::metadata::Guest for Guest {
    fn describe() -> Descriptor {
        Descriptor {
            id: "stream-test".to_owned(),
            version: "0.1.0".to_owned(),
            interface_version: "0.2.0".to_owned(),
            title: "Stream test".to_owned(),
            help: String::new(),
            auth_profiles: vec![AuthProfile {
                id: "none".to_owned(),
                title: "None".to_owned(),
                help: String::new(),
                schema: r#"{"type":"object"}"#.to_owned(),
            }],
            permissions: Vec::new(),
            triggers: vec![TriggerDescriptor {
                operation: operation("lines"),
                kind: TriggerKind::Streaming,
                start_modes: vec![StartMode::Earliest, StartMode::Now],
                min_interval_ms: 0,
            }],
            actions: vec![ActionDescriptor {
                operation: operation("run"),
                effect: Effect::Read,
                idempotency: Idempotency::Natural,
                paged: false,
            }],
            egress: vec![
                rule(EgressProtocol::Tls, "{server}", 5671, ".stream.example.com"),
                rule(EgressProtocol::Tls, "*", 5671, ".redirect.example.com"),
                rule(EgressProtocol::Https, "{web}", 443, ".web.example.com"),
            ],
            unsupported: Vec::new(),
        }
    }

    fn migrate(_from_version: String, item: Stored) -> Result<Stored, Error> {
        Ok(item)
    }
}

impl exports::workflow::connector::connection::Guest for Guest {
    fn validate(connection: Connection) -> Validation {
        Validation { problems: Vec::new(), normalized: connection.values }
    }

    fn test(connection: Connection, _deadline_ms: u64) -> Result<Report, Error> {
        let (outcome, message) = match dial(&connection) {
            Ok(_) => (CheckOutcome::Pass, "connected".to_owned()),
            Err(error) => (CheckOutcome::Fail, error.message),
        };
        let check = Check {
            id: "connect".to_owned(),
            title: "Connect".to_owned(),
            outcome,
            message,
            remedy: None,
            elapsed_ms: 0,
        };
        Ok(Report { checks: vec![check], permissions: Vec::new(), usable: vec!["lines".to_owned()] })
    }

    fn label(_connection: Connection) -> Result<String, Error> {
        Ok("test".to_owned())
    }
}

impl exports::workflow::connector::discovery::Guest for Guest {
    fn options(_connection: Connection, _request: ChoicesRequest, _deadline_ms: u64) -> Result<Choices, Error> {
        unsupported()
    }

    fn resolve_schema(
        _connection: Connection,
        _operation: String,
        _direction: Direction,
        _partial: String,
        _deadline_ms: u64,
    ) -> Result<String, Error> {
        unsupported()
    }
}

fn dial(connection: &Connection) -> Result<TcpStream, Error> {
    let server = field(&connection.values, "server").unwrap_or_default();
    TcpStream::connect(server).map_err(unavailable)
}

/// Asks for lines, over the partition's open connection or a new one.
fn read_lines(connection: &Connection, partition: &str, ask: &str) -> Result<Vec<(u64, String)>, Error> {
    let stream = STREAMS.with_borrow_mut(|streams| streams.remove(partition));
    let mut stream = match stream {
        Some(stream) => stream,
        None => BufReader::new(dial(connection)?),
    };
    stream.get_mut().write_all(format!("READ {partition} {ask}\n").as_bytes()).map_err(unavailable)?;
    let mut line = || {
        let mut line = String::new();
        match stream.read_line(&mut line) {
            Ok(0) => Err(unavailable("the server closed the connection")),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(unavailable(error)),
        }
    };
    let count = line()?;
    if let Some(message) = count.strip_prefix("ERROR ") {
        return Err(error(ErrorCode::AuthFailed, message.to_owned(), Retry::AfterReauthentication));
    }
    let count: usize = count.parse().map_err(unavailable)?;
    let mut lines = Vec::new();
    for _ in 0..count {
        let line = line()?;
        let (offset, text) = line.split_once(' ').unwrap_or((&line, ""));
        lines.push((offset.parse().map_err(unavailable)?, text.to_owned()));
    }
    STREAMS.with_borrow_mut(|streams| streams.insert(partition.to_owned(), stream));
    Ok(lines)
}

fn event(partition: &str, offset: u64, text: String) -> Event {
    Event {
        id: format!("{partition}-{offset}"),
        source: "test".to_owned(),
        event_type: "test.line".to_owned(),
        subject: None,
        time: None,
        content_type: None,
        summary: text.clone(),
        data: Payload::Text(text),
        attributes: Vec::new(),
        partition: partition.to_owned(),
        order_key: partition.to_owned(),
        position: (offset + 1).to_string().into_bytes(),
    }
}

impl exports::workflow::connector::trigger::Guest for Guest {
    fn partitions(
        _connection: Connection,
        _trigger: String,
        config: String,
        _deadline_ms: u64,
    ) -> Result<Vec<Partition>, Error> {
        let count: u32 = field(&config, "partitions").and_then(|text| text.parse().ok()).unwrap_or(1);
        Ok((0..count).map(|index| Partition { id: index.to_string(), title: format!("Partition {index}") }).collect())
    }

    fn poll(request: PollRequest) -> Result<Page, Error> {
        let from = match &request.cursor {
            Some(cursor) => String::from_utf8_lossy(&cursor.position).into_owned(),
            None if matches!(request.start, Start::Earliest) => "0".to_owned(),
            None => "end".to_owned(),
        };
        let ask = format!("{from} {} {}", request.budget.events, request.budget.wait_ms);
        let lines = read_lines(&request.connection, &request.partition, &ask)?;
        let next = lines.last().map_or(from, |(offset, _)| (offset + 1).to_string());
        Ok(Page {
            events: lines.into_iter().map(|(offset, text)| event(&request.partition, offset, text)).collect(),
            next: Cursor { snapshot: b"snapshot".to_vec(), position: next.into_bytes() },
            more: false,
            wait_hint_ms: 20,
            lag: Some(0),
            notices: Vec::new(),
        })
    }

    fn sample(
        connection: Connection,
        _trigger: String,
        _config: String,
        limit: u32,
        _deadline_ms: u64,
    ) -> Result<Vec<Event>, Error> {
        let lines = read_lines(&connection, "0", &format!("0 {limit} 0"))?;
        Ok(lines.into_iter().map(|(offset, text)| event("0", offset, text)).collect())
    }

    fn subscribe(_: Connection, _: String, _: String, _: String, _: u64) -> Result<Subscription, Error> {
        unsupported()
    }

    fn renew(_: Connection, _: String, _: String, _: Vec<u8>, _: u64) -> Result<Subscription, Error> {
        unsupported()
    }

    fn unsubscribe(_: Connection, _: String, _: String, _: Vec<u8>, _: u64) -> Result<(), Error> {
        unsupported()
    }

    fn receive(_: Connection, _: String, _: String, _: Vec<u8>, _: ReceivedRequest) -> Result<Received, Error> {
        unsupported()
    }
}

impl exports::workflow::connector::lifecycle::Guest for Guest {
    /// Sends `BYE` on every open connection, then runs the command that `on-release` has set.
    fn release() {
        let streams = STREAMS.take().into_values().map(BufReader::into_inner);
        for mut stream in KEPT.take().into_iter().chain(streams) {
            let _ = stream.write_all(b"BYE\n");
        }
        let command = ON_RELEASE.take();
        if !command.is_empty() {
            let _ = run(&command.split(' ').collect::<Vec<_>>());
        }
    }
}

impl exports::workflow::connector::action::Guest for Guest {
    fn invoke(_connection: Connection, _action: String, input: String, _call: Call) -> Result<Outcome, Error> {
        let words: Vec<&str> = input.trim_matches('"').split(' ').collect();
        let said = run(&words).unwrap_or_else(|error| format!("error: {:?}", error.kind()));
        Ok(Outcome::Done(format!("{said:?}")))
    }

    fn resume(_: Connection, _: String, _: String, _: Call) -> Result<Outcome, Error> {
        unsupported()
    }

    fn invoke_batch(_: Connection, _: String, _: Vec<String>, _: Call) -> Result<Vec<Result<Outcome, Error>>, Error> {
        unsupported()
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or(0)
}

/// Runs one command, and returns its result as text.
fn run(words: &[&str]) -> std::io::Result<String> {
    let address = |words: &[&str]| format!("{}:{}", words[1], words[2]);
    Ok(match words[0] {
        "connect" => format!("ok {}", TcpStream::connect(address(words))?.peer_addr()?),
        "connect-timeout" => {
            let address = address(words).to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
            TcpStream::connect_timeout(&address, Duration::from_millis(number(words[3]) as u64))?;
            "ok".to_owned()
        }
        // Opens a number of connections, and returns how many succeeded.
        "connect-often" => {
            let address = address(words).to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
            (0..number(words[3])).filter(|_| TcpStream::connect(address).is_ok()).count().to_string()
        }
        "resolve" => {
            let found = (words[1], 1).to_socket_addrs()?;
            found.map(|address| address.ip().to_string()).collect::<Vec<_>>().join(" ")
        }
        // Looks a name up twice, and returns both results.
        "resolve-twice" => {
            let first = (words[1], 1).to_socket_addrs()?.map(|it| it.ip().to_string()).collect::<Vec<_>>();
            let second = (words[1], 1).to_socket_addrs()?.map(|it| it.ip().to_string()).collect::<Vec<_>>();
            format!("{} {}", first.join(","), second.join(","))
        }
        "echo" => {
            let mut stream = TcpStream::connect(address(words))?;
            stream.write_all(words[3].as_bytes())?;
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            answer
        }
        "send" => {
            let mut stream = TcpStream::connect(address(words))?;
            stream.write_all(&vec![b'x'; number(words[3])])?;
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            answer.len().to_string()
        }
        "keep" => {
            let stream = TcpStream::connect(address(words))?;
            KEPT.with_borrow_mut(|kept| {
                kept.push(stream);
                kept.len().to_string()
            })
        }
        // Writes to a connection that an earlier call kept, and reads the same number of bytes.
        "use-kept" => KEPT.with_borrow_mut(|kept| {
            let stream = kept.first_mut().ok_or(std::io::ErrorKind::NotFound)?;
            stream.write_all(words[1].as_bytes())?;
            let mut answer = vec![0; words[1].len()];
            stream.read_exact(&mut answer)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
        })?,
        "timeout" => {
            let mut stream = TcpStream::connect(address(words))?;
            stream.set_read_timeout(Some(Duration::from_millis(number(words[3]) as u64)))?;
            stream.read(&mut [0])?.to_string()
        }
        "bind" => format!("ok {}", TcpListener::bind("127.0.0.1:0")?.local_addr()?),
        "udp" => format!("ok {}", UdpSocket::bind("127.0.0.1:0")?.local_addr()?),
        "on-release" => {
            ON_RELEASE.set(words[1..].join(" "));
            "noted".to_owned()
        }
        "count" => CALLS.with(|calls| {
            calls.set(calls.get() + 1);
            calls.get().to_string()
        }),
        "sleep" => {
            std::thread::sleep(Duration::from_millis(number(words[1]) as u64));
            "slept".to_owned()
        }
        "spin" => loop {
            std::hint::black_box(0);
        },
        // Computes for a time measured with the clock.
        "burn" => {
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_millis(number(words[1]) as u64) {}
            "burnt".to_owned()
        }
        // Returns a text of the given number of bytes.
        "say" => "x".repeat(number(words[1])),
        // Writes a number of lines to the log.
        "log" => {
            (0..number(words[1])).for_each(|line| println!("line {line}"));
            "logged".to_owned()
        }
        "trap" => std::process::abort(),
        "grow" => vec![1_u8; number(words[1])].len().to_string(),
        _ => return Err(std::io::ErrorKind::Unsupported.into()),
    })
}
