//! The topics that a device may publish to and subscribe to.

use super::properties::find;
use crate::records::identity::Target;

/// What a device publishes to the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FromDevice {
    /// Telemetry with these properties, still encoded.
    Telemetry { properties: String },
    /// The answer to a method.
    MethodAnswer { status: i32, request: String },
    /// Reads the twin.
    ReadTwin { request: String },
    /// Writes reported properties.
    Report { request: String },
}

/// What a device subscribes to at the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    DeviceBound,
    Inputs,
    Methods,
    TwinAnswers,
    Desired,
}

/// What a device publishes to the provisioning service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FromRegistrant {
    Register { request: String },
    Status { request: String, operation: String },
}

pub(super) const REGISTRATION_ANSWERS: &str = "$dps/registrations/res/#";

/// Reads a topic to which a device or module publishes; `None` for every other topic.
pub(super) fn published(target: &Target, topic: &str) -> Option<FromDevice> {
    let request = |properties: &str| find(properties, "$rid");
    if let Some(rest) = below(target, topic) {
        let properties = rest.strip_prefix("messages/events")?;
        let properties = if properties.is_empty() { properties } else { properties.strip_prefix('/')? };
        return Some(FromDevice::Telemetry { properties: properties.to_owned() });
    }
    if let Some(rest) = topic.strip_prefix("$iothub/methods/res/") {
        let (status, properties) = rest.split_once('/')?;
        return Some(FromDevice::MethodAnswer { status: status.parse().ok()?, request: request(properties)? });
    }
    if let Some(properties) = topic.strip_prefix("$iothub/twin/GET/") {
        return Some(FromDevice::ReadTwin { request: request(properties)? });
    }
    let properties = topic.strip_prefix("$iothub/twin/PATCH/properties/reported/")?;
    Some(FromDevice::Report { request: request(properties)? })
}

/// Reads a filter to which a device or module subscribes; `None` for every other filter.
pub(super) fn subscribed(target: &Target, filter: &str) -> Option<Filter> {
    match filter {
        "$iothub/methods/POST/#" => Some(Filter::Methods),
        "$iothub/twin/res/#" => Some(Filter::TwinAnswers),
        "$iothub/twin/PATCH/properties/desired/#" => Some(Filter::Desired),
        _ => match below(target, filter)?.to_ascii_lowercase().as_str() {
            "messages/devicebound/#" => Some(Filter::DeviceBound),
            "inputs/#" if target.module.is_some() => Some(Filter::Inputs),
            _ => None,
        },
    }
}

/// Reads a topic to which a device publishes for its registration; `None` for every other topic.
pub(super) fn registered(topic: &str) -> Option<FromRegistrant> {
    if let Some(properties) = topic.strip_prefix("$dps/registrations/PUT/iotdps-register/") {
        return Some(FromRegistrant::Register { request: find(properties, "$rid")? });
    }
    let properties = topic.strip_prefix("$dps/registrations/GET/iotdps-get-operationstatus/")?;
    Some(FromRegistrant::Status { request: find(properties, "$rid")?, operation: find(properties, "operationId")? })
}

/// The part of a topic after `devices/{id}/` or `devices/{id}/modules/{id}/`.
fn below<'a>(target: &Target, topic: &'a str) -> Option<&'a str> {
    let rest = topic.strip_prefix("devices/")?.strip_prefix(&target.device)?.strip_prefix('/')?;
    match &target.module {
        Some(module) => rest.strip_prefix("modules/")?.strip_prefix(module.as_str())?.strip_prefix('/'),
        None => Some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read() {
        let device = Target::new("d", None);
        let module = Target::new("d", Some("m"));
        let telemetry = |properties: &str| Some(FromDevice::Telemetry { properties: properties.to_owned() });
        assert_eq!(published(&device, "devices/d/messages/events/"), telemetry(""));
        assert_eq!(published(&device, "devices/d/messages/events/a=b/"), telemetry("a=b/"));
        assert_eq!(published(&module, "devices/d/modules/m/messages/events/"), telemetry(""));
        let request = || "7".to_owned();
        assert_eq!(
            published(&device, "$iothub/methods/res/200/?$rid=7"),
            Some(FromDevice::MethodAnswer { status: 200, request: request() })
        );
        assert_eq!(published(&device, "$iothub/twin/GET/?$rid=7"), Some(FromDevice::ReadTwin { request: request() }));
        assert_eq!(
            published(&device, "$iothub/twin/PATCH/properties/reported/?$rid=7"),
            Some(FromDevice::Report { request: request() })
        );
        for foreign in [
            "devices/e/messages/events/",
            "devices/d/messages/eventsx",
            "devices/d/modules/m/messages/events/",
            "$iothub/twin/GET/",
            "$iothub/methods/res/x/?$rid=7",
            "anything",
        ] {
            assert_eq!(published(&device, foreign), None, "{foreign}");
        }
    }

    #[test]
    fn filters_are_read() {
        let device = Target::new("d", None);
        let module = Target::new("d", Some("m"));
        assert_eq!(subscribed(&device, "devices/d/messages/devicebound/#"), Some(Filter::DeviceBound));
        assert_eq!(subscribed(&device, "devices/e/messages/devicebound/#"), None);
        assert_eq!(subscribed(&module, "devices/d/modules/m/inputs/#"), Some(Filter::Inputs));
        assert_eq!(subscribed(&device, "$iothub/methods/POST/#"), Some(Filter::Methods));
        assert_eq!(subscribed(&device, "#"), None);
    }

    #[test]
    fn registrations_are_read() {
        assert_eq!(
            registered("$dps/registrations/PUT/iotdps-register/?$rid=a"),
            Some(FromRegistrant::Register { request: "a".to_owned() })
        );
        assert_eq!(
            registered("$dps/registrations/GET/iotdps-get-operationstatus/?$rid=a&operationId=5.x"),
            Some(FromRegistrant::Status { request: "a".to_owned(), operation: "5.x".to_owned() })
        );
        assert_eq!(registered("$dps/registrations/GET/iotdps-get-operationstatus/?$rid=a"), None);
    }
}
