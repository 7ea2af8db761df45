//! The services whose endpoints the emulator serves.

/// Which API an exchange belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// The IoT Hub service API.
    Hub,
    /// The DPS service API.
    Dps,
    /// What devices call: telemetry at the hub, registration at DPS.
    Device,
    /// The Event Hub-compatible endpoint, over AMQP.
    EventHub,
    /// The hub's own AMQP endpoint for back ends.
    HubAmqp,
}

impl Service {
    /// Whether the API uses AMQP instead of HTTP.
    pub fn is_amqp(self) -> bool {
        matches!(self, Self::EventHub | Self::HubAmqp)
    }
}
