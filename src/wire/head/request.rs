//! A request's head.

use super::{Fields, Framing, Span, Version};
use crate::buffer::Buffer;
use crate::field::FieldId;
use crate::method::Method;
use crate::overlay::{FieldName, Overlay};

/// The four forms of a request target (RFC 9112 §3.2) that are taken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`.
    Origin,
    /// `http://host/path?query`: its authority overrides Host.
    Absolute,
    /// `*`, with OPTIONS.
    Asterisk,
}

/// A protocol that a request asks to switch to and that we relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
}

/// All of a request head but its bytes.
#[derive(Debug)]
pub(crate) struct RequestParts {
    pub(crate) fields: Fields,
    pub(crate) head_len: u16,
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) form: TargetForm,
    pub(crate) method_span: Span,
    pub(crate) authority: Span,
    pub(crate) host: Span,
    pub(crate) path: Span,
    pub(crate) encoded_slash: bool,
    pub(crate) query: Option<Span>,
    pub(crate) port: Option<u16>,
    pub(crate) framing: Framing,
    pub(crate) persistent: bool,
    pub(crate) expects_continue: bool,
    pub(crate) accepts_trailers: bool,
    pub(crate) upgrade: Option<Upgrade>,
}

/// A request's head, whole and valid: it owns its buffer, so no lifetime crosses an await.
#[derive(Debug)]
pub struct RequestHead {
    pub(crate) buffer: Buffer,
    /// Boxed, because a head changes hands several times on its way and is copied each time.
    pub(crate) parts: Box<RequestParts>,
    /// Bytes of the rest that were consumed.
    rest_taken: u32,
}

impl RequestHead {
    pub(crate) fn new(buffer: Buffer, parts: Box<RequestParts>) -> Self {
        Self { buffer, parts, rest_taken: 0 }
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.parts.method
    }

    /// The method's token.
    #[must_use]
    pub fn method_bytes(&self) -> &[u8] {
        self.parts.method_span.of(&self.buffer)
    }

    /// Host and port as they are forwarded, lower-cased. Empty only for HTTP/1.0 without Host.
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        self.parts.authority.of(&self.buffer)
    }

    /// The host, lower-cased, without port; IPv6 keeps its brackets.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        self.parts.host.of(&self.buffer)
    }

    /// The port that the authority names.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.parts.port
    }

    /// The path: as it came until [`crate::path::normalise_path`] ran, normalised after it. `*` for the asterisk form.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        if self.parts.path.len == 0 { b"/" } else { self.parts.path.of(&self.buffer) }
    }

    /// Whether the path held `%2F` when it was normalised: refused with [`crate::Reject::PathEncoded`] unless the route allows it.
    #[must_use]
    pub fn has_encoded_slash(&self) -> bool {
        self.parts.encoded_slash
    }

    /// What follows `?`, as it came.
    #[must_use]
    pub fn query(&self) -> Option<&[u8]> {
        self.parts.query.map(|span| span.of(&self.buffer))
    }

    /// The form of its target.
    #[must_use]
    pub fn target_form(&self) -> TargetForm {
        self.parts.form
    }

    /// Name (as it came), value and id of each field that is not hop-by-hop.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8], FieldId)> {
        self.parts.fields.kept(&self.buffer)
    }

    /// Name and value of each field that is sent on under an overlay: without hop-by-hop and framing fields and Host, then
    /// what the overlay adds. For writers of other protocols than HTTP/1.
    pub fn sent_fields<'a>(&'a self, overlay: &'a Overlay) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.parts.fields.sent(&self.buffer, overlay)
    }

    /// The field lines themselves, with what is dropped.
    #[must_use]
    pub fn field_lines(&self) -> &Fields {
        &self.parts.fields
    }

    /// The value of the first field of this name.
    #[must_use]
    #[inline]
    pub fn field(&self, id: FieldId) -> Option<&[u8]> {
        self.parts.fields.first(id).map(|field| field.value.of(&self.buffer))
    }

    /// The values of all fields of this name, in order.
    pub fn values(&self, id: FieldId) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.parts.fields.kept_values(&self.buffer, id)
    }

    /// The values of all fields of this name, in any case.
    pub fn fields_named<'a, 'n>(&'a self, name: &'n [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.parts.fields.named(&self.buffer, name)
    }

    /// As [`Self::fields_named`] of a name that was looked at before.
    #[inline]
    pub fn fields_of<'a, 'n>(&'a self, name: &'n FieldName) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.parts.fields.known_as(&self.buffer, name.parts())
    }

    /// The value of the first field of this name, in any case.
    #[must_use]
    pub fn field_named(&self, name: &[u8]) -> Option<&[u8]> {
        self.parts.fields.named(&self.buffer, name).next()
    }

    /// The version of this hop.
    #[must_use]
    pub fn version(&self) -> Version {
        self.parts.version
    }

    /// Where its content ends; never `UntilClose`.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.parts.framing
    }

    /// Whether another request may follow on this connection.
    #[must_use]
    pub fn persistent(&self) -> bool {
        self.parts.persistent
    }

    /// Whether it waits for `100 Continue` (HTTP/1.1 and later with content only).
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.parts.expects_continue
    }

    /// The protocol that it asks to switch to.
    #[must_use]
    pub fn upgrade(&self) -> Option<Upgrade> {
        self.parts.upgrade
    }

    /// Whether its sender takes trailers (`TE: trailers`; always over HTTP/2 and HTTP/3).
    #[must_use]
    pub fn accepts_trailers(&self) -> bool {
        self.parts.accepts_trailers
    }

    /// Bytes of the head on the wire.
    #[must_use]
    pub fn head_len(&self) -> usize {
        self.parts.head_len as usize
    }

    fn rest_start(&self) -> usize {
        self.parts.head_len as usize + self.rest_taken as usize
    }

    /// Bytes that came after the head and were not consumed: content first, then the next requests.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        self.buffer.get(self.rest_start()..).unwrap_or_default()
    }

    /// Marks the first `count` bytes of the rest as consumed.
    pub fn consume_rest(&mut self, count: usize) {
        let count = count.min(self.rest().len());
        self.rest_taken += u32::try_from(count).unwrap_or(0);
    }

    /// The rest in a buffer of its own (the one move of a pipelined request), and marks it consumed.
    #[must_use]
    pub fn take_rest(&mut self) -> Option<Buffer> {
        let rest = self.rest();
        if rest.is_empty() {
            return None;
        }
        let moved = Buffer::copied_from(rest);
        self.consume_rest(moved.len());
        Some(moved)
    }

    /// Gives the buffer back with only the rest in it.
    #[must_use]
    pub fn into_rest(self) -> Buffer {
        let start = self.rest_start();
        let mut buffer = self.buffer;
        buffer.consume(start);
        buffer
    }
}
