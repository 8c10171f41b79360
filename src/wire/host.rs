//! Authorities: `host [":" port]` (RFC 3986 §3.2.2, RFC 9110 §4.2).

use std::net::Ipv6Addr;

use crate::limits::HOST_BYTES_MAX;
use crate::syntax::is_unreserved;

/// A valid authority's parts, as lengths of what was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority {
    /// Bytes of the host without a trailing dot; the host begins the authority.
    pub host_len: usize,
    /// Bytes of host and port without a colon that no port follows.
    pub len: usize,
    /// The port.
    pub port: Option<u16>,
}

/// Reads an authority without user information. The host is an IPv6 address in brackets, or a name of `unreserved`
/// bytes (an IPv4 address is one) with no empty label: narrower than RFC 3986's reg-name, which also allows
/// sub-delims and percent-encoding that no DNS name has.
#[must_use]
pub fn parse_authority(bytes: &[u8]) -> Option<Authority> {
    if bytes.first() == Some(&b'[') {
        let end = bytes.iter().position(|byte| *byte == b']')?;
        let address = std::str::from_utf8(bytes.get(1..end)?).ok()?;
        address.parse::<Ipv6Addr>().ok()?;
        return with_port(bytes, end + 1, end + 1);
    }
    let name_len = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
    if name_len == 0 || name_len > HOST_BYTES_MAX {
        return None;
    }
    // A dot is `unreserved`; it may not follow another one, nor begin the name. Nothing branches on a byte.
    let name = bytes.get(..name_len)?;
    let (good, last) = name.iter().fold((true, b'.'), |(good, before), byte| {
        (good & is_unreserved(*byte) & !(*byte == b'.' && before == b'.'), *byte)
    });
    if !good {
        return None;
    }
    with_port(bytes, name_len - usize::from(last == b'.'), name_len)
}

fn with_port(bytes: &[u8], host_len: usize, name_len: usize) -> Option<Authority> {
    match bytes.get(name_len..)? {
        [] | [b':'] => Some(Authority { host_len, len: name_len, port: None }),
        [b':', digits @ ..] => {
            let port = crate::syntax::decimal(digits, 5).and_then(|port| u16::try_from(port).ok())?;
            Some(Authority { host_len, len: bytes.len(), port: Some(port) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::parse_authority;

    fn parts(text: &str) -> Option<(&str, &str, Option<u16>)> {
        parse_authority(text.as_bytes()).map(|a| (&text[..a.host_len], &text[..a.len], a.port))
    }

    #[test]
    fn names_addresses_and_ports_are_read() {
        assert_eq!(parts("example.com"), Some(("example.com", "example.com", None)));
        assert_eq!(parts("example.com.:80"), Some(("example.com", "example.com.:80", Some(80))));
        assert_eq!(parts("127.0.0.1:8080"), Some(("127.0.0.1", "127.0.0.1:8080", Some(8080))));
        assert_eq!(parts("[::1]:443"), Some(("[::1]", "[::1]:443", Some(443))));
        assert_eq!(parts("[2001:db8::1]"), Some(("[2001:db8::1]", "[2001:db8::1]", None)));
        assert_eq!(parts("a_b-c~:"), Some(("a_b-c~", "a_b-c~", None)));
    }

    #[test]
    fn whatever_else_is_refused() {
        for bad in [
            "",
            ":80",
            ".",
            "a..b",
            ".a",
            "a b",
            "a@b",
            "user:pass@b",
            "a:b",
            "a:99999",
            "a:80:80",
            "a,b",
            "a/b",
            "a?b",
            "[::1",
            "[::1]x",
            "[1.2.3.4]",
            "::1",
            "[::1%25eth0]",
            "a%2eb",
            "a\\b",
            "é",
            "a:+80",
            "a:000080",
            "*",
        ] {
            assert_eq!(parts(bad), None, "{bad:?}");
        }
        assert_eq!(parts(&"a".repeat(256)), None);
    }
}
