//! Measures the cost of reading an input, which happens in every call. Run it with
//! `cargo test --package azure-iot-connector --lib cost -- --ignored --nocapture`.

use std::time::Instant;

use crate::actions::all;
use crate::actions::shared::read_input;

#[test]
#[ignore = "measures"]
fn microseconds_of_reading_an_input() {
    let calls = 500_u32;
    for action in all() {
        let sample = action.descriptor().operation.input_sample;
        let started = Instant::now();
        for _ in 0..calls {
            read_input(action, &sample).expect("the sample of the input");
        }
        let micros = started.elapsed().as_secs_f64() * 1e6 / f64::from(calls);
        println!("{}: {micros:.1} microseconds a call", action.id());
    }
}
