//! Where a message ends (RFC 9112 §6): rules 4, 5 and 11 of the contract.

use crate::field::FieldId;
use crate::head::{Fields, Framing, Version};
use crate::limits::CONTENT_LENGTH_DIGITS_MAX;
use crate::method::Method;
use crate::reject::{Reject, ResponseReject};
use crate::syntax::decimal;

/// The one length that the Content-Length lines agree on.
#[inline]
pub(crate) fn content_length(bytes: &[u8], fields: &Fields) -> Result<Option<u64>, Reject> {
    match fields.present().contains(FieldId::ContentLength) {
        true => agreed_length(bytes, fields),
        false => Ok(None),
    }
}

fn agreed_length(bytes: &[u8], fields: &Fields) -> Result<Option<u64>, Reject> {
    let mut values = fields.values(bytes, FieldId::ContentLength);
    let Some(first) = values.next() else { return Ok(None) };
    let length = decimal(first, CONTENT_LENGTH_DIGITS_MAX).ok_or(Reject::LengthSyntax)?;
    for other in values {
        decimal(other, CONTENT_LENGTH_DIGITS_MAX).ok_or(Reject::LengthSyntax)?;
        if other != first {
            return Err(Reject::LengthConflict);
        }
    }
    Ok(Some(length))
}

/// Whether the combined Transfer-Encoding is exactly `chunked`; false when there is none.
fn is_chunked(bytes: &[u8], fields: &Fields) -> Result<bool, Reject> {
    let mut values = fields.values(bytes, FieldId::TransferEncoding);
    let Some(first) = values.next() else { return Ok(false) };
    if values.next().is_some() || !first.eq_ignore_ascii_case(b"chunked") {
        return Err(Reject::Coding);
    }
    Ok(true)
}

/// A request's framing.
pub(crate) fn of_request(bytes: &[u8], fields: &Fields, version: Version) -> Result<Framing, Reject> {
    if fields.present().contains(FieldId::TransferEncoding) {
        if version == Version::Http10 {
            return Err(Reject::CodingInHttp10);
        }
        if fields.present().contains(FieldId::ContentLength) {
            return Err(Reject::CodingWithLength);
        }
        is_chunked(bytes, fields)?;
        return Ok(Framing::Chunked);
    }
    Ok(content_length(bytes, fields)?.map_or(Framing::Empty, Framing::Length))
}

/// A reply's framing and what depends on it.
pub(crate) struct ReplyFraming {
    pub(crate) framing: Framing,
    /// Content-Length of a reply that has no content.
    pub(crate) announced: Option<u64>,
    /// Nothing about the framing speaks against using the connection again.
    pub(crate) sound: bool,
}

/// A reply's framing (RFC 9112 §6.3, cases 1 to 8).
pub(crate) fn of_reply(
    bytes: &[u8],
    fields: &Fields,
    version: Version,
    status: u16,
    method: Method,
) -> Result<ReplyFraming, ResponseReject> {
    let length = content_length(bytes, fields).map_err(ResponseReject::from_line)?;
    let chunked = is_chunked(bytes, fields).map_err(ResponseReject::from_line)?;
    if chunked && version == Version::Http10 {
        return Err(ResponseReject::Coding);
    }
    if status < 200 || status == 204 {
        // Neither may announce content; a peer that does may well send it.
        let sound = !chunked && length.unwrap_or(0) == 0;
        return Ok(ReplyFraming { framing: Framing::Empty, announced: None, sound });
    }
    let both = chunked && length.is_some();
    if status == 304 || method == Method::Head {
        let announced = if chunked { None } else { length };
        return Ok(ReplyFraming { framing: Framing::Empty, announced, sound: !both });
    }
    let framing = match (chunked, length) {
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    };
    Ok(ReplyFraming { framing, announced: None, sound: !both && framing != Framing::UntilClose })
}
