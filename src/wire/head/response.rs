//! A reply's head.

use super::{Fields, Framing, Span, Upgrade, Version};
use crate::buffer::Buffer;
use crate::field::FieldId;
use crate::overlay::Overlay;
use crate::syntax::list_members;

/// All of a reply's head but its bytes.
#[derive(Debug)]
pub(crate) struct ResponseParts {
    pub(crate) fields: Fields,
    pub(crate) head_len: u16,
    pub(crate) status: u16,
    pub(crate) version: Version,
    pub(crate) reason: Span,
    pub(crate) framing: Framing,
    pub(crate) announced: Option<u64>,
    pub(crate) persistent: bool,
}

/// A reply's head, whole and valid; it owns its buffer.
#[derive(Debug)]
pub struct ResponseHead {
    pub(crate) buffer: Buffer,
    pub(crate) parts: Box<ResponseParts>,
    rest_taken: u32,
}

impl ResponseHead {
    pub(crate) fn new(buffer: Buffer, parts: Box<ResponseParts>) -> Self {
        Self { buffer, parts, rest_taken: 0 }
    }

    /// The status code, 100 to 999.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.parts.status
    }

    /// The reason phrase as it came; empty where there was none.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        self.parts.reason.of(&self.buffer)
    }

    /// 1xx but 101: another head follows in [`Self::into_rest`].
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.parts.status < 200 && self.parts.status != 101
    }

    /// The upgrade that was asked for was granted: after this head comes the tunnel.
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        self.parts.status == 101
    }

    /// The upgrade that is demanded: a 426 names it (RFC 9110 §15.5.22), and the field that does so ends at each hop.
    #[must_use]
    pub fn upgrade_demanded(&self) -> Option<Upgrade> {
        if self.parts.status != 426 {
            return None;
        }
        let mut named = self.parts.fields.values(&self.buffer, FieldId::Upgrade).flat_map(list_members);
        named.any(|one| one.eq_ignore_ascii_case(b"websocket")).then_some(Upgrade::WebSocket)
    }

    /// The version of this hop.
    #[must_use]
    pub fn version(&self) -> Version {
        self.parts.version
    }

    /// How its content is read.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.parts.framing
    }

    /// Content-Length of a reply that has no content of its own (HEAD, 304), to be relayed as it is.
    #[must_use]
    pub fn announced_length(&self) -> Option<u64> {
        self.parts.announced
    }

    /// Whether the connection may be used again when the content was read to its end and no byte waits.
    #[must_use]
    pub fn persistent(&self) -> bool {
        self.parts.persistent
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

    /// The value of the first field of this name, in any case.
    #[must_use]
    pub fn field_named(&self, name: &[u8]) -> Option<&[u8]> {
        self.parts.fields.named(&self.buffer, name).next()
    }

    /// Bytes of the head on the wire.
    #[must_use]
    pub fn head_len(&self) -> usize {
        self.parts.head_len as usize
    }

    fn rest_start(&self) -> usize {
        self.parts.head_len as usize + self.rest_taken as usize
    }

    /// Bytes that came after the head and were not consumed.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        self.buffer.get(self.rest_start()..).unwrap_or_default()
    }

    /// Marks the first `count` bytes of the rest as consumed.
    pub fn consume_rest(&mut self, count: usize) {
        let count = count.min(self.rest().len());
        self.rest_taken += u32::try_from(count).unwrap_or(0);
    }

    /// Gives the buffer back with only the rest in it: what an interim reply is followed by.
    #[must_use]
    pub fn into_rest(self) -> Buffer {
        let start = self.rest_start();
        let mut buffer = self.buffer;
        buffer.consume(start);
        buffer
    }
}
