//! The topics of IoT Hub's device API over MQTT. Microsoft's page "Communicate with an IoT hub by using the MQTT
//! protocol" describes them.

use percent_encoding::percent_decode_str;

use super::identity::{Identity, escaped};

pub(super) const METHODS: &str = "$iothub/methods/POST/";
pub(super) const TWIN_ANSWERS: &str = "$iothub/twin/res/";
pub(super) const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/";

/// The version of the device API; the oldest that has every operation of this program.
pub(super) const API_VERSION: &str = "2021-04-12";

/// MQTT's user name of a device.
pub(super) fn user(identity: &Identity) -> String {
    let client = escaped(concat!("connector-host/", env!("CARGO_PKG_VERSION")));
    format!("{}/{}/?api-version={API_VERSION}&DeviceClientType={client}", identity.host, identity.name())
}

/// The beginning of the topics that contain the name of the device or module.
fn root(identity: &Identity) -> String {
    match &identity.module {
        Some(module) => format!("devices/{}/modules/{module}/messages", identity.device),
        None => format!("devices/{}/messages", identity.device),
    }
}

/// The beginning of the topics of messages to the device.
pub(super) fn device_bound(identity: &Identity) -> String {
    format!("{}/devicebound/", root(identity))
}

/// The topic of a message from the device. `properties` are system properties, which begin with `$.`, and the
/// message's own.
pub(super) fn events<'a>(identity: &Identity, properties: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let properties: Vec<_> =
        properties.into_iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    format!("{}/events/{}", root(identity), properties.join("&"))
}

/// A request about the twin.
pub(super) fn twin_request(operation: &str, request: u64) -> String {
    format!("$iothub/twin/{operation}?$rid={request}")
}

/// The answer to a direct method.
pub(super) fn method_answer(status: i64, request: &str) -> String {
    format!("$iothub/methods/res/{status}/?$rid={request}")
}

/// What a message of the hub is, by its topic.
#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    /// A message to the device, with its system properties and its own, in the order of the topic.
    Message(Vec<(String, String)>),
    /// The call of a direct method.
    Method { name: String, request: String },
    /// The answer to a request about the twin.
    TwinAnswer { status: u16, request: u64, version: Option<u64> },
    /// Desired properties have changed.
    Desired { version: Option<u64> },
    /// A topic that this program has not subscribed to.
    Unknown,
}

impl Incoming {
    pub(super) fn read(topic: &str, device_bound: &str) -> Self {
        if let Some(properties) = topic.strip_prefix(device_bound) {
            return Self::Message(pairs(properties));
        }
        let read = || {
            if let Some(rest) = topic.strip_prefix(METHODS) {
                let (name, query) = rest.split_once("/?")?;
                return Some(Self::Method { name: decoded(name), request: parameter(query, "$rid")? });
            }
            if let Some(rest) = topic.strip_prefix(TWIN_ANSWERS) {
                let (status, query) = rest.split_once("/?")?;
                return Some(Self::TwinAnswer {
                    status: status.parse().ok()?,
                    request: parameter(query, "$rid")?.parse().ok()?,
                    version: version(query),
                });
            }
            let query = topic.strip_prefix(DESIRED)?;
            Some(Self::Desired { version: version(query.strip_prefix('?').unwrap_or(query)) })
        };
        read().unwrap_or(Self::Unknown)
    }
}

fn version(query: &str) -> Option<u64> {
    parameter(query, "$version")?.parse().ok()
}

/// A parameter of a topic's query.
pub(super) fn parameter(query: &str, wanted: &str) -> Option<String> {
    pairs(query).into_iter().find(|(name, _)| name == wanted).map(|(_, value)| value)
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.trim_end_matches('/').split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(module: &str) -> Identity {
        let module = if module.is_empty() { String::new() } else { format!(";ModuleId={module}") };
        let text = format!("HostName=h;DeviceId=d{module};SharedAccessKey=a2V5");
        Identity::from_connection_string(&text).unwrap()
    }

    #[test]
    fn writes_topics() {
        let device = identity("");
        assert!(user(&device).starts_with("h/d/?api-version=2021-04-12&DeviceClientType=connector-host%2F"));
        let properties = [("$.ct", "application/json"), ("a b", "c&d")];
        assert_eq!(events(&device, properties), "devices/d/messages/events/%24.ct=application%2Fjson&a%20b=c%26d");
        assert_eq!(events(&identity("m"), []), "devices/d/modules/m/messages/events/");
    }

    #[test]
    fn reads_topics() {
        let read = |topic: &str| Incoming::read(topic, &device_bound(&identity("")));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            read("devices/d/messages/devicebound/%24.mid=1&%24.to=%2Fdevices%2Fd&a%20b=c%26d&n="),
            Incoming::Message(vec![pair("$.mid", "1"), pair("$.to", "/devices/d"), pair("a b", "c&d"), pair("n", "")])
        );
        assert_eq!(
            read("$iothub/methods/POST/reboot/?$rid=7f"),
            Incoming::Method { name: "reboot".to_owned(), request: "7f".to_owned() }
        );
        assert_eq!(
            read("$iothub/twin/res/204/?$rid=3&$version=12"),
            Incoming::TwinAnswer { status: 204, request: 3, version: Some(12) }
        );
        assert_eq!(read("$iothub/twin/PATCH/properties/desired/?$version=4"), Incoming::Desired { version: Some(4) });
        for topic in
            ["devices/other/messages/devicebound/", "$iothub/methods/POST/reboot", "$iothub/twin/res/x/?$rid=1"]
        {
            assert_eq!(read(topic), Incoming::Unknown, "{topic}");
        }
    }
}
