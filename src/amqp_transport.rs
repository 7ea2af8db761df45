//! The transports for AMQP. Their names are those in Microsoft's client for .NET (`EventHubsTransportType`).

/// A transport for AMQP, always inside TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AmqpTransport {
    /// TCP, on AMQP's own port 5671.
    #[default]
    Tcp,
    /// A WebSocket on the HTTPS port 443, for networks that block all other outgoing traffic.
    WebSockets,
}

impl AmqpTransport {
    /// Both transports, the default first.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::WebSockets];

    /// The TCP port on which Azure's services offer this transport.
    pub const fn port(self) -> u16 {
        match self {
            Self::Tcp => 5671,
            Self::WebSockets => 443,
        }
    }

    /// The transport's id in a connection's field `amqpTransport`.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Tcp => "amqp-tcp",
            Self::WebSockets => "amqp-web-sockets",
        }
    }

    /// The transport with this id.
    pub fn of(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.id() == id)
    }
}
