//! Fixed responses: nearly all of them go out as a block that was written with their generation.

use std::borrow::Cow;
use std::rc::Rc;

use ringway_record::Outcome;
use ringway_snapshot::model::Action;
use ringway_wire::head::{Framing, Version};
use ringway_wire::http1::ReplyAhead;
use ringway_wire::method::Method;

use super::Turn;
use crate::connection::Next;
use crate::forwarding::KnownAs;
use crate::pinned::Pinned;
use crate::reply::{self, Answer};

/// A larger fixed response holds no generation while it is read.
const HELD_BODY_BYTES_MAX: usize = 16 * 1024;
/// A larger one is not written ahead: the first buffer of a connection holds a block and what else is gathered.
const AHEAD_BODY_BYTES_MAX: usize = 2 * 1024;

/// What all blocks of a generation may weigh: fixed responses beyond it are written when they are asked for, as larger ones are.
const AHEAD_BYTES_MAX: usize = 4 << 20;

/// The fixed responses of a generation that were written ahead: nothing for all other actions, of which there may be a million.
#[derive(Debug, Default)]
pub(crate) struct RepliesAhead {
    /// By the action's index in the snapshot, ascending.
    replies: Vec<(u32, ReplyAhead)>,
}

impl RepliesAhead {
    /// Writes them, the first of them where there is no room for all.
    pub(crate) fn of(actions: &[Action]) -> Self {
        let (mut replies, mut bytes) = (Vec::new(), 0);
        for (index, action) in (0..).zip(actions) {
            let Some(reply) = ahead(action) else { continue };
            bytes += size_of::<(u32, ReplyAhead)>() + reply.head_bytes() + reply.content_bytes();
            if bytes > AHEAD_BYTES_MAX {
                break;
            }
            replies.push((index, reply));
        }
        replies.shrink_to_fit();
        Self { replies }
    }

    /// That of the action with this index.
    #[inline]
    pub(crate) fn get(&self, action: u32) -> Option<&ReplyAhead> {
        let at = self.replies.binary_search_by_key(&action, |(index, _)| *index).ok()?;
        self.replies.get(at).map(|(_, reply)| reply)
    }
}

fn ahead(action: &Action) -> Option<ReplyAhead> {
    let Action::Respond { status, fields, body } = action else { return None };
    if body.len() > AHEAD_BODY_BYTES_MAX {
        return None;
    }
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let framing = reply::own_framing(*status, body.len() as u64);
    let content = if framing == Framing::Empty { &[] } else { body.as_slice() };
    ReplyAhead::new(*status, fields, framing, content)
}

impl Turn<'_> {
    /// Answers with a fixed response. A large one is copied out of its generation, which its reader would keep alive for as long as
    /// it likes to read; a small one is read, or its reader cut, within a minute.
    pub(crate) async fn respond(&mut self, pinned: Rc<Pinned>, action: u32) -> Next {
        let Some(Action::Respond { status, fields, body }) =
            pinned.generation.snapshot.actions().get(action as usize)
        else {
            return self.refuse(Outcome::Internal).await;
        };
        if let Some(ahead) = pinned.generation.reply_ahead(action)
            && self.head.framing() == Framing::Empty
        {
            self.edit_by_chain();
            if self.take_ahead(ahead) {
                // Nearly always all of it goes at once: a request's task has no room for the other case.
                let sent = if self.sink.flush_now() { Ok(()) } else { Box::pin(self.sink.flush()).await };
                return match sent {
                    Ok(()) => self.answered(),
                    Err(end) => self.unanswered(end),
                };
            }
            self.name_reply();
            return self.answer_fixed(*status, fields, body).await;
        }
        if body.len() <= HELD_BODY_BYTES_MAX {
            return self.answer_with(*status, fields, body).await;
        }
        let (status, fields, body) = (*status, fields.clone(), body.clone());
        // The rest of its edits, its name, follows once the generation is let go of.
        self.edit_by_chain();
        self.pinned = None;
        drop(pinned);
        self.answer_with(status, &fields, &body).await
    }

    /// Gathers a response that was written ahead. `false`: this request's is another one, by its connection, its id or its edits.
    fn take_ahead(&mut self, ahead: &ReplyAhead) -> bool {
        let worker = &self.connection.worker;
        let KnownAs::Ours(id) = &self.known_as else { return false };
        let usual = self.head.version() == Version::Http11
            && self.head.persistent()
            && !worker.draining()
            && self.reply_overlay.is_empty();
        if !usual {
            return false;
        }
        let date = worker.date(self.entry.started_unix_ms());
        let with_content = self.head.method() != Method::Head;
        if !self.sink.own_ahead(ahead, id.as_bytes(), &date, with_content) {
            return false;
        }
        self.entry.record.outcome = Outcome::Served;
        self.entry.record.status = ahead.status();
        self.entry.record.head_out_bytes = u32::try_from(ahead.head_bytes()).unwrap_or(u32::MAX);
        true
    }

    /// Answers with what is fixed, unless the request's content spoils it.
    pub(super) async fn answer_with(
        &mut self,
        status: u16,
        fields: &[(String, String)],
        body: &[u8],
    ) -> Next {
        if self.head.framing() != Framing::Empty
            && let Some(next) = Box::pin(self.refuse_spoilt()).await
        {
            return next;
        }
        self.edit_reply();
        self.answer_fixed(status, fields, body).await
    }

    async fn answer_fixed(&mut self, status: u16, fields: &[(String, String)], body: &[u8]) -> Next {
        self.entry.record.outcome = Outcome::Served;
        let fields = fields.iter().map(|(name, value)| (name.as_str(), Cow::Borrowed(value.as_bytes())));
        let answer = Answer { status, fields: fields.collect(), body: Cow::Borrowed(body) };
        self.answer(&answer, false).await
    }
}

#[cfg(test)]
mod tests {
    use ringway_snapshot::model::{Rewrite, RouteTimeout};

    use super::*;

    fn respond(bytes: usize) -> Action {
        Action::Respond { status: 200, fields: Vec::new(), body: vec![b'x'; bytes] }
    }

    fn proxy() -> Action {
        Action::Proxy { upstream: 0, rewrite: Rewrite::default(), timeout: RouteTimeout::default() }
    }

    #[test]
    fn small_fixed_responses_are_found_and_what_is_none_takes_no_room() {
        let mut actions = vec![proxy(), respond(3), proxy(), respond(AHEAD_BODY_BYTES_MAX + 1), respond(0)];
        actions.extend((0..1_000).map(|_| proxy()));
        actions.push(respond(7));
        let ahead = RepliesAhead::of(&actions);
        let found: Vec<(u32, usize)> =
            (0..2_000).filter_map(|at| Some((at, ahead.get(at)?.content_bytes()))).collect();
        assert_eq!(found, [(1, 3), (4, 0), (1_005, 7)]);
        assert_eq!(ahead.replies.capacity(), 3);
    }

    #[test]
    fn what_is_written_ahead_is_bounded_however_many_responses_there_are() {
        let actions = vec![respond(AHEAD_BODY_BYTES_MAX); 2 * AHEAD_BYTES_MAX / AHEAD_BODY_BYTES_MAX];
        let ahead = RepliesAhead::of(&actions);
        let kept = ahead.replies.len();
        assert!((1_000..AHEAD_BYTES_MAX / AHEAD_BODY_BYTES_MAX).contains(&kept), "{kept}");
        assert!(ahead.get(0).is_some() && ahead.get(kept as u32).is_none());
    }
}
