//! The WebSocket client against a server in memory, which is the server side of the same library.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Cursor, Read, Write};
use std::rc::Rc;

use tungstenite::Message;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use super::peer::{deadline, platform};
use crate::amqp::stage::Stage;
use crate::amqp::transport::{Deadline, Transport, TransportError, TransportErrorKind, WebSocket};
use crate::platform::fake::FakePlatform;

/// What the server does next.
enum Step {
    Bytes(Vec<u8>),
    Silence,
    End,
}

#[derive(Default)]
struct State {
    steps: VecDeque<Step>,
    /// The bytes that the client wrote.
    written: Vec<u8>,
    /// How many more bytes the server accepts.
    room: usize,
}

/// A connection to a server that follows a script. Time passes when there is nothing to read or no room to write.
#[derive(Clone)]
struct Line(Rc<RefCell<State>>, Rc<FakePlatform>);

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Line {
    fn wait(&self, deadline: &Deadline, stage: Stage) -> TransportError {
        self.1.now.set(self.1.now.get().max(deadline.moment()));
        TransportError::timeout(stage)
    }

    fn then(&self, bytes: impl Into<Vec<u8>>) -> &Self {
        self.0.borrow_mut().steps.push_back(Step::Bytes(bytes.into()));
        self
    }

    fn then_silence(&self) -> &Self {
        self.0.borrow_mut().steps.push_back(Step::Silence);
        self
    }

    fn then_end(&self) -> &Self {
        self.0.borrow_mut().steps.push_back(Step::End);
        self
    }
}

impl Transport for Line {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize, TransportError> {
        let mut state = self.0.borrow_mut();
        match state.steps.front_mut() {
            Some(Step::Bytes(bytes)) => {
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                bytes.drain(..count);
                if bytes.is_empty() {
                    state.steps.pop_front();
                }
                Ok(count)
            }
            Some(Step::End) => Ok(0),
            Some(Step::Silence) | None => {
                state.steps.pop_front();
                drop(state);
                Err(self.wait(deadline, Stage::Message))
            }
        }
    }

    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<usize, TransportError> {
        let mut state = self.0.borrow_mut();
        let count = bytes.len().min(state.room);
        if count == 0 {
            drop(state);
            return Err(self.wait(deadline, Stage::Write));
        }
        state.room -= count;
        state.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

/// A stream in memory that a server reads from and writes to.
struct Memory<'a>(Cursor<&'a [u8]>, Vec<u8>);

impl Read for Memory<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Memory<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of these messages as a server sends them.
fn sent(messages: impl IntoIterator<Item = Message>) -> Vec<u8> {
    let mut server = WebSocketContext::new(Role::Server, None);
    let mut memory = Memory(Cursor::new(&[]), Vec::new());
    for message in messages {
        server.write(&mut memory, message).expect("memory");
        server.flush(&mut memory).expect("memory");
    }
    memory.1
}

/// The messages that a server reads from the client's bytes.
fn understood(written: &[u8]) -> Vec<Message> {
    let mut server = WebSocketContext::new(Role::Server, Some(WebSocketConfig::default()));
    let mut memory = Memory(Cursor::new(written), Vec::new());
    std::iter::from_fn(|| server.read(&mut memory).ok()).collect()
}

fn binary(bytes: &[u8]) -> Message {
    Message::Binary(bytes.to_vec().into())
}

fn fragment(bytes: &[u8], first: bool, last: bool) -> Message {
    let data = if first { Data::Binary } else { Data::Continue };
    Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(data), last))
}

/// The `Sec-WebSocket-Accept` value for the first key that the scripted platform draws.
const PROOF: &str = "5tWd1XMQfqfRMZqGrwjPEgEvyeE=";

fn agreement(without: &str) -> String {
    let proof = format!("Sec-WebSocket-Accept: {PROOF}");
    let lines = ["Upgrade: WebSocket", "Connection: keep-alive, Upgrade", &proof, "Sec-WebSocket-Protocol: AMQPWSB10"];
    let lines: Vec<_> = lines.into_iter().filter(|line| without.is_empty() || !line.starts_with(without)).collect();
    format!("HTTP/1.1 101 Switching Protocols\r\n{}\r\n\r\n", lines.join("\r\n"))
}

fn line() -> (Rc<FakePlatform>, Line) {
    let platform = platform();
    let state = State { room: usize::MAX, ..State::default() };
    (platform.clone(), Line(Rc::new(RefCell::new(state)), platform))
}

fn connect(platform: &FakePlatform, line: &Line) -> Result<WebSocket<Line>, TransportError> {
    WebSocket::connect(line.clone(), "ns.servicebus.windows.net", 443, "/$servicebus/websocket", &deadline(platform, 5))
}

/// An open WebSocket. The bytes of its handshake are dropped.
fn opened() -> (Rc<FakePlatform>, Line, WebSocket<Line>) {
    let (platform, line) = line();
    line.then(agreement(""));
    let socket = connect(&platform, &line).expect("opened");
    line.0.borrow_mut().written.clear();
    (platform, line, socket)
}

fn read(socket: &mut WebSocket<Line>, platform: &FakePlatform) -> Result<Vec<u8>, TransportError> {
    let mut buffer = [0; 64];
    socket.read(&mut buffer, &deadline(platform, 5)).map(|count| buffer[..count].to_vec())
}

#[test]
fn the_request_is_that_of_a_client_of_amqp() {
    for (port, host) in [(443, "h"), (8443, "h:8443")] {
        let (platform, line) = line();
        // The answer comes in pieces, after an interim answer, and directly followed by the first message.
        line.then("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n")
            .then("\r\n")
            .then(agreement("").as_bytes()[..30].to_vec());
        line.then([&agreement("").as_bytes()[30..], &sent([binary(b"AMQP")])].concat());
        let socket = WebSocket::connect(line.clone(), "h", port, "/$iothub/websocket", &deadline(&platform, 5));
        assert_eq!(read(&mut socket.expect("opened"), &platform).expect("bytes"), b"AMQP");
        let request = String::from_utf8(line.0.borrow().written.clone()).expect("text");
        assert_eq!(
            request,
            format!(
                "GET /$iothub/websocket HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQEBAQEBAQEBAQEBAQEBAQ==\r\n\
                 Sec-WebSocket-Protocol: AMQPWSB10\r\n\r\n"
            )
        );
    }
}

#[test]
fn whoever_does_not_agree_is_no_server_of_amqp() {
    let many = format!("HTTP/1.1 101 Switching Protocols\r\n{}", "X-Filler: 0123456789\r\n".repeat(1_000));
    let extension = agreement("").replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    for (answer, says) in [
        (agreement("Upgrade"), "something else than a WebSocket"),
        (agreement("Connection"), "something else than a WebSocket"),
        (agreement("Sec-WebSocket-Accept"), "does not belong to the request"),
        (agreement("").replace(PROOF, "AAAA"), "does not belong to the request"),
        (agreement("Sec-WebSocket-Protocol"), "the sub-protocol AMQPWSB10"),
        (agreement("").replace("AMQPWSB10", "mqtt"), "the sub-protocol AMQPWSB10"),
        (extension, "an extension that was not asked for"),
        ("AMQP\x03\x01\x00\x00 is spoken here\r\n\r\n".to_owned(), "not HTTP"),
        (many, "too many headers"),
    ] {
        let (platform, line) = line();
        line.then(answer.clone());
        let error = connect(&platform, &line).expect_err("refused");
        assert_eq!((error.kind, error.stage), (TransportErrorKind::Upgrade, Stage::Upgrade), "{answer}");
        assert!(error.detail.contains(says) && error.answer.is_none(), "{answer}: {error}");
    }

    let (platform, one_line) = line();
    one_line.then(format!("HTTP/1.1 200 OK\r\nX-Filler: {}", "x".repeat(40_000)));
    let error = connect(&platform, &one_line).expect_err("refused");
    assert!(error.detail.contains("larger than 16384 bytes"), "{error}");

    let (platform, line) = line();
    line.then("HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 23\r\n\r\n<h1>Not")
        .then(" allowed</h1>\r\n");
    let answer = *connect(&platform, &line).expect_err("refused").answer.expect("an answer");
    assert_eq!((answer.status, answer.header("content-type")), (403, Some("text/html")));
    assert_eq!(answer.body, b"<h1>Not allowed</h1>\r\n");
}

#[test]
fn a_handshake_that_is_cut_off_or_does_not_end_says_where_it_was() {
    let (platform, line) = line();
    line.then("HTTP/1.1 101 Swit").then_end();
    let error = connect(&platform, &line).expect_err("cut off");
    assert_eq!((error.kind, error.stage), (TransportErrorKind::Broken, Stage::Upgrade));

    let (platform, line) = self::line();
    line.then("HTTP/1.1 101 Swit").then_silence();
    let error = connect(&platform, &line).expect_err("silence");
    assert_eq!((error.kind, error.stage), (TransportErrorKind::Timeout, Stage::Upgrade));

    let (platform, line) = self::line();
    line.0.borrow_mut().room = 20;
    let error = connect(&platform, &line).expect_err("no room");
    assert_eq!((error.kind, error.stage), (TransportErrorKind::Timeout, Stage::Upgrade));

    // The client does not wait for a body that does not arrive.
    let (platform, line) = self::line();
    line.then("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 100\r\n\r\nx").then_silence();
    let begun = platform.now.get();
    let error = connect(&platform, &line).expect_err("refused");
    assert_eq!(error.answer.expect("an answer").status, 502);
    assert!(platform.now.get() - begun <= std::time::Duration::from_secs(1));
}

#[test]
fn messages_are_one_stream_of_bytes() {
    let (platform, line, mut socket) = opened();
    line.then(sent([
        binary(b"one"),
        binary(b""),
        fragment(b"tw", true, false),
        Message::Ping(b"are you there".to_vec().into()),
        fragment(b"", false, false),
        fragment(b"o", false, true),
        Message::Pong(Vec::new().into()),
        binary(&[7; 100]),
    ]));
    assert_eq!(read(&mut socket, &platform).expect("bytes"), b"one");
    assert_eq!(read(&mut socket, &platform).expect("bytes"), b"two");
    assert_eq!(read(&mut socket, &platform).expect("bytes"), [7; 64]);
    assert_eq!(read(&mut socket, &platform).expect("bytes"), [7; 36]);
    assert_eq!(understood(&line.0.borrow().written), [Message::Pong(b"are you there".to_vec().into())]);
}

#[test]
fn a_message_that_came_in_part_goes_on_after_a_time_out() {
    let (platform, line, mut socket) = opened();
    let bytes = sent([binary(b"a whole message")]);
    for piece in bytes.chunks(4) {
        line.then(piece).then_silence();
    }
    let mut time_outs = 0;
    let message = loop {
        match read(&mut socket, &platform) {
            Ok(message) => break message,
            Err(error) => {
                assert_eq!((error.kind, error.stage), (TransportErrorKind::Timeout, Stage::Message));
                time_outs += 1;
            }
        }
    };
    assert_eq!((message.as_slice(), time_outs), (b"a whole message".as_slice(), bytes.len().div_ceil(4) - 1));
}

#[test]
fn the_end_is_the_end_however_it_comes() {
    let (platform, line, mut socket) = opened();
    line.then(sent([binary(b"last"), Message::Close(None)]));
    assert_eq!(read(&mut socket, &platform).expect("bytes"), b"last");
    for _ in 0..2 {
        assert_eq!(read(&mut socket, &platform).expect("the end"), b"");
    }
    let error = socket.write(b"more", &deadline(&platform, 5)).expect_err("closed");
    assert_eq!((error.kind, error.stage), (TransportErrorKind::Broken, Stage::Write));

    let (platform, line, mut socket) = opened();
    line.then_end();
    assert_eq!(read(&mut socket, &platform).expect("the end"), b"");
}

#[test]
fn what_breaks_the_rules_breaks_the_connection() {
    let too_large = fragment(&vec![0; (1 << 20) + 1], true, false);
    let mut masked = WebSocketContext::new(Role::Client, None);
    let mut memory = Memory(Cursor::new(&[]), Vec::new());
    masked.write(&mut memory, binary(b"x")).expect("memory");
    masked.flush(&mut memory).expect("memory");
    for (bytes, says) in [
        (sent([Message::Text("AMQP".into())]), "a text"),
        (sent([too_large]), "rules of WebSockets"),
        (sent([fragment(b"x", false, true)]), "rules of WebSockets"),
        (memory.1, "rules of WebSockets"),
        (format!("HTTP/1.1 400 Bad Request\r\n\r\n{}", "x".repeat(100)).into_bytes(), "rules of WebSockets"),
    ] {
        let (platform, line, mut socket) = opened();
        line.then(bytes.clone()).then_end();
        let error = read(&mut socket, &platform).expect_err("broken");
        assert_eq!((error.kind, error.stage), (TransportErrorKind::Broken, Stage::Message), "{error}");
        assert!(error.detail.contains(says), "{error}");
    }
}

#[test]
fn pings_without_end_are_over_with_the_deadline() {
    let (platform, line, mut socket) = opened();
    // Each read takes time, and only pings arrive.
    let ping = sent([Message::Ping(Vec::new().into())]);
    for _ in 0..100 {
        line.then(ping.clone());
    }
    let error = read(&mut socket, &platform).expect_err("nothing but pings");
    assert_eq!((error.kind, error.stage), (TransportErrorKind::Timeout, Stage::Message));
    let pongs = understood(&line.0.borrow().written);
    assert!(pongs.len() == 100 && pongs.iter().all(Message::is_pong), "{pongs:?}");
}

#[test]
fn large_writes_go_out_in_pieces() {
    let (platform, line, mut socket) = opened();
    let bytes: Vec<u8> = (0..40_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let count = socket.write(rest, &deadline(&platform, 5)).expect("taken");
        rest = &rest[count..];
    }
    let messages = understood(&line.0.borrow().written);
    assert_eq!(messages.iter().map(Message::len).collect::<Vec<_>>(), [16_384, 16_384, 7_232]);
    assert_eq!(messages.into_iter().flat_map(Message::into_data).collect::<Vec<u8>>(), bytes);
}

#[test]
fn what_finds_no_room_is_sent_once_and_later() {
    let (platform, line, mut socket) = opened();
    line.0.borrow_mut().room = 7;
    // The WebSocket accepts the first piece into its own buffer. It does not accept the next piece.
    assert_eq!(socket.write(b"first", &deadline(&platform, 1)).expect("taken"), 5);
    let error = socket.write(b"second", &deadline(&platform, 1)).expect_err("no room");
    assert_eq!((error.kind, error.stage), (TransportErrorKind::Timeout, Stage::Write));

    // A read sends the first piece as soon as there is room, and does not wait if there is no room.
    line.then(sent([binary(b"hello"), Message::Ping(b"?".to_vec().into())])).then_silence();
    assert_eq!(read(&mut socket, &platform).expect("bytes"), b"hello");
    assert_eq!(line.0.borrow().written.len(), 7);
    line.0.borrow_mut().room = usize::MAX;
    assert_eq!(read(&mut socket, &platform).expect_err("silence").kind, TransportErrorKind::Timeout);
    socket.write(b"second", &deadline(&platform, 1)).expect("taken");
    let pong = Message::Pong(b"?".to_vec().into());
    assert_eq!(understood(&line.0.borrow().written), [binary(b"first"), pong, binary(b"second")]);
}
