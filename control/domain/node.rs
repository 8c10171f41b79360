//! Nodes as control knows them: what they report, and what they said about a generation.

use super::generation::GenerationNumber;
use ringway_snapshot::current::ContentHash;

/// What a node says about itself with every heartbeat. All of it is the node's own claim.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct NodeReport {
    /// Version of the binary.
    pub version: String,
    /// Worker threads.
    pub workers: u32,
    /// I/O driver that the workers run on: `io_uring_…` or `epoll`.
    pub driver: String,
    /// Bound addresses of its listeners, with the ports that the system chose.
    pub listeners: Vec<String>,
    /// Bound address of its admin listener.
    pub admin: Option<String>,
    /// What is wrong and does not keep it from serving, in words.
    pub problems: Vec<String>,
    /// Health and counters of its upstreams, as the admin listener's `/upstreams` prints them.
    #[schema(value_type = Vec<Object>)]
    pub upstreams: serde_json::Value,
}

/// What a node said about one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Its id.
    pub node: String,
    /// Which generation.
    pub generation: GenerationNumber,
    /// The snapshot that it loaded, or would not.
    pub hash: ContentHash,
    /// What became of it.
    pub verdict: NodeVerdict,
    /// When control received it, Unix milliseconds.
    pub received_unix_ms: u64,
}

/// What became of a snapshot on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeVerdict {
    /// Every head parsed from now on uses it.
    Live {
        /// From learning of it to serving it.
        live_ms: u64,
    },
    /// The node goes on serving what it had.
    Refused {
        /// Why.
        reason: String,
    },
}
