//! MQTT packets on a stream of bytes.

use std::io;

use bytes::BytesMut;
use mqtt_proto::v3::{Packet, Publish};
use mqtt_proto::{Error, Pid, QosPid, TopicName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A connection's stream: TLS or a WebSocket.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The largest packet that is accepted, in bytes: a message of 256 KB, its topic and some room.
const LARGEST: usize = (256 << 10) + (64 << 10) + 16;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The client closed the connection without saying so.
    #[error("the client closed the connection")]
    Closed,
    /// The client said that it ends the connection.
    #[error("the client disconnected")]
    Disconnect,
    /// Reading or writing failed.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// The client sent what the protocol does not allow.
    #[error("the client broke the protocol: {0}")]
    Protocol(#[from] Error),
    /// The client did what the service does not allow.
    #[error("{0}")]
    Refused(String),
}

impl End {
    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }
}

/// Reads and writes packets.
pub(super) struct Packets {
    stream: Box<dyn Stream>,
    inbound: BytesMut,
}

impl Packets {
    pub(super) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), inbound: BytesMut::with_capacity(4 << 10) }
    }

    /// The next packet. Nothing is lost when the future is dropped before its end.
    pub(super) async fn read(&mut self) -> Result<Packet, End> {
        loop {
            if let Some(length) = frame_length(&self.inbound)? {
                if length > LARGEST {
                    return Err(End::refused(format!("a packet may have no more than {LARGEST} bytes")));
                }
                if self.inbound.len() >= length {
                    let frame = self.inbound.split_to(length);
                    // Fewer bytes than the packet's own fields say is an error, because the frame is complete.
                    return Packet::decode(&frame)?.ok_or(End::Protocol(Error::InvalidRemainingLength));
                }
            }
            if self.stream.read_buf(&mut self.inbound).await? == 0 {
                return Err(End::Closed);
            }
        }
    }

    pub(super) async fn write(&mut self, packet: &Packet) -> Result<(), End> {
        self.stream.write_all(packet.encode()?.as_ref()).await?;
        Ok(self.stream.flush().await?)
    }

    /// Publishes; a packet id makes it QoS 1.
    pub(super) async fn publish(
        &mut self,
        topic: &str,
        payload: impl Into<bytes::Bytes>,
        pid: Option<Pid>,
    ) -> Result<(), End> {
        let qos = pid.map_or(QosPid::Level0, QosPid::Level1);
        let publish = Publish::new(qos, TopicName::try_from(topic)?, payload.into());
        self.write(&publish.into()).await
    }

    /// Ends the connection in good order.
    pub(super) async fn close(&mut self) {
        let _ = self.stream.shutdown().await;
    }
}

/// The length of the packet at the start, once its header is complete.
fn frame_length(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some(1 + index + 1 + length));
        }
    }
    if bytes.len() >= 5 { Err(Error::InvalidVarByteInt) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_one_to_four_bytes_of_length() {
        assert_eq!(frame_length(&[0xC0]), Ok(None));
        assert_eq!(frame_length(&[0xC0, 0]), Ok(Some(2)));
        assert_eq!(frame_length(&[0x30, 0x80]), Ok(None));
        assert_eq!(frame_length(&[0x30, 0x80, 1]), Ok(Some(131)));
        assert!(frame_length(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]).is_err());
    }

    #[tokio::test]
    async fn packets_come_in_pieces_and_together() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut packets = Packets::new(server);
        let bytes = [Packet::Pingreq.encode().expect("ping"), Packet::Disconnect.encode().expect("disconnect")]
            .iter()
            .flat_map(|bytes| bytes.as_ref().to_vec())
            .collect::<Vec<_>>();
        client.write_all(&bytes[..1]).await.expect("write");
        client.write_all(&bytes[1..]).await.expect("write");
        assert_eq!(packets.read().await.expect("packet"), Packet::Pingreq);
        assert_eq!(packets.read().await.expect("packet"), Packet::Disconnect);
        // A subscription whose text is longer than the packet.
        client.write_all(&[0x82, 4, 0, 1, 0, 9]).await.expect("write");
        assert!(matches!(packets.read().await, Err(End::Protocol(_))));
    }
}
