//! Taking credentials out of what is forwarded.

use ringway_snapshot::model::CredentialPlace;
use ringway_wire::{BadEdit, FieldId, Overlay, RequestHead};

use super::Authenticator;
use super::place::{cookie_values, cookies_without, query_values, query_without};
use crate::chain::Query;

/// The places that are emptied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Hides {
    fields: Vec<Vec<u8>>,
    parameters: Vec<Vec<u8>>,
    cookies: Vec<Vec<u8>>,
}

impl Hides {
    /// Adds the place of an authenticator, if it hides what stands there.
    pub(crate) fn add(&mut self, authenticator: &Authenticator) {
        if authenticator.hides() {
            let (list, name) = match authenticator.place() {
                CredentialPlace::Header(name) => (&mut self.fields, name),
                CredentialPlace::Query(name) => (&mut self.parameters, name),
                CredentialPlace::Cookie(name) => (&mut self.cookies, name),
            };
            list.push(name.as_bytes().to_vec());
        }
    }

    /// Takes the credentials out, all of them, whichever one proved the caller: fields and cookies by the overlay, parameters
    /// by the query that it gives. What has none is not touched.
    ///
    /// # Errors
    /// [`BadEdit`], which names that were prepared never give.
    pub(crate) fn apply(
        &self,
        head: &RequestHead,
        overlay: &mut Overlay,
        query: &mut Query,
    ) -> Result<(), BadEdit> {
        for name in &self.fields {
            if head.field_named(name).is_some() {
                overlay.remove(name)?;
            }
        }
        if !self.parameters.is_empty() {
            *query = self.query_of(head);
        }
        if self.cookies.is_empty() { Ok(()) } else { self.hide_cookies(head, overlay) }
    }

    fn query_of(&self, head: &RequestHead) -> Query {
        let Some(query) = head.query() else { return Query::Kept };
        let shown = |name: &Vec<u8>| query_values(query, name).next().is_some();
        if !self.parameters.iter().any(shown) {
            return Query::Kept;
        }
        let names: Vec<&[u8]> = self.parameters.iter().map(Vec::as_slice).collect();
        let mut out = Vec::with_capacity(query.len());
        query_without(query, &names, &mut out).map_or(Query::Removed, |()| Query::Replaced(out))
    }

    fn hide_cookies(&self, head: &RequestHead, overlay: &mut Overlay) -> Result<(), BadEdit> {
        let field = FieldId::Cookie.name().as_bytes();
        let lines = || head.fields_named(field);
        let shown = |name: &Vec<u8>| lines().any(|line| cookie_values(line, name).next().is_some());
        if !self.cookies.iter().any(shown) {
            return Ok(());
        }
        let names: Vec<&[u8]> = self.cookies.iter().map(Vec::as_slice).collect();
        let mut out = Vec::new();
        match cookies_without(lines(), &names, &mut out) {
            Some(()) => overlay.set(b"Cookie", &out),
            None => overlay.remove(b"Cookie"),
        }
    }
}
