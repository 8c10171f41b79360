//! What the gateway tells an upstream of a caller, written as one block: request id, trace, `Forwarded`, `X-Forwarded-*`, `Via`.
//!
//! These lines are most of what a small request gains on its way. Written field by field through the overlay they cost as much
//! as parsing the head.

use std::net::IpAddr;

use crate::field::{FieldId, FieldSet, is_forwarded};
use crate::forwarded::{Hop, write_forwarded, write_host, write_via, write_x_forwarded_for};
use crate::head::{Field, RequestHead, Version};
use crate::overlay::{BadEdit, Overlay};
use crate::request_id::place;
use crate::syntax::is_field_value;
use crate::trace_context::TraceParent;

/// What is told.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The id that the request is known by: ours, or one that [`crate::request_id::is_acceptable`].
    pub request_id: &'a [u8],
    /// The trace, with our span.
    pub trace: TraceParent,
    /// Whether the caller's `Tracestate` belongs to this trace.
    pub keeps_tracestate: bool,
    /// The peer that sent the request.
    pub peer: IpAddr,
    /// Whether what it says of those before it is believed and continued.
    pub trusted: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Our name in `Via`.
    pub pseudonym: &'a str,
}

/// What is always ours to say.
const OURS: FieldSet = FieldSet::EMPTY
    .with(FieldId::XRequestId)
    .with(FieldId::Traceparent)
    .with(FieldId::Forwarded)
    .with(FieldId::XForwardedFor)
    .with(FieldId::Via);

impl Told<'_> {
    /// Replaces what the head says of these things.
    ///
    /// # Errors
    /// [`BadEdit::Value`] where the id or the pseudonym cannot stand in a field; nothing changes then.
    pub fn add_to(
        &self,
        head: &RequestHead,
        overlay: &mut Overlay,
        standing: &mut Standing,
    ) -> Result<(), BadEdit> {
        // INVARIANT: the other values are ours, or came out of a head that was parsed.
        if !is_field_value(self.request_id) || !is_field_value(self.pseudonym.as_bytes()) {
            return Err(BadEdit::Value);
        }
        let mut ids = OURS;
        let says = |id| self.trusted && head.field(id).is_some();
        let (proto, host) = (!says(FieldId::XForwardedProto), !says(FieldId::XForwardedHost));
        if proto {
            ids.insert(FieldId::XForwardedProto);
        }
        if host {
            ids.insert(FieldId::XForwardedHost);
        }
        // What came is ignored only: a chain or a rewrite of ours may have set these, and a caller must not undo it.
        let mut ignore = |id| {
            if head.field(id).is_some() {
                overlay.ignore(id);
            }
        };
        if !self.trusted {
            ignore(FieldId::XForwardedPort);
            ignore(FieldId::XForwardedPrefix);
            ignore(FieldId::XRealIp);
        }
        if !self.keeps_tracestate {
            ignore(FieldId::Tracestate);
        }
        let lines = head.field_lines();
        let unknown = |field: &Field| field.id == FieldId::Other && is_forwarded(field.name.of(&head.buffer));
        if !self.trusted && lines.present().contains(FieldId::Other) && lines.all().iter().any(unknown) {
            overlay.ignore_forwarded();
        }
        overlay.set_lines(ids, |out| {
            // Each constant part is written without asking for room then.
            out.reserve(384 + 2 * head.authority().len());
            write_id(self.request_id, out);
            out.extend_from_slice(b"traceparent: ");
            out.extend_from_slice(&self.trace.to_text());
            // A trusted peer may say something else each time, and `Via` is continued whoever says it.
            if self.trusted || head.field(FieldId::Via).is_some() {
                return self.write(head, proto, host, out);
            }
            match standing.lines(self, head) {
                Some(lines) => out.extend_from_slice(lines),
                None => self.write(head, proto, host, out),
            }
        });
        Ok(())
    }

    /// What is told beside the request's own id and trace.
    fn write(&self, head: &RequestHead, proto: bool, host: bool, out: &mut Vec<u8>) {
        self.write_hop(head, out);
        write_host(out, head.authority());
        self.write_between(head, proto, host, out);
        if host {
            out.extend_from_slice(head.authority());
        }
        self.write_via(head, out);
    }

    /// `Forwarded` as far as the authority.
    fn write_hop(&self, head: &RequestHead, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\nforwarded: ");
        let hop = Hop { address: self.peer, scheme: self.scheme, host: b"" };
        write_forwarded(out, self.before(head, FieldId::Forwarded), &hop);
    }

    /// From behind the authority in `Forwarded` up to that in `X-Forwarded-Host`, if that is told.
    fn write_between(&self, head: &RequestHead, proto: bool, host: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\nx-forwarded-for: ");
        write_x_forwarded_for(out, self.before(head, FieldId::XForwardedFor), self.peer);
        if proto {
            out.extend_from_slice(b"\r\nx-forwarded-proto: ");
            out.extend_from_slice(self.scheme.as_bytes());
        }
        if host {
            out.extend_from_slice(b"\r\nx-forwarded-host: ");
        }
    }

    fn write_via(&self, head: &RequestHead, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\nvia: ");
        write_via(out, head.values(FieldId::Via), head.version(), self.pseudonym);
        out.extend_from_slice(b"\r\n");
    }

    /// What the peer says of those before it, where it is believed.
    fn before<'h>(&self, head: &'h RequestHead, id: FieldId) -> impl Iterator<Item = &'h [u8]> + use<'h> {
        let trusted = self.trusted;
        head.values(id).filter(move |_| trusted)
    }
}

/// An authority and a pseudonym of more bytes than this together are written anew each time.
const STANDING_BYTES_MAX: usize = 128;

/// What is told alike of each request of a connection where nobody before us is believed or says anything, kept from one to the next: most
/// of what is told is written once then, and the authority alone where the requests name several.
#[derive(Debug, Default)]
pub struct Standing {
    /// The pseudonym, then what stands before the authority, between it and its second mention, and behind that.
    frame: Vec<u8>,
    /// Where these three begin.
    cuts: [usize; 3],
    /// The authority of the last request, then its lines.
    text: Vec<u8>,
    authority_len: usize,
    version: Option<Version>,
    peer: Option<IpAddr>,
    scheme: &'static str,
    /// There was a request before: what may be told once is not kept.
    follows: bool,
}

impl Standing {
    /// The lines of this request; none where they are too long to be kept, or it is the first.
    #[inline]
    fn lines(&mut self, told: &Told<'_>, head: &RequestHead) -> Option<&[u8]> {
        let names = |text: &[u8], len| text.get(..len) == Some(head.authority());
        if !self.frames(told, head) || !names(&self.text, self.authority_len) {
            self.renew(told, head)?;
        }
        self.text.get(self.authority_len..)
    }

    /// Whether the frame is what would be written around the authority.
    #[inline]
    fn frames(&self, told: &Told<'_>, head: &RequestHead) -> bool {
        let [pseudonym_end, ..] = self.cuts;
        self.version == Some(head.version())
            && self.frame.get(..pseudonym_end) == Some(told.pseudonym.as_bytes())
            && std::ptr::eq(self.scheme, told.scheme)
            && self.peer == Some(told.peer)
    }

    #[inline(never)]
    fn renew(&mut self, told: &Told<'_>, head: &RequestHead) -> Option<()> {
        let authority = head.authority();
        let first = !std::mem::replace(&mut self.follows, true);
        if first || authority.len() + told.pseudonym.len() > STANDING_BYTES_MAX {
            return None;
        }
        if !self.frames(told, head) {
            *self = Self::around(told, head);
        }
        let [hop, between, via] = self.cuts;
        let part = |from: usize, to: usize| self.frame.get(from..to).unwrap_or_default();
        let text = &mut self.text;
        text.clear();
        text.reserve(self.frame.len() + 4 * authority.len());
        text.extend_from_slice(authority);
        text.extend_from_slice(part(hop, between));
        write_host(text, authority);
        text.extend_from_slice(part(between, via));
        text.extend_from_slice(authority);
        text.extend_from_slice(part(via, self.frame.len()));
        self.authority_len = authority.len();
        Some(())
    }

    fn around(told: &Told<'_>, head: &RequestHead) -> Self {
        let mut frame = Vec::with_capacity(160 + told.pseudonym.len());
        frame.extend_from_slice(told.pseudonym.as_bytes());
        let hop = frame.len();
        told.write_hop(head, &mut frame);
        let between = frame.len();
        told.write_between(head, true, true, &mut frame);
        let via = frame.len();
        told.write_via(head, &mut frame);
        let (version, peer, scheme) = (Some(head.version()), Some(told.peer), told.scheme);
        let cuts = [hop, between, via];
        Self { frame, cuts, version, peer, scheme, follows: true, ..Self::default() }
    }
}

/// Says in a reply which request it answers, in place of whatever the upstream said.
///
/// # Errors
/// [`BadEdit::Value`] where the id cannot stand in a field; nothing changes then.
pub fn name_reply(request_id: &[u8], overlay: &mut Overlay) -> Result<(), BadEdit> {
    if !is_field_value(request_id) {
        return Err(BadEdit::Value);
    }
    overlay.set_lines(FieldSet::EMPTY.with(FieldId::XRequestId), |out| write_id(request_id, out));
    Ok(())
}

/// The line of the id. Ours is of constant size, which is copied at once.
fn write_id(id: &[u8], out: &mut Vec<u8>) {
    match <&[u8; 36]>::try_from(id) {
        Ok(ours) => {
            let mut line = *b"x-request-id: 00000000-0000-0000-0000-000000000000\r\n";
            place(&mut line, 14, *ours);
            out.extend_from_slice(&line);
        }
        Err(_) => {
            out.extend_from_slice(b"x-request-id: ");
            out.extend_from_slice(id);
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Standing, Told};
    use crate::buffer::Buffer;
    use crate::head::{Framing, RequestHead};
    use crate::http1::{Parse, RequestExtra, RequestLine, parse_request, write_request_head};
    use crate::limits::HeadLimits;
    use crate::overlay::{BadEdit, Overlay};
    use crate::trace_context::TraceParent;

    fn head(text: &str) -> RequestHead {
        match parse_request(Buffer::copied_from(text.as_bytes()), &HeadLimits::DEFAULT) {
            Parse::Complete(head) => head,
            other => panic!("{other:?}"),
        }
    }

    fn told(trusted: bool) -> Told<'static> {
        Told {
            request_id: b"id-1",
            trace: TraceParent { trace_id: 1, parent_id: 2, flags: 0 },
            keeps_tracestate: trusted,
            peer: "192.0.2.1".parse().unwrap(),
            trusted,
            scheme: "https",
            pseudonym: "ringway",
        }
    }

    fn sent(head: &RequestHead, overlay: &Overlay) -> String {
        let mut out = Vec::new();
        let extra = RequestExtra::default();
        write_request_head(&mut out, head, overlay, RequestLine::of(head), Framing::Empty, &extra);
        let written = String::from_utf8(out).unwrap();
        // Writers of other protocols see the same fields.
        let fields: String = head
            .sent_fields(overlay)
            .map(|(name, value)| {
                format!("{}: {}\r\n", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
            })
            .collect();
        let (_, after_host) = written.split_once("\r\nHost: ").unwrap();
        assert_eq!(after_host.split_once("\r\n").unwrap().1, format!("{fields}\r\n"));
        fields
    }

    const SAYS: &str = "GET / HTTP/1.1\r\nHost: a.example:8080\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\
         X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nTracestate: a=b\r\nVia: 1.0 far\r\nX-Request-Id: theirs\r\nAccept: */*\r\n\r\n";

    #[test]
    fn what_an_untrusted_peer_says_is_replaced() {
        let (head, mut overlay) = (head(SAYS), Overlay::take());
        told(false).add_to(&head, &mut overlay, &mut Standing::default()).unwrap();
        expect_test::expect![[r#"
            Accept: */*
            x-request-id: id-1
            traceparent: 00-00000000000000000000000000000001-0000000000000002-00
            forwarded: for=192.0.2.1;proto=https;host="a.example:8080"
            x-forwarded-for: 192.0.2.1
            x-forwarded-proto: https
            x-forwarded-host: a.example:8080
            via: 1.0 far, 1.1 ringway
        "#]]
        .assert_eq(&sent(&head, &overlay).replace('\r', ""));
    }

    #[test]
    fn what_stands_is_what_would_be_written() {
        let mut standing = Standing::default();
        let requests = [
            "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.exampl\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: other.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a.example:80\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            SAYS,
        ];
        let names = ["ringway", "e.ringway", &"r".repeat(200)];
        let peers = [told(false), told(true), Told { peer: "::1".parse().unwrap(), ..told(false) }];
        for text in requests.iter().chain(&requests) {
            for (name, peer) in names.iter().flat_map(|name| peers.map(|peer| (name, peer))) {
                let (head, told) = (head(text), Told { pseudonym: name, ..peer });
                for _ in 0..2 {
                    let (mut kept, mut anew) = (Overlay::take(), Overlay::take());
                    told.add_to(&head, &mut kept, &mut standing).unwrap();
                    told.add_to(&head, &mut anew, &mut Standing::default()).unwrap();
                    assert_eq!(sent(&head, &kept), sent(&head, &anew), "{text}");
                }
            }
        }
    }

    #[test]
    fn what_a_trusted_peer_says_is_continued() {
        let (head, mut overlay) = (head(SAYS), Overlay::take());
        told(true).add_to(&head, &mut overlay, &mut Standing::default()).unwrap();
        expect_test::expect![[r#"
            X-Forwarded-Host: evil
            X-Forwarded-Port: 1
            Tracestate: a=b
            Accept: */*
            x-request-id: id-1
            traceparent: 00-00000000000000000000000000000001-0000000000000002-00
            forwarded: for=6.6.6.6, for=192.0.2.1;proto=https;host="a.example:8080"
            x-forwarded-for: 6.6.6.6, 192.0.2.1
            x-forwarded-proto: https
            via: 1.0 far, 1.1 ringway
        "#]]
        .assert_eq(&sent(&head, &overlay).replace('\r', ""));
    }

    #[test]
    fn edits_before_and_after_the_block_keep_their_order() {
        let (head, mut overlay) = (head(SAYS), Overlay::take());
        overlay.set(b"Via", b"lost").unwrap();
        overlay.set(b"X-First", b"1").unwrap();
        told(false).add_to(&head, &mut overlay, &mut Standing::default()).unwrap();
        overlay.remove(b"X-Forwarded-Proto").unwrap();
        overlay.rename(b"X-Forwarded-Host", b"X-Was-Host").unwrap();
        overlay.append(b"Via", b"1.1 next").unwrap();
        expect_test::expect![[r#"
            Accept: */*
            X-First: 1
            x-request-id: id-1
            traceparent: 00-00000000000000000000000000000001-0000000000000002-00
            forwarded: for=192.0.2.1;proto=https;host="a.example:8080"
            x-forwarded-for: 192.0.2.1
            X-Was-Host: a.example:8080
            via: 1.0 far, 1.1 ringway
            Via: 1.1 next
        "#]]
        .assert_eq(&sent(&head, &overlay).replace('\r', ""));
    }

    #[test]
    fn a_caller_cannot_undo_what_a_chain_sets_nor_say_it_itself() {
        let head = head(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Port: 1\r\nX-Forwarded-User: root\r\nX-Forwarded-Ssl: on\r\n\r\n",
        );
        let mut overlay = Overlay::take();
        overlay.set(b"X-Real-IP", b"192.0.2.1").unwrap();
        overlay.set(b"X-Forwarded-Prefix", b"/ours").unwrap();
        overlay.set(b"X-Forwarded-Ssl", b"off").unwrap();
        overlay.rename(b"X-Forwarded-Port", b"X-Port").unwrap();
        told(false).add_to(&head, &mut overlay, &mut Standing::default()).unwrap();
        let sent = sent(&head, &overlay);
        assert!(
            sent.starts_with(
                "X-Real-IP: 192.0.2.1\r\nX-Forwarded-Prefix: /ours\r\nX-Forwarded-Ssl: off\r\nx-request-id"
            ),
            "{sent}"
        );
        assert!(!sent.contains("root") && !sent.contains("Ssl: on"), "{sent}");
        assert!(!sent.contains("6.6.6.6") && !sent.contains("evil") && !sent.contains("X-Port"), "{sent}");
    }

    #[test]
    fn a_name_of_ours_that_cannot_stand_in_a_field_changes_nothing() {
        let (head, mut overlay) = (head(SAYS), Overlay::take());
        let bad = Told { pseudonym: "a\r\nb", ..told(false) };
        assert_eq!(bad.add_to(&head, &mut overlay, &mut Standing::default()), Err(BadEdit::Value));
        assert!(overlay.is_empty());
    }
}
