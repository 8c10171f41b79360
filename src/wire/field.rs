//! Field names that mean something to a gateway: a closed list, found without hashing the name's every byte.

/// Nothing special about it.
const PLAIN: u8 = 0;
/// Hop-by-hop by definition (RFC 9110 §7.6.1): never forwarded.
const HOP: u8 = 1;
/// Says where the message ends: never forwarded, written by us.
const FRAMING: u8 = 2;
/// A peer may not nominate it in `Connection`, nor send it as a trailer (contract, rules 8 and 15).
const PROTECTED: u8 = 4;

macro_rules! field_table {
    ($($variant:ident, $name:literal, $class:expr;)*) => {
        /// Which field a name is. `Other` has its name in the head only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum FieldId {
            /// Not in the table.
            Other = 0,
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        /// Every row: id, lower-case name, class.
        const ROWS: &[(FieldId, &str, u8)] = &[(FieldId::Other, "", PLAIN), $((FieldId::$variant, $name, $class),)*];
    };
}

field_table! {
    Host, "host", PROTECTED;
    ContentLength, "content-length", FRAMING | PROTECTED;
    TransferEncoding, "transfer-encoding", FRAMING | HOP | PROTECTED;
    Connection, "connection", HOP;
    KeepAlive, "keep-alive", HOP;
    ProxyConnection, "proxy-connection", HOP;
    ProxyAuthenticate, "proxy-authenticate", HOP;
    ProxyAuthorization, "proxy-authorization", HOP;
    ProxyAuthenticationInfo, "proxy-authentication-info", HOP;
    Te, "te", HOP;
    Trailer, "trailer", HOP;
    Upgrade, "upgrade", HOP;
    Http2Settings, "http2-settings", HOP;
    Expect, "expect", FRAMING | PROTECTED;
    Authorization, "authorization", PROTECTED;
    Cookie, "cookie", PROTECTED;
    SetCookie, "set-cookie", PROTECTED;
    Via, "via", PROTECTED;
    Forwarded, "forwarded", PROTECTED;
    XForwardedFor, "x-forwarded-for", PROTECTED;
    XForwardedProto, "x-forwarded-proto", PROTECTED;
    XForwardedHost, "x-forwarded-host", PROTECTED;
    XForwardedPort, "x-forwarded-port", PROTECTED;
    XForwardedPrefix, "x-forwarded-prefix", PROTECTED;
    XRealIp, "x-real-ip", PROTECTED;
    XRequestId, "x-request-id", PROTECTED;
    Traceparent, "traceparent", PROTECTED;
    Tracestate, "tracestate", PROTECTED;
    XApiKey, "x-api-key", PROTECTED;
    UserAgent, "user-agent", PLAIN;
    Referer, "referer", PLAIN;
    Origin, "origin", PROTECTED;
    Accept, "accept", PLAIN;
    AcceptEncoding, "accept-encoding", PLAIN;
    AcceptLanguage, "accept-language", PLAIN;
    CacheControl, "cache-control", PROTECTED;
    ContentType, "content-type", PROTECTED;
    ContentEncoding, "content-encoding", PROTECTED;
    ContentRange, "content-range", PROTECTED;
    Range, "range", PROTECTED;
    IfMatch, "if-match", PROTECTED;
    IfNoneMatch, "if-none-match", PROTECTED;
    IfModifiedSince, "if-modified-since", PROTECTED;
    IfUnmodifiedSince, "if-unmodified-since", PROTECTED;
    IfRange, "if-range", PROTECTED;
    MaxForwards, "max-forwards", PROTECTED;
    Server, "server", PLAIN;
    Date, "date", PROTECTED;
    Age, "age", PROTECTED;
    Etag, "etag", PROTECTED;
    LastModified, "last-modified", PROTECTED;
    Expires, "expires", PROTECTED;
    Vary, "vary", PROTECTED;
    Location, "location", PROTECTED;
    Allow, "allow", PROTECTED;
    RetryAfter, "retry-after", PROTECTED;
    WwwAuthenticate, "www-authenticate", PROTECTED;
    AuthenticationInfo, "authentication-info", PROTECTED;
    SecWebSocketKey, "sec-websocket-key", PLAIN;
    SecWebSocketVersion, "sec-websocket-version", PLAIN;
    SecWebSocketAccept, "sec-websocket-accept", PLAIN;
    SecWebSocketProtocol, "sec-websocket-protocol", PLAIN;
    SecWebSocketExtensions, "sec-websocket-extensions", PLAIN;
    ProxyStatus, "proxy-status", PROTECTED;
    CacheStatus, "cache-status", PROTECTED;
    RateLimit, "ratelimit", PROTECTED;
    RateLimitPolicy, "ratelimit-policy", PROTECTED;
    Link, "link", PLAIN;
    AltSvc, "alt-svc", PROTECTED;
    StrictTransportSecurity, "strict-transport-security", PROTECTED;
    GrpcStatus, "grpc-status", PLAIN;
    GrpcMessage, "grpc-message", PLAIN;
    GrpcTimeout, "grpc-timeout", PLAIN;
    SecFetchMode, "sec-fetch-mode", PLAIN;
    AccessControlAllowOrigin, "access-control-allow-origin", PLAIN;
    Deprecation, "deprecation", PLAIN;
    Sunset, "sunset", PLAIN;
    Pragma, "pragma", PROTECTED;
}

/// Slots of the look-up table.
const SLOTS: usize = 512;
/// Room for the longest name; a longer row does not compile.
const NAME_BYTES_MAX: usize = 32;

/// What a name is compared with: four words, whatever its length.
#[derive(Clone, Copy)]
struct Known {
    id: FieldId,
    len: u8,
    class: u8,
    /// The lower-case name, then zeros.
    words: [u64; 4],
    /// The bits that count: not those beyond the name, and not the case of a letter.
    masks: [u64; 4],
}

static KNOWN: [Known; ROWS.len()] = known();

/// Index into `KNOWN` by hash; a collision does not compile.
static BY_HASH: [u8; SLOTS] = table();

const _: () = assert!(ROWS.len() <= 128, "FieldSet is a u128");

/// Mixes length and four bytes of a name, their case folded. The multipliers were searched for.
#[inline]
const fn slot(len: usize, first: u8, middle: u8, before_last: u8, last: u8) -> usize {
    let [first, middle, before_last, last] =
        [first as usize | 0x20, middle as usize | 0x20, before_last as usize | 0x20, last as usize | 0x20];
    (len + first * 13 + last * 47 + before_last * 7 + middle) & (SLOTS - 1)
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn known() -> [Known; ROWS.len()] {
    let none = Known { id: FieldId::Other, len: 0, class: PLAIN, words: [0; 4], masks: [0; 4] };
    let mut table = [none; ROWS.len()];
    let mut row = 0;
    while row < ROWS.len() {
        let (id, name, class) = ROWS[row];
        let name = name.as_bytes();
        table[row].id = id;
        table[row].len = name.len() as u8;
        table[row].class = class;
        let mut at = 0;
        while at < name.len() {
            let mask = if name[at].is_ascii_lowercase() { !0x20u8 } else { 0xff };
            table[row].words[at / 8] |= (name[at] as u64) << (at % 8 * 8);
            table[row].masks[at / 8] |= (mask as u64) << (at % 8 * 8);
            at += 1;
        }
        row += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn table() -> [u8; SLOTS] {
    let mut table = [0u8; SLOTS];
    let mut row = 1;
    while row < ROWS.len() {
        let name = ROWS[row].1.as_bytes();
        let at = slot(name.len(), name[0], name[name.len() / 2], name[name.len() - 2], name[name.len() - 1]);
        assert!(table[at] == 0, "two field names share a slot");
        table[at] = row as u8;
        row += 1;
    }
    table
}

impl Known {
    /// Whether the first `len` of these bytes are this name in any case.
    #[inline]
    fn is(&self, text: &[u8; NAME_BYTES_MAX], len: usize) -> bool {
        let words = text.as_chunks::<8>().0.iter().zip(&self.words).zip(&self.masks);
        let differs = words
            .fold(0, |differs, ((bytes, word), mask)| differs | (u64::from_le_bytes(*bytes) ^ word) & mask);
        differs == 0 && len == self.len as usize
    }
}

impl FieldId {
    /// The id of a name in any case.
    #[must_use]
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        let mut text = [0; NAME_BYTES_MAX];
        match text.get_mut(..name.len()) {
            Some(place) => place.copy_from_slice(name),
            None => return Self::Other,
        }
        Self::of_first(&text, name.len())
    }

    /// As [`Self::of`] for the name between two places in a head, whose bytes behind the name are compared as well where there are
    /// enough, and do not count.
    #[inline]
    pub(crate) fn within(bytes: &[u8], start: usize, end: usize) -> Self {
        match bytes.get(start..).and_then(<[u8]>::first_chunk) {
            Some(text) => Self::of_first(text, end.saturating_sub(start)),
            None => Self::of(bytes.get(start..end).unwrap_or_default()),
        }
    }

    #[inline]
    fn of_first(text: &[u8; NAME_BYTES_MAX], len: usize) -> Self {
        let at = |at: usize| text.get(at).copied();
        let (Some(before_last), Some(last), Some(middle)) =
            (at(len.wrapping_sub(2)), at(len.wrapping_sub(1)), at(len / 2))
        else {
            return Self::Other;
        };
        let [first, ..] = *text;
        let row = BY_HASH.get(slot(len, first, middle, before_last, last)).copied().unwrap_or(0);
        match KNOWN.get(row as usize) {
            Some(known) if known.is(text, len) => known.id,
            _ => Self::Other,
        }
    }

    #[inline]
    fn class(self) -> u8 {
        KNOWN.get(self as usize).map_or(PLAIN, |known| known.class)
    }

    /// Its lower-case name; empty for `Other`.
    #[must_use]
    pub fn name(self) -> &'static str {
        ROWS.get(self as usize).map_or("", |row| row.1)
    }

    /// Hop-by-hop by definition.
    #[must_use]
    #[inline]
    pub fn is_hop_by_hop(self) -> bool {
        self.class() & HOP != 0
    }

    /// Written by us alone when a head is sent: framing, `Connection` and their like.
    #[must_use]
    #[inline]
    pub fn is_ours_to_write(self) -> bool {
        self.class() & (HOP | FRAMING) != 0
    }

    /// Whether a peer may not have it dropped by `Connection` nor send it in a trailer section.
    #[must_use]
    #[inline]
    pub fn is_protected(self) -> bool {
        self.class() & PROTECTED != 0
    }

    /// Whether it may stand in a trailer section (RFC 9110 §6.5.1; contract, rule 15).
    #[must_use]
    #[inline]
    pub fn is_allowed_in_trailers(self) -> bool {
        self.class() == PLAIN
    }

    /// The field that this name would be if its `_` were `-`, where it is one that the gateway judges: framing, hop-by-hop or
    /// protected. CGI and its heirs know both spellings by one name (`HTTP_X_FORWARDED_FOR`), so that what is forwarded in the one
    /// would undo what was refused, replaced or written in the other.
    #[must_use]
    pub(crate) fn disguised(name: &[u8]) -> Option<Self> {
        if !name.contains(&b'_') {
            return None;
        }
        let mut text = [0; NAME_BYTES_MAX];
        let place = text.get_mut(..name.len())?;
        place.copy_from_slice(name);
        place.iter_mut().filter(|byte| **byte == b'_').for_each(|byte| *byte = b'-');
        let id = Self::of_first(&text, name.len());
        let id = if is_forwarded(&text) { Self::XForwardedFor } else { id };
        (id.is_ours_to_write() || id.is_protected()).then_some(id)
    }

    /// Every id of the table but `Other`.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().skip(1).map(|row| row.0)
    }
}

/// Whether a name is one of `X-Forwarded-*`, of which the table knows the usual ones.
#[inline]
pub(crate) fn is_forwarded(name: &[u8]) -> bool {
    name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
}

/// A set of field ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FieldSet(u128);

impl FieldSet {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// Adds one.
    #[inline]
    pub fn insert(&mut self, id: FieldId) {
        self.0 |= 1 << (id as u8);
    }

    /// Adds all of another set.
    #[inline]
    pub fn insert_all(&mut self, others: Self) {
        self.0 |= others.0;
    }

    /// With one more.
    #[must_use]
    #[inline]
    pub const fn with(self, id: FieldId) -> Self {
        Self(self.0 | 1 << (id as u8))
    }

    /// Whether it holds this one.
    #[must_use]
    #[inline]
    pub fn contains(self, id: FieldId) -> bool {
        self.0 >> (id as u8) & 1 != 0
    }

    /// Whether it holds none.
    #[must_use]
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The table as a page of documentation.
#[must_use]
pub fn fields_page() -> String {
    let mut page = String::from(
        "# Fields that mean something to the gateway\n\nPrinted from the table in `src/wire/field.rs`. Hop-by-hop fields end at \
         the gateway; framing fields are written by it alone; a peer may neither nominate a protected field in `Connection` nor send \
         it as a trailer. A request's field that would be any of these were its `_` a `-` (`X_Forwarded_For`) is dropped: many \
         endpoints take one spelling for the other.\n\n| field | hop-by-hop | framing | protected |\n|-|-|-|-|\n",
    );
    let mark = |class: u8, bit: u8| if class & bit != 0 { "yes" } else { "" };
    for (_, name, class) in ROWS.iter().skip(1) {
        page.push_str(&format!(
            "| `{name}` | {} | {} | {} |\n",
            mark(*class, HOP),
            mark(*class, FRAMING),
            mark(*class, PROTECTED)
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::FieldId;

    #[test]
    fn every_name_is_found_in_any_case_and_nothing_near_it() {
        for id in FieldId::all() {
            let name = id.name();
            assert_eq!(FieldId::of(name.as_bytes()), id, "{name}");
            assert_eq!(FieldId::of(name.to_uppercase().as_bytes()), id, "{name}");
            assert_eq!(FieldId::of(format!("{name}x").as_bytes()), FieldId::Other);
            assert_eq!(FieldId::of(format!("x{name}").as_bytes()), FieldId::Other);
            assert_eq!(FieldId::of(&name.as_bytes()[1..]), FieldId::Other, "{name}");
        }
        assert_eq!(FieldId::of(b""), FieldId::Other);
        assert_eq!(FieldId::of(b"e"), FieldId::Other);
    }

    #[test]
    fn an_underscore_does_not_hide_a_field_that_is_judged() {
        for (name, id) in [
            (&b"X_Forwarded_For"[..], Some(FieldId::XForwardedFor)),
            (b"x-forwarded_for", Some(FieldId::XForwardedFor)),
            (b"Transfer_Encoding", Some(FieldId::TransferEncoding)),
            (b"content_length", Some(FieldId::ContentLength)),
            (b"keep_alive", Some(FieldId::KeepAlive)),
            (b"X_Forwarded-Ssl", Some(FieldId::XForwardedFor)),
            (b"X-Forwarded-User", None),
            (b"user_agent", None),
            (b"x_mine", None),
            (b"_", None),
            (&[b'_'; 40], None),
        ] {
            assert_eq!(FieldId::disguised(name), id, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn the_page_of_fields_is_printed_from_the_table() {
        expect_test::expect_file!["../../docs/reference/fields.md"].assert_eq(&super::fields_page());
    }

    #[test]
    fn a_framing_or_identity_field_is_protected() {
        for id in [
            FieldId::Host,
            FieldId::ContentLength,
            FieldId::Authorization,
            FieldId::Cookie,
            FieldId::XForwardedFor,
        ] {
            assert!(id.is_protected() && !id.is_allowed_in_trailers(), "{id:?}");
        }
        assert!(FieldId::Other.is_allowed_in_trailers());
    }
}
