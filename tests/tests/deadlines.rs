//! A service that misbehaves: every call must end within its deadline, with a typed error.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use connector_host::interface::action::Call;
use connector_host::interface::types::{EffectState, ErrorCode};
use connector_tests::World;

/// The fault of the emulator, the allowed error codes, and the effect that the error of a write must state.
type Case = (&'static str, &'static [ErrorCode], EffectState);

const CASES: [Case; 12] = [
    ("* /*=latency:20000", &[ErrorCode::Timeout], EffectState::Unknown),
    ("* /*=stall", &[ErrorCode::Timeout], EffectState::Unknown),
    ("* /*=drop", &[ErrorCode::Unavailable], EffectState::Unknown),
    ("* /*=drop-after", &[ErrorCode::Unavailable], EffectState::Unknown),
    ("* /*=truncate", &[ErrorCode::Unavailable, ErrorCode::Protocol], EffectState::Unknown),
    // A web page with a success status does not say what the hub has done.
    ("* /*=garbage", &[ErrorCode::Protocol], EffectState::Unknown),
    ("* /*=oversize:40000000", &[ErrorCode::PayloadTooLarge], EffectState::Unknown),
    ("* /*=429", &[ErrorCode::RateLimited], EffectState::None),
    ("* /*=429+600", &[ErrorCode::RateLimited], EffectState::None),
    ("* /*=500", &[ErrorCode::Unavailable], EffectState::Unknown),
    ("* /*=503+600", &[ErrorCode::Unavailable], EffectState::None),
    ("* /*=418", &[ErrorCode::Protocol], EffectState::None),
];

#[tokio::test(flavor = "multi_thread")]
async fn misbehaviour_ends_in_a_typed_error_in_time() -> Result<()> {
    let world = World::start().await?;
    world.done("create-device", serde_json::json!({ "deviceId": "present" })).await?;
    let deadline = Duration::from_secs(4);
    let tenant = world.tenant.with_deadline(deadline);
    for (index, (fault, codes, effect)) in CASES.into_iter().enumerate() {
        let own = format!("d{index}");
        for (action, id, writes) in [("get-device", "present", false), ("create-device", &own, true)] {
            world.emulator.faults().clear();
            world.emulator.faults().add_text(fault)?;
            let started = Instant::now();
            let input = format!(r#"{{"deviceId":"{id}"}}"#);
            let result =
                world.connector.account(&tenant, &world.connection).invoke(action, &input, &Call::default()).await;
            let took = started.elapsed();
            let name = format!("{action} under {fault}");
            let error = result.err().with_context(|| format!("{name}: no error"))?;
            let typed = error.connector().cloned().with_context(|| format!("{name}: {error:?}"))?;
            assert!(codes.contains(&typed.code), "{name}: {typed:?}");
            assert!(took < deadline + Duration::from_secs(1), "{name}: took {took:?}");
            let expected = if writes { effect } else { EffectState::None };
            assert_eq!(typed.effect, expected, "{name}: {typed:?}");
        }
    }
    world.emulator.faults().clear();
    world.emulator.shutdown().await;
    Ok(())
}

/// The host's clock is two hours wrong. The connector notices this by the service's `Date` header and allows for the
/// difference.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_does_no_harm() -> Result<()> {
    let world = World::start().await?;
    for seconds in [7_200, -7_200] {
        world.emulator.faults().clear();
        world.emulator.faults().add_text(&format!("* /*=skew:{seconds}"))?;
        let id = format!("d{}", seconds + 10_000);
        world.done("create-device", serde_json::json!({ "deviceId": id })).await?;
        world.done("get-device", serde_json::json!({ "deviceId": id })).await?;
    }
    world.emulator.shutdown().await;
    Ok(())
}
