//! Trailer sections: parsed, bounded, and rid of what may not come after a body (contract, rule 15).

use crate::field::FieldId;
use crate::limits::ChunkLimits;
use crate::reject::Reject;
use crate::syntax::{is_field_value, is_token, trim};

/// One trailer line's place in the bytes.
#[derive(Debug, Clone, Copy)]
struct Line {
    start: u32,
    name_len: u32,
    end: u32,
    id: FieldId,
}

/// The trailer section of a body. Empty it owns no memory.
#[derive(Debug, Default)]
pub struct Trailers {
    bytes: Vec<u8>,
    lines: Vec<Line>,
    /// Where the line begins that is being read.
    open: usize,
}

impl Trailers {
    /// None.
    pub(crate) const NONE: Self = Self { bytes: Vec::new(), lines: Vec::new(), open: 0 };

    /// Name and value of each trailer that may be passed on, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8], FieldId)> {
        self.lines.iter().filter(|line| line.id.is_allowed_in_trailers()).map(|line| {
            let [start, end] = [line.start as usize, line.end as usize];
            let colon = start + line.name_len as usize;
            let name = self.bytes.get(start..colon).unwrap_or_default();
            (name, trim(self.bytes.get(colon + 1..end).unwrap_or_default()), line.id)
        })
    }

    /// Whether there is none, of whatever name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Lines that came and are not passed on.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.lines.iter().filter(|line| !line.id.is_allowed_in_trailers()).count()
    }

    /// Takes a trailer of HTTP/2 or HTTP/3: name in lower case and value, as they were decoded.
    ///
    /// # Errors
    /// A pseudo-field, a name or value that is none, a field of the connection, or too many.
    pub fn push(&mut self, name: &[u8], value: &[u8], limits: &ChunkLimits) -> Result<(), Reject> {
        if name.first() == Some(&b':') {
            return Err(Reject::PseudoField);
        }
        if !is_token(name) {
            return Err(Reject::FieldName);
        }
        if name.iter().any(u8::is_ascii_uppercase) || FieldId::of(name).is_hop_by_hop() {
            return Err(Reject::ConnectionField);
        }
        if !is_field_value(value) {
            return Err(Reject::FieldValue);
        }
        for piece in [name, b": ", value, b"\r\n"] {
            self.append(piece, limits)?;
        }
        self.accept_line(limits)
    }

    /// Nothing was read into it.
    pub(crate) fn is_untouched(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn append(&mut self, piece: &[u8], limits: &ChunkLimits) -> Result<(), Reject> {
        if self.bytes.len() + piece.len() > limits.trailer_bytes_max as usize {
            return Err(Reject::TrailersTooLarge);
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    pub(crate) fn last_line(&self) -> &[u8] {
        self.bytes.get(self.open..).unwrap_or_default()
    }

    pub(crate) fn accept_line(&mut self, limits: &ChunkLimits) -> Result<(), Reject> {
        if self.lines.len() >= limits.trailers_max as usize {
            return Err(Reject::TrailersTooLarge);
        }
        let line = self.last_line();
        let name_len = line.iter().position(|byte| *byte == b':').ok_or(Reject::TrailerSyntax)?;
        let name = line.get(..name_len).unwrap_or_default();
        let id = match FieldId::of(name) {
            FieldId::Other => FieldId::disguised(name).unwrap_or(FieldId::Other),
            id => id,
        };
        let at = |at: usize| u32::try_from(at).map_err(|_| Reject::TrailersTooLarge);
        let line = Line {
            start: at(self.open)?,
            name_len: at(name_len)?,
            end: at(self.bytes.len().saturating_sub(2))?,
            id,
        };
        self.lines.push(line);
        self.open = self.bytes.len();
        Ok(())
    }

    /// The empty line came.
    pub(crate) fn close(&mut self) {
        self.bytes.truncate(self.open);
    }
}

#[cfg(test)]
mod tests {
    use super::Trailers;
    use crate::limits::ChunkLimits;

    #[test]
    fn decoded_trailers_are_checked_again_and_bounded() {
        let limits = ChunkLimits::DEFAULT;
        let mut trailers = Trailers::default();
        assert_eq!(trailers.push(b"grpc-status", b"0", &limits), Ok(()));
        assert_eq!(trailers.push(b"content-length", b"5", &limits), Ok(()));
        assert_eq!(trailers.push(b"content_length", b"5", &limits), Ok(()));
        for (name, value) in [
            (":status", "200"),
            ("X-A", "b"),
            ("x a", "b"),
            ("x-a", "b\r\nc: d"),
            ("connection", "x"),
            ("", "b"),
        ] {
            assert!(trailers.push(name.as_bytes(), value.as_bytes(), &limits).is_err(), "{name}");
        }
        let passed: Vec<_> = trailers.fields().map(|(name, value, _)| (name, value)).collect();
        assert_eq!(passed, [(&b"grpc-status"[..], &b"0"[..])], "framing is never a trailer");
        let large = vec![b'x'; 9000];
        assert!(trailers.push(b"x-a", &large, &limits).is_err());
    }
}
