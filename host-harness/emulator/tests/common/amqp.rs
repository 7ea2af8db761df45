//! An AMQP client that is independent of the emulator's AMQP code: `fe2o3-amqp`, over TLS.
#![allow(dead_code, reason = "not every test binary uses all of it")]

use std::fmt::Debug;
use std::time::Duration;

use azure_iot_emulator::{Emulator, Policy};
use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Connection, Receiver, Sender, Session};
use fe2o3_amqp_types::messaging::annotations::OwnedKey;
use fe2o3_amqp_types::messaging::{ApplicationProperties, Body, Message, Properties, Source};
use fe2o3_amqp_types::primitives::SimpleValue;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rustls::pki_types::ServerName;
use serde_amqp::Value;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use serde_amqp::primitives::{OrderedMap, Symbol};
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::common::{encode, tls_connector};

pub const EARLIEST: &str = "amqp.annotation.x-opt-offset > '-1'";
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Client {
    pub connection: ConnectionHandle<()>,
    pub session: SessionHandle<()>,
}

pub async fn tls(emulator: &Emulator, host: &str) -> TlsStream<TcpStream> {
    let (name, port) = host.rsplit_once(':').expect("a port");
    let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.expect("TCP");
    let name = ServerName::try_from(name.to_owned()).expect("name");
    tls_connector(emulator).connect(name, stream).await.expect("TLS")
}

impl Client {
    pub async fn open(emulator: &Emulator, host: &str, sasl: SaslProfile) -> Result<Self, String> {
        let stream = tls(emulator, host).await;
        let opened = Connection::builder()
            .container_id("test")
            .hostname("localhost")
            .scheme("amqp")
            .sasl_profile(sasl)
            .open_with_stream(stream);
        let mut connection = within(opened).await.map_err(|error| format!("{error:?}"))?;
        let session = within(Session::begin(&mut connection)).await.map_err(|error| format!("{error:?}"))?;
        Ok(Self { connection, session })
    }

    /// A connection to the Event Hub-compatible endpoint that has put a token for the whole Event Hub.
    pub async fn event_hub(emulator: &Emulator) -> Self {
        let mut client = Self::open(emulator, &emulator.event_hub_host(), SaslProfile::Anonymous).await.expect("open");
        let audience = event_hub_audience(emulator);
        let token = event_hub_token(&audience, emulator.hub_policy("service").expect("policy"), 3600);
        assert_eq!(client.put_token(&audience, &token).await, (202, "Accepted".to_owned()));
        client
    }

    /// Sends a request to `$cbs` or `$management`. Returns the answer's status code, description and body.
    pub async fn request(
        &mut self,
        node: &str,
        properties: &[(&str, &str)],
        body: Value,
    ) -> Result<(i32, String, Value), String> {
        let debug = |error: &dyn Debug| format!("{error:?}");
        let mut receiver = Receiver::builder()
            .name(format!("{node}-in"))
            .source(node.to_owned())
            .target(fe2o3_amqp_types::messaging::Target::builder().address("reply").build())
            .attach(&mut self.session)
            .await
            .map_err(|error| debug(&error))?;
        let mut sender = Sender::attach(&mut self.session, format!("{node}-out"), node.to_owned())
            .await
            .map_err(|error| debug(&error))?;
        let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), SimpleValue::from(*value)));
        let message = Message::builder()
            .properties(Properties::builder().message_id("id-1".to_owned()).reply_to("reply").build())
            .application_properties(ApplicationProperties(properties.collect()))
            .value(body)
            .build();
        within(sender.send(message)).await.map_err(|error| debug(&error))?;
        let answer = within(receiver.recv::<Body<Value>>()).await.map_err(|error| debug(&error))?;
        receiver.accept(&answer).await.map_err(|error| debug(&error))?;
        let answer = answer.into_message();
        let correlation = answer.properties.as_ref().and_then(|properties| properties.correlation_id.clone());
        assert_eq!(format!("{correlation:?}"), r#"Some(String("id-1"))"#);
        let application = answer.application_properties.expect("application properties");
        let status = match application.0.get("status-code") {
            Some(SimpleValue::Int(status)) => *status,
            other => panic!("{other:?}"),
        };
        let description = match application.0.get("status-description") {
            Some(SimpleValue::String(text)) => text.clone(),
            other => panic!("{other:?}"),
        };
        let body = match answer.body {
            Body::Value(value) => value.0,
            other => panic!("{other:?}"),
        };
        let _ = sender.close().await;
        let _ = receiver.close().await;
        Ok((status, description, body))
    }

    pub async fn put_token(&mut self, audience: &str, token: &str) -> (i32, String) {
        self.put_token_of("servicebus.windows.net:sastoken", audience, token).await
    }

    pub async fn put_token_of(&mut self, kind: &str, audience: &str, token: &str) -> (i32, String) {
        let properties = [("operation", "put-token"), ("type", kind), ("name", audience)];
        let answer = self.request("$cbs", &properties, Value::String(token.to_owned())).await.expect("an answer");
        (answer.0, answer.1)
    }

    /// Attaches a reader. Returns the error's text when the reader is refused.
    pub async fn reader(&mut self, address: &str, reader: Reader<'_>) -> Result<Receiver, String> {
        let mut source = Source::builder().address(address);
        if let Some(selector) = reader.selector {
            let value = Value::String(selector.to_owned());
            let name = "apache.org:selector-filter:string";
            source = match reader.descriptor {
                Some(descriptor) => source.add_to_filter(name, Described { descriptor, value }),
                None => source.add_to_filter_using_legacy_format(name, value),
            };
        }
        let mut properties = OrderedMap::new();
        if let Some(epoch) = reader.epoch {
            properties.insert(Symbol::from("com.microsoft:epoch"), Value::Long(epoch));
        }
        let mut builder = Receiver::builder()
            .name(format!("reader-{}", fresh()))
            .source(source.build())
            .properties(properties)
            .credit_mode(CreditMode::Manual);
        if reader.metrics {
            builder = builder.add_desired_capabilities("com.microsoft:enable-receiver-runtime-metric");
        }
        within(builder.attach(&mut self.session)).await.map_err(|error| format!("{error:?}"))
    }
}

/// The options of a reader.
#[derive(Clone)]
pub struct Reader<'a> {
    pub selector: Option<&'a str>,
    pub descriptor: Option<Descriptor>,
    pub epoch: Option<i64>,
    pub metrics: bool,
}

impl Default for Reader<'_> {
    fn default() -> Self {
        Self { selector: Some(EARLIEST), descriptor: Some(by_number()), epoch: None, metrics: false }
    }
}

/// The descriptor that JavaScript and Rust clients use.
pub fn by_number() -> Descriptor {
    Descriptor::Code(0x0000_468C_0000_0004)
}

/// The descriptor that the Python client uses.
pub fn by_name() -> Descriptor {
    Descriptor::Name(Symbol::from("apache.org:selector-filter:string"))
}

fn fresh() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

pub fn partition_address(emulator: &Emulator, group: &str, partition: u16) -> String {
    format!("{}/ConsumerGroups/{group}/Partitions/{partition}", emulator.event_hub_name())
}

pub fn event_hub_audience(emulator: &Emulator) -> String {
    format!("amqps://{}/{}", emulator.event_hub_host(), emulator.event_hub_name())
}

/// A token of the Event Hubs dialect: signed with the raw key.
pub fn event_hub_token(resource: &str, policy: &Policy, lifetime: i64) -> String {
    let expiry = time::OffsetDateTime::now_utc().unix_timestamp() + lifetime;
    let resource = encode(resource);
    let mac = Hmac::<Sha256>::new_from_slice(policy.primary_key.as_bytes()).expect("key");
    let mac = mac.chain_update(format!("{resource}\n{expiry}")).finalize().into_bytes();
    let signature = encode(&base64::Engine::encode(&base64::engine::general_purpose::STANDARD, mac));
    format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={}", policy.name)
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("an answer in time")
}

/// A message annotation.
pub fn annotation<T>(message: &Message<T>, name: &str) -> Option<Value> {
    let annotations = &message.message_annotations.as_ref()?.0;
    let key = OwnedKey::Symbol(Symbol::from(name));
    annotations.iter().find(|(found, _)| **found == key).map(|(_, value)| value.clone())
}

/// The sequence number of a message.
pub fn sequence<T>(message: &Message<T>) -> i64 {
    match annotation(message, "x-opt-sequence-number") {
        Some(Value::Long(number)) => number,
        other => panic!("{other:?}"),
    }
}

/// Receives `count` messages and returns their sequence numbers.
pub async fn numbers(receiver: &mut Receiver, count: u32) -> Vec<i64> {
    receiver.set_credit(count).await.expect("credit");
    let mut numbers = Vec::new();
    for _ in 0..count {
        let delivery = within(receiver.recv::<Body<Value>>()).await.expect("a message");
        receiver.accept(&delivery).await.expect("accept");
        numbers.push(sequence(delivery.message()));
    }
    numbers
}

/// The error with which a reader's link or connection ends.
pub async fn closing_error(receiver: &mut Receiver) -> String {
    let _ = receiver.set_credit(1000).await;
    loop {
        match within(receiver.recv::<Body<Value>>()).await {
            Ok(_) => {}
            Err(error) => return format!("{error:?}"),
        }
    }
}
