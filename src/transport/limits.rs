//! Bounds on what a peer can make the transport hold or do.

/// Bytes of a record's header: type, version, length (RFC 8446 §5.1).
pub(crate) const RECORD_HEADER_BYTES: usize = 5;
/// Most plaintext in a record (RFC 8446 §5.1).
pub(crate) const RECORD_PLAIN_BYTES_MAX: usize = 16 * 1024;
/// Most payload of a protected TLS 1.3 record (RFC 8446 §5.2).
pub(crate) const RECORD_PAYLOAD_BYTES_MAX_13: usize = RECORD_PLAIN_BYTES_MAX + 256;
/// Most payload of a protected TLS 1.2 record with an AEAD: explicit nonce and tag (RFC 5288 §3).
pub(crate) const RECORD_PAYLOAD_BYTES_MAX_12: usize = RECORD_PLAIN_BYTES_MAX + 24;
/// What sealing adds to a record at most: header, explicit nonce, content type, tag.
pub(crate) const RECORD_OVERHEAD_BYTES_MAX: usize = RECORD_HEADER_BYTES + 8 + 1 + 16;
/// Largest ClientHello; with post-quantum key shares and a few tickets it is below 4 KiB.
pub(crate) const CLIENT_HELLO_BYTES_MAX: usize = 32 * 1024;
/// Most handshake bytes that wait for the rest of a message (rustls bounds one message to 64 KiB itself).
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;
/// Records without content in a row.
pub(crate) const EMPTY_RECORDS_MAX: u8 = 32;
/// KeyUpdate messages between two records of data.
pub(crate) const KEY_UPDATES_MAX: u8 = 32;
/// Warning alerts on a connection.
pub(crate) const WARNING_ALERTS_MAX: u8 = 4;
/// Largest message after the handshake (a ticket), and how much of a cut one is kept.
pub(crate) const POST_HANDSHAKE_BYTES_MAX: usize = 16 * 1024;
/// Most records that one write seals before it is sent: they fit one pooled buffer of 64 KiB.
pub(crate) const RECORDS_SEALED_MAX: usize = 3;
/// Sessions towards upstreams that are kept for resumption, per upstream configuration.
pub(crate) const CLIENT_SESSIONS_MAX: usize = 64;
/// How long a refused client is given to take our alert before the socket is closed, in nanoseconds.
pub(crate) const LINGER_NS_MAX: u64 = 1_000_000_000;
/// Bytes that a refused client may still send while it is given that time.
pub(crate) const LINGER_BYTES_MAX: usize = 64 * 1024;

const _: () = assert!(
    RECORDS_SEALED_MAX * (RECORD_PLAIN_BYTES_MAX + RECORD_OVERHEAD_BYTES_MAX) + 1024 <= 64 * 1024,
    "sealed records and a few control records fit the outgoing buffer"
);
const _: () =
    assert!(RECORD_HEADER_BYTES + RECORD_PAYLOAD_BYTES_MAX_13 <= 32 * 1024, "a record fits a buffer");
const _: () =
    assert!(CLIENT_HELLO_BYTES_MAX < HANDSHAKE_BYTES_MAX, "a ClientHello fits the handshake's buffer");

/// Streams that a client may have open at once (contract §1, HTTP/2).
pub(crate) const HTTP2_STREAMS_MAX: u32 = 128;
/// Decoded bytes of a head, with 32 for each field (RFC 9113 §6.5.2).
pub(crate) const HTTP2_HEADER_LIST_BYTES_MAX: u32 = 32 * 1024;
/// Bytes of the table that a client's fields are compressed against (RFC 7541 §4.2).
pub(crate) const HTTP2_TABLE_BYTES_MAX: u32 = 4096;
/// Streams that were reset before we looked at them (rapid reset, CVE-2023-44487).
pub(crate) const HTTP2_PENDING_RESETS_MAX: usize = 20;
/// Streams that a client's faults made us reset (MadeYouReset, CVE-2025-8671).
pub(crate) const HTTP2_LOCAL_RESETS_MAX: usize = 128;
/// Streams that we reset and remember, so that late frames for them are no fault.
pub(crate) const HTTP2_REMEMBERED_RESETS_MAX: usize = 64;
/// Content of all streams of a connection that h2 holds for the socket. One stream may fill it: a bound of its own would let
/// those go first that are less urgent.
pub(crate) const HTTP2_QUEUED_BYTES_MAX: usize = 128 * 1024;
/// The largest frame that we take (RFC 9113 §4.2: the least that may be asked for).
pub(crate) const HTTP2_FRAME_BYTES_MAX: u32 = 16 * 1024;
/// What one stream may send ahead of its consumption. The connection's window is the tighter bound.
pub(crate) const HTTP2_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// What a connection may send ahead at first (RFC 9113 §6.9.2: it cannot be less).
pub(crate) const HTTP2_CONNECTION_WINDOW_BYTES_MIN: u32 = 65_535;
/// And once what came was consumed promptly: 320 Mbit/s over a round trip of 100 ms.
pub(crate) const HTTP2_CONNECTION_WINDOW_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// What all connections of a worker may be granted beyond their first window.
pub(crate) const HTTP2_GRANTED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that one connection reads before the others have their turn.
pub(crate) const HTTP2_TURN_BYTES_MAX: usize = 256 * 1024;
/// How long the last frames of a connection may take to leave, in nanoseconds.
pub(crate) const HTTP2_CLOSE_NS_MAX: u64 = 2_000_000_000;
/// Bytes that are read and thrown away before a close, so that our last frames are not lost to a reset.
pub(crate) const HTTP2_LINGER_BYTES_MAX: usize = 1024 * 1024;

const _: () = assert!(HTTP2_CONNECTION_WINDOW_BYTES_MIN < HTTP2_CONNECTION_WINDOW_BYTES_MAX);

/// Decoded bytes of a reply's field section, with 32 for each field: beyond this h2 resets the stream as malformed. It lies well
/// above what a head may be (60 KiB, 256 fields), which is then refused by its name.
pub(crate) const HTTP2_REPLY_LIST_BYTES_MAX: u32 = 128 * 1024;
/// What an upstream may send ahead on one stream. Its connection's window is as many of these as it has streams.
pub(crate) const HTTP2_UPSTREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Streams to an upstream that we reset and remember, and those that its faults made us reset before the connection ends.
pub(crate) const HTTP2_UPSTREAM_RESETS_MAX: usize = 1024;

/// Requests to an upstream that did not end in order (given up by their callers, too late, refused) before their connection takes no
/// more and a new one is made. Those still on it are served. Beyond its own bounds for resets, which are about a thousand with h2 and
/// with nghttp2, either end breaks a connection, and with it the requests of callers who did nothing.
pub(crate) const HTTP2_UPSTREAM_BROKEN_MAX: u32 = 256;

const _: () = assert!(HTTP2_UPSTREAM_BROKEN_MAX as usize * 2 <= HTTP2_UPSTREAM_RESETS_MAX);
const _: () = assert!(HTTP2_REPLY_LIST_BYTES_MAX > 60 * 1024 + 256 * 32);
// QUIC, for each connection.

/// Requests that a peer may have open at first: the rest is granted when it has a quarter of these open, which takes a round trip.
pub(crate) const QUIC_STREAMS_FIRST: u32 = 16;
/// Unidirectional streams that a peer may have open: HTTP/3's control stream, two of QPACK, and room for unknown ones
/// (RFC 9114 §6.2 asks for at least three).
pub(crate) const QUIC_STREAMS_UNI_MAX: u32 = 8;
/// What a peer may send on one stream before we have read it, as far as the connection's window admits: 100 Mbit/s over
/// 80 ms.
pub(crate) const QUIC_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// What a peer may send on all streams before we have read it, at most.
pub(crate) const QUIC_RECEIVE_WINDOW_BYTES_MAX: u32 = 1536 * 1024;
/// What we keep for a peer until it has acknowledged it, at most: bounds the rate to a far one, 160 Mbit/s over 100 ms.
pub(crate) const QUIC_SEND_WINDOW_BYTES_MAX: u32 = 2 * 1024 * 1024;
/// The same for a near one: what stays in the processor's cache until it is acknowledged.
pub(crate) const QUIC_NEAR_WINDOW_BYTES: u32 = 384 * 1024;
/// And for one in between: so much for each microsecond of the round trip, 320 Mbit/s.
pub(crate) const QUIC_SEND_BYTES_PER_US: u32 = 40;
/// Either window at least, and until the handshake is done.
pub(crate) const QUIC_WINDOW_BYTES_MIN: u32 = 128 * 1024;

// QUIC, for each endpoint (a listener of a worker).

/// What an endpoint spends on windows of one direction: a newcomer gets its share of it.
pub(crate) const QUIC_WINDOWS_BYTES: u32 = 256 * 1024 * 1024;
/// Handshakes in progress, beyond which a newcomer is refused.
pub(crate) const QUIC_HANDSHAKES_MAX: u32 = 1024;
/// Handshakes in progress of clients whose address is not proved, beyond which a newcomer is sent a Retry (RFC 9000 §8.1.2).
pub(crate) const QUIC_UNVALIDATED_MAX: u32 = 32;
/// First packets that wait to be looked at; beyond it they are dropped unseen.
pub(crate) const QUIC_INCOMING_MAX: usize = 1024;
/// Bytes of further packets that are kept for a connection that was not looked at yet: the rest of a ClientHello.
pub(crate) const QUIC_INCOMING_BYTES_MAX: u64 = 16 * 1024;
/// The same for all of them.
pub(crate) const QUIC_INCOMING_BUFFERED_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Used tokens of former connections that are remembered for a node: between this many and twice as many.
pub(crate) const QUIC_TOKEN_USES_MAX: usize = 16 * 1024;
/// First packets looked at before the other tasks get their turn.
pub(crate) const QUIC_ARRIVALS_PER_TURN: u32 = 4;

const _: () = assert!(QUIC_UNVALIDATED_MAX < QUIC_HANDSHAKES_MAX, "Retry comes before refusal");
const _: () = assert!(QUIC_STREAM_WINDOW_BYTES <= QUIC_RECEIVE_WINDOW_BYTES_MAX, "one stream can be filled");
const _: () =
    assert!(QUIC_WINDOW_BYTES_MIN <= QUIC_STREAM_WINDOW_BYTES, "the least window is not the stream's");

// HTTP/3, for each connection.

/// Unidirectional streams that a peer may open in all: three are of use, a few more are reserved types (RFC 9114 §6.2.3).
pub(crate) const HTTP3_STREAMS_UNI_MAX: u32 = 64;
/// Requests that may be given up or malformed before any is answered; each answer earns one. Beyond it the peer only makes work
/// (CVE-2023-44487 and its like).
pub(crate) const HTTP3_CANCELS_MAX: u32 = 256;
/// Priorities that are kept of requests that PRIORITY_UPDATE named.
pub(crate) const HTTP3_PRIORITIES_MAX: usize = 64;
/// Requests accepted before other tasks have their turn.
pub(crate) const HTTP3_REQUESTS_PER_TURN: u32 = 16;
/// What SETTINGS_MAX_FIELD_SECTION_SIZE has more than the head's bytes: 32 for each of its fields (RFC 9114 §4.2.2).
pub(crate) const HTTP3_FIELD_BYTES_MORE: u64 = 32 * 100;
/// How long the end of a request is waited for that has come whole but for it: a GET without content, whose client sends its end by
/// itself, in nanoseconds. What comes later is content of unknown length, and nothing.
pub(crate) const HTTP3_END_NS_MAX: u64 = 10_000_000;
/// Frames of a reply that are gathered before they are handed to QUIC.
pub(crate) const HTTP3_GATHERED_BYTES_MAX: usize = 3 * 1024;
/// Content that becomes one frame, and what a stream holds of a reply beyond what QUIC does: with its head a size that the allocator
/// has at hand.
pub(crate) const HTTP3_PIECE_BYTES_MAX: usize = 32 * 1024 - 8;
/// What a peer is given to hear GOAWAY: three round trips, but no less, in nanoseconds.
pub(crate) const HTTP3_FAREWELL_NS_MIN: u64 = 50_000_000;
/// And no more.
pub(crate) const HTTP3_FAREWELL_NS_MAX: u64 = 2_000_000_000;
/// How long the last replies of a connection that ends may take to arrive, in nanoseconds.
pub(crate) const HTTP3_ACKNOWLEDGE_NS_MAX: u64 = 5_000_000_000;

const _: () = assert!(HTTP3_STREAMS_UNI_MAX >= QUIC_STREAMS_UNI_MAX, "those at once are among those in all");
const _: () = assert!(HTTP3_FAREWELL_NS_MIN < HTTP3_FAREWELL_NS_MAX, "a clamp has bounds in order");
