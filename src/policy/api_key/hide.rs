//! Taking credentials out of what is forwarded.

use ringway_snapshot::model::CredentialPlace;
use ringway_wire::{BadEdit, FieldId, FieldName, Overlay, RequestHead, cookie, query};

use super::{Authenticator, shown_cookies, shown_parameters};
use crate::chain::Query;

/// The places that are emptied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Hides {
    fields: Vec<FieldName>,
    parameters: Vec<Vec<u8>>,
    cookies: Vec<Vec<u8>>,
}

impl Hides {
    /// Adds the place of an authenticator, if it hides what stands there.
    pub(crate) fn add(&mut self, authenticator: &Authenticator) {
        if authenticator.hides() {
            match authenticator.place() {
                CredentialPlace::Header(_) => self.fields.extend(authenticator.field.clone()),
                CredentialPlace::Query(name) => self.parameters.push(name.as_bytes().to_vec()),
                CredentialPlace::Cookie(name) => self.cookies.push(name.as_bytes().to_vec()),
            }
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
            if head.fields_of(name).next().is_some() {
                overlay.remove_named(name)?;
            }
        }
        if !self.parameters.is_empty() {
            *query = self.query_of(head);
        }
        if self.cookies.is_empty() { Ok(()) } else { self.hide_cookies(head, overlay) }
    }

    fn query_of(&self, head: &RequestHead) -> Query {
        let mut left: Option<Vec<u8>> = None;
        for name in &self.parameters {
            let query = left.as_deref().or(head.query());
            if shown_parameters(query, name).next().is_none() {
                continue;
            }
            let query = query.unwrap_or_default();
            let mut out = Vec::with_capacity(query.len());
            if !query::write_without(query, name, &mut out) {
                return Query::Removed;
            }
            left = Some(out);
        }
        left.map_or(Query::Kept, Query::Replaced)
    }

    fn hide_cookies(&self, head: &RequestHead, overlay: &mut Overlay) -> Result<(), BadEdit> {
        if !self.cookies.iter().any(|name| shown_cookies(head, name).next().is_some()) {
            return Ok(());
        }
        // Several lines become one, as RFC 6265 has it.
        let mut left = head.values(FieldId::Cookie).collect::<Vec<_>>().join(b"; ".as_slice());
        for name in &self.cookies {
            let mut out = Vec::with_capacity(left.len());
            cookie::write_without(&left, name, &mut out);
            left = out;
        }
        if left.is_empty() { overlay.remove(b"Cookie") } else { overlay.set(b"Cookie", &left) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ringway_snapshot::model::{self, AuthenticatorKind};
    use ringway_wire::http1::{Parse, RequestExtra, RequestLine, parse_request, write_request_head};
    use ringway_wire::{Buffer, Framing, HeadLimits};

    use super::super::Found;
    use super::*;

    fn authenticators() -> Vec<Authenticator> {
        let places = [
            CredentialPlace::Header("x-key".to_owned()),
            CredentialPlace::Query("k".to_owned()),
            CredentialPlace::Query("k6".to_owned()),
            CredentialPlace::Cookie("k".to_owned()),
            CredentialPlace::Cookie("k6".to_owned()),
        ];
        let prepare = |place| {
            let kind = AuthenticatorKind::ApiKey { place, hide: true };
            Authenticator::prepare(&model::Authenticator { name: "a".to_owned(), kind }).unwrap()
        };
        places.into_iter().map(prepare).collect()
    }

    fn parsed(bytes: &[u8]) -> Option<RequestHead> {
        match parse_request(Buffer::copied_from(bytes), &HeadLimits::DEFAULT) {
            Parse::Complete(head) => Some(head),
            _ => None,
        }
    }

    fn text() -> impl Strategy<Value = String> {
        let byte = prop_oneof![
            Just("&"),
            Just("="),
            Just("%"),
            Just(";"),
            Just("k"),
            Just("6"),
            Just("B"),
            Just("%6b"),
            Just("%36"),
            Just("+")
        ];
        proptest::collection::vec(byte, 0..16).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn what_was_hidden_is_not_in_what_is_forwarded(
            query in text(),
            cookies in proptest::collection::vec(text(), 0..3),
            keys in 0_usize..3,
        ) {
            let cookies: String = cookies.iter().map(|cookie| format!("Cookie: {cookie}\r\n")).collect();
            let lines = format!("{cookies}{}", "X-Key: secret\r\n".repeat(keys));
            let head = parsed(format!("GET /?{query} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes()).unwrap();
            let authenticators = authenticators();
            let mut hides = Hides::default();
            authenticators.iter().for_each(|authenticator| hides.add(authenticator));
            let (mut overlay, mut left) = (Overlay::take(), Query::Kept);
            hides.apply(&head, &mut overlay, &mut left).unwrap();
            let line = match &left {
                Query::Kept => RequestLine::of(&head),
                Query::Removed => RequestLine::new(head.path(), None).unwrap(),
                Query::Replaced(query) => RequestLine::new(head.path(), Some(query)).unwrap(),
            };
            let mut out = Vec::new();
            write_request_head(&mut out, &head, &overlay, line, Framing::Empty, &RequestExtra::default());
            let forwarded = parsed(&out).unwrap();
            for authenticator in &authenticators {
                prop_assert_eq!(authenticator.find(&forwarded), Found::Missing, "{:?}", authenticator.place());
            }
            let shown = authenticators.iter().any(|authenticator| authenticator.find(&head) != Found::Missing);
            if !shown {
                prop_assert!(overlay.is_empty());
                prop_assert_eq!(left, Query::Kept);
            }
        }
    }
}
