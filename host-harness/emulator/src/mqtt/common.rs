//! What connections of devices and of registrants have in common.

use std::collections::BTreeMap;
use std::time::Duration;

use mqtt_proto::v3::{Connect, Suback, Subscribe, SubscribeReturnCode};
use tokio::sync::watch;
use tokio::time::Instant;

use super::packets::{End, Packets};
use crate::faults::FaultAction;
use crate::service::Service;
use crate::world::Shared;

/// The times at which a connection ends by itself.
pub(super) struct Limits {
    /// How long the client may be silent: one and a half times its keep-alive.
    patience: Option<Duration>,
    heard: Instant,
    expiry: Option<Instant>,
    stop: watch::Receiver<bool>,
}

impl Limits {
    pub(super) fn new(connect: &Connect, deadline: Option<i64>, world: &Shared, stop: watch::Receiver<bool>) -> Self {
        let patience = (connect.keep_alive > 0).then(|| Duration::from_secs(u64::from(connect.keep_alive)) * 3 / 2);
        let left = deadline.map(|deadline| deadline.saturating_sub(world.token_time().unix_timestamp()).max(0));
        let expiry = left.and_then(|left| Instant::now().checked_add(Duration::from_secs(left.unsigned_abs())));
        Self { patience, heard: Instant::now(), expiry, stop }
    }

    /// The client sent something.
    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Waits until the connection must end.
    pub(super) async fn reached(&mut self) -> End {
        let silence = self.patience.map(|patience| self.heard + patience);
        let at = |instant: Option<Instant>| async move {
            match instant {
                Some(instant) => tokio::time::sleep_until(instant).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = at(silence) => End::refused("the client was silent for one and a half times its keep-alive"),
            () = at(self.expiry) => End::refused("the token has expired"),
            _ = self.stop.wait_for(|stop| *stop) => End::refused("the emulator stops"),
        }
    }
}

/// Grants a subscription: QoS 1 at most. A filter that is not `known` ends the connection.
pub(super) async fn subscribe(
    packets: &mut Packets,
    subscriptions: &mut BTreeMap<String, u8>,
    subscribe: Subscribe,
    known: impl Fn(&str) -> bool,
) -> Result<(), End> {
    let mut granted = Vec::new();
    for (filter, qos) in subscribe.topics {
        if !known(&filter) {
            return Err(End::refused(format!("'{filter}' cannot be subscribed to")));
        }
        let qos = (qos as u8).min(1);
        subscriptions.insert(filter.to_string(), qos);
        granted.push(if qos == 0 { SubscribeReturnCode::MaxLevel0 } else { SubscribeReturnCode::MaxLevel1 });
    }
    packets.write(&Suback::new(subscribe.pid, granted).into()).await
}

/// Applies the fault rules for what devices do: a delay delays, every other action ends the connection.
pub(super) async fn fault(world: &Shared, verb: &str, path: &str) -> Result<(), End> {
    for action in world.faults.pick(Service::Device, verb, path) {
        match action {
            FaultAction::Latency(duration) => tokio::time::sleep(duration).await,
            _ => return Err(End::refused("a fault rule ended the connection")),
        }
    }
    Ok(())
}
