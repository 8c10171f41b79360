//! Edits of heads by configuration: what may be edited, and the edits laid out for the overlay.

use ringway_snapshot::model::FieldEdit;
use ringway_wire::{BadEdit, FieldId, Overlay};

use crate::limits::{FIELD_NAME_BYTES_MAX, FIELD_VALUE_BYTES_MAX};

/// Why an edit cannot be made. Control's compile turns it into a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Not a token (RFC 9110 §5.1), too long, or not lower case as the model demands.
    #[error("{name:?} is no field name")]
    Name {
        /// As it was given.
        name: String,
    },
    /// Framing, `Host` or a field of the connection: written by the gateway alone.
    #[error("the field {name} belongs to the connection or the framing and cannot be edited")]
    Reserved {
        /// As it was given.
        name: String,
    },
    /// Control bytes, bytes that are not ASCII, blanks at its ends, or too long (RFC 9110 §5.5).
    #[error("the value of the field {name} cannot be sent")]
    Value {
        /// Of the field.
        name: String,
    },
    /// It would do nothing.
    #[error("the field {name} is renamed to itself")]
    SameName {
        /// As it was given.
        name: String,
    },
}

impl EditError {
    /// What to write instead.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Name { .. } => "use letters, digits and !#$%&'*+-.^_`|~",
            Self::Reserved { .. } => {
                "for Host write rewrite: {host: …} on the route; the others the gateway writes itself"
            }
            Self::Value { .. } => "use printable ASCII without blanks at the ends; encode anything else",
            Self::SameName { .. } => "give another name, or leave the edit out",
        }
    }
}

/// Checks one edit, of a request or of a reply.
///
/// # Errors
/// What is wrong with it.
pub fn check_edit(edit: &FieldEdit) -> Result<(), EditError> {
    match edit {
        FieldEdit::Set { name, value } | FieldEdit::Append { name, value } => {
            check_name(name)?;
            check_value(name, value)
        }
        FieldEdit::Remove { name } => check_name(name),
        FieldEdit::Rename { from, to } => {
            check_name(from)?;
            check_name(to)?;
            if from == to { Err(EditError::SameName { name: from.clone() }) } else { Ok(()) }
        }
    }
}

/// Checks the name of a field that policies read: a limit's key, a credential's place.
///
/// # Errors
/// [`EditError::Name`], or [`EditError::Reserved`] for a hop-by-hop field, which policies do not see.
pub fn check_readable(name: &str) -> Result<(), EditError> {
    check_token(name)?;
    if FieldId::of(name.as_bytes()).is_hop_by_hop() {
        return Err(EditError::Reserved { name: name.to_owned() });
    }
    Ok(())
}

/// Checks the name of a field that is edited or hidden.
///
/// # Errors
/// [`EditError::Name`] or [`EditError::Reserved`].
pub fn check_name(name: &str) -> Result<(), EditError> {
    check_token(name)?;
    let id = FieldId::of(name.as_bytes());
    if id == FieldId::Host || id.is_ours_to_write() {
        return Err(EditError::Reserved { name: name.to_owned() });
    }
    Ok(())
}

/// Checks the name of a cookie (RFC 6265 §4.1.1), which has case.
///
/// # Errors
/// [`EditError::Name`].
pub fn check_cookie(name: &str) -> Result<(), EditError> {
    check_token(&name.to_ascii_lowercase()).map_err(|_| EditError::Name { name: name.to_owned() })
}

fn check_token(name: &str) -> Result<(), EditError> {
    let token = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9') || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > FIELD_NAME_BYTES_MAX || !name.bytes().all(token) {
        return Err(EditError::Name { name: name.to_owned() });
    }
    Ok(())
}

fn check_value(name: &str, value: &str) -> Result<(), EditError> {
    let blank = |byte: Option<u8>| matches!(byte, Some(b' ' | b'\t'));
    let sendable = value.len() <= FIELD_VALUE_BYTES_MAX
        && value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
        && !blank(value.bytes().next())
        && !blank(value.bytes().last());
    if sendable { Ok(()) } else { Err(EditError::Value { name: name.to_owned() }) }
}

/// Makes the edits, in order, on top of those that the overlay holds.
///
/// # Errors
/// [`BadEdit`] for an edit that [`check_edit`] refuses; those before it are made.
pub fn edit(edits: &[FieldEdit], overlay: &mut Overlay) -> Result<(), BadEdit> {
    edits.iter().try_for_each(|edit| match edit {
        FieldEdit::Set { name, value } => overlay.set(name.as_bytes(), value.as_bytes()),
        FieldEdit::Append { name, value } => overlay.append(name.as_bytes(), value.as_bytes()),
        FieldEdit::Remove { name } => overlay.remove(name.as_bytes()),
        FieldEdit::Rename { from, to } => overlay.rename(from.as_bytes(), to.as_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ringway_wire::http1::{Parse, RequestExtra, RequestLine, parse_request, write_request_head};
    use ringway_wire::{Buffer, Framing, HeadLimits, RequestHead};

    use super::*;

    fn set(name: &str, value: &str) -> FieldEdit {
        FieldEdit::Set { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn fields_of_the_connection_and_the_framing_cannot_be_edited() {
        for name in [
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "keep-alive",
            "proxy-connection",
            "proxy-authenticate",
            "proxy-authorization",
            "te",
            "trailer",
            "upgrade",
            "http2-settings",
            "expect",
        ] {
            let reserved = Err(EditError::Reserved { name: name.to_owned() });
            assert_eq!(check_edit(&set(name, "x")), reserved, "{name}");
            assert_eq!(check_edit(&FieldEdit::Remove { name: name.to_owned() }), reserved, "{name}");
            let (from, to) = (name.to_owned(), "x-a".to_owned());
            assert_eq!(
                check_edit(&FieldEdit::Rename { from: from.clone(), to: to.clone() }),
                reserved,
                "{name}"
            );
            assert_eq!(check_edit(&FieldEdit::Rename { from: to, to: from }), reserved, "{name}");
        }
    }

    #[test]
    fn names_are_tokens_in_lower_case_and_values_printable() {
        let long = "x".repeat(FIELD_NAME_BYTES_MAX + 1);
        for name in ["", "X-A", "x a", "x:", ":path", "x\r\nhost", "é", long.as_str()] {
            assert!(matches!(check_edit(&set(name, "x")), Err(EditError::Name { .. })), "{name:?}");
        }
        let long = "x".repeat(FIELD_VALUE_BYTES_MAX + 1);
        for value in [" x", "x\t", "a\r\nb: c", "a\nb", "\0", "\x7f", "é", long.as_str()] {
            assert!(matches!(check_edit(&set("x-a", value)), Err(EditError::Value { .. })), "{value:?}");
        }
        for (name, value) in [("x-a", ""), ("authorization", "Bearer a b\tc"), ("set-cookie", "a=b; Path=/")]
        {
            assert_eq!(check_edit(&set(name, value)), Ok(()), "{name}");
        }
        let same = FieldEdit::Rename { from: "x-a".to_owned(), to: "x-a".to_owned() };
        assert!(matches!(check_edit(&same), Err(EditError::SameName { .. })));
    }

    #[test]
    fn hop_by_hop_fields_cannot_be_read_but_host_can() {
        assert!(check_readable("host").is_ok());
        assert!(check_readable("connection").is_err());
        assert!(check_cookie("SID").is_ok());
        assert!(check_cookie("a b").is_err());
    }

    /// Edits as one would do them on a list, one after the other.
    fn model(mut fields: Vec<(String, String)>, edits: &[FieldEdit]) -> Vec<(String, String)> {
        for edit in edits {
            match edit {
                FieldEdit::Set { name, value } => {
                    fields.retain(|(have, _)| have != name);
                    fields.push((name.clone(), value.clone()));
                }
                FieldEdit::Append { name, value } => fields.push((name.clone(), value.clone())),
                FieldEdit::Remove { name } => fields.retain(|(have, _)| have != name),
                FieldEdit::Rename { from, to } => {
                    fields
                        .iter_mut()
                        .filter(|(have, _)| have == from)
                        .for_each(|(have, _)| have.clone_from(to));
                }
            }
        }
        fields
    }

    fn head(fields: &[(String, String)]) -> RequestHead {
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        match parse_request(Buffer::copied_from(text.as_bytes()), &HeadLimits::DEFAULT) {
            Parse::Complete(head) => head,
            other => panic!("{other:?}"),
        }
    }

    fn names() -> impl Strategy<Value = String> {
        prop_oneof![Just("accept"), Just("x-a"), Just("x-b"), Just("cookie"), Just("x-c")]
            .prop_map(str::to_owned)
    }

    fn edits() -> impl Strategy<Value = FieldEdit> {
        prop_oneof![
            (names(), "[a-z]{0,3}").prop_map(|(name, value)| FieldEdit::Set { name, value }),
            (names(), "[a-z]{0,3}").prop_map(|(name, value)| FieldEdit::Append { name, value }),
            names().prop_map(|name| FieldEdit::Remove { name }),
            (names(), names()).prop_map(|(from, to)| FieldEdit::Rename { from, to }),
        ]
    }

    proptest! {
        #[test]
        fn edits_come_out_as_if_made_one_after_the_other(
            fields in proptest::collection::vec((names(), "[a-z]{1,3}"), 0..6),
            edits in proptest::collection::vec(edits(), 0..6),
        ) {
            let head = head(&fields);
            let mut overlay = Overlay::take();
            edit(&edits, &mut overlay).unwrap();
            let mut out = Vec::new();
            let line = RequestLine::of(&head);
            write_request_head(&mut out, &head, &overlay, line, Framing::Empty, &RequestExtra::default());
            let text = String::from_utf8(out).unwrap();
            let written: Vec<(String, String)> = text
                .lines()
                .skip(2)
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            prop_assert_eq!(written, model(fields, &edits));
        }
    }
}
