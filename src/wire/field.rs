//! Field names that mean something to a gateway: a closed list, found without hashing the name's every byte.

use crate::lanes;
use crate::syntax::each;

/// Nothing special about it.
const PLAIN: u8 = 0;
/// Hop-by-hop by definition (RFC 9110 §7.6.1): never forwarded.
pub(crate) const HOP: u8 = 1;
/// Says where the message ends: never forwarded, written by us.
const FRAMING: u8 = 2;
/// A peer may not nominate it in `Connection`, nor send it as a trailer (contract, rules 8 and 15).
const PROTECTED: u8 = 4;
/// Forwarded as the authority, and never as the line that came.
const AUTHORITY: u8 = 8;
/// None of these is sent on.
pub(crate) const ENDS_HERE: u8 = HOP | FRAMING | AUTHORITY;

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
    Host, "host", AUTHORITY | PROTECTED;
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

/// Slots of the look-up table, and the bits of a hash that name one.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 9;
/// No name is as long; a longer row does not compile.
const NAME_BYTES_MAX: usize = 32;

/// Sixteen bytes of a name, and the bits of them that count: not those beyond the name, and not the case of a letter.
#[derive(Clone, Copy)]
struct Letters {
    bytes: u128,
    mask: u128,
}

/// What a name is compared with: its last sixteen bytes, and its first sixteen where it has more than that.
#[derive(Clone, Copy)]
struct Spelt {
    last: Letters,
    first: Letters,
}

/// Which name may be the one of a hash.
#[derive(Clone, Copy)]
struct Slot {
    id: FieldId,
    len: u8,
}

static SPELT: [Spelt; ROWS.len()] = spelt();

/// By hash; a collision does not compile.
static BY_HASH: [Slot; SLOTS] = slots();

/// By id.
static CLASSES: [u8; ROWS.len()] = classes();

const _: () = assert!(ROWS.len() <= 128, "a FieldSet has two words");

/// Of the last eight bytes of a name of each length, the bits that are its own, but the case of its letters.
static OWN: [u64; NAME_BYTES_MAX] = own();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn own() -> [u64; NAME_BYTES_MAX] {
    let mut table = [each(!0x20); NAME_BYTES_MAX];
    let mut len = 0;
    while len < 8 {
        // The last byte is the highest.
        table[len] = if len == 0 { 0 } else { each(!0x20) << (64 - 8 * len) };
        len += 1;
    }
    table
}

/// Mixes the length of a name and what is its own of its last eight bytes. The multiplier was searched for.
#[inline]
const fn slot(len: usize, own: u64) -> usize {
    let hash = own.wrapping_add(len as u64).wrapping_mul(0xa9b2_f7ac_8b5b_2517);
    (hash >> (u64::BITS - SLOT_BITS)) as usize
}

/// Sixteen bytes of a name from `from` on, which may lie before it.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn letters(name: &[u8], from: isize) -> Letters {
    let mut letters = Letters { bytes: 0, mask: 0 };
    let mut place = 0;
    while place < 16 {
        let at = from + place;
        if at >= 0 && at < name.len() as isize {
            let byte = name[at as usize];
            let mask = if byte.is_ascii_lowercase() { !0x20u8 } else { 0xff };
            letters.bytes |= (byte as u128) << (place * 8);
            letters.mask |= (mask as u128) << (place * 8);
        }
        place += 1;
    }
    letters
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn spelt() -> [Spelt; ROWS.len()] {
    let none = Letters { bytes: 0, mask: 0 };
    let mut table = [Spelt { last: none, first: none }; ROWS.len()];
    let mut row = 0;
    while row < ROWS.len() {
        let name = ROWS[row].1.as_bytes();
        assert!(name.len() < NAME_BYTES_MAX);
        table[row] = Spelt { last: letters(name, name.len() as isize - 16), first: letters(name, 0) };
        row += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn slots() -> [Slot; SLOTS] {
    let (spelt, own) = (spelt(), own());
    let mut table = [Slot { id: FieldId::Other, len: 0 }; SLOTS];
    let mut row = 1;
    while row < ROWS.len() {
        let (id, name, _) = ROWS[row];
        let at = slot(name.len(), (spelt[row].last.bytes >> 64) as u64 & own[name.len()]);
        assert!(table[at].len == 0, "two field names share a slot");
        table[at] = Slot { id, len: name.len() as u8 };
        row += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn classes() -> [u8; ROWS.len()] {
    let mut table = [PLAIN; ROWS.len()];
    let mut row = 0;
    while row < ROWS.len() {
        table[row] = ROWS[row].2;
        row += 1;
    }
    table
}

impl Letters {
    #[inline]
    fn are(&self, bytes: u128) -> bool {
        (bytes ^ self.bytes) & self.mask == 0
    }
}

impl FieldId {
    /// The id of a name in any case.
    #[must_use]
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        let last = match name.last_chunk() {
            Some(last) => u128::from_le_bytes(*last),
            None => lanes::few(name).wrapping_shl(u128::BITS - 8 * name.len() as u32),
        };
        Self::by_last(name, last)
    }

    /// As [`Self::of`] for a name that `head` ends with: bytes before it are compared as well where there are enough, and do not count.
    #[inline]
    pub(crate) fn ending(name: &[u8], head: &[u8]) -> Self {
        match head.last_chunk() {
            Some(last) => Self::by_last(name, u128::from_le_bytes(*last)),
            None => Self::of(name),
        }
    }

    /// The id of a name that ends as these sixteen bytes end.
    #[inline]
    fn by_last(name: &[u8], last: u128) -> Self {
        let Some(own) = OWN.get(name.len()) else { return Self::Other };
        let slot = BY_HASH.get(slot(name.len(), (last >> 64) as u64 & own));
        let Some(Slot { id, len }) = slot.copied() else { return Self::Other };
        let Some(spelt) = SPELT.get(id as usize) else { return Self::Other };
        let same = name.len() == len as usize
            && spelt.last.are(last)
            && (name.len() <= 16
                || name.first_chunk().is_some_and(|first| spelt.first.are(u128::from_le_bytes(*first))));
        if same { id } else { Self::Other }
    }

    /// What it is to a gateway, in bits: [`HOP`] and its like.
    #[inline]
    pub(crate) fn class(self) -> u8 {
        CLASSES.get(self as usize).copied().unwrap_or(PLAIN)
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
        let id = Self::of(place);
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
pub struct FieldSet([u64; 2]);

impl FieldSet {
    /// None.
    pub const EMPTY: Self = Self([0; 2]);

    /// Adds one.
    #[inline]
    pub fn insert(&mut self, id: FieldId) {
        if let Some(word) = self.0.get_mut(id as usize / 64) {
            *word |= 1 << (id as u8 % 64);
        }
    }

    /// Adds all of another set.
    #[inline]
    pub fn insert_all(&mut self, others: Self) {
        let (Self([low, high]), Self([low2, high2])) = (*self, others);
        *self = Self([low | low2, high | high2]);
    }

    /// With one more.
    #[must_use]
    #[inline]
    pub const fn with(self, id: FieldId) -> Self {
        let Self([low, high]) = self;
        let bit = 1 << (id as u8 % 64);
        if (id as u8) < 64 { Self([low | bit, high]) } else { Self([low, high | bit]) }
    }

    /// Whether it holds this one.
    #[must_use]
    #[inline]
    pub fn contains(self, id: FieldId) -> bool {
        let Self([low, high]) = self;
        let word = if (id as u8) < 64 { low } else { high };
        word >> (id as u8 % 64) & 1 != 0
    }

    /// Whether both hold some id.
    #[must_use]
    #[inline]
    pub fn meets(self, other: Self) -> bool {
        let (Self([low, high]), Self([low2, high2])) = (self, other);
        low & low2 | high & high2 != 0
    }

    /// Whether it holds none.
    #[must_use]
    #[inline]
    pub fn is_empty(self) -> bool {
        self == Self::EMPTY
    }
}

/// The table as a page of documentation.
#[must_use]
pub fn fields_page() -> String {
    let mut page = String::from(
        "# Fields that mean something to the gateway\n\nPrinted from the table in `src/wire/field.rs`. Hop-by-hop fields end at \
         the gateway; framing fields are written by it alone; a peer may neither nominate a protected field in `Connection` nor send \
         it as a trailer. A request's field that would be any of these were its `_` a `-` (`X_Forwarded_For`) is dropped: many \
         endpoints take one spelling for the other. So is one that would be a field that the request's chain sets, removes, renames or hides.\n\n| field | hop-by-hop | framing | protected |\n|-|-|-|-|\n",
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
