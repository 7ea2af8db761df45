//! Hides the secrets in URLs.

/// The text that replaces a secret.
pub const HIDDEN: &str = "(secret)";

/// A URL without the parts that may be secret: the values of its query, its fragment, and its user information. The
/// scheme, the host, the path and the names in the query stay.
pub fn without_secrets(url: &str) -> String {
    let (url, fragment) = url.split_once('#').map_or((url, None), |(url, fragment)| (url, Some(fragment)));
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let (scheme, rest) = base.split_once("://").map_or(("", base), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.split_at(rest.find(['/', '\\']).unwrap_or(rest.len()));
    let mut shown = String::with_capacity(url.len());
    if !scheme.is_empty() {
        shown = format!("{scheme}://");
    }
    match authority.rsplit_once('@') {
        Some((_, host)) => shown += &format!("{HIDDEN}@{host}"),
        None => shown += authority,
    }
    shown += path;
    if let Some(query) = query {
        let pair = |pair: &str| match pair.split_once('=') {
            Some((name, value)) if !value.is_empty() => format!("{name}={HIDDEN}"),
            Some(_) => pair.to_owned(),
            None if pair.is_empty() => String::new(),
            None => HIDDEN.to_owned(),
        };
        shown += "?";
        shown += &query.split('&').map(pair).collect::<Vec<_>>().join("&");
    }
    if fragment.is_some_and(|fragment| !fragment.is_empty()) {
        shown += &format!("#{HIDDEN}");
    }
    shown
}
