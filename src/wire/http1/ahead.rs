//! Replies of ours that are written ahead of any request: of such a block only the request's id and the date change.

use super::write::{ResponseExtra, write_status_head};
use crate::date::FixDate;
use crate::head::{Framing, Version};
use crate::overlay::Overlay;
use crate::request_id::place;
use crate::told::name_reply;

/// Where an id will stand.
const ID: [u8; 36] = *b"........-....-....-....-............";
/// Where a date will stand.
const DATE: FixDate = *b"...., .. ... .... ..:..:.. ..";

/// A whole reply to an HTTP/1.1 request whose connection goes on, its head and its content in one block: what
/// [`write_status_head`] writes under an overlay that names the request and nothing else.
#[derive(Debug)]
pub struct ReplyAhead {
    status: u16,
    block: Box<[u8]>,
    head_bytes: usize,
    id_at: usize,
    date_at: usize,
}

impl ReplyAhead {
    /// Writes it. `None` where a field cannot be written.
    #[must_use]
    pub fn new<'a>(
        status: u16,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        framing: Framing,
        content: &[u8],
    ) -> Option<Self> {
        let mut overlay = Overlay::take();
        name_reply(&ID, &mut overlay).ok()?;
        let extra =
            ResponseExtra { version: Version::Http11, close: false, upgrade: None, date: Some(&DATE) };
        let mut block = Vec::with_capacity(512 + content.len());
        write_status_head(&mut block, status, fields, &overlay, framing, &extra).ok()?;
        // Behind the reply's own fields stand the id, the framing and the date: the last of each is ours.
        let id_at = memchr::memmem::rfind(&block, &ID)?;
        let date_at = memchr::memmem::rfind(&block, &DATE)?;
        let head_bytes = block.len();
        block.extend_from_slice(content);
        Some(Self { status, block: block.into_boxed_slice(), head_bytes, id_at, date_at })
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Bytes of its head.
    #[must_use]
    pub fn head_bytes(&self) -> usize {
        self.head_bytes
    }

    /// Bytes of its content.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        self.block.len().saturating_sub(self.head_bytes)
    }

    /// Appends it, or its head alone, for a request of this id at this date.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, id: &[u8; 36], date: &FixDate, with_content: bool) {
        let before = out.len();
        let bytes = if with_content { self.block.len() } else { self.head_bytes };
        out.extend_from_slice(self.block.get(..bytes).unwrap_or_default());
        place(out, before + self.id_at, *id);
        place(out, before + self.date_at, *date);
    }
}

#[cfg(test)]
mod tests {
    use super::{DATE, ID, ReplyAhead};
    use crate::date::imf_fixdate;
    use crate::http1::{ResponseExtra, write_status_head};
    use crate::told::name_reply;
    use crate::{Framing, Overlay, Version};

    type Lines<'a> = &'a [(&'a [u8], &'a [u8])];

    /// What is written ahead is what would be written at the moment, byte for byte.
    #[test]
    fn a_reply_written_ahead_is_the_one_that_is_written_anew() {
        let (id, date) = (b"01935c2d-7a52-7d30-8f4e-0123456789ab", imf_fixdate(1_732_233_600));
        let trap = [&b"see "[..], &ID, b" and ", &DATE].concat();
        let cases: [(u16, Lines<'_>, Framing, &[u8]); 4] = [
            (200, &[(b"content-type", b"text/plain")], Framing::Length(5), b"hello"),
            (404, &[], Framing::Length(0), b""),
            (204, &[(b"x-request-id", b"theirs"), (b"x-a", &trap)], Framing::Empty, b""),
            (200, &[(b"x-a", &trap)], Framing::Length(trap.len() as u64), &trap),
        ];
        for (status, fields, framing, content) in cases {
            let ahead = ReplyAhead::new(status, fields.iter().copied(), framing, content).unwrap();
            let mut overlay = Overlay::take();
            name_reply(id, &mut overlay).unwrap();
            let extra =
                ResponseExtra { version: Version::Http11, close: false, upgrade: None, date: Some(&date) };
            let mut anew = b"before".to_vec();
            write_status_head(&mut anew, status, fields.iter().copied(), &overlay, framing, &extra).unwrap();
            assert_eq!(ahead.head_bytes(), anew.len() - 6);
            assert_eq!(ahead.content_bytes(), content.len());
            let mut written = b"before".to_vec();
            ahead.write(&mut written, id, &date, false);
            assert_eq!(written, anew, "the head alone, to HEAD");
            anew.extend_from_slice(content);
            written.truncate(6);
            ahead.write(&mut written, id, &date, true);
            assert_eq!(String::from_utf8(written), String::from_utf8(anew));
        }
    }

    #[test]
    fn what_cannot_be_written_is_not_written_ahead() {
        for (name, value) in [(&b"a b"[..], &b"c"[..]), (b"a", b"b\r\n"), (b"content-length", b"1")] {
            assert!(ReplyAhead::new(200, [(name, value)], Framing::Length(0), b"").is_none());
        }
    }
}
