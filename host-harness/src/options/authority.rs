//! Parses a text that names a host and optionally a port.

/// The longest possible host name, in characters.
pub(crate) const LONGEST_NAME: usize = 253;

/// Splits `host`, `host:port`, `[ipv6]` or `[ipv6]:port`. The returned host is in lower case, without brackets and
/// without a trailing dot. Returns none for any other text.
pub(crate) fn split_authority(text: &str) -> Option<(String, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: std::net::Ipv6Addr = address.parse().ok()?;
        return Some((address.to_string(), parse_port(port)?));
    }
    let (host, port) = match text.find(':') {
        Some(colon) => text.split_at(colon),
        None => (text, ""),
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    (host.len() <= LONGEST_NAME && host.split('.').all(label)).then_some(())?;
    Some((host, parse_port(port)?))
}

/// Parses the text after the host: an empty text is no port, and `:1` to `:65535` is that port. Returns none for any
/// other text.
fn parse_port(text: &str) -> Option<Option<u16>> {
    if text.is_empty() {
        return Some(None);
    }
    let digits = text.strip_prefix(':')?;
    let port = digits.parse::<u16>().ok().filter(|port| *port != 0)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(Some(port))
}
