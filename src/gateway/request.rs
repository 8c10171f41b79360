//! The request's page: every request, whatever its protocol, goes this way from parsed head to filed record.

use std::pin::pin;
use std::rc::Rc;

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
/// What takes long is pinned where it is made: awaited by value, all of its room is copied first.
pub(crate) async fn serve(
    connection: &Rc<Connection>,
    head: &mut RequestHead,
    channel: Channel<'_>,
    started: Now,
) -> Next {
    // A request lives in the generation that was current when its head was whole.
    let Some(pinned) = connection.worker.pinned() else { return Next::Close };
    let snapshot = &pinned.generation.snapshot;
    let tables = snapshot.tables();

    // One path for match, authorisation and forwarding: normalised here, as its host wants it.
    let host = tables.find_host(head.host());
    let path = normalise_path(head, path_policy(tables, host));
    let head = &*head;
    let mut turn = Turn::begin(connection, Rc::clone(&pinned), head, channel, started);
    // What is rare is made aside, by one way out: the way of all others is short then, and lies together.
    let aside = 'aside: {
        if let Some(outcome) = turn.turned_away() {
            break 'aside turn.refuse(outcome);
        }
        if let Some(port) = turn.https_port() {
            break 'aside turn.redirect_to_https(port);
        }
        if let Err(reject) = path {
            break 'aside turn.refuse_as(malformed::request(reject), Some(reject.name()));
        }
        let Some(host) = host else { break 'aside turn.refuse(Outcome::UnknownHost) };

        let found = match match_path(tables, &pinned.generation.expressions, host, &RouteQuery::of(head)) {
            RouteMatch::Found(found) => found,
            RouteMatch::MethodNotAllowed { allow, .. } => break 'aside turn.refuse_method(&allow),
            RouteMatch::UnknownHost => break 'aside turn.refuse(Outcome::UnknownHost),
            RouteMatch::NoRoute(_) => break 'aside turn.refuse(Outcome::NoRoute),
        };
        if let Err((outcome, detail)) = turn.accept_route(tables, &found) {
            break 'aside turn.refuse_as(outcome, Some(detail));
        }

        // Policy chain, the request's half.
        let policies = &pinned.generation.policies;
        let chain = policies.chain(found.row.chain);
        let Some(chain) = chain else { break 'aside turn.refuse(Outcome::Internal) };
        if let Err(refused) = turn.run_chain(tables, &found, policies, chain) {
            break 'aside turn.refuse_by_policy(refused, chain);
        }

        // Action.
        match snapshot.actions().get(found.row.action as usize) {
            Some(Action::Respond { .. }) => return pin!(turn.respond(pinned, found.row.action)).await,
            Some(Action::Redirect { status, scheme, authority, path }) => {
                turn.redirect(*status, scheme.as_deref(), authority.as_deref(), path.as_deref())
            }
            Some(Action::Proxy { .. }) if turn.ends_here() => turn.answer_as_last(),
            Some(Action::Proxy { .. }) if turn.has_looped() => turn.refuse(Outcome::LoopDetected),
            Some(Action::Proxy { upstream, rewrite, timeout }) => {
                let upstream = pinned.upstream(*upstream, &connection.worker.endpoints);
                let rewritten = turn.rewrite(rewrite, &found);
                let timeout = *timeout;
                // What waits for an upstream pins no generation: the turn lets go of its own hold before it asks.
                drop(pinned);
                return pin!(turn.proxy(upstream, &rewritten, &timeout)).await;
            }
            None => turn.refuse(Outcome::Internal),
        }
    };
    aside.await
}
