//! What gRPC asks of the request's way: refusals that its callers understand, the deadline that they set, and gRPC-Web.

use std::borrow::Cow;

use ringway_record::Outcome;
use ringway_wire::field::FieldId;
use ringway_wire::grpc::{self, Form, Status};
use ringway_wire::head::RequestHead;
use ringway_wire::limits::ChunkLimits;
use ringway_wire::overlay::{BadEdit, Overlay};
use ringway_wire::trailers::Trailers;

use crate::reply::Answer;

/// Makes a refusal a reply of trailers only: status and message of gRPC in the head, under 200. Its other fields stay.
pub(crate) fn trailers_only(answer: &mut Answer<'_>, form: Form, head: &RequestHead, outcome: Outcome) {
    let status = Status::of_http(answer.status);
    let asked = head.field(FieldId::ContentType).unwrap_or_default();
    answer.fields.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type") && *name != "Cache-Control");
    let mut content_type = Vec::with_capacity(32);
    form.write_content_type(asked, &mut content_type);
    answer.add("Content-Type", content_type);
    answer.add("Grpc-Status", status.text().as_bytes());
    let mut message = Vec::with_capacity(64);
    grpc::write_message(outcome.title(), &mut message);
    answer.add("Grpc-Message", message);
    answer.status = 200;
    answer.body = Cow::Borrowed(b"");
}

/// The trailers of a reply that could not be brought to its end, whether or not a message of it was cut.
pub(crate) fn trailers_of(outcome: Outcome) -> Trailers {
    let mut trailers = Trailers::default();
    let mut message = Vec::with_capacity(32);
    grpc::write_message(outcome.title(), &mut message);
    // Without a status of its own it is a reply that the upstream did not end: nobody knows what was done.
    let status = outcome.row().status.map_or(Status::Unavailable, Status::of_http);
    for (name, value) in [(&b"grpc-status"[..], status.text().as_bytes()), (b"grpc-message", &message)] {
        let pushed = trailers.push(name, value, &ChunkLimits::DEFAULT);
        // INVARIANT: two short fields of visible ASCII.
        debug_assert!(pushed.is_ok());
    }
    trailers
}

/// When the caller's deadline is, counted from the request's first byte. `Err`: what it says is none.
pub(crate) fn deadline_ns(head: &RequestHead, started_ns: u64) -> Result<Option<u64>, ()> {
    let Some(value) = head.field(FieldId::GrpcTimeout) else { return Ok(None) };
    grpc::timeout_ns(value).map(|ns| Some(started_ns.saturating_add(ns))).ok_or(())
}

/// Tells the upstream how much of the deadline is left.
pub(crate) fn pass_deadline(overlay: &mut Overlay, left_ns: u64) -> Result<(), BadEdit> {
    overlay.set_with(b"Grpc-Timeout", |out| grpc::write_timeout(left_ns, out))
}

/// What the upstream gets of a request of gRPC-Web: gRPC.
pub(crate) fn make_native(head: &RequestHead, overlay: &mut Overlay) -> Result<(), BadEdit> {
    overlay.remove(b"X-Grpc-Web")?;
    let asked = head.field(FieldId::ContentType).unwrap_or_default();
    overlay.set_with(b"Content-Type", |out| Form::Native.write_content_type(asked, out))
}
