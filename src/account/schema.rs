//! The forms that a person fills in to link an account.

use serde_json::{Value, json};

use crate::amqp_transport::AmqpTransport;
use crate::bindings::exports::workflow::connector::metadata::AuthProfile;
use crate::form::schema::{object, string};

/// Id of the profile that asks for the five fields of the connection guide.
pub const SHARED_ACCESS_KEY: &str = "shared-access-key";
/// Id of the profile that asks for one connection string of the hub.
pub const CONNECTION_STRING: &str = "connection-string";

/// The ways to authorize, best first.
pub fn profiles() -> Vec<AuthProfile> {
    vec![
        AuthProfile {
            id: SHARED_ACCESS_KEY.to_owned(),
            title: "Shared access policy".to_owned(),
            help: "Enter the five values of the connection guide. The policy needs **Registry Write**, **Service Connect** and **Device Connect**. \
                   The Event Hub-compatible endpoint and path may stay empty: the connector asks the hub for them, and goes on finding them after a failover."
                .to_owned(),
            schema: form(hub_fields(), &["iotHubName", "sharedAccessKeyName", "sharedAccessKey"]).to_string(),
        },
        AuthProfile {
            id: CONNECTION_STRING.to_owned(),
            title: "IoT Hub connection string".to_owned(),
            help: "Paste one connection string of the hub. In the Azure portal open the hub, then **Shared access policies**, then a policy, \
                   and copy **Primary connection string**."
                .to_owned(),
            schema: form(hub_string_field(), &["iotHubConnectionString"]).to_string(),
        },
    ]
}

fn form(own: Vec<(&'static str, Value)>, required: &[&str]) -> Value {
    let fields = own.into_iter().chain(event_hub_fields()).chain(dps_fields()).chain(advanced_fields());
    object(fields, required)
}

fn field(title: &str, help: &str, group: &str, visibility: &str) -> Value {
    let mut field = string(title);
    field["x-help"] = help.into();
    field["x-group"] = group.into();
    field["x-visibility"] = visibility.into();
    field
}

fn secret(mut field: Value) -> Value {
    field["writeOnly"] = true.into();
    field["format"] = "password".into();
    field
}

/// Marks a field as a host name, which may lack its domain.
fn host(mut field: Value) -> Value {
    field["x-host"] = true.into();
    field
}

fn example(mut field: Value, example: &str) -> Value {
    field["examples"] = json!([example]);
    field
}

const HUB: &str = "IoT Hub";
const EVENT_HUB: &str = "Event Hub-compatible endpoint";
const DPS: &str = "Device Provisioning Service";
const ADVANCED: &str = "Advanced";

fn hub_fields() -> Vec<(&'static str, Value)> {
    vec![
        (
            "iotHubName",
            example(
                host(field(
                    "IoTHub name",
                    "The hub's host name. In the Azure portal open the hub; **Overview** shows it as **Hostname**. Every hub has `plant.azure-devices.net`. \
                     Where the hub has `plant.service.azure-devices.net`, its name for back ends, that works as well, and so does either with `.privatelink` \
                     before `.azure-devices`, within the network of a private endpoint. Events and positions do not change with the name. \
                     `plant.device.azure-devices.net` is for devices. A bare name, a URL or a whole connection string will do, too.",
                    HUB,
                    "important",
                )),
                "plant.azure-devices.net",
            ),
        ),
        (
            "sharedAccessKeyName",
            example(
                field(
                    "Shared Access Keyname",
                    "The name of the policy. In the hub open **Security settings**, then **Shared access policies**; it is the first column.",
                    HUB,
                    "important",
                ),
                "iothubowner",
            ),
        ),
        (
            "sharedAccessKey",
            secret(field(
                "Shared Access Key",
                "In **Shared access policies** open the policy and copy **Primary key** (or **Secondary key**).",
                HUB,
                "important",
            )),
        ),
    ]
}

fn hub_string_field() -> Vec<(&'static str, Value)> {
    vec![(
        "iotHubConnectionString",
        example(
            secret(field(
                "IoT Hub connection string",
                "`HostName=…;SharedAccessKeyName=…;SharedAccessKey=…`. In the hub open **Security settings**, then **Shared access policies**, then the policy, and copy **Primary connection string**.",
                HUB,
                "important",
            )),
            "HostName=plant.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey=…",
        ),
    )]
}

fn event_hub_fields() -> Vec<(&'static str, Value)> {
    vec![
        (
            "eventHubEndpoint",
            example(
                secret(field(
                    "EventHub compatible Endpoint",
                    "In the hub open **Hub settings**, then **Built-in endpoints**, and copy **Event Hub-compatible endpoint**. Leave it empty to have it found. The host and the name alone, such as `sb://….servicebus.windows.net/`, will do, too.",
                    EVENT_HUB,
                    "important",
                )),
                "Endpoint=sb://ihsuprodam001.servicebus.windows.net/;SharedAccessKeyName=iothubowner;SharedAccessKey=…;EntityPath=iothub-ehub-plant-1234-5678abcdef",
            ),
        ),
        (
            "eventHubPath",
            example(
                field(
                    "EventHub compatible path",
                    "In **Built-in endpoints** copy **Event Hub-compatible name**. Leave it empty to have it found.",
                    EVENT_HUB,
                    "important",
                ),
                "iothub-ehub-plant-1234-5678abcdef",
            ),
        ),
    ]
}

fn dps_fields() -> Vec<(&'static str, Value)> {
    let mut key_name = example(
        field(
            "DPS Shared Access Keyname",
            "The name of a policy of the provisioning service. Open it in the portal, then **Shared access policies**.",
            DPS,
            "important",
        ),
        "provisioningserviceowner",
    );
    key_name["x-depends-on"] = "/dpsHostName".into();
    let mut key = secret(field("DPS Shared Access Key", "That policy's **Primary key**.", DPS, "important"));
    key["x-depends-on"] = "/dpsHostName".into();
    vec![
        (
            "dpsHostName",
            example(
                host(field(
                    "DPS service endpoint",
                    "Only for enrollments and registrations. In the portal open the Device Provisioning Service; **Overview** shows it as **Service endpoint**. \
                     Not the **ID scope**, nor the **Global device endpoint**: these are for devices. A whole connection string will do, too.",
                    DPS,
                    "important",
                )),
                "plant-dps.azure-devices-provisioning.net",
            ),
        ),
        ("dpsSharedAccessKeyName", key_name),
        ("dpsSharedAccessKey", key),
    ]
}

fn advanced_fields() -> Vec<(&'static str, Value)> {
    let help = "Domains besides Azure's own that the hosts above may belong to: an emulator, or a private domain that leads to the service. \
                The engine that runs this connector must allow these hosts as well.";
    let amqp_host = example(
        host(field(
            "IoT Hub AMQP host",
            "Where the hub speaks AMQP, with `:port` where that is not the transport's: one of the hub's names, as above. Empty: at the name above.",
            ADVANCED,
            "advanced",
        )),
        "plant.azure-devices.net",
    );
    let mut transport = field(
        "AMQP transport",
        "How telemetry, messages to devices and feedback reach the engine: `amqp-tcp` on port 5671, or `amqp-web-sockets` on port 443, for networks that \
         let nothing else out. The latter needs one exchange more to connect.",
        ADVANCED,
        "advanced",
    );
    transport["enum"] = json!(AmqpTransport::ALL.map(AmqpTransport::id));
    transport["default"] = AmqpTransport::default().id().into();
    let certificates = field(
        "Trusted certificates",
        "Certificates (PEM) of the **root** authorities to trust for telemetry instead of the public ones. Only for an emulator, or a proxy that looks into TLS. \
         Azure's own need none of this; if you pin them, enter the root alone (DigiCert Global Root G2, and Microsoft RSA Root Certificate Authority 2017): \
         Microsoft changes the issuing authorities below it.",
        ADVANCED,
        "advanced",
    );
    vec![
        ("amqpTransport", transport),
        ("iotHubAmqpHost", amqp_host),
        ("trustedCertificates", certificates),
        (
            "trustedHostSuffixes",
            json!({
                "type": "array",
                "title": "Trusted domains",
                "items": { "type": "string", "minLength": 1, "maxLength": 253 },
                "maxItems": 8,
                "x-help": help,
                "x-group": ADVANCED,
                "x-visibility": "advanced",
                "examples": [["localhost"]],
            }),
        ),
    ]
}
