//! How a request can fail: a closed list. Each row has its name, its meaning and what to look at.

macro_rules! failures {
    ($($variant:ident, $name:literal, $meaning:literal;)*) => {
        /// Why a request did not succeed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Failure {
            $(#[doc = $meaning] $variant,)*
        }

        impl Failure {
            /// Every row.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in reports.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it is.
            pub(crate) fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

failures! {
    Connect, "connect", "No connection: refused, unreachable, or no free port or descriptor.";
    ConnectTimeout, "connect-timeout", "No connection within --connect-timeout.";
    Tls, "tls", "The TLS handshake failed.";
    Reset, "reset", "The connection was reset or broke before the reply was complete.";
    Closed, "closed", "The connection was closed in order before the reply was complete.";
    Timeout, "timeout", "No complete reply within --timeout; counted in the latencies with the time that it had had.";
    Unfinished, "unfinished", "Still without a complete reply when the run ended; counted in the latencies as well.";
    Unsent, "unsent", "Due, and never sent, because no connection became free before the run ended; counted in the latencies as well.";
    Malformed, "malformed", "The reply is not what its protocol allows.";
    Protocol, "protocol", "The handshake or stream of a protocol above HTTP was refused, or ended (WebSocket, HTTP/2, gRPC).";
    Status, "status", "The reply's status is not one of --expect-status (by default any status below 400 is expected).";
    Length, "length", "The body's length is not --expect-length.";
    Body, "body", "The body's SHA-256 is not --expect-sha256, or the echo is not what was sent.";
    Grpc, "grpc", "The call's grpc-status is not 0, or there is none.";
    Substring, "substring", "The body does not contain --expect-body.";
}

/// How many rows there are.
pub(crate) const FAILURES: usize = Failure::ALL.len();

impl Failure {
    /// Its place in the list.
    #[inline]
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Whether a whole reply was received, and a check did not like it.
    pub(crate) fn is_of_check(self) -> bool {
        matches!(self, Self::Status | Self::Length | Self::Body | Self::Grpc | Self::Substring)
    }

    /// The failure that an error of a stream means, after the connection stood.
    pub(crate) fn of_stream(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::TimedOut => Self::Timeout,
            ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Reset,
        }
    }

    /// The failure that an error of connecting means.
    pub(crate) fn of_connect(error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::TimedOut { Self::ConnectTimeout } else { Self::Connect }
    }
}
