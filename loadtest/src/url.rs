//! The addresses that people give: `https://example.test:8443/path?query`.

/// What a scheme says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
    /// `ws` (RFC 6455 §3).
    Ws,
    /// `wss`.
    Wss,
}

impl Scheme {
    /// Whether the connection is TLS.
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Wss)
    }

    /// Whether it names WebSocket.
    pub(crate) fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    fn port(self) -> u16 {
        if self.is_tls() { 443 } else { 80 }
    }
}

/// An address, taken apart. The target may hold places of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// The scheme.
    pub(crate) scheme: Scheme,
    /// Host as it is looked up and verified: without brackets.
    pub(crate) host: String,
    /// Port, that of the scheme where none is given.
    pub(crate) port: u16,
    /// Host and port as they are sent.
    pub(crate) authority: String,
    /// Path and query, at least `/`.
    pub(crate) target: String,
}

/// Why a text is no address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadUrl {
    /// No scheme that is known.
    #[error("`{0}` does not begin with http://, https://, ws:// or wss://")]
    Scheme(String),
    /// No host, or a port that is none.
    #[error("`{0}` has no valid host and port")]
    Authority(String),
}

impl Url {
    /// Takes `text` apart. A fragment is dropped; it is never sent.
    pub(crate) fn parse(text: &str) -> Result<Self, BadUrl> {
        let bad_scheme = || BadUrl::Scheme(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(bad_scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "ws" => Scheme::Ws,
            "wss" => Scheme::Wss,
            _ => return Err(bad_scheme()),
        };
        let bad_authority = || BadUrl::Authority(text.to_owned());
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = target.split('#').next().unwrap_or_default();
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(bad_authority)?)),
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| bad_authority())?,
            None => scheme.port(),
        };
        if ringway_wire::host::parse_authority(authority.as_bytes()).is_none() || host.is_empty() {
            return Err(bad_authority());
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            target: format!("{slash}{target}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{BadUrl, Scheme, Url};

    fn parts(text: &str) -> (Scheme, String, u16, String, String) {
        let url = Url::parse(text).unwrap();
        (url.scheme, url.host, url.port, url.authority, url.target)
    }

    #[test]
    fn addresses_are_taken_apart() {
        let of = |scheme, host: &str, port, authority: &str, target: &str| {
            (scheme, host.to_owned(), port, authority.to_owned(), target.to_owned())
        };
        assert_eq!(parts("http://a.test"), of(Scheme::Http, "a.test", 80, "a.test", "/"));
        assert_eq!(parts("HTTPS://a:8443/x?y=1#z"), of(Scheme::Https, "a", 8443, "a:8443", "/x?y=1"));
        assert_eq!(parts("wss://[::1]:9?q"), of(Scheme::Wss, "::1", 9, "[::1]:9", "/?q"));
        assert_eq!(parts("http://a/{{seq}}"), of(Scheme::Http, "a", 80, "a", "/{{seq}}"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert!(matches!(Url::parse("a.test/x"), Err(BadUrl::Scheme(_))));
        assert!(matches!(Url::parse("ftp://a"), Err(BadUrl::Scheme(_))));
        for bad in [
            "http://",
            "http://:80",
            "http://a:b",
            "http://a:99999",
            "http://[::1",
            "http://[::1]x",
            "http://a b",
        ] {
            assert!(matches!(Url::parse(bad), Err(BadUrl::Authority(_))), "{bad}");
        }
    }
}
