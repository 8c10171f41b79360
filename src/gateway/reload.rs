//! The reload thread: learns of generations, prepares them, makes them live, says so, and drops the old ones.
//!
//! Control tells by a long poll; without control the pointer on disk is looked at every second, so that
//! a node boots and follows its state directory alone.

use std::time::{Duration, Instant};

use ringway_record::metrics::Metric;
use ringway_snapshot::current::{ContentHash, Current};

use crate::control_link::{self, Address, ControlLink};
use crate::error::{GenerationError, chain};
use crate::generation::{Generation, Workshop};
use crate::node::Node;
use crate::published::GENERATIONS_LIVE_MAX;

/// Between two words to control on how the node fares.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);
/// Between two looks at the pointer while control does not answer.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two attempts at a generation that may be good a moment later, first and at most.
const AGAIN_MS_MIN: u64 = 500;
const AGAIN_MS_MAX: u64 = 30_000;
/// What control answers when the generation is still the same.
const NOTHING_NEW: u16 = 204;
/// How long the same complaint is not made again.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// Complaints that are remembered.
const COMPLAINTS_MAX: usize = 16;
/// How long publishing waits for requests to let go of old generations before it refuses.
const CROWDED_MAX: Duration = Duration::from_secs(5);

/// Runs for as long as the process does.
pub(crate) fn run(node: &Node) {
    let mut link = ControlLink::new(&node.control);
    let mut served = Served::default();
    served.follow_disk(node, &mut link);
    loop {
        match link.get(&served.question(node)) {
            Ok(reply) if reply.status == 200 => {
                node.metrics.node().set(Metric::ControlReachable, 1);
                match Current::decode(&reply.body, &node.state.trust) {
                    Ok(current) => {
                        served.pointer = Some((current, reply.body));
                        served.serve(node, current, &mut link);
                    }
                    Err(source) => {
                        // It says the same the next time, and at once.
                        served.complain(node, &GenerationError::Pointer(source));
                        std::thread::sleep(LOOK_EVERY);
                    }
                }
            }
            Ok(reply) => {
                node.metrics.node().set(Metric::ControlReachable, 1);
                if reply.status != NOTHING_NEW {
                    served.warn(node, reply.problem(), "");
                    std::thread::sleep(LOOK_EVERY);
                    served.follow_disk(node, &mut link);
                    served.fall_back(node, &mut link);
                }
            }
            Err(error) => {
                served.warn(node, chain(&error), control_link::hint(&error));
                node.metrics.node().set(Metric::ControlReachable, 0);
                served.fall_back(node, &mut link);
                std::thread::sleep(LOOK_EVERY);
                served.follow_disk(node, &mut link);
            }
        }
        if node.draining() {
            return;
        }
        if let Some(current) = served.again.take() {
            served.serve(node, current, &mut link);
        }
    }
}

/// What this node serves, and what it would not.
#[derive(Default)]
struct Served {
    generation: u64,
    hash: Option<ContentHash>,
    refused: Option<Current>,
    /// Refused for what may pass: an address in use, too many generations alive, a file that is not there yet.
    again: Option<Current>,
    /// The last refusal was for what another snapshot would meet too, such as an address in use.
    in_the_way: bool,
    /// Before it is tried again; longer each time.
    pause_ms: u64,
    /// What control of another host told last, not on disk yet.
    pointer: Option<(Current, Vec<u8>)>,
    complaints: Vec<(String, Instant)>,
    /// Snapshots that were tried in place of the current one.
    tried: Vec<ContentHash>,
}

impl Served {
    /// What control is asked: for what comes after the generation that was handled last, and for as long as there is nothing to
    /// be tried again meanwhile.
    fn question(&self, node: &Node) -> String {
        let wait = self.again.map(|_| format!("&wait_ms={}", self.pause_ms)).unwrap_or_default();
        format!("/v1/node/generation?node={}&after={}{wait}", id(node), self.generation)
    }

    /// Serves what `snapshots/current` points to, if that is something else.
    fn follow_disk(&mut self, node: &Node, link: &mut ControlLink) {
        match node.state.current() {
            Ok(Some(current)) if current.generation != self.generation && self.refused != Some(current) => {
                self.serve(node, current, link);
            }
            Ok(_) => {}
            Err(error) => self.complain(node, &error),
        }
    }

    /// Where nothing is served, what `snapshots/current` points to cannot be, and control gives no other copy of it: serves what
    /// was published last and is good. Each snapshot is tried once.
    fn fall_back(&mut self, node: &Node, link: &mut ControlLink) {
        if node.published.current().is_some() || self.in_the_way {
            return;
        }
        let refused = self.refused;
        for current in self.candidates(node) {
            if refused.is_some_and(|refused| refused.hash == current.hash)
                || self.tried.contains(&current.hash)
            {
                continue;
            }
            self.tried.push(current.hash);
            let before = (self.generation, self.refused, self.again, self.pause_ms);
            self.serve(node, current, link);
            if node.published.current().is_some() {
                tracing::error!(
                    generation = current.generation,
                    hint = "start control: it tells and sends the newest",
                    "the current snapshot or its pointer cannot be used; what was published last and is good is taken instead"
                );
                return;
            }
            if self.in_the_way {
                return;
            }
            // As if it had not been tried: what is waited for is the current one.
            (self.generation, self.refused, self.again, self.pause_ms) = before;
        }
    }

    /// What may be served where the current one cannot: what was published before and not taken back. Where that is not known, the
    /// newest that lie there, up to the generation that the pointer names.
    fn candidates(&mut self, node: &Node) -> Vec<Current> {
        let published = node.state.published();
        if !published.is_empty() {
            return published;
        }
        let pointed = node.state.current().ok().flatten();
        node.state.good(pointed.map_or(u64::MAX, |current| current.generation), &mut self.tried)
    }

    /// Makes a generation live and acknowledges it, or says why not.
    fn serve(&mut self, node: &Node, current: Current, link: &mut ControlLink) {
        let began = Instant::now();
        self.again = None;
        // Control asks again after its own start, and at ours: what is served already is only acknowledged.
        let serving = self.generation == current.generation && self.hash == Some(current.hash);
        let outcome = if serving { Ok(()) } else { make_live(node, current, link) };
        let live_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Refused or not, control is asked for what comes after it.
        self.generation = current.generation;
        let reason = match outcome {
            Ok(()) => {
                self.hash = Some(current.hash);
                self.refused = None;
                self.in_the_way = false;
                self.keep_pointer(node, current);
                if !serving {
                    node.metrics.node().add(Metric::GenerationsLoaded, 1);
                    tracing::info!(generation = current.generation, live_ms, "generation is live");
                }
                None
            }
            Err(error) => {
                if self.refused == Some(current) {
                    self.pause_ms = (self.pause_ms * 2).min(AGAIN_MS_MAX);
                } else {
                    self.pause_ms = AGAIN_MS_MIN;
                    node.metrics.node().add(Metric::GenerationsRejected, 1);
                }
                self.refused = Some(current);
                self.again = error.may_pass().then_some(current);
                self.in_the_way = error.may_pass() && !error.is_of_the_file();
                self.complain(node, &error);
                Some(chain(&error))
            }
        };
        let said = serde_json::json!({
            "node": id(node),
            "generation": current.generation,
            "hash": current.hash.to_string(),
            "ok": reason.is_none(),
            "reason": reason,
            "live_ms": live_ms,
            "report": crate::admin::report(node),
        });
        if let Err(error) = link.post("/v1/node/acknowledgements", &said) {
            tracing::debug!(%error, "acknowledgement not sent");
        }
    }

    /// Notes on disk what is served, so that the node boots from it without control.
    fn keep_pointer(&mut self, node: &Node, current: Current) {
        let Some((_, text)) = self.pointer.take_if(|(told, _)| *told == current) else { return };
        let served = node.published.current();
        let goes_back = served.is_some_and(|served| served.snapshot.header().generation < current.generation);
        if matches!(node.control, Address::Remote(_))
            && let Err(error) = node.state.point(&text, &current, goes_back)
        {
            tracing::error!(%error, "what is served is not noted on disk: the next start begins with an older generation");
        }
    }

    /// Logs an error once a minute, not every second.
    fn complain(&mut self, node: &Node, error: &GenerationError) {
        let text = chain(error);
        if self.is_new(&text) {
            let served = meanwhile(node);
            tracing::error!(error = text, hint = error.hint(), "snapshot refused; {served}");
        }
    }

    /// As [`Served::complain`], of the way to control.
    fn warn(&mut self, node: &Node, text: String, hint: &str) {
        if self.is_new(&text) {
            let served = meanwhile(node);
            tracing::warn!(error = text, hint, "control does not tell; {served}");
        }
    }

    fn is_new(&mut self, text: &str) -> bool {
        self.complaints.retain(|(_, at)| at.elapsed() < COMPLAIN_EVERY);
        let new = !self.complaints.iter().any(|(known, _)| known == text);
        if new && self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push((text.to_owned(), Instant::now()));
        }
        new
    }
}

/// What a node does that is told nothing better.
fn meanwhile(node: &Node) -> &'static str {
    match node.published.current() {
        Some(_) => "the last good snapshot serves on",
        None => "nothing is served yet",
    }
}

fn make_live(node: &Node, current: Current, link: &mut ControlLink) -> Result<(), GenerationError> {
    wait_for_room(node)?;
    let snapshot = match node.state.snapshot(&current.hash) {
        Ok(snapshot) => snapshot,
        // What is damaged on disk is refused and fetched again, as what is not there.
        Err(error) if error.is_of_the_file() => {
            let fetched = link.get(&format!("/v1/node/snapshots/{}", current.hash));
            match fetched {
                Ok(reply) if reply.status == 200 => {
                    let snapshot = node.state.keep(&current.hash, &reply.body)?;
                    tracing::info!(hash = %current.hash, because = chain(&error), "snapshot fetched from control");
                    snapshot
                }
                _ => return Err(error),
            }
        }
        Err(error) => return Err(error),
    };
    let workshop = Workshop {
        keys: &node.state.keys,
        tickets: &node.state.tickets,
        quic: &node.state.quic,
        resolver: &node.resolver,
        workers: u32::from(node.workers()),
    };
    node.make_live(Generation::prepare(current, snapshot, &workshop)?)
}

/// At most [`GENERATIONS_LIVE_MAX`] generations live at once.
fn wait_for_room(node: &Node) -> Result<(), GenerationError> {
    let began = Instant::now();
    loop {
        let live = node.published.prune();
        if live < GENERATIONS_LIVE_MAX {
            return Ok(());
        }
        if began.elapsed() > CROWDED_MAX {
            return Err(GenerationError::Crowded(live));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The node's id, as it is said to control.
pub(crate) fn id(node: &Node) -> String {
    format!("{:032x}", u128::from_be_bytes(node.state.node))
}

/// Tells control what the node serves and how it fares, for as long as the process runs. On a link and a thread of its own: the
/// reload thread waits for control for most of its life.
pub(crate) fn run_heartbeat(node: &Node) {
    let mut link = ControlLink::new(&node.control);
    while !node.draining() {
        std::thread::sleep(HEARTBEAT_EVERY);
        let said = serde_json::json!({
            "node": id(node),
            "generation": node.published.current().map_or(0, |generation| generation.current.generation),
            "report": crate::admin::report(node),
        });
        if let Err(error) = link.post("/v1/node/heartbeat", &said) {
            tracing::debug!(%error, "heartbeat not sent");
        }
        renew(node, &mut link);
    }
}

/// Renews the node's certificate for control when it is time.
fn renew(node: &Node, link: &mut ControlLink) {
    let Address::Remote(remote) = &node.control else { return };
    match remote.renew(node.state.root(), &id(node), ringway_rt::now().unix_ms, link) {
        Ok(true) => tracing::info!("the node's certificate for control was renewed"),
        Ok(false) => {}
        Err(error) => tracing::debug!(%error, "the node's certificate for control is not renewed yet"),
    }
}
