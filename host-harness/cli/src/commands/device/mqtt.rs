//! An MQTT 3.1.1 client over one connection.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::{Bytes, BytesMut};
use mqtt_proto::v3::{Connack, Connect, ConnectReturnCode, Header, Packet, Publish, Subscribe};
use mqtt_proto::{Pid, QoS, QosPid, TopicFilter, TopicName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::transport::Bytestream;

/// The longest time without a packet to the server. The hub accepts up to 1,177 seconds.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long the server may take to answer CONNECT.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest packet that is accepted, in bytes. Messages of a hub have no more than 256 KiB.
const LARGEST: usize = 1 << 20;

/// How many packets wait to be handled.
const WAITING: usize = 64;

/// What CONNECT contains.
pub(super) struct Login {
    pub(super) client_id: String,
    pub(super) user: String,
    pub(super) password: Option<String>,
    /// Whether the server forgets the subscriptions when the connection ends.
    pub(super) clean: bool,
}

/// The server refused CONNECT.
#[derive(Debug, thiserror::Error)]
#[error("the service refused the connection (MQTT return code {}): {}", *code as u8, meaning(*code))]
pub(super) struct Refused {
    code: ConnectReturnCode,
}

impl Refused {
    /// Whether another attempt with the same login may succeed.
    pub(super) fn may_pass(&self) -> bool {
        self.code == ConnectReturnCode::ServerUnavailable
    }
}

fn meaning(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::Accepted => "accepted",
        ConnectReturnCode::UnacceptableProtocolVersion => "it does not speak MQTT 3.1.1",
        ConnectReturnCode::IdentifierRejected => "the device id is not valid",
        ConnectReturnCode::ServerUnavailable => "it is unavailable at the moment",
        ConnectReturnCode::BadUserNameOrPassword | ConnectReturnCode::NotAuthorized => {
            "check the device id, its key or certificate, this machine's clock, and whether the device is enabled"
        }
    }
}

/// A connection after the server has accepted CONNECT.
pub(super) struct Mqtt {
    writer: WriteHalf<Box<dyn Bytestream>>,
    packets: mpsc::Receiver<Result<Packet>>,
    last: Pid,
    reading: JoinHandle<()>,
}

impl Mqtt {
    /// Sends CONNECT and waits for the answer.
    ///
    /// # Errors
    /// [`Refused`] if the server refuses the login.
    pub(super) async fn connect(stream: Box<dyn Bytestream>, login: Login) -> Result<Self> {
        let (reader, writer) = tokio::io::split(stream);
        let (sender, packets) = mpsc::channel(WAITING);
        let reading = tokio::spawn(read(reader, sender));
        let mut mqtt = Self { writer, packets, last: Pid::default(), reading };
        let mut connect = Connect::new(login.client_id.into(), u16::try_from(KEEP_ALIVE.as_secs())?);
        connect.clean_session = login.clean;
        connect.username = Some(login.user.into());
        connect.password = login.password.map(Bytes::from);
        mqtt.send(&Packet::Connect(connect)).await?;
        let answer = timeout(PATIENCE, mqtt.next()).await.context("no answer to CONNECT in time")??;
        match answer {
            Packet::Connack(Connack { code: ConnectReturnCode::Accepted, .. }) => Ok(mqtt),
            Packet::Connack(Connack { code, .. }) => Err(Refused { code }.into()),
            other => bail!("the answer to CONNECT was a packet {:?}", other.get_type()),
        }
    }

    /// The next packet. Can be cancelled without loss.
    ///
    /// # Errors
    /// If the connection has ended, or a packet cannot be read.
    pub(super) async fn next(&mut self) -> Result<Packet> {
        self.packets.recv().await.unwrap_or_else(|| bail!("the service closed the connection"))
    }

    /// Asks for the messages of these topics, with QoS 1. The answer has the same packet id.
    pub(super) async fn subscribe(&mut self, filters: &[String]) -> Result<Pid> {
        let pid = self.pid();
        let topics = filters
            .iter()
            .map(|filter| Ok((TopicFilter::try_from(filter.as_str())?, QoS::Level1)))
            .collect::<Result<_, mqtt_proto::Error>>()?;
        self.send(&Packet::Subscribe(Subscribe::new(pid, topics))).await?;
        Ok(pid)
    }

    /// Publishes with QoS 1. The acknowledgement has the same packet id.
    pub(super) async fn publish(&mut self, topic: &str, payload: Bytes) -> Result<Pid> {
        let pid = self.pid();
        let topic = TopicName::try_from(topic)?;
        self.send(&Packet::Publish(Publish::new(QosPid::Level1(pid), topic, payload))).await?;
        Ok(pid)
    }

    /// Acknowledges a message; nothing for a message with QoS 0.
    pub(super) async fn acknowledge(&mut self, message: QosPid) -> Result<()> {
        match message {
            QosPid::Level0 => Ok(()),
            QosPid::Level1(pid) | QosPid::Level2(pid) => self.send(&Packet::Puback(pid)).await,
        }
    }

    pub(super) async fn ping(&mut self) -> Result<()> {
        self.send(&Packet::Pingreq).await
    }

    /// Ends the connection. The server then knows that it did not break.
    pub(super) async fn disconnect(mut self) {
        // If the connection has ended already, there is nothing to say.
        if self.send(&Packet::Disconnect).await.is_ok() {
            let _ = timeout(Duration::from_secs(2), self.writer.shutdown()).await;
        }
    }

    fn pid(&mut self) -> Pid {
        self.last += 1;
        self.last
    }

    async fn send(&mut self, packet: &Packet) -> Result<()> {
        self.writer.write_all(packet.encode()?.as_ref()).await.context("the connection broke")?;
        self.writer.flush().await.context("the connection broke")
    }
}

impl Drop for Mqtt {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// Reads packets until the connection ends, and passes them on.
async fn read(mut reader: ReadHalf<Box<dyn Bytestream>>, packets: mpsc::Sender<Result<Packet>>) {
    let mut bytes = BytesMut::new();
    loop {
        let packet = match take(&mut bytes) {
            Ok(Some(packet)) => Ok(packet),
            Ok(None) => match reader.read_buf(&mut bytes).await {
                Ok(0) => return,
                Ok(_) => continue,
                Err(error) => Err(anyhow::Error::new(error).context("the connection broke")),
            },
            Err(error) => Err(error),
        };
        let failed = packet.is_err();
        if packets.send(packet).await.is_err() || failed {
            return;
        }
    }
}

/// Takes the first packet out of the bytes; `None` if it is not complete.
fn take(bytes: &mut BytesMut) -> Result<Option<Packet>> {
    let header = match Header::decode(bytes) {
        Ok(header) => header,
        Err(error) if error.is_eof() => return Ok(None),
        Err(error) => return Err(error).context("a packet cannot be read"),
    };
    // `total_len` of mqtt-proto 0.4.0 is the size of the length field alone.
    let field = bytes.iter().skip(1).take_while(|byte| **byte >= 0x80).count() + 1;
    let length = 1 + field + header.remaining_len as usize;
    if length > LARGEST {
        bail!("a packet of {length} bytes is too large");
    }
    if bytes.len() < length {
        return Ok(None);
    }
    Packet::decode(&bytes.split_to(length)).context("a packet cannot be read")?.context("a packet is cut off").map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_taken_as_they_come() {
        let topic = TopicName::try_from("devices/d/messages/devicebound/").unwrap();
        let first = Packet::Publish(Publish::new(QosPid::Level1(Pid::default()), topic, Bytes::from_static(b"{}")));
        let mut all = first.encode().unwrap().as_ref().to_vec();
        all.extend_from_slice(Packet::Pingresp.encode().unwrap().as_ref());
        let mut bytes = BytesMut::new();
        let mut taken = Vec::new();
        for byte in all {
            bytes.extend_from_slice(&[byte]);
            taken.extend(take(&mut bytes).unwrap());
        }
        assert_eq!(taken, [first, Packet::Pingresp]);
        assert!(bytes.is_empty());
        let mut large = BytesMut::from(&[0x30, 0xff, 0xff, 0xff, 0x7f][..]);
        assert!(take(&mut large).unwrap_err().to_string().contains("too large"));
        assert!(take(&mut BytesMut::from(&[0xff, 0x00][..])).is_err());
    }
}
