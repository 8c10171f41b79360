//! What is wrong with a request or a reply, as closed lists: each row is a class of malformed message.

macro_rules! reject_table {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])* $variant:ident, $status:literal, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum $name {
            $($(#[doc = $doc])* #[error($text)] $variant,)*
        }

        impl $name {
            /// Every row.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The status that the caller gets; the connection is closed after it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// Its name in records, metrics and documents.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What it is and which rule or weakness it answers.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)*),)* }
            }
        }
    };
}

reject_table! {
    /// Why a request is refused before anything is forwarded. The connection is closed after each.
    Reject {
        /// More than one leading empty line, or one that is not CRLF (RFC 9112 §2.2).
        LeadingBytes, 400, "leading-bytes";
        /// A line ends in LF without CR (RFC 9112 §2.2; line-ending smuggling, CVE-2025-55315's family).
        BareLf, 400, "bare-lf";
        /// The request line is not `method SP target SP version` (RFC 9112 §3).
        RequestLine, 400, "request-line";
        /// The target has a fragment, a CTL or a byte above 0x7e (RFC 9112 §3.2).
        TargetByte, 400, "target-byte";
        /// The target is in none of the four forms, or in one that its method may not have (RFC 9112 §3.2).
        TargetForm, 400, "target-form";
        /// The target is over the limit (RFC 9110 §15.5.15).
        TargetTooLong, 414, "target-too-long";
        /// Another major version than HTTP/1; a minor one above 1.1 is read as 1.1 (RFC 9110 §2.5).
        Version, 505, "version";
        /// CONNECT, which this gateway does not offer (RFC 9110 §9.3.6; open-proxy abuse).
        Connect, 501, "connect";
        /// A field name is empty or no token, or white space stands before the colon (RFC 9112 §5.1; space-colon smuggling).
        FieldName, 400, "field-name";
        /// A value holds NUL, bare CR or another CTL (RFC 9110 §5.5; header injection).
        FieldValue, 400, "field-value";
        /// A line that begins with white space: obs-fold (RFC 9112 §5.2).
        ObsFold, 400, "obs-fold";
        /// Head over the byte limit (RFC 6585 §5).
        HeadTooLarge, 431, "head-too-large";
        /// More field lines than the limit (RFC 6585 §5).
        TooManyFields, 431, "too-many-fields";
        /// HTTP/1.1 without Host (RFC 9112 §3.2).
        HostMissing, 400, "host-missing";
        /// Two Host fields (RFC 9112 §3.2; routing one way, authorising another: CVE-2026-2836's family).
        HostTwice, 400, "host-twice";
        /// The authority is no `host [":" port]` (RFC 3986 §3.2).
        HostSyntax, 400, "host-syntax";
        /// Transfer-Encoding with HTTP/1.0 (RFC 9112 §6.1; CVE-2026-2835).
        CodingInHttp10, 400, "transfer-encoding-in-http10";
        /// Transfer-Encoding together with Content-Length (RFC 9112 §6.3; the classic CL.TE smuggling).
        CodingWithLength, 400, "transfer-encoding-with-content-length";
        /// The combined Transfer-Encoding is not exactly `chunked` (RFC 9112 §6.1; CVE-2026-89044).
        Coding, 400, "transfer-encoding";
        /// Content-Length is not `1*DIGIT` (RFC 9112 §6.3; sign, list and overflow smuggling).
        LengthSyntax, 400, "content-length";
        /// Two Content-Length fields that differ (RFC 9112 §6.3; CL.CL smuggling).
        LengthConflict, 400, "content-length-conflict";
        /// Connection is no list of tokens, or nominates too many fields.
        ConnectionSyntax, 400, "connection";
        /// Connection nominates a field that is not the peer's to remove (RFC 9110 §7.6.1; hop-by-hop abuse).
        Nomination, 400, "connection-nominates-protected";
        /// Expect other than `100-continue` (RFC 9110 §10.1.1).
        Expectation, 417, "expect";
        /// An upgrade to websocket with a body or a broken handshake (RFC 6455 §4.2.1; CVE-2026-58055).
        Upgrade, 400, "upgrade";
        /// A chunk size that is not 1 to 16 hex digits followed by CRLF or `;` (RFC 9112 §7.1).
        ChunkSize, 400, "chunk-size";
        /// A chunk extension with CR, LF, NUL or too long (RFC 9112 §7.1.1; CVE-2025-55315, CVE-2026-33870, CVE-2026-2332).
        ChunkExtension, 400, "chunk-extension";
        /// Chunk data not followed by exactly CRLF (RFC 9112 §7.1; CVE-2025-43859).
        ChunkEnd, 400, "chunk-end";
        /// Far more framing than data (CWE-770).
        ChunkOverhead, 400, "chunk-overhead";
        /// A trailer section that is not field lines (RFC 9112 §7.1.2).
        TrailerSyntax, 400, "trailer";
        /// The trailer section is over its limits.
        TrailersTooLarge, 431, "trailers-too-large";
        /// The connection ended before the body did (RFC 9112 §8).
        BodyCut, 400, "body-cut";
        /// An encoded `/`, `\`, NUL or a raw `\` in the path (contract, rule 18; path confusion).
        PathEncoded, 400, "path-encoded-separator";
        /// A `%` that two hex digits do not follow (RFC 3986 §2.1).
        PathPercent, 400, "path-percent";
        /// Dot segments above the root, or any dot segment where paths stay as they are (CWE-22).
        PathDots, 400, "path-dots";
        /// A pseudo-field of HTTP/2 or HTTP/3 is missing, twice, late or not well formed (RFC 9113 §8.3).
        PseudoField, 400, "pseudo-field";
        /// A field that HTTP/2 and HTTP/3 forbid: connection-specific or upper case (RFC 9113 §8.2).
        ConnectionField, 400, "connection-field";
        /// The head of an HTTP/2 request whose fields or pseudo-fields were refused before they were looked at here: which rule they
        /// broke is not known (RFC 9113 §8.2 and §8.3).
        Unparsed, 400, "unparsed-head";
        /// The content of an HTTP/2 or HTTP/3 stream does not add up to Content-Length, or its frames or trailers break the
        /// stream's rules (RFC 9113 §8.1.1, RFC 9114 §4.1.2).
        StreamContent, 400, "stream-content";
    }
}

reject_table! {
    /// Why a reply is not relayed, and its connection never used again. The caller gets 502.
    ResponseReject {
        /// The status line is not `HTTP/1.x SP 3DIGIT SP [reason]` (RFC 9112 §4).
        StatusLine, 502, "reply-status-line";
        /// A line ends in LF without CR (RFC 9112 §2.2).
        BareLf, 502, "reply-bare-lf";
        /// A field line that is none (RFC 9112 §5).
        Field, 502, "reply-field";
        /// Head over the byte limit.
        HeadTooLarge, 502, "reply-head-too-large";
        /// More field lines than the limit.
        TooManyFields, 502, "reply-too-many-fields";
        /// Content-Length is no number or differs from its twin (RFC 9112 §6.3).
        Length, 502, "reply-content-length";
        /// Transfer-Encoding is not exactly `chunked`, or the reply is HTTP/1.0 (RFC 9112 §6.1).
        Coding, 502, "reply-transfer-encoding";
        /// Connection is no list of tokens or nominates a protected field (RFC 9110 §7.6.1).
        Connection, 502, "reply-connection";
        /// 101 that nobody asked for, or for another protocol (RFC 9110 §15.2.2; CVE-2026-2833).
        Upgrade, 502, "reply-unasked-upgrade";
        /// More than sixteen interim replies (contract, rule 13).
        TooManyInterims, 502, "reply-too-many-interims";
        /// A status below 100.
        Status, 502, "reply-status";
        /// Frames, or a field section, that HTTP/2 does not allow: a push that was not asked for, content against its length (RFC 9113).
        Frames, 502, "reply-frames";
    }
}

impl ResponseReject {
    /// The reply's name for a fault that both directions share.
    #[must_use]
    pub fn from_line(fault: Reject) -> Self {
        match fault {
            Reject::BareLf => Self::BareLf,
            Reject::FieldName | Reject::FieldValue | Reject::ObsFold => Self::Field,
            Reject::HeadTooLarge => Self::HeadTooLarge,
            Reject::TooManyFields => Self::TooManyFields,
            Reject::LengthSyntax | Reject::LengthConflict => Self::Length,
            Reject::Coding | Reject::CodingInHttp10 => Self::Coding,
            Reject::ConnectionSyntax | Reject::Nomination => Self::Connection,
            Reject::Upgrade => Self::Upgrade,
            _ => Self::StatusLine,
        }
    }
}

/// The two tables as a page of documentation.
#[must_use]
pub fn malformed_page() -> String {
    let mut page = String::from(
        "# Malformed messages\n\nPrinted from the tables in `src/wire/reject.rs`. The connection is closed after each; nothing is \
         forwarded.\n\n| request | status | meaning |\n|-|-|-|\n",
    );
    for reject in Reject::ALL {
        page.push_str(&format!("| `{}` | {} |{} |\n", reject.name(), reject.status(), reject.meaning()));
    }
    page.push_str("\n| reply | status | meaning |\n|-|-|-|\n");
    for reject in ResponseReject::ALL {
        page.push_str(&format!("| `{}` | {} |{} |\n", reject.name(), reject.status(), reject.meaning()));
    }
    page
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    #[test]
    fn the_page_of_malformed_messages_is_printed_from_the_tables() {
        expect_file!["../../docs/reference/malformed.md"].assert_eq(&super::malformed_page());
    }
}
