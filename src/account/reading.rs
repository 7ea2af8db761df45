//! Turns the values that a person entered into an account, and reports all problems together.

use serde_json::{Map, Value, json};

use super::paste::{self, ConnectionString, Host, NotAHost, Unclear, Wanted};
use super::schema::{CONNECTION_STRING, SHARED_ACCESS_KEY};
use super::{Account, AmqpAddress, EventHubPin};
use crate::amqp_transport::AmqpTransport;
use crate::auth::{SharedAccessKey, decode_key};
use crate::bindings::exports::workflow::connector::connection::Validation;
use crate::bindings::workflow::connector::types::Connection;
use crate::error::{FieldProblem, Severity};
use crate::host_name::{self, Audience, AzureHost, DPS_SUFFIXES, EVENT_HUB_SUFFIXES, HUB_SUFFIXES, ends_in};
use crate::http::{Api, Service};
use crate::secret::Secret;

/// Checks a connection, and returns its account if there is no error. Never fails: an unreadable value is a problem,
/// too.
pub fn read(connection: &Connection) -> (Option<Account>, Validation) {
    let mut form = Form::default();
    let account = form.read(connection);
    let normalized = form.normalized(account.as_ref());
    let usable = !form.problems.iter().any(|problem| problem.severity == Severity::Error);
    (account.filter(|_| usable), Validation { problems: form.problems, normalized: normalized.to_string() })
}

#[derive(Default)]
struct Form {
    values: Map<String, Value>,
    problems: Vec<FieldProblem>,
    trusted: Vec<String>,
}

const COMMON_FIELDS: [&str; 9] = [
    "amqpTransport",
    "iotHubAmqpHost",
    "trustedCertificates",
    "eventHubEndpoint",
    "eventHubPath",
    "dpsHostName",
    "dpsSharedAccessKeyName",
    "dpsSharedAccessKey",
    "trustedHostSuffixes",
];

impl Form {
    fn say(&mut self, severity: Severity, field: &str, code: &str, message: impl Into<String>, fix: Option<&str>) {
        let pointer = if field.is_empty() { String::new() } else { format!("/{field}") };
        // Each field reports a problem code only once.
        if self.problems.iter().any(|known| known.pointer == pointer && known.code == code) {
            return;
        }
        let fix = fix.map(str::to_owned);
        self.problems.push(FieldProblem { pointer, code: code.to_owned(), message: message.into(), fix, severity });
    }

    fn wrong(&mut self, field: &str, code: &str, message: impl Into<String>, fix: &str) {
        self.say(Severity::Error, field, code, message, Some(fix));
    }

    fn read(&mut self, connection: &Connection) -> Option<Account> {
        let own: &[&str] = match connection.auth_profile.as_str() {
            SHARED_ACCESS_KEY => &["iotHubName", "sharedAccessKeyName", "sharedAccessKey"],
            CONNECTION_STRING => &["iotHubConnectionString"],
            _ => {
                self.say(
                    Severity::Error,
                    "",
                    "unknown-auth-profile",
                    "there is no such authorization profile",
                    Some("Use `shared-access-key` or `connection-string`."),
                );
                return None;
            }
        };
        match serde_json::from_str(&connection.values) {
            Ok(Value::Object(values)) => self.values = values,
            Ok(_) => self.wrong(
                "",
                "wrong-type",
                "the values must be a JSON object",
                "Send an object with a member for each field.",
            ),
            // The parser's own message is not used, because it may quote a key.
            Err(error) => {
                let message =
                    format!("the values are not valid JSON (line {}, column {})", error.line(), error.column());
                self.wrong("", "not-json", message, "Send a JSON object with a member for each field.");
            }
        }
        if !self.problems.is_empty() {
            return None;
        }
        self.refuse_unknown(own);
        self.plain();
        self.trusted = self.read_trusted();
        let hub = self.read_hub(&connection.auth_profile);
        let dps = self.read_dps();
        let event_hub = self.read_event_hub();
        let amqp_transport = self.read_transport();
        let hub_amqp = self.read_hub_amqp(amqp_transport);
        let trusted_certificates = self.read_certificates();
        let hub = hub?;
        let hub_amqp = hub_amqp.unwrap_or_else(|| {
            let address = AmqpAddress::of(&hub.host, amqp_transport);
            match amqp_transport {
                // A port in the hub's name is the HTTPS port, so AMQP over TCP uses its own port.
                AmqpTransport::Tcp => AmqpAddress { port: amqp_transport.port(), ..address },
                AmqpTransport::WebSockets => address,
            }
        });
        let trusted_suffixes = self.trusted.clone();
        Some(Account { hub, dps, event_hub, hub_amqp, amqp_transport, trusted_certificates, trusted_suffixes })
    }

    fn refuse_unknown(&mut self, own: &[&str]) {
        let unknown: Vec<String> = self
            .values
            .keys()
            .filter(|name| !own.contains(&name.as_str()) && !COMMON_FIELDS.contains(&name.as_str()))
            .cloned()
            .collect();
        for name in unknown {
            // A name may be a key that was pasted into the wrong place: a name is repeated only if it looks like a
            // field name.
            let plain = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_alphabetic());
            let (field, message) = if plain {
                (name.as_str(), format!("there is no field \"{name}\""))
            } else {
                ("", "there is a field with an unknown name".to_owned())
            };
            self.wrong(field, "unknown-field", message, "Remove it, or check its spelling.");
        }
    }

    /// Replaces each pasted text by the value in it, and adds a notice for each part that was left out.
    fn plain(&mut self) {
        let entered: Vec<(String, String)> = self
            .values
            .iter()
            .filter(|(field, _)| *field != "trustedCertificates")
            .filter_map(|(field, value)| Some((field.clone(), value.as_str()?.to_owned())))
            .collect();
        for (field, text) in entered {
            let wanted = match field.as_str() {
                "eventHubEndpoint" | "eventHubPath" => Wanted::EventHub,
                _ if field.starts_with("dps") => Wanted::Dps,
                _ => Wanted::Hub,
            };
            // A policy's name is too short for a terminal to break it, so two lines are two values and must not be
            // joined.
            let lines = !field.ends_with("KeyName");
            match paste::plain(&text, wanted, lines) {
                Ok(plain) => {
                    if paste::connection_string(&plain.text).is_some_and(|parts| parts.is_ambiguous) {
                        let message = "is a connection string that states the same member twice, with different values";
                        self.wrong(&field, "twice", message, "Copy it again, without anything after it.");
                    }
                    for note in plain.notes {
                        self.say(Severity::Info, &field, note.code(), note.message(), None);
                    }
                    self.values.insert(field, plain.text.into());
                }
                Err(Unclear::Several) => self.wrong(
                    &field,
                    "several",
                    "holds more than one connection string",
                    "Paste only the one for this field.",
                ),
                Err(Unclear::Nothing) => self.wrong(
                    &field,
                    "json",
                    "is a JSON document that has no value for this field",
                    "Paste the value itself, or the document that `az iot hub connection-string show` prints.",
                ),
            }
        }
    }

    /// Whether an error was found in a field.
    fn is_wrong(&self, field: &str) -> bool {
        let pointer = format!("/{field}");
        self.problems.iter().any(|problem| problem.pointer == pointer && problem.severity == Severity::Error)
    }

    /// The trimmed text of a field. None if it is empty, is not a text, or already has an error.
    fn text(&mut self, field: &str) -> Option<String> {
        if self.is_wrong(field) {
            return None;
        }
        let text = match self.values.get(field) {
            None | Some(Value::Null) => return None,
            Some(Value::String(text)) => text.clone(),
            Some(_) => {
                self.wrong(field, "wrong-type", "must be a text", "Enter it as a text.");
                return None;
            }
        };
        // Only the field for certificates may be longer, because it may contain a chain of them.
        if text.len() > 65_536 || (text.len() > 4_096 && field != "trustedCertificates") {
            self.wrong(field, "too-long", "must have at most 4,096 characters", "Copy the value again.");
            return None;
        }
        let trimmed = text.trim();
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }

    fn required(&mut self, field: &str, what: &str, fix: &str) -> Option<String> {
        let text = self.text(field);
        if text.is_none() && !self.is_wrong(field) {
            self.wrong(field, "missing", format!("{what} is missing"), fix);
        }
        text
    }

    fn read_trusted(&mut self) -> Vec<String> {
        let field = "trustedHostSuffixes";
        let entries = match self.values.get(field) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(entries)) if entries.len() <= 8 => entries.clone(),
            Some(Value::Array(_)) => {
                self.wrong(field, "too-many", "must have at most 8 domains", "Name only those that are needed.");
                return Vec::new();
            }
            Some(_) => {
                self.wrong(field, "wrong-type", "must be a list of texts", "Send a list such as [\"localhost\"].");
                return Vec::new();
            }
        };
        let mut trusted = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let pointer = format!("{field}/{index}");
            let Some(text) = entry.as_str() else {
                self.wrong(&pointer, "wrong-type", "must be a text", "Enter a domain such as `localhost`.");
                continue;
            };
            match paste::host(text.trim_start_matches('.'), "") {
                Ok(host) if host.port.is_none() && !host.trimmed => trusted.push(host.name),
                _ => self.wrong(
                    &pointer,
                    "not-a-domain",
                    "is not a domain",
                    "Enter a domain such as `localhost` or `plant.example.com`.",
                ),
            }
        }
        trusted
    }

    fn read_hub(&mut self, profile: &str) -> Option<Api> {
        if profile == CONNECTION_STRING {
            let field = "iotHubConnectionString";
            let fix = "In the hub open Shared access policies, then the policy, and copy Primary connection string.";
            let text = self.required(field, "the connection string", fix)?;
            let Some(parts) = paste::connection_string(&text) else {
                self.wrong(field, "not-a-connection-string", "is not a connection string", fix);
                return None;
            };
            if !self.is_of(field, &parts, Service::IotHub) {
                return None;
            }
            let host = match parts.host {
                Some(host) => self.host(field, &host, Service::IotHub),
                None => {
                    self.wrong(field, "missing-host", "the connection string has no HostName", fix);
                    None
                }
            };
            let policy = match parts.key_name {
                Some(name) => self.policy(field, name),
                None => {
                    self.wrong(field, "missing-key-name", "the connection string has no SharedAccessKeyName", fix);
                    None
                }
            };
            let key = match parts.key {
                Some(key) => self.key(field, key),
                None => {
                    self.wrong(field, "missing-key", "the connection string has no SharedAccessKey", fix);
                    None
                }
            };
            return Some(Api {
                service: Service::IotHub,
                host: host?.authority(),
                key: SharedAccessKey { policy: policy?, key: key? },
            });
        }
        self.read_service(
            Service::IotHub,
            ["iotHubName", "sharedAccessKeyName", "sharedAccessKey"],
            ["the hub's name", "the name of a shared access policy", "the policy's key"],
        )
    }

    fn read_dps(&mut self) -> Option<Api> {
        let fields = ["dpsHostName", "dpsSharedAccessKeyName", "dpsSharedAccessKey"];
        let given = fields
            .iter()
            .any(|field| self.values.get(*field).is_some_and(|value| !value.is_null() && value.as_str() != Some("")));
        if !given {
            return None;
        }
        self.read_service(
            Service::Dps,
            fields,
            ["the service endpoint", "the name of a shared access policy", "the policy's key"],
        )
    }

    /// Reads a service's host, policy and key. Each of the three fields may contain a whole connection string.
    fn read_service(&mut self, service: Service, fields: [&str; 3], what: [&str; 3]) -> Option<Api> {
        let portal = match service {
            Service::IotHub => "In the Azure portal open the hub",
            Service::Dps => "In the Azure portal open the Device Provisioning Service",
        };
        let [host_field, name_field, key_field] = fields;
        let mut host_text = self.text(host_field);
        let mut name_text = self.text(name_field);
        let mut key_text = self.text(key_field).map(Secret::new);
        let mut found = Vec::new();
        for field in fields {
            let pasted = self.values.get(field).and_then(Value::as_str).and_then(paste::connection_string);
            let Some(parts) = pasted else { continue };
            if !self.is_of(field, &parts, service) {
                return None;
            }
            if field != key_field && parts.key.is_some() {
                self.key_in_plain_field(field);
            }
            found.push((field, parts.host.clone(), parts.key_name.clone()));
            let own =
                |text: &Option<String>| text.as_deref().is_none_or(|text| paste::connection_string(text).is_some());
            if own(&host_text) {
                host_text = parts.host;
            }
            if own(&name_text) {
                name_text = parts.key_name;
            }
            if key_text.as_ref().is_none_or(|key| paste::connection_string(key.expose()).is_some()) {
                key_text = parts.key;
            }
        }
        let missing = |form: &mut Self, field: &str, what: &str, place: &str| {
            if !form.is_wrong(field) {
                form.wrong(field, "missing", format!("{what} is missing"), &format!("{portal}{place}"));
            }
        };
        if host_text.is_none() {
            missing(self, host_field, what[0], "; Overview shows it.");
        }
        if name_text.is_none() {
            missing(self, name_field, what[1], ", then Shared access policies, and enter the name of one.");
        }
        if key_text.is_none() {
            missing(self, key_field, what[2], ", then Shared access policies, then the policy, and copy Primary key.");
        }
        let host = host_text.and_then(|text| self.host(host_field, &text, service));
        let policy = name_text.and_then(|text| self.policy(name_field, text));
        for (field, its_host, its_policy) in found {
            self.parts_used(
                field,
                its_host.as_deref().zip(host.as_ref()),
                its_policy.as_deref().zip(policy.as_deref()),
            );
        }
        let key = key_text.and_then(|text| self.key(key_field, text));
        Some(Api { service, host: host?.authority(), key: SharedAccessKey { policy: policy?, key: key? } })
    }

    /// Handles a whole connection string in a field that is meant for one part. Its host and policy must equal the host
    /// and policy that are used: otherwise the service would later refuse the key, and the reason would be hard to
    /// find.
    fn parts_used(&mut self, field: &str, host: Option<(&str, &Host)>, policy: Option<(&str, &str)>) {
        let fix = "Leave the other fields empty, or copy all values from the same place.";
        let is_other = |(its, used): (&str, &Host)| {
            let its = paste::host(its, "").map(|host| host_name::identity(&host.name)).unwrap_or_default();
            its != host_name::identity(&used.name) && its != used.name.split('.').next().unwrap_or_default()
        };
        if host.is_some_and(is_other) {
            let message = "is a connection string of a different service than the entered host name";
            return self.wrong(field, "mismatched-host", message, fix);
        }
        if policy.is_some_and(|(its, used)| its != used) {
            let message = "is a connection string of a different policy than the entered policy name";
            return self.wrong(field, "mismatched-policy", message, fix);
        }
        let message = "is a whole connection string: its parts are used where their own fields are empty";
        self.say(Severity::Info, field, "connection-string", message, None);
    }

    fn key_in_plain_field(&mut self, field: &str) {
        let message = "a whole connection string with its key stands in a field that is not kept secret";
        let fix = "It works. Better: enter only the name here, and the key in the field for the key.";
        self.say(Severity::Warning, field, "key-in-plain-field", message, Some(fix));
    }

    /// Whether a connection string is of the kind that `service` needs. Otherwise an error is added to the field.
    fn is_of(&mut self, field: &str, parts: &ConnectionString, service: Service) -> bool {
        if parts.is_device {
            self.wrong(
                field,
                "device-connection-string",
                "is the connection string of one device",
                "Copy the connection string of a shared access policy: it has a SharedAccessKeyName and no DeviceId.",
            );
            return false;
        }
        if parts.has_signature && parts.key.is_none() {
            self.signature(field);
            return false;
        }
        if parts.is_event_hub {
            self.wrong(
                field,
                "event-hub-connection-string",
                "is a connection string of an Event Hub",
                match service {
                    Service::IotHub => "Enter it as EventHub compatible Endpoint, and the hub's own values here.",
                    Service::Dps => {
                        "Enter it as EventHub compatible Endpoint, and the provisioning service's own values here."
                    }
                },
            );
            return false;
        }
        true
    }

    fn host(&mut self, field: &str, text: &str, service: Service) -> Option<Host> {
        let suffixes = match service {
            Service::IotHub => &HUB_SUFFIXES,
            Service::Dps => &DPS_SUFFIXES,
        };
        if paste::is_id_scope(text) {
            self.wrong(
                field,
                "id-scope",
                "is the id scope of a Device Provisioning Service, which is for devices",
                match service {
                    Service::IotHub => "Enter the hub's host name; Overview shows it.",
                    Service::Dps => DPS_ENDPOINT,
                },
            );
            return None;
        }
        self.checked_host(field, text, suffixes)
    }

    /// Reads a host, which must end with one of `suffixes` or with a trusted domain. The first suffix completes a bare
    /// name.
    fn checked_host(&mut self, field: &str, text: &str, suffixes: &[&str; 3]) -> Option<Host> {
        let mut host = match paste::host(text, suffixes[0]) {
            Ok(host) => host,
            Err(why) => {
                let (code, message, fix) = explain(why);
                self.wrong(field, code, message, fix);
                return None;
            }
        };
        let trusted =
            self.trusted.iter().any(|domain| host.name == *domain || host.name.ends_with(&format!(".{domain}")));
        if ends_in(&host.name, suffixes).is_none() && !trusted {
            self.refuse_suffix(field, &host.name, suffixes);
            return None;
        }
        // A host in a trusted domain, such as an emulator, may listen on any port.
        if host.port.is_some_and(|port| !trusted && !PORTS.contains(&port)) {
            self.wrong(field, "port", "has a port that Azure's services do not listen on", "Remove the port.");
            return None;
        }
        if !trusted && host.port.take().is_some() {
            self.say(
                Severity::Info,
                field,
                "port-left-out",
                "the port was left out, because the connector uses the service's default port",
                None,
            );
        }
        let azure = AzureHost::parse(&host.name);
        let is_of_hub = suffixes == &HUB_SUFFIXES;
        if azure.is_none() && !trusted && suffixes != &EVENT_HUB_SUFFIXES {
            let (message, fix) = match is_of_hub {
                true => (
                    "is not a possible host name of an IoT hub",
                    "Enter HUB.azure-devices.net or HUB.service.azure-devices.net, each with .privatelink before .azure-devices \
                     for a private endpoint. If the name is correct, add its domain to Trusted domains.",
                ),
                false => ("is not a possible host name of a Device Provisioning Service", DPS_ENDPOINT),
            };
            self.wrong(field, "unknown-form", message, fix);
            return None;
        }
        if suffixes == &DPS_SUFFIXES && azure.is_some_and(|host| GLOBAL.contains(&host.name)) {
            self.wrong(
                field,
                "device-endpoint",
                "is the global endpoint of all Device Provisioning Services, which is for devices",
                DPS_ENDPOINT,
            );
            return None;
        }
        match azure.filter(|host| host.audience == Audience::Devices).map(|host| host.with(Audience::Services)) {
            Some(service) => {
                let name = service.authority();
                let message =
                    format!("is the hub's name for devices; the hub's name for back ends, {name}, is used instead");
                let classic = host_name::identity(&name);
                let fix = format!("It works. Better: enter {name}, or {classic} where the hub has no such name.");
                self.say(Severity::Warning, field, "device-host", message, Some(&fix));
                host.name = name;
            }
            None if host.completed => {
                self.say(Severity::Info, field, "completed", format!("understood as {}", host.name), None);
            }
            None if host.trimmed => {
                self.say(Severity::Info, field, "host-only", format!("understood as {}", host.authority()), None);
            }
            None => {}
        }
        Some(host)
    }

    fn refuse_suffix(&mut self, field: &str, name: &str, suffixes: &[&str; 3]) {
        let (code, message, fix) = if ends_in(name, &HUB_SUFFIXES).is_some() {
            (
                "wrong-service",
                "is the host name of an IoT hub, but this field is for another service",
                "Enter it as IoTHub name.",
            )
        } else if ends_in(name, &DPS_SUFFIXES).is_some() {
            (
                "wrong-service",
                "is the host name of a Device Provisioning Service, but this field is for another service",
                "Enter it as DPS service endpoint.",
            )
        } else if ends_in(name, &EVENT_HUB_SUFFIXES).is_some() {
            (
                "wrong-service",
                "is the host name of an Event Hub namespace, but this field is for another service",
                "Enter it as EventHub compatible Endpoint.",
            )
        } else {
            (
                "unknown-suffix",
                "does not belong to one of Azure's domains",
                "Check the spelling. If the host name is correct, add its domain to Trusted domains.",
            )
        };
        let message =
            if code == "unknown-suffix" { format!("{message} ({})", suffixes.join(", ")) } else { message.to_owned() };
        self.wrong(field, code, message, fix);
    }

    fn policy(&mut self, field: &str, name: String) -> Option<String> {
        let fix = "In Shared access policies copy the policy's name.";
        if name.len() > 64 {
            self.wrong(field, "too-long", "is longer than the 64 characters that a policy's name can have", fix);
            return None;
        }
        // The portal's page "Shared access policies" allows letters, digits and a few signs; other characters are a
        // wrong paste.
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@' | b'\'')) {
            self.wrong(field, "characters", "has characters that a policy's name cannot have", fix);
            return None;
        }
        Some(name)
    }

    fn key(&mut self, field: &str, key: Secret) -> Option<Secret> {
        if key.expose().starts_with("SharedAccessSignature ") {
            self.signature(field);
            return None;
        }
        let decoded = decoded(key.expose());
        if decoded.is_some() {
            self.say(
                Severity::Info,
                field,
                "percent-encoded",
                "the key was percent-encoded and has been decoded",
                None,
            );
        }
        let key = decoded.unwrap_or(key);
        let text = key.expose();
        let copy = COPY_KEY;
        if text.contains(char::is_whitespace) {
            self.wrong(field, "whitespace", "has white space inside", copy);
            return None;
        }
        match decode_key(&key) {
            Some(bytes) if bytes.len() >= 16 => Some(key),
            Some(_) => {
                self.wrong(field, "too-short", "is shorter than any key of a policy", copy);
                None
            }
            None => {
                self.wrong(field, "not-base64", "is not base64, as every key of a policy is", copy);
                None
            }
        }
    }

    fn signature(&mut self, field: &str) {
        let message = "is a shared access signature, which expires; this field takes the key that signs it";
        self.wrong(field, "sas-token", message, COPY_KEY);
    }

    fn read_event_hub(&mut self) -> Option<EventHubPin> {
        let (endpoint_field, path_field) = ("eventHubEndpoint", "eventHubPath");
        let mut endpoint = self.text(endpoint_field);
        let mut path = self.text(path_field);
        let fix = "In the hub open Built-in endpoints and copy both values, or leave both empty.";
        // The whole connection string may have been pasted as the path.
        if let Some(parts) = path.as_deref().and_then(paste::connection_string) {
            if !parts.is_event_hub && (parts.host.is_some() || parts.entity_path.is_none()) {
                self.wrong(path_field, "wrong-service", "is not the name of an Event Hub", fix);
                return None;
            }
            if parts.key.is_some() {
                self.key_in_plain_field(path_field);
            }
            match endpoint {
                None if parts.is_event_hub => endpoint = path.take(),
                _ => path = parts.entity_path,
            }
        }
        let Some(endpoint) = endpoint else {
            if path.is_some() && !self.is_wrong(endpoint_field) {
                self.wrong(endpoint_field, "missing", "the path is given without its endpoint", fix);
            }
            return None;
        };
        let parts = paste::connection_string(&endpoint);
        let mut key = None;
        let mut entity = None;
        let mut host_text = match parts {
            None => endpoint,
            Some(parts) if parts.is_device => {
                self.is_of(endpoint_field, &parts, Service::IotHub);
                return None;
            }
            // A policy and its key without an endpoint do not show which service they belong to.
            Some(parts) if !parts.is_event_hub => {
                let (message, fix) = match parts.host {
                    Some(_) => (
                        "is a connection string of an IoT hub or a provisioning service, not of an Event Hub",
                        "Enter it as IoTHub name or DPS service endpoint. In the hub open Built-in endpoints and copy Event \
                         Hub-compatible endpoint, or leave this empty.",
                    ),
                    None => ("is not a connection string of an Event Hub", fix),
                };
                self.wrong(endpoint_field, "wrong-service", message, fix);
                return None;
            }
            Some(parts) => {
                entity = parts.entity_path;
                if let (Some(name), Some(secret)) = (parts.key_name, parts.key) {
                    let policy = self.policy(endpoint_field, name);
                    let secret = self.key(endpoint_field, secret);
                    key = policy.zip(secret).map(|(policy, key)| SharedAccessKey { policy, key });
                }
                parts.host.unwrap_or_default()
            }
        };
        if let Some((host, name)) = paste::endpoint_with_path(&host_text) {
            entity = entity.or_else(|| Some(name.to_owned()));
            host_text = host.to_owned();
        }
        let host = self.checked_host(endpoint_field, &host_text, &EVENT_HUB_SUFFIXES);
        let path = match (path, entity) {
            (Some(path), Some(entity)) if !path.eq_ignore_ascii_case(&entity) => {
                self.wrong(
                    path_field,
                    "mismatched-path",
                    "is not the EntityPath of the endpoint's connection string",
                    "Leave it empty, or copy both values from the same place.",
                );
                None
            }
            (Some(path), _) | (None, Some(path)) => self.path(path_field, path),
            (None, None) => {
                self.wrong(path_field, "missing", "the endpoint is given without its path", fix);
                None
            }
        };
        Some(EventHubPin { host: host?.authority(), path: path?, key })
    }

    fn read_transport(&mut self) -> AmqpTransport {
        let field = "amqpTransport";
        // An empty text is an error, because it is not one of the schema's choices.
        let empty = matches!(self.values.get(field), Some(Value::String(text)) if text.trim().is_empty());
        let chosen = self.text(field);
        if chosen.is_none() && !empty {
            return AmqpTransport::default();
        }
        chosen.as_deref().and_then(AmqpTransport::of).unwrap_or_else(|| {
            let ids = AmqpTransport::ALL.map(|transport| format!("`{}`", transport.id())).join(" or ");
            self.wrong(
                field,
                "unknown-transport",
                format!("must be {ids}"),
                "Choose one of them, or leave the field out.",
            );
            AmqpTransport::default()
        })
    }

    fn read_hub_amqp(&mut self, transport: AmqpTransport) -> Option<AmqpAddress> {
        let field = "iotHubAmqpHost";
        let text = self.text(field)?;
        self.checked_host(field, &text, &HUB_SUFFIXES).map(|host| AmqpAddress::of(&host.authority(), transport))
    }

    fn read_certificates(&mut self) -> Option<String> {
        let field = "trustedCertificates";
        let text = self.text(field)?;
        if text.contains("-----BEGIN CERTIFICATE-----") {
            return Some(text);
        }
        self.wrong(
            field,
            "not-pem",
            "is not a certificate in PEM",
            "Paste the text from BEGIN CERTIFICATE to END CERTIFICATE.",
        );
        None
    }

    fn path(&mut self, field: &str, path: String) -> Option<String> {
        // Event Hub names have up to 256 letters, digits, periods, hyphens and underscores.
        let fine = path.len() <= 256
            && path.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
        if !fine {
            self.wrong(
                field,
                "characters",
                "is not the name of an Event Hub",
                "In Built-in endpoints copy Event Hub-compatible name.",
            );
        }
        fine.then_some(path)
    }

    fn normalized(&self, account: Option<&Account>) -> Value {
        let mut normalized = Map::new();
        let mut set = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                normalized.insert(name.to_owned(), value.into());
            }
        };
        if let Some(account) = account {
            set("iotHubName", Some(&account.hub.host));
            set("iotHubDeviceHostName", Some(&host_name::for_devices(&account.hub.host)));
            // Each of these fields lets the engine open a port, so only the fields of the chosen transport are set.
            let (hub_field, event_hub_field) = match account.amqp_transport {
                AmqpTransport::Tcp => ("iotHubAmqpHost", "eventHubHostName"),
                AmqpTransport::WebSockets => ("iotHubWebSocketHost", "eventHubWebSocketHost"),
            };
            set("amqpTransport", Some(account.amqp_transport.id()));
            set(hub_field, Some(&account.hub_amqp.authority()));
            set(event_hub_field, account.event_hub.as_ref().map(|pin| pin.host.as_str()));
            set("sharedAccessKeyName", Some(&account.hub.key.policy));
            set("dpsHostName", account.dps.as_ref().map(|dps| dps.host.as_str()));
            set("dpsSharedAccessKeyName", account.dps.as_ref().map(|dps| dps.key.policy.as_str()));
            set("eventHubEndpoint", account.event_hub.as_ref().map(|pin| format!("sb://{}/", pin.host)).as_deref());
            set("eventHubPath", account.event_hub.as_ref().map(|pin| pin.path.as_str()));
        }
        if !self.trusted.is_empty() {
            normalized.insert("trustedHostSuffixes".to_owned(), json!(self.trusted));
        }
        Value::Object(normalized)
    }
}

/// The services' ports for HTTPS, AMQP, MQTT and Kafka over TLS. People copy a port together with the host name; the
/// connector ignores it, because it knows the port of each protocol.
const PORTS: [u16; 4] = [443, 5671, 8883, 9093];
/// Names of the global endpoints at which the devices of all provisioning services register.
const GLOBAL: [&str; 2] = ["global", "global-canary"];
const DPS_ENDPOINT: &str = "In the Azure portal open the Device Provisioning Service; Overview shows Service endpoint, such as \
                            plant-dps.azure-devices-provisioning.net.";
const COPY_KEY: &str = "In Shared access policies open the policy and copy Primary key.";

/// Decodes a percent-encoded key. None if the key is not percent-encoded.
fn decoded(key: &str) -> Option<Secret> {
    let signs = [("%2b", "+"), ("%2f", "/"), ("%3d", "=")];
    let lower = key.to_ascii_lowercase();
    if !signs.iter().any(|(code, _)| lower.contains(code)) {
        return None;
    }
    Some(Secret::new(
        signs.iter().fold(key.to_owned(), |key, (code, sign)| {
            key.replace(code, sign).replace(&code.to_ascii_uppercase(), sign)
        }),
    ))
}

fn explain(why: NotAHost) -> (&'static str, &'static str, &'static str) {
    let copy = "Copy the host name from the service's Overview in the Azure portal.";
    match why {
        NotAHost::Empty => ("missing", "has no host name in it", copy),
        NotAHost::Whitespace => ("whitespace", "has white space inside", copy),
        NotAHost::Characters => ("characters", "has characters that a host name cannot have", copy),
        NotAHost::Scheme => ("scheme", "begins with a scheme that does not belong to this service", copy),
        NotAHost::UserInfo => ("user-info", "has an @, as after a user name, which a host name cannot have", copy),
        NotAHost::Path => ("path", "has more than a host name: a path or a query", copy),
        NotAHost::Port => ("port", "has a port that is not a number from 1 to 65535", copy),
        NotAHost::Address => {
            ("address", "is an IP address; the service's certificate is valid only for its host name", copy)
        }
        NotAHost::Resource => {
            ("resource-id", "is the id of a resource in Azure or a page of the portal, not a host name", copy)
        }
        NotAHost::Length => ("too-long", "is longer than a host name can be", copy),
    }
}
