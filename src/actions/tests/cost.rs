//! What a call costs by itself, without any service. Run it with
//! `cargo test --package azure-iot-connector --lib cost -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

#[test]
#[ignore = "measures"]
fn microseconds_of_a_call() {
    let platform = platform();
    let enrollment = json!({ "registrationId": "press-17", "attestation": { "type": "symmetricKey" } });
    for (action, input) in [
        ("get-device", json!({ "deviceId": "press-17" })),
        ("update-twin", json!({ "deviceId": "press-17", "tags": { "site": "north" } })),
        ("create-or-update-individual-enrollment", enrollment),
    ] {
        dry_run(&platform, action, input.clone());
        let (connection, input, call) = (connection(), input.to_string(), call(true));
        let calls = 2_000_u32;
        let started = Instant::now();
        for _ in 0..calls {
            let _ = super::super::invoke(&platform, &connection, action, &input, &call);
        }
        println!("{action}: {:.1} microseconds a call", started.elapsed().as_secs_f64() * 1e6 / f64::from(calls));
    }
}
