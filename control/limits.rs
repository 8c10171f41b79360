//! Limits and defaults of the control plane, named.

/// Where the API listens unless told otherwise.
pub const API_ADDRESS: &str = "127.0.0.1:9091";
/// How long an apply waits for acknowledgements unless told otherwise.
pub const LIVE_WAIT_MS: u64 = 10_000;
/// Longest wait that a caller may ask for.
pub const LIVE_WAIT_MS_MAX: u64 = 120_000;
/// Longest that a node's long poll is held before it is answered without news.
pub const NODE_POLL_MS_MAX: u64 = 30_000;
/// A node that was not heard of for this long counts as gone.
pub const NODE_SILENCE_MS_MAX: u64 = 45_000;
/// Most nodes that control keeps track of.
pub const NODES_MAX: usize = 4_096;
/// Longest id of a node.
pub const NODE_ID_BYTES_MAX: usize = 64;
/// Join tokens that may be good at once.
pub const JOIN_TOKENS_MAX: usize = 64;
/// How long a join token is good.
pub const JOIN_TOKEN_MS_MAX: u64 = 3_600_000;
/// Connections of nodes from other hosts.
pub const NODE_CONNECTIONS_MAX: usize = 2 * NODES_MAX;
/// Connections that show no certificate: nodes that want to be enrolled, and strangers.
pub const STRANGERS_MAX: usize = 64;
/// How long such a connection lives, and how long a handshake may take.
pub const STRANGER_MS_MAX: u64 = 10_000;
/// How long the head of a node's request may take, silence before it included.
pub const NODE_HEAD_MS_MAX: u64 = 120_000;
/// Largest body of a node's report.
pub const NODE_BODY_BYTES_MAX: usize = 4 << 20;
/// Largest body of an apply: a million routes as YAML.
pub const APPLY_BODY_BYTES_MAX: usize = 512 << 20;
/// Most documents of one apply.
pub const DOCUMENTS_MAX: usize = 10_000;
/// Snapshot files kept beside the current and the pinned ones.
pub const SNAPSHOT_FILES_KEPT: usize = 16;
/// Generations whose snapshots may be pinned.
pub const PINS_MAX: usize = 64;
/// Quiet after which a change of a file that is referred to is applied.
pub const REFERENCES_GATHER_MS: u64 = 100;
/// And how long is waited for quiet at most.
pub const REFERENCES_GATHER_MS_MAX: u64 = 500;
/// Documents up to this size are kept to notice at the next start what changed meanwhile.
pub const REFERENCES_BYTES_MAX: usize = 8 << 20;
/// Most rows of one page of the history.
pub const HISTORY_ROWS_MAX: u32 = 1_000;
/// Acknowledgements that wait to be written to the store; beyond it they are dropped from the store alone.
pub const ACKNOWLEDGEMENTS_QUEUED_MAX: usize = 10_000;

const _: () = assert!(NODE_SILENCE_MS_MAX > NODE_POLL_MS_MAX);
const _: () = assert!(LIVE_WAIT_MS <= LIVE_WAIT_MS_MAX);
