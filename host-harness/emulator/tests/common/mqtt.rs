//! A plain MQTT 3.1.1 client, so that no device SDK stands between a test and the wire.
#![allow(dead_code, reason = "not every test binary uses all of it")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use azure_iot_emulator::Emulator;
use bytes::BytesMut;
use mqtt_proto::v3::{Connect, ConnectReturnCode, Packet, Publish, Subscribe, SubscribeReturnCode};
use mqtt_proto::{Pid, QoS, QosPid, TopicFilter, TopicName};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::token;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Mqtt {
    stream: TlsStream<TcpStream>,
    inbound: BytesMut,
    published: VecDeque<Publish>,
    pub session_present: bool,
    next: u16,
}

/// A client's certificates, its own first, and its key.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// The CONNECT of a device or module at the hub.
pub fn hub_connect(emulator: &Emulator, key_of: &str, password: Option<&str>) -> Connect {
    let user = format!("{}/{key_of}/?api-version=2021-04-12&DeviceClientType=test", emulator.hub_host());
    connect(key_of, &user, password)
}

pub fn connect(client: &str, user: &str, password: Option<&str>) -> Connect {
    let mut connect = Connect::new(client.into(), 60);
    connect.clean_session = false;
    connect.username = Some(user.into());
    connect.password = password.map(|password| password.to_owned().into());
    connect
}

/// The token of a device or, with `d/modules/m`, of a module.
pub fn device_token(emulator: &Emulator, path: &str, key: &str) -> String {
    token(&format!("{}/devices/{path}", emulator.hub_host()), key, None, 3600)
}

impl Mqtt {
    /// Connects a device with its own key.
    pub async fn device(emulator: &Emulator, id: &str) -> Self {
        let string = emulator.device_connection_string(id).expect("a device with a key");
        let (_, key) = string.split_once("SharedAccessKey=").expect("a key");
        let password = device_token(emulator, id, key);
        Self::open(emulator, hub_connect(emulator, id, Some(&password))).await.expect("connected")
    }

    pub async fn open(emulator: &Emulator, connect: Connect) -> Result<Self, ConnectReturnCode> {
        Self::open_with(emulator, connect, None).await
    }

    pub async fn open_with(
        emulator: &Emulator,
        connect: Connect,
        identity: Option<Identity>,
    ) -> Result<Self, ConnectReturnCode> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(emulator.ca_pem().as_bytes()).expect("CA")).expect("CA");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(roots);
        let config = match identity {
            Some(Identity { chain, key }) => config.with_client_auth_cert(chain, key).expect("identity"),
            None => config.with_no_client_auth(),
        };
        let host = emulator.mqtt_host();
        let (name, port) = host.rsplit_once(':').expect("a port");
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.expect("TCP");
        let name = ServerName::try_from(name.to_owned()).expect("name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
        let mut client =
            Self { stream, inbound: BytesMut::new(), published: VecDeque::new(), session_present: false, next: 1 };
        client.send(&connect.into()).await;
        match client.packet().await.expect("CONNACK") {
            Packet::Connack(answer) if answer.code == ConnectReturnCode::Accepted => {
                client.session_present = answer.session_present;
                Ok(client)
            }
            Packet::Connack(answer) => Err(answer.code),
            other => panic!("{other:?}"),
        }
    }

    pub async fn send(&mut self, packet: &Packet) {
        self.stream.write_all(packet.encode().expect("packet").as_ref()).await.expect("written");
    }

    /// The next packet; `None` when the connection has ended.
    pub async fn packet(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = Packet::decode(&self.inbound).expect("a packet") {
                let _ = self.inbound.split_to(packet.encode_len().expect("length"));
                return Some(packet);
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.inbound)).await;
            if !read.expect("a packet in time").is_ok_and(|read| read > 0) {
                return None;
            }
        }
    }

    /// Waits for a packet that is no PUBLISH; those are kept for [`Self::received`].
    async fn answer(&mut self) -> Option<Packet> {
        loop {
            match self.packet().await? {
                Packet::Publish(publish) => self.published.push_back(publish),
                other => return Some(other),
            }
        }
    }

    pub async fn subscribe(&mut self, filter: &str, qos: QoS) {
        let pid = self.pid();
        let topics = vec![(TopicFilter::try_from(filter).expect("filter"), qos)];
        self.send(&Subscribe::new(pid, topics).into()).await;
        match self.answer().await {
            Some(Packet::Suback(answer)) => assert_eq!(answer.topics, [SubscribeReturnCode::from(qos)]),
            other => panic!("{other:?}"),
        }
    }

    /// Publishes with QoS 1 and waits for the acknowledgement. Returns whether the connection still stands.
    pub async fn publish(&mut self, topic: &str, body: &str) -> bool {
        let pid = self.pid();
        self.publish_as(topic, body, QosPid::Level1(pid)).await;
        match self.answer().await {
            Some(Packet::Puback(acknowledged)) => {
                assert_eq!(acknowledged, pid);
                true
            }
            None => false,
            other => panic!("{other:?}"),
        }
    }

    pub async fn publish_as(&mut self, topic: &str, body: &str, qos: QosPid) {
        let topic = TopicName::try_from(topic).expect("topic");
        self.send(&Publish::new(qos, topic, body.to_owned().into()).into()).await;
    }

    /// The next message for the client, without acknowledging it.
    pub async fn received(&mut self) -> Publish {
        if let Some(publish) = self.published.pop_front() {
            return publish;
        }
        match self.packet().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("{other:?}"),
        }
    }

    pub async fn acknowledge(&mut self, publish: &Publish) {
        let pid = publish.qos_pid.pid().expect("QoS 1");
        self.send(&Packet::Puback(pid)).await;
        // A ping shows that the acknowledgement was read.
        self.ping().await;
    }

    pub async fn ping(&mut self) {
        self.send(&Packet::Pingreq).await;
        assert_eq!(self.answer().await, Some(Packet::Pingresp));
    }

    /// Whether nothing but the end comes.
    pub async fn is_closed(&mut self) -> bool {
        self.packet().await.is_none()
    }

    fn pid(&mut self) -> Pid {
        self.next += 1;
        Pid::try_from(self.next).expect("pid")
    }
}

pub fn text(publish: &Publish) -> String {
    String::from_utf8(publish.payload.to_vec()).expect("text")
}

pub fn json(publish: &Publish) -> serde_json::Value {
    serde_json::from_slice(&publish.payload).expect("JSON")
}
