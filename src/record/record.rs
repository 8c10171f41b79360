//! What is known of one request when it has ended, and its bytes in a segment.
//!
//! Layout, little endian, schema [`SCHEMA`]: a fixed part of [`FIXED_BYTES`], then host, detail, path, user agent
//! and referer one behind the other, their lengths standing in the fixed part. A later schema may lengthen the fixed
//! part at its end only; so the first field is the fixed part's own length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::outcome::Outcome;

/// Version of the layout, in each segment's header.
pub const SCHEMA: u16 = 1;
/// Longest host that is kept (a DNS name has at most 253 bytes).
pub const HOST_BYTES_MAX: usize = 255;
/// Longest detail that is kept.
pub const DETAIL_BYTES_MAX: usize = 64;
/// Longest path that is kept.
pub const PATH_BYTES_MAX: usize = 1024;
/// Longest user agent that is kept.
pub const USER_AGENT_BYTES_MAX: usize = 256;
/// Longest referer that is kept; its query is never kept.
pub const REFERER_BYTES_MAX: usize = 256;
/// Bytes of the fixed part.
pub const FIXED_BYTES: usize = 248;
/// Most bytes that a record takes.
pub const RECORD_BYTES_MAX: usize = FIXED_BYTES
    + HOST_BYTES_MAX
    + DETAIL_BYTES_MAX
    + PATH_BYTES_MAX
    + USER_AGENT_BYTES_MAX
    + REFERER_BYTES_MAX;
/// `stage` of a request that no stage refused.
pub const NO_STAGE: u8 = 255;

/// One request. Ids that do not apply are 0; durations are in microseconds and saturate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Id of the request, as in `X-Request-Id` (the 16 bytes of a UUIDv7).
    pub request_id: [u8; 16],
    /// W3C trace id that was sent to the upstream.
    pub trace_id: [u8; 16],
    /// Our span in that trace.
    pub span_id: [u8; 8],
    /// Trace id that an untrusted caller sent and that we did not continue, else zeros.
    pub linked_trace_id: [u8; 16],
    /// When its first byte was there, Unix time.
    pub started_unix_ms: u64,
    /// From the first byte to the end.
    pub total_us: u64,
    /// The gateway's own share: total less what was waited for either peer.
    pub own_us: u32,
    /// From the request being sent to the reply's head.
    pub upstream_head_us: u32,
    /// Generation of the snapshot that decided.
    pub generation: u64,
    /// Stable id of the route.
    pub route_id: u64,
    /// Stable id of the upstream.
    pub upstream_id: u64,
    /// Endpoint of the last attempt.
    pub endpoint: Option<SocketAddr>,
    /// UUID of the application.
    pub application_id: u128,
    /// UUID of the credential.
    pub credential_id: u128,
    /// Stable id of the limit that refused.
    pub limit_id: u64,
    /// Status that was sent; 0 when none was.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Method.
    pub method: Method,
    /// Protocol of the downstream side.
    pub protocol: Protocol,
    /// Whether the downstream side was TLS.
    pub tls: bool,
    /// Whether a pooled upstream connection was used.
    pub reused: bool,
    /// Attempts at the upstream.
    pub attempts: u8,
    /// Number of the stage that refused, or [`NO_STAGE`].
    pub stage: u8,
    /// Worker that served it.
    pub worker: u16,
    /// One bit for each stage (by its number) that would have refused but stands in shadow mode.
    pub shadow: u32,
    /// Bytes of the request's head.
    pub head_in_bytes: u32,
    /// Bytes of the reply's head.
    pub head_out_bytes: u32,
    /// Bytes of the request's body.
    pub body_in_bytes: u64,
    /// Bytes of the reply's body.
    pub body_out_bytes: u64,
    /// The peer that sent it.
    pub peer: SocketAddr,
    /// Address of the caller as trusted peers forwarded it; the peer's own else.
    pub client: IpAddr,
    /// Length of the query; the query itself is never kept.
    pub query_bytes: u32,
    /// Host without port, lower case.
    pub host: Text<'a>,
    /// What exactly the outcome was about, out of a closed list of ours (a malformed class, a TLS error): never bytes
    /// of a peer's.
    pub detail: Text<'a>,
    /// Normalised path.
    pub path: Text<'a>,
    /// `User-Agent`.
    pub user_agent: Text<'a>,
    /// `Referer` up to its query.
    pub referer: Text<'a>,
}

/// A bounded text of the caller's, any bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Text<'a> {
    /// What was kept.
    pub bytes: &'a [u8],
    /// Whether the end is missing.
    pub cut: bool,
}

impl<'a> Text<'a> {
    /// Whole so far; [`Record::encode`] cuts it to its limit.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, cut: false }
    }

    fn bounded(self, bytes_max: usize) -> Self {
        match self.bytes.get(..bytes_max) {
            Some(kept) => Self { bytes: kept, cut: self.cut || kept.len() < self.bytes.len() },
            None => self,
        }
    }

    /// Without query and fragment, which may hold secrets.
    fn without_query(self) -> Self {
        let end = self.bytes.iter().position(|byte| matches!(byte, b'?' | b'#'));
        Self { bytes: end.and_then(|end| self.bytes.get(..end)).unwrap_or(self.bytes), cut: self.cut }
    }
}

/// A closed list with numbers and names.
macro_rules! numbered {
    ($(#[$about:meta])* $type:ident default $default:ident { $($number:literal $variant:ident $name:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $type {
            $(#[doc = $name] $variant = $number,)+
        }

        impl $type {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Name in the log and in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// By number; the default for one that this version does not know.
            #[must_use]
            pub const fn from_number(number: u8) -> Self {
                match number { $($number => Self::$variant,)+ _ => Self::$default }
            }
        }
    };
}

numbered! {
    /// Method of a request; any token beyond these is `Other`, so that a label stays bounded.
    Method default Other {
        0 Other "OTHER", 1 Get "GET", 2 Head "HEAD", 3 Post "POST", 4 Put "PUT", 5 Delete "DELETE",
        6 Connect "CONNECT", 7 Options "OPTIONS", 8 Trace "TRACE", 9 Patch "PATCH",
    }
}

numbered! {
    /// Protocol of the downstream side; `Unknown` when no version could be read.
    Protocol default Unknown {
        0 Unknown "unknown", 1 Http10 "http/1.0", 2 Http11 "http/1.1", 3 Http2 "h2", 4 Http3 "h3",
        5 WebSocket "websocket",
    }
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than the fixed part or the lengths in it say.
    #[error("record is shorter than it says")]
    Short,
    /// A fixed part that is shorter than this schema's.
    #[error("record is of another schema")]
    Schema,
    /// An outcome that this version does not know.
    #[error("outcome number {0} is not known")]
    Outcome(u8),
}

const FLAG_TLS: u8 = 1;
const FLAG_REUSED: u8 = 1 << 1;
const FLAG_HOST_CUT: u8 = 1 << 2;
const FLAG_PATH_CUT: u8 = 1 << 3;
const FLAG_USER_AGENT_CUT: u8 = 1 << 4;
const FLAG_REFERER_CUT: u8 = 1 << 5;
const FLAG_DETAIL_CUT: u8 = 1 << 6;
const _: () = assert!(HOST_BYTES_MAX < 1 << u8::BITS);
const _: () = assert!(DETAIL_BYTES_MAX < 1 << u8::BITS);

impl<'a> Record<'a> {
    /// Bytes that [`Self::encode`] writes.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        let texts = self.bounded_texts();
        FIXED_BYTES + texts.iter().map(|text| text.bytes.len()).sum::<usize>()
    }

    /// Writes it to the start of `into`, texts cut to their limits; the number of bytes, or none when `into` is
    /// too short ([`RECORD_BYTES_MAX`] always suffices).
    #[inline]
    pub fn encode(&self, into: &mut [u8]) -> Option<usize> {
        let texts = self.bounded_texts();
        let (fixed, mut rest) = into.split_first_chunk_mut::<FIXED_BYTES>()?;
        let mut bytes = FIXED_BYTES;
        for text in &texts {
            if text.bytes.is_empty() {
                continue;
            }
            let (place, after) = rest.split_at_mut_checked(text.bytes.len())?;
            place.copy_from_slice(text.bytes);
            bytes += text.bytes.len();
            rest = after;
        }
        self.encode_fixed(fixed, &texts);
        Some(bytes)
    }

    #[inline]
    fn bounded_texts(&self) -> [Text<'a>; 5] {
        [
            self.host.bounded(HOST_BYTES_MAX),
            self.detail.bounded(DETAIL_BYTES_MAX),
            self.path.bounded(PATH_BYTES_MAX),
            self.user_agent.bounded(USER_AGENT_BYTES_MAX),
            self.referer.without_query().bounded(REFERER_BYTES_MAX),
        ]
    }

    #[inline]
    fn encode_fixed(&self, into: &mut [u8; FIXED_BYTES], texts: &[Text<'a>; 5]) {
        let [host, detail, path, user_agent, referer] = texts;
        let flags = flag(self.tls, FLAG_TLS)
            | flag(self.reused, FLAG_REUSED)
            | flag(host.cut, FLAG_HOST_CUT)
            | flag(path.cut, FLAG_PATH_CUT)
            | flag(detail.cut, FLAG_DETAIL_CUT)
            | flag(user_agent.cut, FLAG_USER_AGENT_CUT)
            | flag(referer.cut, FLAG_REFERER_CUT);
        let mut put = Put(into);
        put.it((FIXED_BYTES as u16).to_le_bytes());
        // INVARIANT: both are bounded to what a byte counts.
        put.it([host.bytes.len() as u8, detail.bytes.len() as u8]);
        put.it(length(path));
        put.it(length(user_agent));
        put.it(length(referer));
        put.it([
            flags,
            self.outcome.number(),
            self.method as u8,
            self.protocol as u8,
            self.attempts,
            self.stage,
        ]);
        put.it(self.status.to_le_bytes());
        put.it(self.worker.to_le_bytes());
        put.it(self.shadow.to_le_bytes());
        put.it(self.peer.port().to_le_bytes());
        put.it(self.endpoint.map_or(0, |endpoint| endpoint.port()).to_le_bytes());
        put.it(self.query_bytes.to_le_bytes());
        put.it(self.request_id);
        put.it(self.trace_id);
        put.it(self.linked_trace_id);
        put.it(self.application_id.to_le_bytes());
        put.it(self.credential_id.to_le_bytes());
        put.it(address_bytes(self.peer.ip()));
        put.it(address_bytes(self.client));
        put.it(self.endpoint.map_or([0; 16], |endpoint| address_bytes(endpoint.ip())));
        put.it(self.span_id);
        for number in [self.started_unix_ms, self.total_us, self.generation, self.route_id] {
            put.it(number.to_le_bytes());
        }
        for number in [self.upstream_id, self.limit_id, self.body_in_bytes, self.body_out_bytes] {
            put.it(number.to_le_bytes());
        }
        for number in [self.own_us, self.upstream_head_us, self.head_in_bytes, self.head_out_bytes] {
            put.it(number.to_le_bytes());
        }
    }

    /// Reads one from the start of `bytes`.
    ///
    /// # Errors
    /// [`RecordError`] when it is shorter than it says, of another schema, or of an outcome not known here.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut take = Take(bytes);
        let fixed_bytes = usize::from(u16::from_le_bytes(take.it()?));
        if fixed_bytes < FIXED_BYTES {
            return Err(RecordError::Schema);
        }
        let [host, detail] = take.it()?;
        let [path, user_agent, referer] = [take.u16()?, take.u16()?, take.u16()?];
        let [flags, outcome, method, protocol, attempts, stage] = take.it()?;
        let mut texts = Take(bytes.get(fixed_bytes..).ok_or(RecordError::Short)?);
        let (status, worker, shadow) = (take.u16()?, take.u16()?, take.u32()?);
        let (peer_port, endpoint_port, query_bytes) = (take.u16()?, take.u16()?, take.u32()?);
        let (request_id, trace_id, linked_trace_id) = (take.it()?, take.it()?, take.it()?);
        let (application_id, credential_id) =
            (u128::from_le_bytes(take.it()?), u128::from_le_bytes(take.it()?));
        let (peer, client, endpoint) = (take.address()?, take.address()?, take.address()?);
        Ok(Self {
            request_id,
            trace_id,
            linked_trace_id,
            application_id,
            credential_id,
            span_id: take.it()?,
            started_unix_ms: take.u64()?,
            total_us: take.u64()?,
            generation: take.u64()?,
            route_id: take.u64()?,
            upstream_id: take.u64()?,
            limit_id: take.u64()?,
            body_in_bytes: take.u64()?,
            body_out_bytes: take.u64()?,
            own_us: take.u32()?,
            upstream_head_us: take.u32()?,
            head_in_bytes: take.u32()?,
            head_out_bytes: take.u32()?,
            endpoint: (endpoint_port != 0).then(|| SocketAddr::new(endpoint, endpoint_port)),
            status,
            outcome: Outcome::from_number(outcome).ok_or(RecordError::Outcome(outcome))?,
            method: Method::from_number(method),
            protocol: Protocol::from_number(protocol),
            tls: flags & FLAG_TLS != 0,
            reused: flags & FLAG_REUSED != 0,
            attempts,
            stage,
            worker,
            shadow,
            peer: SocketAddr::new(peer, peer_port),
            client,
            query_bytes,
            host: texts.text(u16::from(host), flags & FLAG_HOST_CUT)?,
            detail: texts.text(u16::from(detail), flags & FLAG_DETAIL_CUT)?,
            path: texts.text(path, flags & FLAG_PATH_CUT)?,
            user_agent: texts.text(user_agent, flags & FLAG_USER_AGENT_CUT)?,
            referer: texts.text(referer, flags & FLAG_REFERER_CUT)?,
        })
    }
}

impl Default for Record<'_> {
    /// Nothing known yet: outcome [`Outcome::Internal`], so that a record which nobody finished says so.
    #[inline]
    fn default() -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            request_id: [0; 16],
            trace_id: [0; 16],
            span_id: [0; 8],
            linked_trace_id: [0; 16],
            started_unix_ms: 0,
            total_us: 0,
            own_us: 0,
            upstream_head_us: 0,
            generation: 0,
            route_id: 0,
            upstream_id: 0,
            endpoint: None,
            application_id: 0,
            credential_id: 0,
            limit_id: 0,
            status: 0,
            outcome: Outcome::Internal,
            method: Method::Other,
            protocol: Protocol::Unknown,
            tls: false,
            reused: false,
            attempts: 0,
            stage: NO_STAGE,
            worker: 0,
            shadow: 0,
            head_in_bytes: 0,
            head_out_bytes: 0,
            body_in_bytes: 0,
            body_out_bytes: 0,
            peer: SocketAddr::new(nowhere, 0),
            client: nowhere,
            query_bytes: 0,
            host: Text::default(),
            detail: Text::default(),
            path: Text::default(),
            user_agent: Text::default(),
            referer: Text::default(),
        }
    }
}

const fn flag(is: bool, bit: u8) -> u8 {
    if is { bit } else { 0 }
}

/// INVARIANT: the text is bounded, so its length fits.
fn length(text: &Text<'_>) -> [u8; 2] {
    (text.bytes.len() as u16).to_le_bytes()
}

/// IPv4 as IPv4-mapped IPv6 (RFC 4291 §2.5.5.2), so that both take 16 bytes.
fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Writes arrays one behind the other; the fixed part's length is known, so every check folds away.
struct Put<'b>(&'b mut [u8]);

impl Put<'_> {
    #[inline(always)]
    fn it<const N: usize>(&mut self, bytes: [u8; N]) {
        let whole = std::mem::take(&mut self.0);
        if let Some((place, rest)) = whole.split_first_chunk_mut::<N>() {
            *place = bytes;
            self.0 = rest;
        }
    }
}

/// Reads arrays one behind the other.
struct Take<'b>(&'b [u8]);

impl<'b> Take<'b> {
    #[inline(always)]
    fn it<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(RecordError::Short)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u16(&mut self) -> Result<u16, RecordError> {
        self.it().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        self.it().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        self.it().map(u64::from_le_bytes)
    }

    fn address(&mut self) -> Result<IpAddr, RecordError> {
        self.it().map(|bytes: [u8; 16]| Ipv6Addr::from(bytes).to_canonical())
    }

    fn text(&mut self, length: u16, cut: u8) -> Result<Text<'b>, RecordError> {
        let (bytes, rest) = self.0.split_at_checked(usize::from(length)).ok_or(RecordError::Short)?;
        self.0 = rest;
        Ok(Text { bytes, cut: cut != 0 })
    }
}

#[cfg(test)]
mod tests;
