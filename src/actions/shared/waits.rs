//! How long the hub waits for a device in a call of the device.

use std::time::Duration;

/// The shortest response timeout that the hub accepts.
const LEAST_RESPONSE: Duration = Duration::from_secs(5);
/// The part of the remaining time that is kept free for the network between the connector and the hub.
const WAY: Duration = Duration::from_secs(2);

/// The response timeout and the connect timeout. If the remaining time is too short, both are shortened in proportion,
/// so that the hub gives up before the call ends: only the hub's answer states whether the device was reached.
pub fn waits(remaining: Duration, response: Duration, connect: Duration) -> (Duration, Duration) {
    let room = remaining.saturating_sub(WAY);
    let asked = response + connect;
    if asked <= room {
        return (response, connect);
    }
    let share = room.as_secs_f64() / asked.as_secs_f64();
    let whole = |time: Duration| Duration::from_secs(time.mul_f64(share).as_secs());
    let response = whole(response).max(LEAST_RESPONSE);
    let connect = whole(connect).min(Duration::from_secs(room.saturating_sub(response).as_secs()));
    (response, connect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_gives_up_before_the_caller() {
        let table = [
            // In seconds: remaining time, response timeout, connect timeout, expected response timeout, expected
            // connect timeout.
            (60, 30, 0, 30, 0),
            (62, 30, 30, 30, 30),
            (32, 30, 30, 15, 15),
            (12, 30, 0, 10, 0),
            (12, 30, 60, 5, 5),
            (8, 30, 60, 5, 1),
            (1, 30, 60, 5, 0),
        ];
        for (remaining, response, connect, expected_response, expected_connect) in table {
            let seconds = Duration::from_secs;
            assert_eq!(
                waits(seconds(remaining), seconds(response), seconds(connect)),
                (seconds(expected_response), seconds(expected_connect)),
                "{remaining} {response} {connect}"
            );
        }
    }
}
