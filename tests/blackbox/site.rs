//! A configuration as a test writes it: one listener, one upstream `one`, one host `api.test`, and what is said otherwise.

use std::net::SocketAddr;

/// A configuration to be.
#[derive(Clone)]
pub(crate) struct Site {
    settings: String,
    listeners: Vec<String>,
    upstreams: String,
    routes: String,
    more: String,
    files: Vec<(String, Vec<u8>)>,
}

impl Site {
    /// Nothing but a listener.
    pub(crate) fn bare() -> Self {
        Self {
            settings: "admin: \"127.0.0.1:0\", access_log: stdout".to_owned(),
            listeners: vec!["{address: \"127.0.0.2:0\"}".to_owned()],
            upstreams: String::new(),
            routes: String::new(),
            more: String::new(),
            files: Vec::new(),
        }
    }

    /// Every path of `api.test` goes to this endpoint; `/ws/*` with WebSocket.
    pub(crate) fn to(endpoint: SocketAddr) -> Self {
        Self::with_keys(&[endpoint], "")
    }

    /// As [`Site::to`], with several endpoints and further keys of the upstream.
    pub(crate) fn with_keys(endpoints: &[SocketAddr], keys: &str) -> Self {
        Self::bare()
            .upstream("one", endpoints, keys)
            .route("/*: {to: one}")
            .route("/ws/*: {to: one, websocket: true}")
    }

    /// The usual listener speaks HTTP/2 as well.
    pub(crate) fn http2(self) -> Self {
        self.only_listener("{address: \"127.0.0.2:0\", protocols: [http1, http2]}")
    }

    /// Further settings: `timeouts: {head: 300ms}`.
    pub(crate) fn settings(mut self, entry: &str) -> Self {
        self.settings.push_str(", ");
        self.settings.push_str(entry);
        self
    }

    /// Another place for the access log: `file:PATH`.
    pub(crate) fn access_log(mut self, place: &str) -> Self {
        self.settings = self.settings.replace("access_log: stdout", &format!("access_log: \"{place}\""));
        self
    }

    /// Another address of the admin listener.
    pub(crate) fn admin(mut self, address: SocketAddr) -> Self {
        self.settings = self.settings.replace("\"127.0.0.1:0\"", &format!("\"{address}\""));
        self
    }

    /// One more listener.
    pub(crate) fn listener(mut self, text: &str) -> Self {
        self.listeners.push(text.to_owned());
        self
    }

    /// Other listeners than the usual one.
    pub(crate) fn only_listener(mut self, text: &str) -> Self {
        self.listeners = vec![text.to_owned()];
        self
    }

    /// One more upstream. Where `keys` do not say how long a connection may take, it may take as long as a busy machine needs.
    pub(crate) fn upstream(mut self, name: &str, endpoints: &[SocketAddr], keys: &str) -> Self {
        let list: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
        let keys = match keys.split_once("timeout: {") {
            _ if keys.contains("connect: ") => keys.to_owned(),
            Some((before, after)) => format!("{before}timeout: {{connect: 20s, {after}"),
            None if keys.is_empty() => "timeout: {connect: 20s}".to_owned(),
            None => format!("{keys}, timeout: {{connect: 20s}}"),
        };
        self.upstreams.push_str(&format!("  {name}: {{endpoints: [{}], {keys}}}\n", list.join(", ")));
        self
    }

    /// One more upstream, with an endpoint by name.
    pub(crate) fn upstream_at(mut self, name: &str, endpoint: &str, keys: &str) -> Self {
        self.upstreams.push_str(&format!("  {name}: {{endpoints: [\"{endpoint}\"], {keys}}}\n"));
        self
    }

    /// One more route of `api.test`: key and value.
    pub(crate) fn route(mut self, text: &str) -> Self {
        self.routes.push_str(&format!("    {text}\n"));
        self
    }

    /// Further keys of the whole.
    pub(crate) fn more(mut self, text: &str) -> Self {
        self.more.push_str(text);
        self.more.push('\n');
        self
    }

    /// A file beside the configuration, for `file:` references.
    pub(crate) fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// The files beside it.
    pub(crate) fn files(&self) -> &[(String, Vec<u8>)] {
        &self.files
    }

    /// Its text.
    pub(crate) fn yaml(&self) -> String {
        let mut text = format!(
            "version: 1\nsettings: {{{}}}\nlisteners: [{}]\n",
            self.settings,
            self.listeners.join(", ")
        );
        if !self.upstreams.is_empty() {
            text.push_str(&format!("upstreams:\n{}", self.upstreams));
        }
        text.push_str(&self.more);
        if !self.routes.is_empty() {
            text.push_str(&format!("hosts:\n  api.test:\n{}", self.routes));
        }
        text
    }
}
