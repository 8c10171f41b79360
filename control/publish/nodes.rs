//! Which nodes there are, what they said about generations, and waiting until a generation is live on all of them.
//!
//! Kept in memory: a node says everything again when it polls the next time. Nothing here is asked at an interval;
//! whoever waits is woken by the word of a node.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::{Acknowledgement, GenerationNumber, NodeReport, NodeVerdict};
use crate::limits::{NODE_SILENCE_MS_MAX, NODES_MAX};

/// All nodes that were heard of since the start.
#[derive(Debug)]
pub struct Nodes {
    nodes: Mutex<BTreeMap<String, Node>>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Node {
    report: NodeReport,
    /// Long polls that are open now.
    polls: u32,
    heard: Instant,
    heard_unix_ms: u64,
    /// The node's connection broke while it waited.
    gone: bool,
    /// It has polled since the start.
    polled: bool,
    live: Option<(GenerationNumber, Option<u64>)>,
    refused: Option<(GenerationNumber, String)>,
}

/// What control knows about one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its id.
    pub id: String,
    /// Heard of recently, and not hung up.
    pub connected: bool,
    /// Its last word, Unix milliseconds.
    pub heard_unix_ms: u64,
    /// The generation that it serves, and how long it took to bring it live, where the node said so.
    pub live: Option<(GenerationNumber, Option<u64>)>,
    /// A newer one that it refused, and why.
    pub refused: Option<(GenerationNumber, String)>,
    /// What it says about itself.
    pub report: NodeReport,
}

/// How a generation fares on the nodes that were connected when the wait began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LiveReport {
    /// Nodes that serve it or a newer one.
    pub live: Vec<String>,
    /// Nodes that refused it, with their reasons.
    pub refused: Vec<(String, String)>,
    /// Nodes that have not said anything about it.
    pub waiting: Vec<String>,
}

impl LiveReport {
    /// All nodes that were asked.
    pub fn nodes(&self) -> usize {
        self.live.len() + self.refused.len() + self.waiting.len()
    }
}

/// There are [`NODES_MAX`] nodes already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {NODES_MAX} nodes already")]
pub struct TooManyNodes;

impl Default for Nodes {
    fn default() -> Self {
        Self { nodes: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Nodes {
    /// Notes that a node began to wait for news. The node counts as gone if the guard is dropped before
    /// [`PollGuard::answered`]: that happens when its connection breaks.
    ///
    /// # Errors
    /// [`TooManyNodes`].
    pub fn poll(&self, id: &str, now_unix_ms: u64) -> Result<PollGuard<'_>, TooManyNodes> {
        let mut first = false;
        self.update(id, now_unix_ms, |node| {
            node.polls += 1;
            first = !std::mem::replace(&mut node.polled, true);
        })?;
        Ok(PollGuard { nodes: self, id: id.to_owned(), first, answered: false })
    }

    /// Notes what a node says about itself.
    ///
    /// # Errors
    /// [`TooManyNodes`].
    pub fn heartbeat(&self, id: &str, report: NodeReport, now_unix_ms: u64) -> Result<(), TooManyNodes> {
        self.update(id, now_unix_ms, |node| node.report = report)
    }

    /// Notes which generation a node says to serve, 0 for none. An acknowledgement says more, and may have overtaken this.
    ///
    /// # Errors
    /// [`TooManyNodes`].
    pub fn serves(&self, id: &str, number: GenerationNumber, now_unix_ms: u64) -> Result<(), TooManyNodes> {
        self.update(id, now_unix_ms, |node| {
            if number.0 > 0 && node.live.is_none_or(|(live, _)| live < number) {
                node.live = Some((number, None));
            }
        })
    }

    /// Notes what a node says about a generation.
    ///
    /// # Errors
    /// [`TooManyNodes`].
    pub fn acknowledge(&self, said: &Acknowledgement) -> Result<(), TooManyNodes> {
        self.update(&said.node, said.received_unix_ms, |node| match &said.verdict {
            NodeVerdict::Live { live_ms } => {
                node.live = Some((said.generation, Some(*live_ms)));
                node.refused = node.refused.take().filter(|(refused, _)| *refused > said.generation);
            }
            NodeVerdict::Refused { reason } => node.refused = Some((said.generation, reason.clone())),
        })
    }

    /// All of them, ordered by id.
    pub fn list(&self) -> Vec<NodeView> {
        let view = |(id, node): (&String, &Node)| NodeView {
            id: id.clone(),
            connected: node.connected(),
            heard_unix_ms: node.heard_unix_ms,
            live: node.live,
            refused: node.refused.clone(),
            report: node.report.clone(),
        };
        self.lock().iter().map(view).collect()
    }

    /// Ids of those that are connected now.
    pub fn connected(&self) -> Vec<String> {
        self.lock().iter().filter(|(_, node)| node.connected()).map(|(id, _)| id.clone()).collect()
    }

    /// Waits until each of these nodes has said something about the generation or a newer one, has gone, or until
    /// the wait is over. A node that has gone is left out of the report.
    pub async fn wait(&self, asked: &[String], number: GenerationNumber, at_most: Duration) -> LiveReport {
        let mut changed = self.changed.subscribe();
        let over = Instant::now() + at_most;
        loop {
            changed.borrow_and_update();
            let report = self.report(asked, number);
            if report.waiting.is_empty() {
                return report;
            }
            // An error would mean that the sender is gone, and it lives in `self`.
            match tokio::time::timeout_at(over, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return self.report(asked, number),
            }
        }
    }

    /// Waits until at least one connected node serves the generation or a newer one.
    pub async fn wait_for_any(&self, number: GenerationNumber, at_most: Duration) -> LiveReport {
        let mut changed = self.changed.subscribe();
        let over = Instant::now() + at_most;
        loop {
            changed.borrow_and_update();
            let report = self.report(&self.connected(), number);
            if !report.live.is_empty() || (!report.refused.is_empty() && report.waiting.is_empty()) {
                return report;
            }
            match tokio::time::timeout_at(over, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return self.report(&self.connected(), number),
            }
        }
    }

    /// Whether there are nodes and all that are connected serve exactly this generation.
    pub fn all_serve(&self, number: GenerationNumber) -> bool {
        let nodes = self.lock();
        let mut connected = nodes.values().filter(|node| node.connected()).peekable();
        connected.peek().is_some() && connected.all(|node| node.live.is_some_and(|(live, _)| live == number))
    }

    fn report(&self, asked: &[String], number: GenerationNumber) -> LiveReport {
        let nodes = self.lock();
        let mut report = LiveReport::default();
        for id in asked {
            let Some(node) = nodes.get(id) else { continue };
            if node.live.is_some_and(|(live, _)| live >= number) {
                report.live.push(id.clone());
            } else if let Some((_, reason)) = node.refused.as_ref().filter(|(refused, _)| *refused >= number)
            {
                report.refused.push((id.clone(), reason.clone()));
            } else if node.connected() {
                report.waiting.push(id.clone());
            }
        }
        report
    }

    fn update(&self, id: &str, now_unix_ms: u64, change: impl FnOnce(&mut Node)) -> Result<(), TooManyNodes> {
        let mut nodes = self.lock();
        if !nodes.contains_key(id) {
            if nodes.len() >= NODES_MAX {
                nodes.retain(|_, node| node.connected());
            }
            if nodes.len() >= NODES_MAX {
                return Err(TooManyNodes);
            }
        }
        let node = nodes.entry(id.to_owned()).or_insert_with(Node::new);
        node.heard = Instant::now();
        node.heard_unix_ms = now_unix_ms;
        node.gone = false;
        change(node);
        drop(nodes);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Node>> {
        // A panic while it was held cannot leave a node half written: each change is one assignment.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    fn new() -> Self {
        Self {
            report: NodeReport::default(),
            polls: 0,
            heard: Instant::now(),
            heard_unix_ms: 0,
            gone: false,
            polled: false,
            live: None,
            refused: None,
        }
    }

    fn connected(&self) -> bool {
        let silence = self.heard.elapsed();
        self.polls > 0 || (!self.gone && silence < Duration::from_millis(NODE_SILENCE_MS_MAX))
    }
}

/// An open long poll.
#[derive(Debug)]
pub struct PollGuard<'a> {
    nodes: &'a Nodes,
    id: String,
    first: bool,
    answered: bool,
}

impl PollGuard<'_> {
    /// It is the node's first one since the start: what it serves is not known until it is told to say so.
    pub fn is_first(&self) -> bool {
        self.first
    }

    /// The poll has an answer; the node is expected back.
    pub fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for PollGuard<'_> {
    fn drop(&mut self) {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.get_mut(&self.id) {
            node.polls = node.polls.saturating_sub(1);
            node.gone = !self.answered && node.polls == 0;
        }
        drop(nodes);
        self.nodes.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests;
