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
