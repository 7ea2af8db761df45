//! What AMQP is spoken over. The names are those of Microsoft's client for .NET (`EventHubsTransportType`).

/// What AMQP is spoken over, always within TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AmqpTransport {
    /// TCP, on a port of AMQP's own.
    #[default]
    Tcp,
    /// A WebSocket on HTTPS's port, for networks that let nothing else out.
    WebSockets,
}

impl AmqpTransport {
    /// Both, the usual one first.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::WebSockets];

    /// The port where the services speak it.
    pub const fn port(self) -> u16 {
        match self {
            Self::Tcp => 5671,
            Self::WebSockets => 443,
        }
    }

    /// As a connection's field has it.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Tcp => "amqp-tcp",
            Self::WebSockets => "amqp-web-sockets",
        }
    }

    /// By its id.
    pub fn of(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.id() == id)
    }
}
