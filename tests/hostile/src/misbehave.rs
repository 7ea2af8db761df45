//! Every misbehaviour that a plugin may try.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wasip2::clocks::monotonic_clock;

use crate::workflow::connector::types::{Connection, Error, ErrorCode};
use crate::{LEFT_BEHIND, error, network};

/// Computes without end.
pub fn spin() {
    loop {
        std::hint::black_box(0);
    }
}

/// Waits, and ignores the deadline.
pub fn sleep(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn read_input() -> Vec<u8> {
    let mut read = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut read);
    read
}

fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if std::hint::black_box(false) {
        return 0;
    }
    recurse(depth + 1) + frame[(depth % 64) as usize]
}

/// Does what `input.do` says, and returns the result, mostly as JSON.
pub fn misbehave(connection: &Connection, input: &Value, deadline_ms: u64) -> Result<String, Error> {
    if input["do"] == "deep" {
        let depth = input["bytes"].as_u64().unwrap_or_default() as usize / 2;
        return Ok("[".repeat(depth) + &"]".repeat(depth));
    }
    attempt(connection, input, deadline_ms).map(|said| said.to_string())
}

fn attempt(connection: &Connection, input: &Value, deadline_ms: u64) -> Result<Value, Error> {
    let text = |name: &str| input.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |name: &str| input.get(name).and_then(Value::as_u64).unwrap_or_default();
    Ok(match text("do").as_str() {
        "nothing" => json!("done"),
        "loop" => {
            spin();
            Value::Null
        }
        "memory" => {
            let mut held = Vec::new();
            loop {
                held.push(vec![1_u8; 1 << 20]);
                std::hint::black_box(&held);
            }
        }
        "stack" => json!(recurse(0)),
        "trap" => std::process::abort(),
        "exit" => std::process::exit(number("code") as i32),
        "large" => json!("x".repeat(number("bytes") as usize)),
        "log" => {
            let line = "x".repeat(1023);
            for _ in 0..number("lines") {
                println!("{line}");
                eprintln!("{line}");
            }
            std::io::stdout().flush().map_err(|cause| error(ErrorCode::Internal, cause.to_string()))?;
            if text("then") == "trap" {
                std::process::abort();
            }
            json!("done")
        }
        "pollables" => {
            let mut held = Vec::new();
            loop {
                held.push(monotonic_clock::subscribe_duration(u64::MAX));
            }
        }
        "random" => json!(wasip2::random::random::get_random_bytes(number("bytes")).len()),
        // Several ways to wait.
        "sleep" => {
            sleep(number("ms"));
            json!("slept")
        }
        "clock" => {
            monotonic_clock::subscribe_duration(u64::MAX).block();
            Value::Null
        }
        "busy-wait" => {
            // Each wait and each computation is short, but the loop is long.
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(number("ms")) {
                sleep(1);
            }
            json!("waited")
        }
        "poll" => {
            let never = monotonic_clock::subscribe_duration(u64::MAX);
            wasip2::io::poll::poll(&[&never]);
            Value::Null
        }
        "poll-many" => {
            let ready = monotonic_clock::subscribe_duration(0);
            json!(wasip2::io::poll::poll(&vec![&ready; number("count") as usize]).len())
        }
        "late" => {
            sleep(deadline_ms + number("ms"));
            network::request(connection, input)?
        }
        // Data that other calls left behind.
        "leave" => {
            LEFT_BEHIND.with_borrow_mut(|left| left.push(format!("{} {}", connection.values, text("text"))));
            let _ = std::fs::write("left-behind", text("text"));
            json!("left")
        }
        "find" => json!({
            "memory": LEFT_BEHIND.with_borrow(Vec::clone),
            "environment": std::env::vars().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
            "arguments": std::env::args().collect::<Vec<_>>(),
            "folders": wasip2::filesystem::preopens::get_directories().len(),
            "file": std::fs::read_to_string("left-behind").ok(),
            "host-file": std::fs::read_to_string("/etc/passwd").ok(),
            "input": read_input(),
        }),
        "http" => network::request(connection, input)?,
        "http-often" => network::many_requests(connection, input, number("count"))?,
        "requests" => network::keep_requests(number("count"), number("bytes") as usize),
        "hold" => network::hold(connection, input)?,
        "drip" => network::drip(connection, input)?,
        "tcp" => network::connect(&text("to")),
        "raw-tcp" => network::connect_raw(&text("to")),
        "sockets" => network::many_sockets(&text("to")),
        "resolve" => network::resolve(&text("to")),
        "listen" => network::listen(),
        "udp" => network::udp(&text("to")),
        "read" => network::read_for_ever(&text("to")),
        other => return Err(error(ErrorCode::InvalidInput, format!("there is no misbehaviour {other:?}"))),
    })
}
