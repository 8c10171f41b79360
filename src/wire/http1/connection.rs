//! `Connection`, what it nominates, and `Upgrade` (contract, rules 8 and 14).

use crate::field::{FieldId, is_forwarded};
use crate::head::{Fields, Framing, Upgrade};
use crate::limits::NOMINATIONS_MAX;
use crate::method::Method;
use crate::reject::Reject;
use crate::syntax::{is_token, list_members};

/// What the Connection lines of a message say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
}

/// Reads Connection and marks the fields that it nominates as dropped.
#[inline]
pub(crate) fn apply(bytes: &[u8], fields: &mut Fields) -> Result<Options, Reject> {
    match fields.present().contains(FieldId::Connection) {
        true => apply_lines(bytes, fields),
        false => Ok(Options::default()),
    }
}

fn apply_lines(bytes: &[u8], fields: &mut Fields) -> Result<Options, Reject> {
    let mut options = Options::default();
    let mut nominated = 0;
    let mut at = 0;
    while let Some(field) = fields.all().get(at).copied() {
        at += 1;
        if field.id != FieldId::Connection {
            continue;
        }
        if field.value.of(bytes).eq_ignore_ascii_case(b"keep-alive") {
            options.keep_alive = true;
            continue;
        }
        for option in list_members(field.value.of(bytes)) {
            if option.eq_ignore_ascii_case(b"keep-alive") {
                options.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                options.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                options.upgrade = true;
            } else {
                nominated += 1;
                nominate(bytes, fields, option, nominated)?;
            }
        }
    }
    Ok(options)
}

fn nominate(bytes: &[u8], fields: &mut Fields, option: &[u8], count: usize) -> Result<(), Reject> {
    if !is_token(option) || count > NOMINATIONS_MAX {
        return Err(Reject::ConnectionSyntax);
    }
    let id = FieldId::of(option);
    if id.is_protected() || is_forwarded(option) {
        return Err(Reject::Nomination);
    }
    for field in fields.list_mut() {
        if field.id == id && (id != FieldId::Other || field.name.of(bytes).eq_ignore_ascii_case(option)) {
            field.drop();
        }
    }
    Ok(())
}

/// The upgrade that a request asks for and that we relay; any other is as if it were not there (h2c above all).
pub(crate) fn upgrade(
    bytes: &[u8],
    fields: &Fields,
    method: Method,
    framing: Framing,
) -> Result<Option<Upgrade>, Reject> {
    let asked = fields
        .values(bytes, FieldId::Upgrade)
        .flat_map(list_members)
        .any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
    if !asked || method != Method::Get {
        return Ok(None);
    }
    let mut keys = fields.values(bytes, FieldId::SecWebSocketKey);
    let key_is_good = keys.next().is_some_and(is_websocket_key) && keys.next().is_none();
    if !key_is_good || !matches!(framing, Framing::Empty | Framing::Length(0)) {
        return Err(Reject::Upgrade);
    }
    Ok(Some(Upgrade::WebSocket))
}

/// Sixteen bytes in base64 (RFC 6455 §4.1).
fn is_websocket_key(key: &[u8]) -> bool {
    let Some(digits) = key.strip_suffix(b"==") else { return false };
    digits.len() == 22
        && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// `Sec-WebSocket-Key` of a nonce (RFC 6455 §4.1): its base64.
#[must_use]
pub fn websocket_key(nonce: &[u8; 16]) -> [u8; 24] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut key = [b'='; 24];
    for (group, out) in nonce.chunks(3).zip(key.chunks_mut(4)) {
        let bits =
            group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for (place, digit) in out.iter_mut().take(group.len() + 1).enumerate() {
            *digit = DIGITS.get((bits >> (18 - 6 * place)) as usize & 63).copied().unwrap_or(b'A');
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::{is_websocket_key, websocket_key};

    #[test]
    fn a_key_is_the_base64_of_its_nonce() {
        assert_eq!(&websocket_key(b"the sample nonce"), b"dGhlIHNhbXBsZSBub25jZQ==");
        assert!(is_websocket_key(&websocket_key(&[0xff; 16])));
    }
}
