//! The request's page: every request, whatever its protocol, goes this way from parsed head to filed record.

use std::rc::Rc;

use ringway_policy::chain::{Verdict, run_request};
use ringway_policy::route::{RouteMatch, RouteQuery, match_path};
use ringway_record::Outcome;
use ringway_rt::Now;
use ringway_snapshot::model::Action;
use ringway_wire::head::RequestHead;
use ringway_wire::http1::normalise_path;

use crate::connection::{Channel, Connection, Next};
use crate::malformed;
use crate::turn::{Turn, path_policy};

/// Serves one request: find the route, run its chain, carry out its action, file the record.
pub(crate) async fn serve(
    connection: &Rc<Connection>,
    mut head: RequestHead,
    channel: Channel<'_>,
    started: Now,
) -> Next {
    // A request lives in the generation that was current when its head was whole.
    let Some(pinned) = connection.worker.pinned() else { return Next::Close };
    let snapshot = &pinned.generation.snapshot;
    let tables = snapshot.tables();

    // One path for match, authorisation and forwarding: normalised here, as its host wants it.
    let host = tables.find_host(head.host());
    let path = normalise_path(&mut head, path_policy(tables, host));
    let mut turn = Turn::begin(connection, Rc::clone(&pinned), &head, channel, started);
    if let Some(outcome) = turn.turned_away() {
        return turn.refuse(outcome).await;
    }
    if let Some(next) = turn.redirect_to_https().await {
        return next;
    }
    if let Err(reject) = path {
        return turn.refuse_as(malformed::request(reject), Some(reject.name())).await;
    }
    let Some(host) = host else { return turn.refuse(Outcome::UnknownHost).await };

    let expressions = &pinned.generation.expressions;
    let found = match match_path(tables, expressions, host, &RouteQuery::of(&head)) {
        RouteMatch::Found(found) => found,
        RouteMatch::MethodNotAllowed { allow, .. } => return turn.refuse_method(&allow).await,
        RouteMatch::UnknownHost => return turn.refuse(Outcome::UnknownHost).await,
        RouteMatch::NoRoute(_) => return turn.refuse(Outcome::NoRoute).await,
    };
    if let Err((outcome, detail)) = turn.accept_route(tables, &found) {
        return turn.refuse_as(outcome, Some(detail)).await;
    }

    // Policy chain, the request's half.
    let policies = &pinned.generation.policies;
    let Some(chain) = policies.chain(found.row.chain) else { return turn.refuse(Outcome::Internal).await };
    let facts = turn.facts(tables, &found);
    let verdict = {
        let mut memory = connection.worker.memory.borrow_mut();
        run_request(policies, chain, &facts, &mut memory, &mut turn.overlay, None)
    };
    let passed = match verdict {
        Verdict::Continue(passed) => passed,
        Verdict::Refuse(refused) => return turn.refuse_by_policy(&refused, chain).await,
    };
    turn.passed(&passed);

    // Action.
    match snapshot.actions().get(found.row.action as usize) {
        Some(Action::Respond { .. }) => turn.respond(pinned, found.row.action).await,
        Some(Action::Redirect { status, scheme, authority, path }) => {
            turn.redirect(*status, scheme.as_deref(), authority.as_deref(), path.as_deref()).await
        }
        Some(Action::Proxy { .. }) if turn.ends_here() => turn.answer_as_last().await,
        Some(Action::Proxy { .. }) if turn.has_looped() => turn.refuse(Outcome::LoopDetected).await,
        Some(Action::Proxy { upstream, rewrite, timeout }) => {
            let upstream = pinned.upstream(*upstream, &connection.worker.endpoints);
            let rewritten = turn.rewrite(rewrite, &found, passed.query);
            let timeout = *timeout;
            // What waits for an upstream pins no generation: the turn lets go of its own hold before it asks.
            drop(pinned);
            turn.proxy(upstream, &rewritten, &timeout).await
        }
        None => turn.refuse(Outcome::Internal).await,
    }
}
