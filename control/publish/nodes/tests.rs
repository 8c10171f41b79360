//! When a generation counts as live.

use std::time::Duration;

use super::Nodes;
use crate::domain::{Acknowledgement, ContentHash, GenerationNumber, NodeReport, NodeVerdict};

const LONG: Duration = Duration::from_secs(60);

fn said(node: &str, generation: u64, verdict: NodeVerdict) -> Acknowledgement {
    Acknowledgement {
        node: node.to_owned(),
        generation: GenerationNumber(generation),
        hash: ContentHash::default(),
        verdict,
        received_unix_ms: 0,
    }
}

fn live(node: &str, generation: u64) -> Acknowledgement {
    said(node, generation, NodeVerdict::Live { live_ms: 3 })
}

#[tokio::test]
async fn a_wait_ends_when_the_last_node_has_spoken() {
    let nodes = Nodes::default();
    for id in ["a", "b"] {
        nodes.heartbeat(id, NodeReport::default(), 0).unwrap();
    }
    nodes.acknowledge(&live("a", 1)).unwrap();
    let asked = nodes.connected();
    let refusal = NodeVerdict::Refused { reason: "address in use".to_owned() };
    let (report, ()) = tokio::join!(nodes.wait(&asked, GenerationNumber(1), LONG), async {
        nodes.acknowledge(&said("b", 1, refusal)).unwrap();
    });
    assert_eq!(report.live, ["a"]);
    assert_eq!(report.refused, [("b".to_owned(), "address in use".to_owned())]);
}

#[tokio::test]
async fn a_newer_generation_proves_that_an_older_one_was_passed() {
    let nodes = Nodes::default();
    nodes.acknowledge(&live("a", 5)).unwrap();
    let report = nodes.wait(&["a".to_owned()], GenerationNumber(3), LONG).await;
    assert_eq!(report.live, ["a"]);
}

#[tokio::test]
async fn a_node_whose_connection_broke_is_not_waited_for() {
    let nodes = Nodes::default();
    let poll = nodes.poll("a", 0).unwrap();
    let asked = nodes.connected();
    let (report, ()) = tokio::join!(nodes.wait(&asked, GenerationNumber(1), LONG), async { drop(poll) });
    assert_eq!((asked.len(), report.nodes()), (1, 0));
}

#[tokio::test]
async fn a_node_whose_poll_was_answered_is_expected_back() {
    let nodes = Nodes::default();
    nodes.poll("a", 0).unwrap().answered();
    assert_eq!(nodes.connected(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_waited_for_until_the_wait_is_over() {
    let nodes = Nodes::default();
    nodes.heartbeat("a", NodeReport::default(), 0).unwrap();
    let report = nodes.wait(&nodes.connected(), GenerationNumber(1), Duration::from_secs(10)).await;
    assert_eq!(report.waiting, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_silent_for_long_counts_as_gone() {
    let nodes = Nodes::default();
    nodes.heartbeat("a", NodeReport::default(), 0).unwrap();
    tokio::time::advance(Duration::from_millis(crate::limits::NODE_SILENCE_MS_MAX)).await;
    assert_eq!(nodes.connected(), Vec::<String>::new());
}

#[tokio::test]
async fn the_number_of_nodes_is_bounded() {
    let nodes = Nodes::default();
    for n in 0..crate::limits::NODES_MAX {
        nodes.heartbeat(&n.to_string(), NodeReport::default(), 0).unwrap();
    }
    assert!(nodes.heartbeat("one more", NodeReport::default(), 0).is_err());
    assert!(nodes.heartbeat("7", NodeReport::default(), 0).is_ok());
}

#[tokio::test]
async fn only_the_first_poll_of_a_node_is_its_first() {
    let nodes = Nodes::default();
    assert!(nodes.poll("a", 0).unwrap().is_first());
    assert!(!nodes.poll("a", 0).unwrap().is_first());
    assert!(nodes.poll("b", 0).unwrap().is_first());
}
