//! Reading pasted values: a bare name, a host name, a URL or a whole connection string, alone or in the form in which a
//! shell, a settings file or the Azure CLI writes it.

use serde_json::Value;

use crate::host_name::lacks_its_domain;
use crate::secret::Secret;

/// The service that a field is for; it selects the right value from a document that holds several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Values of a hub.
    Hub,
    /// Values of a provisioning service.
    Dps,
    /// Values of an Event Hub-compatible endpoint.
    EventHub,
}

/// Notice of a part that was left out of a pasted text, or of how the text was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// White space around the text was left out.
    Trimmed,
    /// Quotation marks around the text were left out.
    Unquoted,
    /// Other text around the value was left out, such as `export NAME=` before it or a comma after it.
    Unwrapped,
    /// Line breaks inside the text were left out.
    Joined,
    /// The text was a JSON document.
    Json,
}

impl Note {
    pub fn code(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Unquoted => "unquoted",
            Self::Unwrapped => "unwrapped",
            Self::Joined => "line-breaks",
            Self::Json => "json",
        }
    }

    /// The notice in words. It never quotes the pasted text, which may be a key.
    pub fn message(self) -> &'static str {
        match self {
            Self::Trimmed => "white space around the value was left out",
            Self::Unquoted => "quotation marks around the value were left out",
            Self::Unwrapped => "text before or after the value was left out",
            Self::Joined => "line breaks inside the value were left out",
            Self::Json => "the text is a JSON document; its value for this field is used",
        }
    }
}

/// The value from a pasted text, without the parts that a shell, a file or a person put around it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plain {
    pub text: String,
    /// The notices, each at most once.
    pub notes: Vec<Note>,
}

/// Why no value can be taken from a pasted text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unclear {
    /// The text holds more than one connection string.
    Several,
    /// The text is a JSON document in which no value fits the field.
    Nothing,
}

/// The names of a connection string's members, in lower case.
const MEMBERS: [&str; 8] = [
    "hostname",
    "endpoint",
    "sharedaccesskeyname",
    "sharedaccesskey",
    "sharedaccesssignature",
    "entitypath",
    "deviceid",
    "moduleid",
];

/// Takes the value from a pasted text. `lines` states whether a terminal may have broken the text into lines, which are
/// then joined.
///
/// # Errors
/// If it is unclear which part of the text is meant.
pub fn plain(text: &str, wanted: Wanted, lines: bool) -> Result<Plain, Unclear> {
    let mut plain = Plain::default();
    let mut note = |note| {
        if !plain.notes.contains(&note) {
            plain.notes.push(note);
        }
    };
    let trimmed = text.trim_matches(is_blank);
    if trimmed.len() != text.len() && !trimmed.is_empty() {
        note(Note::Trimmed);
    }
    let mut text = trimmed.replace("&quot;", "\"");
    for _ in 0..3 {
        match unquoted(&text) {
            Some(inner) => {
                text = inner.to_owned();
                note(Note::Unquoted);
            }
            None => break,
        }
        // The text is a JSON string that itself contains JSON.
        if text.starts_with("{\\\"") || text.starts_with("[\\\"") {
            text = text.replace("\\\"", "\"");
        }
    }
    if text.starts_with(['{', '[']) && serde_json::from_str::<Value>(&text).is_ok() {
        let document = serde_json::from_str(&text).unwrap_or_default();
        note(Note::Json);
        text = of_json(&document, wanted)?;
    }
    if let Some(start) = first_member(&text) {
        let (string, joined) = whole_string(&text, start)?;
        let around = text.len() > string.len() && !joined;
        if start > 0 && !text[..start].chars().all(is_quote) || around && start == 0 {
            note(Note::Unwrapped);
        } else if start > 0 {
            note(Note::Unquoted);
        }
        if joined {
            note(Note::Joined);
        }
        plain.text = string;
        return Ok(plain);
    }
    if let Some(value) = assigned(&text) {
        text = value.to_owned();
        note(Note::Unwrapped);
        if let Some(inner) = unquoted(&text) {
            text = inner.to_owned();
        }
    }
    let bare = text.trim_end_matches([',', ';']);
    if bare.len() != text.len() {
        note(Note::Unwrapped);
        text = unquoted(bare).unwrap_or(bare).to_owned();
    }
    if lines && text.contains(is_line_break) {
        note(Note::Joined);
        text = joined(&text);
    }
    plain.text = text;
    Ok(plain)
}

/// White space and zero-width characters, which come along when text is copied from documents and chats.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}')
}

fn is_line_break(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

/// Quotation marks in shells, documents and chats.
fn is_quote(c: char) -> bool {
    matches!(
        c,
        '"' | '\''
            | '`'
            | '“'
            | '”'
            | '„'
            | '‟'
            | '‘'
            | '’'
            | '‚'
            | '‛'
            | '«'
            | '»'
            | '‹'
            | '›'
            | '＂'
            | '″'
            | '<'
            | '>'
    )
}

/// Removes the quotation marks on both sides, and commas and semicolons after them. None if there are no such marks, or
/// if they belong to two separate texts.
fn unquoted(text: &str) -> Option<&str> {
    let text = text.trim_end_matches([',', ';']);
    let mark = text.chars().next()?;
    let inner = text.strip_prefix(is_quote)?.strip_suffix(is_quote)?;
    let is_one = inner.match_indices(mark).all(|(at, _)| inner[..at].ends_with('\\'));
    is_one.then(|| inner.trim_matches(is_blank))
}

/// Joins the lines into which a terminal broke a text.
fn joined(text: &str) -> String {
    text.split(is_line_break).map(str::trim).collect()
}

/// The byte position at which the first member of a connection string begins.
fn first_member(text: &str) -> Option<usize> {
    // In `ENDPOINT="Endpoint=sb://…"` the first name is a variable's, not a member's.
    let is_variable = |start: usize| {
        let value = text[start..].split_once('=').map(|(_, value)| value);
        value.is_some_and(|value| begins_with_member(value.trim_start_matches(|c| is_blank(c) || is_quote(c))))
    };
    member_starts(text).into_iter().find(|start| !is_variable(*start))
}

fn begins_with_member(text: &str) -> bool {
    MEMBERS
        .iter()
        .any(|member| is_at(text, 0, member) && text[member.len()..].trim_start_matches(is_blank).starts_with('='))
}

/// The byte positions at which members of a connection string begin. Only ASCII letters are lowered, so positions in
/// the lowered copy are valid in the text, too.
fn member_starts(text: &str) -> Vec<usize> {
    let lower = text.to_ascii_lowercase();
    let mut starts: Vec<usize> = MEMBERS
        .iter()
        .flat_map(|member| lower.match_indices(member).map(|(at, _)| (at, member.len())))
        .filter(|(at, length)| {
            let before = lower[..*at].chars().next_back();
            let follows = lower[at + length..].trim_start_matches(is_blank).starts_with('=');
            follows && !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        })
        .map(|(at, _)| at)
        .collect();
    starts.sort_unstable();
    starts
}

/// The connection string that begins at `start`, joined into one line, and whether it had several lines.
fn whole_string(text: &str, start: usize) -> Result<(String, bool), Unclear> {
    let before = text[..start].chars().next_back();
    let single = before.is_some_and(|c| matches!(c, '\'' | '‘' | '‚' | '’'));
    let ends = |c: char| is_quote(c) && (single || !matches!(c, '\'' | '’' | '‘'));
    let rest = &text[start..];
    let rest = &rest[..rest.find(ends).unwrap_or(rest.len())];
    let starts = member_starts(rest);
    let hosts = starts.iter().filter(|at| ["hostname", "endpoint"].iter().any(|name| is_at(rest, **at, name))).count();
    if hosts > 1 {
        return Err(Unclear::Several);
    }
    let mut members: Vec<String> = Vec::new();
    let mut lines = 0;
    for line in rest.split(is_line_break).map(|line| line.trim_matches(is_blank)).filter(|line| !line.is_empty()) {
        lines += 1;
        let begins_one = begins_with_member(line);
        match members.last_mut() {
            Some(last) if !begins_one && !goes_on(last, line) => break,
            Some(last) if !begins_one => last.push_str(line),
            _ => members.push(line.to_owned()),
        }
    }
    let string = members.join(";");
    let string = string.trim_end_matches(|c: char| is_blank(c) || matches!(c, ',' | ';' | '\\' | '}' | ')' | ']'));
    Ok((string.to_owned(), lines > 1))
}

/// Whether a line may be the rest of a member that a terminal broke, and not the terminal's next output.
fn goes_on(member: &str, line: &str) -> bool {
    // After the padding `=` of a base64 key, the key is complete.
    let is_padded = member.ends_with('=') && member.split_once('=').is_some_and(|(_, value)| !value.is_empty());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "+/=;:._-@'$".contains(c);
    let has_words = line.contains(char::is_whitespace) && !line.contains(';');
    let is_rest = line.chars().all(|c| is_plain(c) || c.is_whitespace()) && !has_words;
    is_rest && (!is_padded || line.starts_with([';', '=']))
}

fn is_at(text: &str, at: usize, name: &str) -> bool {
    text.get(at..at + name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name))
}

/// The value of `NAME=value` as shells and files write it, or of `Label: value` as the portal and JSON show it.
fn assigned(text: &str) -> Option<&str> {
    let by_sign = text.split_once('=').and_then(|(name, value)| {
        let words: Vec<&str> = name.split_ascii_whitespace().collect();
        let keywords = ["export", "set", "env", "let", "const", "var"];
        let name = match words.as_slice() {
            [name] => name,
            [word, name] if keywords.contains(&word.to_ascii_lowercase().as_str()) => name,
            _ => return None,
        };
        let name = name.strip_prefix("$env:").or_else(|| name.strip_prefix('$')).unwrap_or(name);
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        // The text after `=` is not a value if it is only the padding of a base64 key.
        (is_name && value.contains(|c: char| c.is_ascii_alphanumeric())).then(|| value.trim_matches(is_blank))
    });
    by_sign.or_else(|| {
        let (label, value) = text.split_once(':')?;
        let label = label.trim_matches(|c| is_blank(c) || is_quote(c));
        let is_label = label.starts_with(|c: char| c.is_ascii_alphabetic())
            && label.len() <= 40
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'_' | b'-'));
        let trimmed = value.trim_matches(is_blank);
        let is_value = value.starts_with(is_blank) && !trimmed.is_empty() && !trimmed.contains(char::is_whitespace);
        (is_label && is_value).then_some(trimmed)
    })
}

/// The part of a JSON document that fits a field. The document may come from the Azure CLI, PowerShell or a settings
/// file. A connection string is preferred; otherwise one is made of the host, the policy's name and its key.
fn of_json(document: &Value, wanted: Wanted) -> Result<String, Unclear> {
    let mut strings: Vec<(String, String)> = Vec::new();
    collect(document, "", &mut strings);
    let mut found: Vec<&(String, String)> = strings
        .iter()
        .filter(|(_, text)| {
            connection_string(text).is_some_and(|parts| parts.is_event_hub == (wanted == Wanted::EventHub))
        })
        .collect();
    if found.is_empty() {
        found = strings.iter().filter(|(_, text)| first_member(text).is_some()).collect();
    }
    found.dedup_by(|one, other| one.1 == other.1);
    if found.len() > 1 {
        let primary: Vec<_> =
            found.iter().copied().filter(|(key, _)| key.to_ascii_lowercase().starts_with("primary")).collect();
        match primary.as_slice() {
            [one] => return Ok(one.1.clone()),
            _ => return Err(Unclear::Several),
        }
    }
    if let [(_, text)] = found.as_slice() {
        return Ok(text.clone());
    }
    let one = |names: &[&str]| {
        let mut all: Vec<&str> = Vec::new();
        for name in names {
            all.extend(strings.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, text)| text.as_str()));
            all.dedup();
            if !all.is_empty() {
                break;
            }
        }
        match all.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => Err(Unclear::Several),
        }
    };
    let endpoint = match wanted {
        // The place in the output of `az iot hub show`. Older outputs also listed the endpoint for operations
        // monitoring.
        Wanted::EventHub => document
            .pointer("/properties/eventHubEndpoints/events")
            .and_then(|events| Some((events.get("endpoint")?.as_str()?, events.get("path").and_then(Value::as_str)))),
        Wanted::Hub | Wanted::Dps => None,
    };
    let host = match wanted {
        Wanted::Hub => one(&["hostName", "serviceHostName", "serviceOperationsHostName", "deviceHostName"])?,
        Wanted::Dps => one(&["serviceOperationsHostName", "hostName", "deviceProvisioningHostName"])?,
        Wanted::EventHub => None,
    };
    let mut members: Vec<(&str, &str)> = Vec::new();
    if let Some((endpoint, path)) = endpoint {
        members.push(("Endpoint", endpoint));
        members.extend(path.map(|path| ("EntityPath", path)));
    }
    members.extend(host.map(|host| ("HostName", host)));
    members.extend(one(&["sharedAccessKeyName", "keyName"])?.map(|name| ("SharedAccessKeyName", name)));
    members.extend(one(&["sharedAccessKey", "primaryKey", "secondaryKey"])?.map(|key| ("SharedAccessKey", key)));
    if members.is_empty() || members.iter().any(|(_, value)| value.contains([';', '\n', '\r'])) {
        return Err(Unclear::Nothing);
    }
    Ok(members.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(";"))
}

/// Collects every text in a document, each with the name of its member.
fn collect(value: &Value, name: &str, strings: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) if !text.is_empty() => strings.push((name.to_owned(), text.clone())),
        Value::Array(items) => items.iter().for_each(|item| collect(item, name, strings)),
        Value::Object(members) => members.iter().for_each(|(name, item)| collect(item, name, strings)),
        _ => {}
    }
}

/// The members of a connection string. Unknown members are ignored.
#[derive(Debug, Default, PartialEq)]
pub struct ConnectionString {
    /// `HostName`, or the host of `Endpoint`.
    pub host: Option<String>,
    /// Whether it has an `Endpoint`, which only an Event Hub's connection string has.
    pub is_event_hub: bool,
    /// `SharedAccessKeyName`.
    pub key_name: Option<String>,
    /// `SharedAccessKey`.
    pub key: Option<Secret>,
    /// `EntityPath`.
    pub entity_path: Option<String>,
    /// Whether it has a `DeviceId` or `ModuleId`, so that it belongs to a device and not to a service.
    pub is_device: bool,
    /// Whether it has a `SharedAccessSignature`, which expires, unlike a key.
    pub has_signature: bool,
    /// Whether it has a member twice, with different values.
    pub is_ambiguous: bool,
}

/// Reads a connection string. None if the text does not begin like one.
pub fn connection_string(text: &str) -> Option<ConnectionString> {
    if !begins_with_member(text) {
        return None;
    }
    let mut parts = ConnectionString::default();
    let mut known: Vec<(String, &str)> = Vec::new();
    for member in text.split(';') {
        // The value may contain `=`, as a base64 key does, so only the first `=` separates name and value.
        let Some((name, value)) = member.split_once('=') else { continue };
        let value = value.trim();
        if value.is_empty() {
            continue;
        }
        let name = name.trim().to_ascii_lowercase();
        parts.is_ambiguous |= known.iter().any(|(other, its)| *other == name && *its != value);
        known.push((name.clone(), value));
        match name.as_str() {
            "hostname" => parts.host = Some(value.to_owned()),
            "endpoint" => {
                parts.host = Some(value.to_owned());
                parts.is_event_hub = true;
            }
            "sharedaccesskeyname" => parts.key_name = Some(value.to_owned()),
            "sharedaccesskey" => parts.key = Some(Secret::new(value)),
            "sharedaccesssignature" => parts.has_signature = true,
            "entitypath" => parts.entity_path = Some(value.to_owned()),
            "deviceid" | "moduleid" => parts.is_device = true,
            _ => {}
        }
    }
    Some(parts)
}

/// Whether a text is the id scope of a provisioning service, which only devices need.
pub fn is_id_scope(text: &str) -> bool {
    // In the public cloud an id scope is `0ne` and eight hexadecimal digits; other clouds have other letters.
    text.len() == 11
        && text.starts_with('0')
        && text[1..].bytes().take(2).all(|b| b.is_ascii_alphabetic())
        && text.bytes().skip(3).all(|b| b.is_ascii_hexdigit())
}

/// Splits an endpoint that contains the Event Hub's name, such as `sb://ns.servicebus.windows.net/plant`, into the
/// endpoint without the name, and the name.
pub fn endpoint_with_path(text: &str) -> Option<(&str, &str)> {
    let (_, rest) = text.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    let name = path.split('/').next().filter(|name| !name.is_empty() && !name.starts_with('$'))?;
    Some((&text[..text.len() - path.len()], name))
}

/// A host that a person entered, without scheme, path and default port.
#[derive(Debug, PartialEq)]
pub struct Host {
    /// The name in lower case, without the port.
    pub name: String,
    /// The port, if the text states one other than 443.
    pub port: Option<u16>,
    /// Whether the domain was missing and has been added.
    pub completed: bool,
    /// Whether a scheme, a path or a trailing slash was cut off.
    pub trimmed: bool,
}

impl Host {
    /// The host as in a URL: `name` or `name:port`.
    pub fn authority(&self) -> String {
        self.port.map_or_else(|| self.name.clone(), |port| format!("{}:{port}", self.name))
    }
}

/// Why a text is not a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAHost {
    /// Nothing remains of the text.
    Empty,
    /// It contains a space or a line break.
    Whitespace,
    /// It contains characters that a host name cannot have.
    Characters,
    /// Its URL scheme is not one of these services'.
    Scheme,
    /// It contains an `@`, as after a user name and password.
    UserInfo,
    /// It has a path or query other than the ones that the services' documents append.
    Path,
    /// Its port is not a number from 1 to 65535.
    Port,
    /// It is an IP address, not a name.
    Address,
    /// It is longer than a host name can be.
    Length,
    /// It is the id of an Azure resource, or the URL of a page of the Azure portal.
    Resource,
}

/// Schemes that people write before the hosts of these services.
const SCHEMES: [&str; 6] = ["https", "http", "amqps", "mqtts", "sb", "wss"];
/// Paths that the services' documents append to these hosts. They are cut off, because they identify nothing.
const PATHS: [&str; 3] = ["/$iothub/websocket", "/$servicebus/websocket", "/messages/events"];

/// Reads a host. `domain` (with its leading dot) completes a bare name such as `plant` or `plant.service`.
pub fn host(text: &str, domain: &str) -> Result<Host, NotAHost> {
    let text = text.trim();
    if text.is_empty() {
        return Err(NotAHost::Empty);
    }
    if text.contains(char::is_whitespace) {
        return Err(NotAHost::Whitespace);
    }
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("/subscriptions/") || lower.contains("://portal.azure.") || lower.starts_with("portal.azure.")
    {
        return Err(NotAHost::Resource);
    }
    let (rest, had_scheme) = match text.split_once("://") {
        Some((scheme, rest)) if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) => (rest, true),
        Some(_) => return Err(NotAHost::Scheme),
        None => (text, false),
    };
    let rest_without_path = PATHS.iter().find_map(|path| rest.strip_suffix(path)).unwrap_or(rest);
    let rest_without_slash = rest_without_path.strip_suffix('/').unwrap_or(rest_without_path);
    if rest_without_slash.contains('@') {
        return Err(NotAHost::UserInfo);
    }
    if rest_without_slash.contains(['/', '?', '#', '\\']) {
        return Err(NotAHost::Path);
    }
    let (name, port) = match rest_without_slash.rsplit_once(':') {
        Some((name, _)) if name.contains(':') => return Err(NotAHost::Address),
        Some((name, port)) => (name, Some(port.parse::<u16>().ok().filter(|port| *port != 0).ok_or(NotAHost::Port)?)),
        None => (rest_without_slash, None),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut name = name.to_ascii_lowercase();
    if name.is_empty() {
        return Err(NotAHost::Empty);
    }
    if name.parse::<std::net::Ipv4Addr>().is_ok() || name.starts_with('[') {
        return Err(NotAHost::Address);
    }
    let completed = !domain.is_empty() && name != "localhost" && (!name.contains('.') || lacks_its_domain(&name));
    if completed {
        name.push_str(domain);
    }
    if name.len() > 253 || name.split('.').any(|label| label.len() > 63) {
        return Err(NotAHost::Length);
    }
    let label_is_fine = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !name.split('.').all(label_is_fine) {
        return Err(NotAHost::Characters);
    }
    let default_port = 443;
    Ok(Host {
        trimmed: had_scheme || rest.len() != rest_without_slash.len(),
        completed,
        port: port.filter(|port| *port != default_port),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = ".azure-devices.net";

    fn name(text: &str) -> Result<String, NotAHost> {
        host(text, DOMAIN).map(|host| host.authority())
    }

    #[test]
    fn hosts_in_all_their_clothes() {
        for text in [
            "plant",
            "PLANT",
            "plant.azure-devices.net",
            " plant.azure-devices.net\n",
            "https://Plant.Azure-Devices.net/",
            "plant.azure-devices.net:443",
            "plant.azure-devices.net.",
            "amqps://plant",
            "wss://plant.azure-devices.net:443/$iothub/websocket",
        ] {
            assert_eq!(name(text).as_deref(), Ok("plant.azure-devices.net"), "{text}");
        }
        assert_eq!(name("localhost:8443").as_deref(), Ok("localhost:8443"));
    }

    #[test]
    fn what_is_no_host() {
        let cases = [
            ("", NotAHost::Empty),
            ("https://", NotAHost::Empty),
            ("a b", NotAHost::Whitespace),
            ("ftp://plant", NotAHost::Scheme),
            ("evil@plant", NotAHost::UserInfo),
            ("plant/devices", NotAHost::Path),
            ("plant?x=1", NotAHost::Path),
            ("plant#x", NotAHost::Path),
            ("plant\\x", NotAHost::Path),
            ("plant:0", NotAHost::Port),
            ("plant:65536", NotAHost::Port),
            ("plant:x", NotAHost::Port),
            ("10.0.0.1", NotAHost::Address),
            ("[::1]", NotAHost::Address),
            ("::1", NotAHost::Address),
            ("pl_nt", NotAHost::Characters),
            ("-plant", NotAHost::Characters),
            ("plant..net", NotAHost::Characters),
            ("plänt", NotAHost::Characters),
            (&"a".repeat(64), NotAHost::Length),
            ("/subscriptions/1/resourceGroups/g/providers/Microsoft.Devices/IotHubs/plant", NotAHost::Resource),
            ("https://portal.azure.com/#@t/resource/subscriptions/1", NotAHost::Resource),
        ];
        for (text, why) in cases {
            assert_eq!(name(text), Err(why), "{text}");
        }
    }

    #[test]
    fn connection_strings() {
        let hub =
            connection_string("HostName=plant.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey=a2V5PT0=")
                .expect("one");
        assert_eq!((hub.host.as_deref(), hub.key_name.as_deref()), (Some("plant.azure-devices.net"), Some("service")));
        assert_eq!(hub.key.expect("a key").expose(), "a2V5PT0=");
        let events = connection_string(
            "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=s;SharedAccessKey=a2V5;EntityPath=plant",
        )
        .expect("one");
        assert!(events.is_event_hub);
        assert_eq!(events.entity_path.as_deref(), Some("plant"));
        assert!(connection_string("HostName=h;DeviceId=d;SharedAccessKey=a2V5").expect("one").is_device);
        assert_eq!(connection_string("plant.azure-devices.net"), None);
    }
}
