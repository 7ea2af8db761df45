//! The text that names a host, and perhaps a port.

/// The longest host name that there is, in characters.
pub(crate) const LONGEST_NAME: usize = 253;

/// Splits `host`, `host:port`, `[ipv6]` or `[ipv6]:port`; the host comes out lower case, without brackets and
/// without a trailing dot. None where it is none of these.
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

/// Empty: no port. `:1` to `:65535`: that port. Otherwise none.
fn parse_port(text: &str) -> Option<Option<u16>> {
    if text.is_empty() {
        return Some(None);
    }
    let digits = text.strip_prefix(':')?;
    let port = digits.parse::<u16>().ok().filter(|port| *port != 0)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(Some(port))
}
