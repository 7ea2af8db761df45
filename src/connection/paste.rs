//! What people paste: a bare name, a host name, a URL, or a whole connection string.

use crate::secret::Secret;

/// A connection string of one of the services, taken apart. Unknown members are ignored.
#[derive(Debug, Default, PartialEq)]
pub struct ConnectionString {
    /// `HostName`, or the host of `Endpoint`.
    pub host: Option<String>,
    /// Whether it had an `Endpoint`: it is an Event Hub's.
    pub is_event_hub: bool,
    /// `SharedAccessKeyName`.
    pub key_name: Option<String>,
    /// `SharedAccessKey`.
    pub key: Option<Secret>,
    /// `EntityPath`.
    pub entity_path: Option<String>,
    /// Whether it names a `DeviceId`: it is a device's, not a service's.
    pub is_device: bool,
}

/// Reads a connection string; none where the text does not look like one.
pub fn connection_string(text: &str) -> Option<ConnectionString> {
    let lower = text.to_ascii_lowercase();
    if !(lower.contains("hostname=") || lower.contains("endpoint=") || lower.contains("sharedaccesskey=")) {
        return None;
    }
    let mut parts = ConnectionString::default();
    for member in text.split(';') {
        // The key itself may end in `=`, so only the first one separates.
        let Some((name, value)) = member.split_once('=') else { continue };
        let value = value.trim();
        if value.is_empty() {
            continue;
        }
        match name.trim().to_ascii_lowercase().as_str() {
            "hostname" => parts.host = Some(value.to_owned()),
            "endpoint" => {
                parts.host = Some(value.to_owned());
                parts.is_event_hub = true;
            }
            "sharedaccesskeyname" => parts.key_name = Some(value.to_owned()),
            "sharedaccesskey" => parts.key = Some(Secret::new(value)),
            "entitypath" => parts.entity_path = Some(value.to_owned()),
            "deviceid" => parts.is_device = true,
            _ => {}
        }
    }
    Some(parts)
}

/// A host that was entered, in its plain form.
#[derive(Debug, PartialEq)]
pub struct Host {
    /// Lower case, without the port.
    pub name: String,
    /// Where one was given that is not the scheme's own.
    pub port: Option<u16>,
    /// Whether the domain was added to a bare name.
    pub completed: bool,
    /// Whether something was cut off (scheme, path, trailing dot).
    pub trimmed: bool,
}

impl Host {
    /// As it stands in a URL.
    pub fn authority(&self) -> String {
        self.port.map_or_else(|| self.name.clone(), |port| format!("{}:{port}", self.name))
    }
}

/// Why a text is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAHost {
    /// Nothing is left of it.
    Empty,
    /// A space or a line break inside.
    Whitespace,
    /// Characters that no host name has.
    Characters,
    /// A scheme that leads elsewhere.
    Scheme,
    /// User name and password before an `@`.
    UserInfo,
    /// A path or query that means something.
    Path,
    /// A port that is none.
    Port,
    /// An address, not a name.
    Address,
    /// Longer than a name can be.
    Length,
}

/// Reads a host. `domain` (with its leading dot) completes a bare name; `schemes` are those that are cut off.
pub fn host(text: &str, domain: &str, schemes: &[&str]) -> Result<Host, NotAHost> {
    let text = text.trim();
    if text.is_empty() {
        return Err(NotAHost::Empty);
    }
    if text.contains(char::is_whitespace) {
        return Err(NotAHost::Whitespace);
    }
    let (rest, had_scheme) = match text.split_once("://") {
        Some((scheme, rest)) if schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known)) => (rest, true),
        Some(_) => return Err(NotAHost::Scheme),
        None => (text, false),
    };
    let rest_without_slash = rest.strip_suffix('/').unwrap_or(rest);
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
    let completed = !name.contains('.') && name != "localhost";
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
        host(text, DOMAIN, &["https", "amqps"]).map(|host| host.authority())
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
