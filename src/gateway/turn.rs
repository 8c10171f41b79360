//! One request's turn: its head, its record, its two halves of the connection, and the steps of the page.

mod fixed;

pub(crate) use self::fixed::RepliesAhead;

use std::borrow::Cow;
use std::pin::{Pin, pin};
use std::rc::Rc;

use ringway_policy::chain::{Decisions, Query, Refused, run_refusal, run_request};
use ringway_policy::facts::Facts;
use ringway_policy::prepare::{Chain, Prepared};
use ringway_policy::problem::Problem;
use ringway_policy::route::{AllowedMethods, Found};
use ringway_record::{Kind, Outcome};
use ringway_rt::Now;
use ringway_snapshot::model::{Rewrite, RouteTimeout, UpstreamProtocol};
use ringway_snapshot::rows::flag;
use ringway_snapshot::tables::{HostIndex, Tables};
use ringway_wire::grpc::Form;
use ringway_wire::head::{Framing, RequestHead, Upgrade, Version};
use ringway_wire::http1::{HostValue, RequestExtra, RequestLine, websocket_key};
use ringway_wire::method::Method;
use ringway_wire::overlay::{BadEdit, Overlay};
use ringway_wire::path::PathPolicy;
use ringway_wire::told;

use crate::body::{Sink, SinkEnd, Source, SourceEnd, SourceLimits};
use crate::connection::{Channel, Connection, Next};
use crate::entry::Entry;
use crate::exchange::{self, Ended, Job, Reply};
use crate::forwarding::{self, KnownAs};
use crate::grpc;
use crate::pinned::Pinned;
use crate::reply::{self, Answer, Field};
use crate::upstream::Upstream;
use crate::upstream::prepared::Timeouts;

/// An unread request body of up to so many bytes is read to its end to keep the connection.
const DRAIN_BYTES_MAX: u64 = 64 * 1024;
/// And for no longer than this: the request holds its generation meanwhile.
const DRAIN_NS_MAX: u64 = 5_000_000_000;

/// One request's turn.
pub(crate) struct Turn<'r> {
    /// Where it came from.
    pub(crate) connection: &'r Connection,
    /// The generation that decides it.
    pub(crate) pinned: Option<Rc<Pinned>>,
    /// Its head.
    pub(crate) head: &'r RequestHead,
    /// Its record.
    pub(crate) entry: Entry<'r>,
    /// Edits of what is forwarded.
    pub(crate) overlay: Overlay,
    /// The id that it is known by.
    pub(crate) known_as: KnownAs,
    reply_overlay: Overlay,
    source: Source<'r>,
    sink: Sink<'r>,
    chain: u32,
    decisions: Decisions,
    /// The chain let it pass.
    decided: bool,
    upgrade: Option<Upgrade>,
    /// It is a request of gRPC, in this form.
    grpc: Option<Form>,
    /// The form of gRPC-Web that the route translates for it.
    web: Option<Form>,
}

/// The request line and host towards the upstream, where they differ from the caller's.
#[derive(Default)]
pub(crate) struct Rewritten {
    path: Option<Vec<u8>>,
    query: Query,
    host: Option<String>,
}

/// What is answered by us, out of the way of what is forwarded or fixed.
pub(crate) type Aside<'t> = Pin<Box<dyn Future<Output = Next> + 't>>;

/// How this host's paths are normalised; strictly where there is no such host.
pub(crate) fn path_policy(tables: &Tables<'_>, host: Option<HostIndex>) -> PathPolicy {
    use ringway_snapshot::model::PathPolicy as Model;
    match host.and_then(|host| tables.host(host)).map(|row| row.path_policy()) {
        Some(Model::Merge) => PathPolicy::Merge,
        Some(Model::AsIs) => PathPolicy::AsIs,
        Some(Model::Strict) | None => PathPolicy::Strict,
    }
}

impl<'r> Turn<'r> {
    /// Begins: opens the record and names the request. It is large, and made where it stays: a function by itself writes it there.
    #[inline(never)]
    pub(crate) fn begin(
        connection: &'r Connection,
        pinned: Rc<Pinned>,
        head: &'r RequestHead,
        channel: Channel<'r>,
        started: Now,
    ) -> Self {
        let settings = &pinned.generation.settings;
        let identified = forwarding::identify(connection, settings, head, started);
        let limits = SourceLimits {
            body_bytes_max: settings.body_bytes_max,
            idle_ns_max: u64::from(settings.keep_alive_ms) * 1_000_000,
            rate_min: settings.body_rate_min,
            rate_grace_ns: u64::from(settings.body_rate_grace_ms) * 1_000_000,
        };
        let stall_ns_max = u64::from(settings.write_stall_ms_max) * 1_000_000;
        let rate_min = settings.body_rate_min;
        let (source, mut sink) = match channel {
            Channel::Http1(stream) => (
                Source::http1(stream, head.framing(), head.rest(), limits),
                Sink::http1(stream, stall_ns_max, rate_min),
            ),
            Channel::Message(receiver, sender) => (
                Source::message(receiver, head.framing(), limits),
                Sink::message(sender, stall_ns_max, rate_min),
            ),
        };
        let grpc = Form::of(head);
        if !head.accepts_trailers() && grpc != Some(Form::Native) {
            sink.drop_trailers();
        }
        let generation = pinned.generation.current.generation;
        let offers_http3 = connection.tls
            && head.version() != Version::Http3
            && pinned.generation.quic(connection.configured).is_some();
        let mut reply_overlay = Overlay::take();
        if offers_http3 {
            reply::offer_http3(head, &mut reply_overlay);
        }
        let entry = Entry::of_request(connection, head, started, generation, &identified);
        // Made last and as a whole: what is changed once it is made is made elsewhere, and moved.
        Self {
            connection,
            head,
            overlay: Overlay::take(),
            known_as: identified.known_as,
            reply_overlay,
            source,
            sink,
            chain: 0,
            decisions: Decisions::default(),
            decided: false,
            upgrade: None,
            grpc,
            web: None,
            pinned: Some(pinned),
            entry,
        }
    }

    /// What the route itself says: limits and what it allows.
    pub(crate) fn accept_route(
        &mut self,
        tables: &Tables<'_>,
        found: &Found,
    ) -> Result<(), (Outcome, &'static str)> {
        let row = &found.row;
        self.entry.record.route_id = row.id;
        self.chain = row.chain;
        if self.head.has_encoded_slash() && !row.has(flag::ENCODED_SLASH) {
            return Err((Outcome::ForbiddenPath, "path-encoded-separator"));
        }
        if self.head.upgrade().is_some() {
            if self.connection.worker.draining() {
                // It would be cut at the drain's deadline: its caller had better ask a node that stays.
                return Err((Outcome::Draining, "no-new-tunnel"));
            }
            if !row.has(flag::WEBSOCKET) {
                return Err((Outcome::UpgradeNotAllowed, "not-on-this-route"));
            }
            self.upgrade = self.head.upgrade();
        }
        self.web = self.grpc.filter(|form| *form != Form::Native && row.has(flag::GRPC_WEB));
        if let Some(body_bytes_max) = tables.body_bytes_max(row) {
            self.source.set_body_bytes_max(body_bytes_max);
        }
        match self.head.framing() {
            Framing::Length(length) if length > self.source.body_bytes_max() => {
                Err((Outcome::BodyTooLarge, "content-length"))
            }
            _ => Ok(()),
        }
    }

    /// Runs the request's half of the chain, and notes what it decided.
    #[inline]
    pub(crate) fn run_chain(
        &mut self,
        tables: &Tables<'_>,
        found: &Found,
        policies: &Prepared,
        chain: &Chain,
    ) -> Result<(), Refused> {
        if chain.is_empty() {
            self.decided = true;
            return Ok(());
        }
        let facts = self.facts(tables, found);
        let memory = &mut self.connection.worker.memory.borrow_mut();
        let (overlay, decisions) = (&mut self.overlay, &mut self.decisions);
        let verdict = run_request(policies, chain, &facts, memory, overlay, decisions, None);
        self.decided = verdict.is_ok();
        self.entry.record.shadow = self.decisions.shadow.bits();
        if let Some(identity) = &self.decisions.identity {
            self.entry.record.application_id = identity.application_id;
            self.entry.record.credential_id = identity.credential_id;
        }
        verdict
    }

    /// What policies may see of it.
    fn facts<'f>(&self, tables: &'f Tables<'f>, found: &Found) -> Facts<'f>
    where
        'r: 'f,
    {
        let Now { mono_ns, unix_ms } = self.entry.started();
        let (head, client, route_id) = (self.head, self.entry.record.client, found.row.id);
        Facts { head, tables, client, route_id, mono_ns, unix_ms, assumed: None }
    }

    /// Why it is not looked at any further: there is no memory for it, or it came on a connection that is not its host's
    /// (RFC 9113 §9.1.2).
    pub(crate) fn turned_away(&self) -> Option<Outcome> {
        if self.connection.worker.memory_is_full() {
            return Some(Outcome::Overload);
        }
        let pinned = self.pinned.as_ref().filter(|_| self.sink.is_message())?;
        let elsewhere = self.connection.is_misdirected(self.head.host(), &pinned.generation);
        elsewhere.then_some(Outcome::Misdirected)
    }

    /// The port of https to which a listener sends its plain-text requests.
    pub(crate) fn https_port(&self) -> Option<u16> {
        let pinned = self.pinned.as_ref()?;
        let port = match pinned.generation.listener(self.connection.configured) {
            Some((listener, _)) => listener.redirect_https_port?,
            // A connection of a listener that was removed is served as it was while the listener was there.
            None if !self.connection.tls => {
                self.connection.worker.node.retired_redirect(self.connection.configured)?
            }
            None => return None,
        };
        (!self.head.host().is_empty()).then_some(port)
    }

    /// Answers a listener's plain-text request with the same address under https.
    #[cold]
    pub(crate) fn redirect_to_https(&mut self, port: u16) -> Aside<'_> {
        let mut authority = String::from_utf8_lossy(self.head.host()).into_owned();
        if port != 443 {
            authority.push_str(&format!(":{port}"));
        }
        Box::pin(async move { self.redirect_now(308, Some("https"), Some(&authority), None).await })
    }

    /// Refuses with the problem of an outcome.
    #[cold]
    pub(crate) fn refuse(&mut self, outcome: Outcome) -> Aside<'_> {
        self.refuse_as(outcome, None)
    }

    /// Refuses, and says what exactly.
    #[cold]
    pub(crate) fn refuse_as(&mut self, outcome: Outcome, detail: Option<&'static str>) -> Aside<'_> {
        self.entry.detail = detail.unwrap_or_default();
        Box::pin(self.refuse_with(outcome, detail, None))
    }

    /// 405, with the methods that there are.
    #[cold]
    pub(crate) fn refuse_method(&mut self, allow: &AllowedMethods) -> Aside<'_> {
        let allow = ("Allow", Cow::Owned(allow.to_string().into_bytes()));
        Box::pin(self.refuse_with(Outcome::MethodNotAllowed, None, Some(allow)))
    }

    async fn refuse_with(
        &mut self,
        outcome: Outcome,
        detail: Option<&str>,
        field: Option<Field<'_>>,
    ) -> Next {
        self.entry.record.outcome = outcome;
        // A failed exchange has let go of its generation and made the reply's edits: the node's names are of the moment.
        let (pinned, edited) = (self.pinned.clone(), self.pinned.is_none());
        let Some(pinned) = pinned.or_else(|| self.connection.worker.pinned()) else { return Next::Close };
        let next_hop = (self.entry.record.attempts > 0).then(|| self.upstream_name(&pinned)).flatten();
        let head = self.head;
        let known_as = String::from_utf8_lossy(self.known_as.as_bytes()).into_owned();
        let problem = Problem {
            detail,
            instance: Some(head.path()),
            request_id: Some(&known_as),
            ..Problem::of(outcome)
        };
        if self.decided && !edited {
            // An upstream failed: the chain's half of the reply holds for what we say instead.
            reply::reply_edits(&pinned, self.chain, &self.decisions, &mut self.reply_overlay);
        }
        self.name_reply();
        let mut answer = Answer::problem(outcome, &problem, &pinned.generation.settings.name, next_hop);
        answer.fields.extend(field);
        if outcome.row().status == Some(503) {
            answer.add("Retry-After", &b"1"[..]);
        }
        let close =
            outcome.row().status.is_some_and(|status| status == 400 || status == 408 || status == 413);
        if let Some(form) = self.grpc {
            grpc::trailers_only(&mut answer, form, head, outcome);
        }
        self.answer(&answer, close).await
    }

    fn upstream_name<'p>(&self, pinned: &'p Pinned) -> Option<&'p str> {
        let id = self.entry.record.upstream_id;
        pinned
            .generation
            .upstreams
            .iter()
            .find(|upstream| upstream.id == id)
            .map(|upstream| upstream.name.as_str())
    }

    /// Refuses as the chain decided.
    #[cold]
    pub(crate) fn refuse_by_policy<'t>(&'t mut self, refused: Refused, chain: &'t Chain) -> Aside<'t> {
        Box::pin(async move { self.refuse_by_policy_now(&refused, chain).await })
    }

    async fn refuse_by_policy_now(&mut self, refused: &Refused, chain: &Chain) -> Next {
        self.entry.record.outcome = refused.outcome;
        self.entry.record.stage = refused.stage.number();
        self.entry.record.limit_id = refused.limit_id;
        let Some(pinned) = self.pinned.clone() else { return Next::Close };
        let policies = &pinned.generation.policies;
        let known_as = String::from_utf8_lossy(self.known_as.as_bytes()).into_owned();
        let mut body = Vec::with_capacity(512);
        refused.write_problem(policies, chain, &self.decisions, self.head.path(), &known_as, &mut body);
        let mut fields = Vec::with_capacity(8);
        refused.fields(policies, chain, &self.decisions, &mut fields);
        let status = refused.outcome.row().status.unwrap_or(500);
        let mut answer = Answer { status, fields, body: Cow::Owned(body) };
        answer.add("Content-Type", ringway_policy::problem::CONTENT_TYPE.as_bytes());
        answer.add("Cache-Control", &b"no-store"[..]);
        answer.proxy_status(refused.outcome, &pinned.generation.settings.name, None);
        // The fields that the refusal demands are there already; edits of `headers` steps come on top.
        if let Err(bad) = run_refusal(chain, &mut self.reply_overlay) {
            tracing::error!(error = %bad, "a prepared edit could not be made");
        }
        self.name_reply();
        if let Some(form) = self.grpc {
            grpc::trailers_only(&mut answer, form, self.head, refused.outcome);
        }
        self.answer(&answer, false).await
    }

    /// Refuses a request that we answer ourselves if its content is malformed, or too much: of chunks what is there is looked at,
    /// and on a stream of its own a short announced length is waited for, because content that contradicts it makes the request
    /// none (RFC 9113 §8.1.1, RFC 9114 §4.1.2).
    async fn refuse_spoilt(&mut self) -> Option<Next> {
        let waits = match self.head.framing() {
            Framing::Chunked => false,
            Framing::Length(length) if length <= DRAIN_BYTES_MAX && self.sink.is_message() => {
                !self.head.expects_continue()
            }
            _ => return None,
        };
        let end = match self.source.skip_ready() {
            // Few wait for it: a request's task has no room for that.
            Ok(false) if waits => Box::pin(self.source.drain(DRAIN_BYTES_MAX)).await.err()?,
            Ok(_) => return None,
            Err(SourceEnd::Short | SourceEnd::Reset | SourceEnd::Timeout) if !waits => return None,
            Err(end) => end,
        };
        let outcome = exchange::outcome_of(end, &mut self.entry);
        Some(self.finish(Ended { outcome, reply: Reply::None }).await)
    }

    /// Answers with a redirect; what is not given is the request's own.
    #[cold]
    pub(crate) fn redirect<'t>(
        &'t mut self,
        status: u16,
        scheme: Option<&'t str>,
        authority: Option<&'t str>,
        path: Option<&'t str>,
    ) -> Aside<'t> {
        Box::pin(self.redirect_now(status, scheme, authority, path))
    }

    async fn redirect_now(
        &mut self,
        status: u16,
        scheme: Option<&str>,
        authority: Option<&str>,
        path: Option<&str>,
    ) -> Next {
        if let Some(next) = self.refuse_spoilt().await {
            return next;
        }
        self.entry.record.outcome = Outcome::Served;
        let mut location = Vec::with_capacity(128);
        let authority = authority.map_or(self.head.authority(), str::as_bytes);
        let path = path.map_or(self.head.path(), str::as_bytes);
        // An HTTP/1.0 request without Host has none to send its caller to: the reference is relative then, but never `//…`, which
        // would name a host.
        if !authority.is_empty() || path.starts_with(b"//") {
            location.extend_from_slice(scheme.unwrap_or(self.connection.scheme()).as_bytes());
            location.extend_from_slice(b"://");
            location.extend_from_slice(authority);
        }
        location.extend_from_slice(path);
        if let Some(query) = self.head.query() {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        let mut answer = Answer { status, fields: Vec::new(), body: Cow::Borrowed(b"") };
        answer.add("Location", location);
        self.edit_reply();
        self.answer(&answer, false).await
    }

    /// The reply says which request it answers.
    fn name_reply(&mut self) {
        let named = told::name_reply(self.known_as.as_bytes(), &mut self.reply_overlay);
        // INVARIANT: an id is visible ASCII, ours or checked when it was taken over.
        debug_assert!(named.is_ok());
    }

    fn edit_reply(&mut self) {
        self.edit_by_chain();
        self.name_reply();
    }

    fn edit_by_chain(&mut self) {
        if let Some(pinned) = self.pinned.as_ref().filter(|_| self.decided) {
            reply::reply_edits(pinned, self.chain, &self.decisions, &mut self.reply_overlay);
        }
    }

    /// The request line and host that the upstream gets.
    pub(crate) fn rewrite(&mut self, rewrite: &Rewrite, found: &Found) -> Rewritten {
        let path = match (&rewrite.path, &rewrite.prefix) {
            (Some(path), _) => Some(path.clone().into_bytes()),
            (None, Some(prefix)) => {
                let rest = self.head.path().get(found.matched..).unwrap_or_default();
                let prefix = if rest.first() == Some(&b'/') { prefix.trim_end_matches('/') } else { prefix };
                let mut path = prefix.as_bytes().to_vec();
                path.extend_from_slice(rest);
                if path.is_empty() {
                    path.push(b'/');
                }
                let replaced = self.head.path().get(..found.matched).unwrap_or_default();
                let _ = self.overlay.set(b"X-Forwarded-Prefix", replaced);
                Some(path)
            }
            (None, None) => None,
        };
        Rewritten { path, query: std::mem::take(&mut self.decisions.query), host: rewrite.host.clone() }
    }

    /// Forwards the request and relays the reply.
    pub(crate) async fn proxy(
        &mut self,
        upstream: Option<Rc<Upstream>>,
        rewritten: &Rewritten,
        timeout: &RouteTimeout,
    ) -> Next {
        let told = forwarding::tell(self);
        let (Some(line), Some(upstream), Ok(())) = (line(self.head, rewritten), upstream, told) else {
            return self.refuse(Outcome::Internal).await;
        };
        // HTTP/1.0 needs no Host; what is forwarded is HTTP/1.1, which does: then it is the upstream's name.
        let unnamed = self.head.authority().is_empty();
        let named = unnamed.then(|| upstream.prepared.name.clone());
        let host = rewritten.host.as_deref().or(named.as_deref());
        let host = host.map(|host| HostValue::new(host.as_bytes()));
        if unnamed && host.flatten().is_none() {
            return self.refuse(Outcome::InvalidHost).await;
        }
        // The reply's half of the chain needs nothing of the reply: its edits are made now, and the generation is let go of.
        // A request that waits for hours (an upload, a long poll) would keep it alive, and eight of them a reload from happening.
        self.edit_reply();
        self.pinned = None;
        if self.upgrade.is_some() && self.sink.is_message() && self.key_tunnel().is_err() {
            return self.refuse(Outcome::Internal).await;
        }
        // Policy has accepted: the caller may send its body.
        if self.is_waited_for() && Box::pin(self.sink.go_on()).await.is_err() {
            self.entry.record.outcome = Outcome::ClientClosed;
            return Next::Abort;
        }
        let mut timeouts = upstream.prepared.timeouts.under(timeout);
        let deadline_ns = match self.grpc_terms(&upstream, &mut timeouts) {
            Ok(deadline_ns) => deadline_ns,
            Err((outcome, detail)) => return self.refuse_as(outcome, detail).await,
        };
        let mut job = Job {
            connection: self.connection,
            head: self.head,
            timeouts,
            upstream,
            overlay: &self.overlay,
            reply_overlay: &mut self.reply_overlay,
            line,
            write_stall_ns_max: self.sink.stall_ns_max(),
            framing: framing_up(self.head, self.web),
            deadline_ns,
            web: self.web,
            receiver: self.upgrade.and_then(|_| self.source.take_receiver()),
            extra: RequestExtra {
                host: host.flatten(),
                upgrade: self.upgrade,
                trailers: self.head.accepts_trailers() || self.grpc.is_some(),
                ..RequestExtra::default()
            },
        };
        let ended = {
            // Pinned once and awaited by reference: a request's task has room for one of these.
            let mut exchange =
                pin!(exchange::run(&mut job, &mut self.entry, &mut self.source, &mut self.sink));
            match deadline_ns {
                None => Some(exchange.as_mut().await),
                Some(deadline_ns) => ringway_rt::until_ns(deadline_ns, exchange.as_mut()).await,
            }
        };
        let ended = ended.unwrap_or_else(|| self.deadline_came());
        match ended.reply {
            Reply::Whole | Reply::Last => self.finished(ended),
            Reply::None | Reply::Cut => Box::pin(self.finish(ended)).await,
        }
    }

    /// Whether the caller sends its content only once it is told to go on.
    fn is_waited_for(&self) -> bool {
        self.head.expects_continue() && self.source.awaits_continue()
    }

    /// Whether it comes round again.
    pub(crate) fn has_looped(&self) -> bool {
        let pinned = self.pinned.as_deref();
        pinned.is_some_and(|pinned| forwarding::has_looped(self.head, &pinned.generation.settings.name))
    }

    /// Whether it is a TRACE or OPTIONS that may go no further.
    pub(crate) fn ends_here(&self) -> bool {
        forwarding::hops_left(self.head) == Some(0)
    }

    /// Answers a TRACE or OPTIONS that may go no further (RFC 9110 §7.6.2). A request is never reflected: it holds credentials.
    #[cold]
    pub(crate) fn answer_as_last(&mut self) -> Aside<'_> {
        if self.head.method() == Method::Options {
            return Box::pin(self.answer_with(204, &[], b""));
        }
        let allow = ("Allow", Cow::Borrowed(&b"GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"[..]));
        Box::pin(self.refuse_with(Outcome::MethodNotAllowed, Some("max-forwards"), Some(allow)))
    }

    /// What gRPC asks for before the request goes: the instant of its deadline, which the upstream is told, streams of messages
    /// that may be silent for as long as a tunnel, and content that is gRPC.
    fn grpc_terms(
        &mut self,
        upstream: &Upstream,
        timeouts: &mut Timeouts,
    ) -> Result<Option<u64>, (Outcome, Option<&'static str>)> {
        let Some(form) = self.grpc else { return Ok(None) };
        // A media type is soon written: nobody gets patience with it where gRPC cannot be, and nobody whose leaving does not show
        // before he is written to. The content of gRPC-Web is one message, which does not rest.
        if upstream.prepared.protocol != UpstreamProtocol::Http1 && self.sink.is_message() {
            timeouts.idle_ns_max = timeouts.idle_ns_max.max(timeouts.tunnel_idle_ns_max);
            if form == Form::Native {
                self.source.let_rest(timeouts.idle_ns_max);
            }
        }
        let deadline_ns = grpc::deadline_ns(self.head, self.entry.started_ns())
            .map_err(|()| (Outcome::MalformedHead, Some("grpc-timeout")))?;
        let mut edited = Ok(());
        if let Some(deadline_ns) = deadline_ns {
            let left_ns = deadline_ns.saturating_sub(ringway_rt::now().mono_ns);
            if left_ns == 0 {
                return Err((Outcome::DeadlineExceeded, None));
            }
            edited = grpc::pass_deadline(&mut self.overlay, left_ns);
        }
        if let Some(form) = self.web {
            edited = edited.and_then(|()| grpc::make_native(self.head, &mut self.overlay));
            if form == Form::WebText {
                self.source.decode_base64();
            }
        }
        edited.map_err(|_| (Outcome::Internal, None))?;
        Ok(deadline_ns)
    }

    /// The caller's deadline came, and the exchange was given up.
    fn deadline_came(&mut self) -> Ended {
        self.source.disarm();
        // All that time either peer was waited for.
        let lasted_ns = ringway_rt::now().mono_ns.saturating_sub(self.entry.started_ns());
        self.entry.waited_ns = lasted_ns.saturating_sub(self.source.waited_ns() + self.sink.waited_ns());
        let reply = if self.sink.untouched() { Reply::None } else { Reply::Cut };
        Ended { outcome: Outcome::DeadlineExceeded, reply }
    }

    /// A reply of gRPC that cannot be brought to its end has an end all the same: its status says what became of it. That of
    /// gRPC-Web is content among content, and could be taken for a part of the message that was cut.
    async fn end_cut(&mut self, ended: Ended) -> Ended {
        if ended.outcome.kind() == Kind::Client || !self.sink.can_be_ended() {
            return ended;
        }
        let trailers = grpc::trailers_of(ended.outcome);
        let reply = if self.sink.end(Some(&trailers)).await.is_ok() { Reply::Whole } else { Reply::Cut };
        Ended { reply, ..ended }
    }

    /// An extended CONNECT has no key, and HTTP/1.1 asks for one (RFC 6455 §4.1, RFC 8441 §5).
    fn key_tunnel(&mut self) -> Result<(), BadEdit> {
        let worker = &self.connection.worker;
        let nonce = u128::from(worker.random()) << 64 | u128::from(worker.random());
        self.overlay.set(b"Sec-WebSocket-Key", &websocket_key(&nonce.to_le_bytes()))?;
        self.overlay.set(b"Sec-WebSocket-Version", b"13")
    }

    /// Tells the caller what became of its request, if it has no reply yet, and says what follows.
    async fn finish(&mut self, mut ended: Ended) -> Next {
        if ended.reply == Reply::Cut && self.grpc == Some(Form::Native) {
            ended = Box::pin(self.end_cut(ended)).await;
        }
        if ended.reply == Reply::None && reply::can_be_told(ended.outcome) {
            let detail = Some(self.entry.detail).filter(|detail| !detail.is_empty());
            return self.refuse_as(ended.outcome, detail).await;
        }
        self.finished(ended)
    }

    /// The caller has all that it gets.
    fn finished(&mut self, ended: Ended) -> Next {
        self.entry.record.outcome = ended.outcome;
        self.account();
        match ended.reply {
            Reply::None | Reply::Cut => Next::Abort,
            _ if self.sink.is_message() => self.next(),
            Reply::Whole if self.source.is_done() => self.next(),
            _ => Next::Close,
        }
    }

    /// Sends a reply of ours. The rest of the request's body is read if it is short, else the connection ends.
    async fn answer(&mut self, answer: &Answer<'_>, close: bool) -> Next {
        let short = match self.head.framing() {
            Framing::Length(length) => length <= DRAIN_BYTES_MAX && !self.head.expects_continue(),
            framing => framing == Framing::Empty,
        };
        let alone = self.sink.is_message();
        if alone && let Err(end @ SourceEnd::Malformed(_)) = self.source.skip_ready() {
            // Its stream is reset, which is all that the caller hears (RFC 9113 §8.1.1, RFC 9114 §4.1.2).
            self.entry.record.outcome = exchange::outcome_of(end, &mut self.entry);
        }
        let close = !alone
            && (close
                || !self.head.persistent()
                || self.connection.worker.draining()
                || !(short || self.source.skip_ready().unwrap_or(false)));
        let (head, overlay) = (Some(self.head), &self.reply_overlay);
        let sent =
            reply::send(self.connection, head, &mut self.entry, &mut self.sink, answer, overlay, close).await;
        let drained = match sent {
            Ok(()) if alone => true,
            Ok(()) if !close => self.source.is_done() || Box::pin(self.drain()).await,
            _ => false,
        };
        match sent {
            Ok(()) if drained => self.answered(),
            Ok(()) => {
                self.account();
                Next::Close
            }
            Err(end) => self.unanswered(end),
        }
    }

    /// A reply of ours went out whole, and the connection goes on.
    fn answered(&mut self) -> Next {
        self.account();
        self.next()
    }

    /// A reply of ours did not go out whole.
    #[cold]
    fn unanswered(&mut self, end: SinkEnd) -> Next {
        self.account();
        match end {
            SinkEnd::Closed if self.source.is_malformed() => {}
            SinkEnd::Closed => self.entry.record.outcome = Outcome::ClientClosed,
            SinkEnd::Stalled => self.entry.record.outcome = Outcome::ClientStalled,
            SinkEnd::TooLarge if self.entry.record.outcome == Outcome::Served => {
                self.entry.record.outcome = Outcome::UpstreamHeadTooLarge;
                self.entry.detail = reply::OVER_THE_CALLERS_LIMIT;
            }
            SinkEnd::TooLarge => {}
        }
        Next::Abort
    }

    /// Reads what is left of the request's body. `false`: it does not end soon, or not in order.
    async fn drain(&mut self) -> bool {
        let until_ns = ringway_rt::now().mono_ns.saturating_add(DRAIN_NS_MAX);
        let drained = ringway_rt::until_ns(until_ns, self.source.drain(DRAIN_BYTES_MAX)).await;
        self.source.disarm();
        drained.is_some_and(|drained| drained.is_ok())
    }

    fn account(&mut self) {
        if !self.entry.tunnel {
            self.entry.record.body_in_bytes = self.source.body_bytes;
            self.entry.record.body_out_bytes = self.sink.body_bytes;
        }
        let waited_ns = self.source.waited_ns() + self.sink.waited_ns();
        self.entry.waited_ns += waited_ns.saturating_sub(self.entry.overlapped_ns);
    }

    /// What was read beyond this request.
    fn next(&mut self) -> Next {
        self.source.stop();
        self.connection.rests_since(self.entry.ended_ns);
        Next::Again(self.source.take_rest())
    }
}

/// How the upstream gets the content: as it came, unless it is decoded on the way.
fn framing_up(head: &RequestHead, web: Option<Form>) -> Framing {
    match head.framing() {
        Framing::Length(_) if web == Some(Form::WebText) => Framing::Chunked,
        framing => framing,
    }
}

fn line<'a>(head: &'a RequestHead, rewritten: &'a Rewritten) -> Option<RequestLine<'a>> {
    let query = match &rewritten.query {
        Query::Kept => head.query(),
        Query::Removed => None,
        Query::Replaced(query) => Some(query.as_slice()),
    };
    match &rewritten.path {
        None if rewritten.query == Query::Kept => Some(RequestLine::of(head)),
        None => RequestLine::new(head.path(), query),
        Some(path) => RequestLine::new(path, query),
    }
}
