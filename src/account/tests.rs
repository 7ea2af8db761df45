//! Pasted values: each value is either used and reported with a notice, or refused with a reason. No notice or reason
//! contains a key.

use serde_json::{Value, json};

use super::read;
use super::schema::{CONNECTION_STRING, SHARED_ACCESS_KEY};
use crate::account::Account;
use crate::amqp_transport::AmqpTransport;
use crate::bindings::exports::workflow::connector::connection::Validation;
use crate::bindings::workflow::connector::types::Connection;
use crate::error::Severity;

/// A key as the portal shows it, 32 bytes.
const KEY: &str = "dGhlIGtleSB0aGF0IG11c3Qgbm90IGJlIHNlZW4hISE=";
const OTHER: &str = "YW5vdGhlciBrZXkgdGhhdCBtdXN0IG5vdCBiZSBzZWU=";

fn judge(profile: &str, values: &Value) -> (Option<Account>, Validation) {
    let (account, validation) = read(&Connection { auth_profile: profile.into(), values: values.to_string() });
    let shown = format!("{:?} {}", validation.problems, validation.normalized);
    for piece in ["dGhlIGtleSB0", "YW5vdGhlciBr"] {
        assert!(!shown.contains(piece), "a key in {shown}");
    }
    (account, validation)
}

fn codes(validation: &Validation) -> Vec<(Severity, &str, &str)> {
    validation
        .problems
        .iter()
        .map(|problem| (problem.severity, problem.pointer.as_str(), problem.code.as_str()))
        .collect()
}

fn errors(validation: &Validation) -> Vec<(&str, &str)> {
    let errors = validation.problems.iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(|problem| (problem.pointer.as_str(), problem.code.as_str())).collect()
}

fn hub(name: &str) -> Value {
    json!({ "iotHubName": name, "sharedAccessKeyName": "service", "sharedAccessKey": KEY })
}

fn with_dps(name: &str) -> Value {
    let mut values = hub("plant");
    values["dpsHostName"] = name.into();
    values["dpsSharedAccessKeyName"] = "owner".into();
    values["dpsSharedAccessKey"] = KEY.into();
    values
}

/// An engine completes a bare name to a host name only in the fields that the schema marks.
#[test]
fn the_fields_for_hosts_are_marked() {
    for profile in super::profiles() {
        let schema: Value = serde_json::from_str(&profile.schema).expect("JSON");
        let fields = schema["properties"].as_object().expect("fields");
        let marked: Vec<&str> =
            fields.iter().filter(|(_, field)| field["x-host"] == true).map(|(name, _)| name.as_str()).collect();
        let expected: &[&str] = match profile.id.as_str() {
            SHARED_ACCESS_KEY => &["dpsHostName", "iotHubAmqpHost", "iotHubName"],
            _ => &["dpsHostName", "iotHubAmqpHost"],
        };
        assert_eq!(marked, expected, "{}", profile.id);
    }
}

#[test]
fn amqp_goes_over_what_was_chosen() {
    let read = |transport: Option<&str>, more: &[(&str, &str)]| {
        let mut values = hub("plant");
        for (field, value) in more {
            values[*field] = (*value).into();
        }
        if let Some(transport) = transport {
            values["amqpTransport"] = transport.into();
        }
        judge(SHARED_ACCESS_KEY, &values)
    };
    let normalized = |validation: &Validation| -> Value { serde_json::from_str(&validation.normalized).expect("JSON") };
    for transport in [None, Some("amqp-tcp")] {
        let (account, validation) = read(transport, &[("iotHubName", "plant.azure-devices.net")]);
        let account = account.expect("an account");
        assert_eq!((account.amqp_transport, account.hub_amqp.port), (AmqpTransport::Tcp, 5671));
        let normalized = normalized(&validation);
        assert_eq!(normalized["iotHubAmqpHost"], "plant.azure-devices.net:5671");
        assert!(normalized.get("iotHubWebSocketHost").is_none(), "{normalized}");
    }
    let pinned = [
        ("iotHubName", "plant.azure-devices.net"),
        ("eventHubEndpoint", "sb://ns.servicebus.windows.net:5671/"),
        ("eventHubPath", "plant"),
    ];
    let (account, validation) = read(Some("amqp-web-sockets"), &pinned);
    let account = account.expect("an account");
    assert_eq!((account.amqp_transport, account.hub_amqp.port), (AmqpTransport::WebSockets, 443));
    let normalized = normalized(&validation);
    assert_eq!(normalized["amqpTransport"], "amqp-web-sockets");
    assert_eq!(normalized["iotHubWebSocketHost"], "plant.azure-devices.net:443");
    // Port 5671, which Azure shows in its connection strings, is for AMQP over TCP and is not used for a WebSocket.
    assert_eq!(normalized["eventHubWebSocketHost"], "ns.servicebus.windows.net");
    assert!(normalized.get("iotHubAmqpHost").is_none() && normalized.get("eventHubHostName").is_none(), "{normalized}");

    // The schema does not allow an empty text either.
    for unknown in ["mqtt", ""] {
        let (account, validation) = read(Some(unknown), &[]);
        assert!(account.is_none(), "{unknown:?}");
        let problem =
            validation.problems.iter().find(|problem| problem.pointer == "/amqpTransport").expect("a problem");
        assert!(problem.message.contains("`amqp-tcp` or `amqp-web-sockets`"), "{}", problem.message);
    }
}

#[test]
fn each_name_of_a_hub_has_its_answer() {
    // The entered name, the host that is used, and the code of the notice.
    for (entered, host, notice) in [
        ("plant", "plant.azure-devices.net", Some("completed")),
        ("plant.azure-devices.net", "plant.azure-devices.net", None),
        ("plant.azure-devices.cn", "plant.azure-devices.cn", None),
        ("plant.azure-devices.us", "plant.azure-devices.us", None),
        ("Plant.Service.Azure-Devices.Net", "plant.service.azure-devices.net", None),
        ("plant.service.azure-devices.cn", "plant.service.azure-devices.cn", None),
        ("plant.privatelink.azure-devices.net", "plant.privatelink.azure-devices.net", None),
        ("plant.service.privatelink.azure-devices.us", "plant.service.privatelink.azure-devices.us", None),
        ("plant.service", "plant.service.azure-devices.net", Some("completed")),
        ("plant.privatelink", "plant.privatelink.azure-devices.net", Some("completed")),
        ("plant.service.privatelink", "plant.service.privatelink.azure-devices.net", Some("completed")),
        ("plant.device.azure-devices.net", "plant.service.azure-devices.net", Some("device-host")),
        ("plant.device", "plant.service.azure-devices.net", Some("device-host")),
        (
            "plant.device.privatelink.azure-devices.net",
            "plant.service.privatelink.azure-devices.net",
            Some("device-host"),
        ),
        ("https://plant.device.azure-devices.cn/", "plant.service.azure-devices.cn", Some("device-host")),
        ("plant.azure-devices.net:5671", "plant.azure-devices.net", Some("port-left-out")),
        ("amqps://plant.service.azure-devices.net:5671", "plant.service.azure-devices.net", Some("port-left-out")),
        ("mqtts://plant.azure-devices.net:8883", "plant.azure-devices.net", Some("port-left-out")),
        ("https://plant.azure-devices.net:443/", "plant.azure-devices.net", Some("host-only")),
        ("wss://plant.azure-devices.net/$iothub/websocket", "plant.azure-devices.net", Some("host-only")),
    ] {
        let (account, validation) = judge(SHARED_ACCESS_KEY, &hub(entered));
        let account = account.unwrap_or_else(|| panic!("{entered}: {:?}", validation.problems));
        assert_eq!(
            (account.hub.host.as_str(), account.hub_amqp.authority()),
            (host, format!("{host}:5671")),
            "{entered}"
        );
        let said = codes(&validation).into_iter().map(|(_, _, code)| code).collect::<Vec<_>>();
        match notice {
            Some(notice) => assert!(said.contains(&notice), "{entered}: {said:?}"),
            None => assert_eq!(said, [""; 0], "{entered}"),
        }
    }
    for entered in [
        "a.b.azure-devices.net",
        "a.b.c.azure-devices.net",
        "a.b.service.azure-devices.net",
        "plant.services.azure-devices.net",
        "plant.privatelink.service.azure-devices.net",
        "plant.service.device.azure-devices.net",
        "privatelink.azure-devices.net",
    ] {
        let (account, validation) = judge(SHARED_ACCESS_KEY, &hub(entered));
        assert_eq!((account, errors(&validation)), (None, vec![("/iotHubName", "unknown-form")]), "{entered}");
        // A person can still use such a name by trusting its domain.
        let mut trusted = hub(entered);
        trusted["trustedHostSuffixes"] = json!(["azure-devices.net"]);
        let host = judge(SHARED_ACCESS_KEY, &trusted).0.map(|account| account.hub.host);
        assert_eq!(host.as_deref(), Some(entered));
    }
    // The AMQP host is one of the hub's names as well, so the name for devices is replaced there, too.
    let mut values = hub("plant");
    values["iotHubAmqpHost"] = "plant.device.azure-devices.net:5671".into();
    let account = judge(SHARED_ACCESS_KEY, &values).0.expect("usable");
    assert_eq!(account.hub_amqp.authority(), "plant.service.azure-devices.net:5671");
}

#[test]
fn the_host_for_devices_is_normalized_as_well() {
    let devices = |name| {
        let normalized = judge(SHARED_ACCESS_KEY, &hub(name)).1.normalized;
        serde_json::from_str::<Value>(&normalized).expect("JSON")["iotHubDeviceHostName"].clone()
    };
    assert_eq!(devices("plant"), "plant.azure-devices.net");
    assert_eq!(devices("plant.service"), "plant.device.azure-devices.net");
    assert_eq!(devices("plant.device"), "plant.device.azure-devices.net");
}

/// All forms in which a connection string may be pasted, each with the code of the expected notice.
fn clothes(string: &str) -> Vec<(String, Option<&'static str>)> {
    let (first, rest) = string.split_at(20);
    let wrapped = |around: &str| around.replace('@', string);
    let mut all = vec![(string.to_owned(), None), (format!("  {string}\n"), Some("trimmed"))];
    for quoted in [
        "\"@\"",
        "'@'",
        "“@”",
        "„@“",
        "‘@’",
        "’@’",
        "«@»",
        "`@`",
        "\"@\",",
        "&quot;@&quot;",
        " \"@\" \r\n",
        "\u{feff}\"@\"",
    ] {
        all.push((wrapped(quoted), Some("unquoted")));
    }
    for assigned in [
        "IOTHUB_CONNECTION_STRING=@",
        "IOTHUB_CONNECTION_STRING=\"@\"",
        "IOTHUB_CONNECTION_STRING='@'\n",
        "export IOTHUB=\"@\"",
        "export IOTHUB='@';",
        "set IOTHUB=@",
        "setx IOTHUB \"@\"",
        "$env:IOTHUB = \"@\"",
        "$env:IOTHUB='@'",
        "HOSTNAME=\"@\"",
        "Endpoint='@'",
        "IotHub: @",
        "iotHub: \"@\"",
        "\"connectionString\": \"@\",",
        "Primary connection string: @",
        "ConnectionString\n----------------\n@\n",
        "<add key=\"hub\" value=\"@\" />",
        "-e \"IOTHUB=@\"",
        "{ \"connectionString\": \"@\"",
    ] {
        all.push((wrapped(assigned), Some("unwrapped")));
    }
    for document in [
        json!({ "connectionString": string }),
        json!([{ "connectionString": string, "name": "plant" }]),
        json!({ "connectionString": [string] }),
        json!({ "ConnectionString": string, "KeyName": "service" }),
        json!({ "keyName": "service", "primaryConnectionString": string, "secondaryConnectionString": string.replace(KEY, OTHER) }),
        json!({ "Values": { "IotHubConnectionString": string }, "IsEncrypted": false }),
        json!(string),
        json!(json!({ "connectionString": string }).to_string()),
    ] {
        let notice = if document.is_string() { "unquoted" } else { "json" };
        all.push((document.to_string(), Some(notice)));
        all.push((format!("{document:#}\n"), Some(notice)));
    }
    for broken in [
        format!("{first}\n{rest}"),
        format!("{first}\r\n  {rest}"),
        format!("\"{first}\n{rest}\""),
        string.replace(';', ";\n"),
        string.replace(';', "\n"),
        string
            .chars()
            .collect::<Vec<_>>()
            .chunks(31)
            .map(|line| line.iter().collect::<String>())
            .collect::<Vec<_>>()
            .join("\n"),
        format!("{string}\nuser@machine:~$ "),
    ] {
        all.push((broken, Some("line-breaks")));
    }
    all.push((string.replace(';', "; "), None));
    all.push((format!("{string};"), None));
    all
}

#[test]
fn a_connection_string_is_found_however_it_is_dressed() {
    let string = format!("HostName=plant.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey={KEY}");
    for (text, notice) in clothes(&string) {
        for (profile, field) in [
            (CONNECTION_STRING, "iotHubConnectionString"),
            (SHARED_ACCESS_KEY, "iotHubName"),
            (SHARED_ACCESS_KEY, "sharedAccessKey"),
        ] {
            let (account, validation) = judge(profile, &json!({ field: text }));
            let account = account.unwrap_or_else(|| panic!("{field} {text}: {:?}", validation.problems));
            let key = &account.hub.key;
            assert_eq!(
                (account.hub.host.as_str(), key.policy.as_str(), key.key.expose()),
                ("plant.azure-devices.net", "service", KEY),
                "{text}"
            );
            if let Some(notice) = notice {
                let said = codes(&validation);
                assert!(said.iter().any(|(_, _, code)| *code == notice), "{field} {text}: {said:?}");
            }
        }
    }
}

#[test]
fn a_connection_string_in_a_field_says_what_the_other_fields_say() {
    let string =
        |host: &str, policy: &str| format!("HostName={host};SharedAccessKeyName={policy};SharedAccessKey={KEY}");
    for (host, policy, code, severity) in [
        ("plant.azure-devices.net", "service", "connection-string", Severity::Info),
        ("Plant.Azure-Devices.net", "service", "connection-string", Severity::Info),
        ("plant.service.azure-devices.net", "service", "connection-string", Severity::Info),
        ("other.azure-devices.net", "service", "mismatched-host", Severity::Error),
        ("plant.azure-devices.net", "iothubowner", "mismatched-policy", Severity::Error),
    ] {
        let mut values = hub("plant");
        values["sharedAccessKey"] = string(host, policy).into();
        let (account, validation) = judge(SHARED_ACCESS_KEY, &values);
        let said = codes(&validation);
        assert!(said.contains(&(severity, "/sharedAccessKey", code)), "{host} {policy}: {said:?}");
        assert_eq!(account.is_some(), severity == Severity::Info, "{host} {policy}: {said:?}");
    }
    let mut values = with_dps("plant-dps");
    values["dpsSharedAccessKey"] = string("other.azure-devices-provisioning.net", "owner").into();
    let (account, validation) = judge(SHARED_ACCESS_KEY, &values);
    assert!(account.is_none());
    assert_eq!(errors(&validation), [("/dpsSharedAccessKey", "mismatched-host")]);
}

/// Given two hosts, Microsoft's JavaScript clients silently use the last one, and its Python clients refuse the string.
#[test]
fn a_connection_string_that_names_two_hosts_is_refused() {
    let string = format!("HostName=plant.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey={KEY}");
    let event_hub = format!(
        "Endpoint=sb://one.servicebus.windows.net/;SharedAccessKeyName=service;SharedAccessKey={KEY};EntityPath=h"
    );
    for (again, refused) in [
        ("HostName=other.azure-devices.net", Some("several")),
        ("hostname=other.azure-devices.net", Some("several")),
        ("SharedAccessKeyName=iothubowner", Some("twice")),
        (&format!("SharedAccessKey={OTHER}"), Some("twice")),
        ("SharedAccessKeyName=service", None),
        ("GatewayHostName=edge.example", None),
    ] {
        for (profile, field) in [(CONNECTION_STRING, "iotHubConnectionString"), (SHARED_ACCESS_KEY, "sharedAccessKey")]
        {
            let (account, validation) = judge(profile, &json!({ field: format!("{string};{again}") }));
            let pointer = format!("/{field}");
            let errors = errors(&validation);
            assert_eq!(errors.first().copied(), refused.map(|code| (pointer.as_str(), code)), "{field} {again}");
            assert_eq!(account.is_none(), refused.is_some(), "{field} {again}");
        }
    }
    let mut values = hub("plant");
    values["eventHubEndpoint"] = format!("{event_hub};Endpoint=sb://two.servicebus.windows.net/").into();
    let (account, validation) = judge(SHARED_ACCESS_KEY, &values);
    assert!(account.is_none());
    assert_eq!(errors(&validation).first(), Some(&("/eventHubEndpoint", "several")));
}

#[test]
fn an_event_hubs_connection_string_is_found_however_it_is_dressed() {
    let string = format!(
        "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=service;SharedAccessKey={KEY};EntityPath=iothub-ehub-plant-1-a"
    );
    for (text, _) in clothes(&string) {
        let mut values = hub("plant");
        values["eventHubEndpoint"] = text.as_str().into();
        let (account, validation) = judge(SHARED_ACCESS_KEY, &values);
        let pin = account
            .and_then(|account| account.event_hub)
            .unwrap_or_else(|| panic!("{text}: {:?}", validation.problems));
        assert_eq!(
            (pin.host.as_str(), pin.path.as_str()),
            ("ns.servicebus.windows.net", "iothub-ehub-plant-1-a"),
            "{text}"
        );
        assert_eq!(pin.key.expect("a key").key.expose(), KEY, "{text}");
        // The hub's field refuses an Event Hub's connection string in each of these forms, too.
        if !text.starts_with(['{', '[']) {
            let error = errors(&judge(SHARED_ACCESS_KEY, &hub(&text)).1).first().map(|(_, code)| (*code).to_owned());
            assert_eq!(error.as_deref(), Some("event-hub-connection-string"), "{text}");
        }
    }
}

#[test]
fn an_endpoint_is_found_however_it_is_written() {
    for (endpoint, path) in [
        ("sb://ns.servicebus.windows.net/", Some("plant")),
        ("sb://ns.servicebus.windows.net:5671/", Some("plant")),
        ("amqps://ns.servicebus.windows.net:5671", Some("plant")),
        ("ns.servicebus.windows.net:9093", Some("plant")),
        ("ns", Some("plant")),
        ("\"sb://ns.servicebus.windows.net/\"", Some("'plant'")),
        ("EVENTHUB_ENDPOINT=sb://ns.servicebus.windows.net/", Some("EVENTHUB_PATH=plant")),
        ("Endpoint=sb://ns.servicebus.windows.net/", Some("plant")),
        ("Endpoint=sb://ns.servicebus.windows.net/", Some("EntityPath=plant")),
        ("sb://ns.servicebus.windows.net/plant", None),
        ("amqps://ns.servicebus.windows.net:5671/plant/$management", None),
        ("sb://ns.servicebus.windows.net/plant", Some("Plant")),
    ] {
        let mut values = hub("plant");
        values["eventHubEndpoint"] = endpoint.into();
        values["eventHubPath"] = path.into();
        let (account, validation) = judge(SHARED_ACCESS_KEY, &values);
        let pin = account.and_then(|account| account.event_hub);
        let pin = pin.unwrap_or_else(|| panic!("{endpoint} {path:?}: {:?}", validation.problems));
        assert_eq!(
            (pin.host.as_str(), pin.path.to_lowercase().as_str()),
            ("ns.servicebus.windows.net", "plant"),
            "{endpoint}"
        );
    }
    // The whole connection string is pasted as the path.
    let mut values = hub("plant");
    values["eventHubPath"] = format!(
        "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=s;SharedAccessKey={KEY};EntityPath=plant"
    )
    .into();
    let (account, validation) = judge(SHARED_ACCESS_KEY, &values);
    assert_eq!(account.and_then(|account| account.event_hub).expect("pinned").path, "plant");
    assert!(codes(&validation).contains(&(Severity::Warning, "/eventHubPath", "key-in-plain-field")));
}

#[test]
fn documents_of_the_command_line_are_read_for_the_field_that_they_are_pasted_in() {
    let policy = json!({ "keyName": "service", "primaryKey": KEY, "rights": "RegistryWrite, ServiceConnect", "secondaryKey": OTHER });
    let show = json!({
        "id": "/subscriptions/1/resourceGroups/g/providers/Microsoft.Devices/IotHubs/plant",
        "name": "plant",
        "properties": {
            "hostName": "plant.azure-devices.net",
            "serviceHostName": "plant.service.azure-devices.net",
            "deviceHostName": "plant.device.azure-devices.net",
            "eventHubEndpoints": { "events": {
                "endpoint": "sb://ns.servicebus.windows.net/", "path": "iothub-ehub-plant-1-a", "partitionIds": ["0", "1"]
            } },
        },
    });
    let values = json!({
        "iotHubName": show.to_string(), "sharedAccessKey": policy.to_string(), "eventHubEndpoint": format!("{show:#}"),
    });
    let (account, validation) = judge(SHARED_ACCESS_KEY, &values);
    let account = account.unwrap_or_else(|| panic!("{:?}", validation.problems));
    assert_eq!((account.hub.host.as_str(), account.hub.key.policy.as_str()), ("plant.azure-devices.net", "service"));
    assert_eq!(account.hub.key.key.expose(), KEY);
    let pin = account.event_hub.expect("pinned");
    assert_eq!((pin.host.as_str(), pin.path.as_str()), ("ns.servicebus.windows.net", "iothub-ehub-plant-1-a"));

    let dps = json!({ "properties": {
        "serviceOperationsHostName": "plant-dps.azure-devices-provisioning.net",
        "deviceProvisioningHostName": "global.azure-devices-provisioning.net",
        "idScope": "0ne000ABCDE",
    } });
    let mut values = hub("plant");
    values["dpsHostName"] = dps.to_string().into();
    values["dpsSharedAccessKeyName"] = policy.to_string().into();
    let account = judge(SHARED_ACCESS_KEY, &values).0.and_then(|account| account.dps).expect("linked");
    assert_eq!((account.host.as_str(), account.key.key.expose()), ("plant-dps.azure-devices-provisioning.net", KEY));

    // If several values fit, the connector does not choose one for the person.
    let string = |key| format!("HostName=plant.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey={key}");
    for several in [
        json!({ "connectionString": [string(KEY), string(OTHER)] }).to_string(),
        json!([{ "connectionString": string(KEY) }, { "connectionString": string(OTHER) }]).to_string(),
        format!("{}\n{}", string(KEY), string(OTHER)),
    ] {
        assert_eq!(errors(&judge(SHARED_ACCESS_KEY, &hub(&several)).1), [("/iotHubName", "several")], "{several}");
    }
    for nothing in ["{}", "[]", "{\"a\":1}", "{\"name\":\"plant\"}", "[7]"] {
        assert_eq!(errors(&judge(SHARED_ACCESS_KEY, &hub(nothing)).1), [("/iotHubName", "json")], "{nothing}");
    }
}

#[test]
fn plain_values_are_found_in_their_clothes() {
    for (field, text, notice) in [
        ("iotHubName", "\"plant\"", "unquoted"),
        ("iotHubName", "“plant.azure-devices.net”", "unquoted"),
        ("iotHubName", "IOTHUB_NAME=plant", "unwrapped"),
        ("iotHubName", "export IOTHUB_NAME='plant.azure-devices.net'", "unwrapped"),
        ("iotHubName", "Hostname : plant.azure-devices.net", "unwrapped"),
        ("iotHubName", "plant.azure-dev\nices.net", "line-breaks"),
        ("iotHubName", "HostName=plant.azure-devices.net", ""),
        ("sharedAccessKeyName", "'service'", "unquoted"),
        ("sharedAccessKeyName", "KEY_NAME=\"service\"", "unwrapped"),
        ("sharedAccessKeyName", "SharedAccessKeyName=service", ""),
        ("sharedAccessKey", "\"@\"", "unquoted"),
        ("sharedAccessKey", "‘@’", "unquoted"),
        ("sharedAccessKey", "SHARED_ACCESS_KEY=@", "unwrapped"),
        ("sharedAccessKey", "export KEY=\"@\"", "unwrapped"),
        ("sharedAccessKey", "SharedAccessKey=@", ""),
        ("sharedAccessKey", "\"primaryKey\": \"@\",", "unwrapped"),
    ] {
        let mut values = hub("plant.azure-devices.net");
        values[field] = text.replace('@', KEY).into();
        let (account, validation) = judge(SHARED_ACCESS_KEY, &values);
        let account = account.unwrap_or_else(|| panic!("{text}: {:?}", validation.problems));
        let key = &account.hub.key;
        let found = (account.hub.host.as_str(), key.policy.as_str(), key.key.expose());
        assert_eq!(found, ("plant.azure-devices.net", "service", KEY), "{text}");
        let said = codes(&validation);
        assert!(notice.is_empty() || said.iter().any(|(_, _, code)| *code == notice), "{text}: {said:?}");
    }
    for key in [KEY.replace('=', "%3D"), KEY.replace('=', "%3d"), format!("{}\n{}", &KEY[..20], &KEY[20..])] {
        let mut values = hub("plant");
        values["sharedAccessKey"] = key.as_str().into();
        assert_eq!(judge(SHARED_ACCESS_KEY, &values).0.expect("usable").hub.key.key.expose(), KEY, "{key}");
    }
}

#[test]
fn what_is_for_devices_is_refused_with_the_reason() {
    for (entered, code) in [
        ("0ne000ABCDE", "id-scope"),
        ("0ne000abcde", "id-scope"),
        ("0NE000ABCDE", "id-scope"),
        ("\"0ne000ABCDE\"", "id-scope"),
        ("ID_SCOPE=0ne000ABCDE", "id-scope"),
        ("global.azure-devices-provisioning.net", "device-endpoint"),
        ("https://Global.azure-devices-provisioning.net/", "device-endpoint"),
        ("global.azure-devices-provisioning.cn", "device-endpoint"),
        ("global.azure-devices-provisioning.us", "device-endpoint"),
        ("global.azure-devices-provisioning.net:8883", "device-endpoint"),
        ("global", "device-endpoint"),
        ("plant.azure-devices.net", "wrong-service"),
        ("plant.device.azure-devices.net", "wrong-service"),
        ("a.b.azure-devices-provisioning.net", "unknown-form"),
        ("plant.service.azure-devices-provisioning.net", "unknown-form"),
    ] {
        let (account, validation) = judge(SHARED_ACCESS_KEY, &with_dps(entered));
        assert_eq!((account, errors(&validation)), (None, vec![("/dpsHostName", code)]), "{entered}");
    }
    let explained = judge(SHARED_ACCESS_KEY, &with_dps("0ne000ABCDE")).1.problems;
    assert!(explained.iter().any(|problem| problem.message.contains("for devices")), "{explained:?}");
    assert!(judge(SHARED_ACCESS_KEY, &with_dps("plant.privatelink.azure-devices-provisioning.us")).0.is_some());
    let device = format!("HostName=plant.device.azure-devices.net;DeviceId=d1;SharedAccessKey={KEY}");
    let token = "HostName=plant.azure-devices.net;SharedAccessKeyName=service;SharedAccessSignature=SharedAccessSignature sr=x&sig=y&se=1";
    for (entered, code) in [
        ("0ne000ABCDE", "id-scope"),
        ("global.azure-devices-provisioning.net", "wrong-service"),
        ("sb://ns.servicebus.windows.net/", "wrong-service"),
        ("sb://ns.servicebus.windows.net:5671/", "wrong-service"),
        (device.as_str(), "device-connection-string"),
        (token, "sas-token"),
        ("/subscriptions/1/resourceGroups/g/providers/Microsoft.Devices/IotHubs/plant", "resource-id"),
        ("https://portal.azure.com/#@t/resource/subscriptions/1/overview", "resource-id"),
    ] {
        let (account, validation) = judge(SHARED_ACCESS_KEY, &hub(entered));
        assert_eq!((account, errors(&validation)), (None, vec![("/iotHubName", code)]), "{entered}");
    }
    let of_hub = format!("HostName=plant.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey={KEY}");
    for (entered, code) in [(of_hub.as_str(), "wrong-service"), (device.as_str(), "device-connection-string")] {
        let mut values = hub("plant");
        values["eventHubEndpoint"] = entered.into();
        values["eventHubPath"] = "plant".into();
        let (account, validation) = judge(SHARED_ACCESS_KEY, &values);
        assert_eq!((account, errors(&validation)), (None, vec![("/eventHubEndpoint", code)]), "{entered}");
    }
}

/// A connection string with the hub's name for devices is accepted as one of the hub's connection strings.
#[test]
fn the_name_for_devices_in_a_connection_string_is_rewritten() {
    let string = format!("HostName=plant.device.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey={KEY}");
    let (account, validation) = judge(CONNECTION_STRING, &json!({ "iotHubConnectionString": string }));
    assert_eq!(account.expect("usable").hub.host, "plant.service.azure-devices.net");
    assert_eq!(codes(&validation), [(Severity::Warning, "/iotHubConnectionString", "device-host")]);
    let said = &validation.problems[0];
    assert!(said.message.contains("plant.service.azure-devices.net"), "{said:?}");
    assert!(said.fix.as_ref().is_some_and(|fix| fix.contains("plant.azure-devices.net")), "{said:?}");
}

proptest::proptest! {
    /// Any text in a field is read or refused within a short time, and no report contains its key.
    #[test]
    fn whatever_is_pasted_is_read_or_refused(pieces in proptest::collection::vec(0_usize..18, 0..24), other in ".{0,12}") {
        let words = [
            "HostName=", "Endpoint=", "SharedAccessKeyName=service;", "SharedAccessKey=", KEY, ";", "\n", "\"", "“", "’", "{", "}", ":",
            "=", "plant.device.azure-devices.net", "sb://ns.servicebus.windows.net/", "export X=", &other,
        ];
        let text: String = pieces.iter().map(|piece| words[*piece]).collect();
        for field in ["iotHubName", "sharedAccessKey", "eventHubEndpoint", "eventHubPath", "dpsHostName"] {
            let mut values = hub("plant");
            values[field] = text.as_str().into();
            judge(SHARED_ACCESS_KEY, &values);
        }
        judge(CONNECTION_STRING, &json!({ "iotHubConnectionString": text }));
    }
}

#[test]
fn a_long_paste_takes_no_longer_than_it_is() {
    for piece in ["hostname=", "\"", "endpoint=\"", "a=\n", "{\"a\":", "SharedAccessKey=\n"] {
        let begun = std::time::Instant::now();
        judge(SHARED_ACCESS_KEY, &hub(&piece.repeat(60_000 / piece.len())));
        assert!(begun.elapsed().as_secs() < 5, "{piece}: {:?}", begun.elapsed());
    }
}

#[test]
fn the_account_of_the_last_connection_is_not_read_again() {
    let connection = |values: Value| Connection { auth_profile: SHARED_ACCESS_KEY.into(), values: values.to_string() };
    let first = Account::open(&connection(hub("plant"))).expect("an account");
    let again = Account::open(&connection(hub("plant"))).expect("an account");
    assert!(std::rc::Rc::ptr_eq(&first, &again));
    // A connection that cannot be used is refused each time, and another one is read.
    for _ in 0..2 {
        assert!(Account::open(&connection(json!({ "iotHubName": "plant" }))).is_err());
    }
    let mut rotated = hub("plant");
    rotated["sharedAccessKey"] = OTHER.into();
    let rotated = Account::open(&connection(rotated)).expect("an account");
    assert_ne!(*rotated, *first);
    // The same values under another profile are another connection.
    let other = Connection { auth_profile: CONNECTION_STRING.into(), values: hub("plant").to_string() };
    assert!(Account::open(&other).is_err());
}
