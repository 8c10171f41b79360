//! Commands about gateways of other hosts: enrol one, remove one.

use super::client::Client;
use super::failure::Failure;
use super::terminal::Terminal;
use super::{RemoveNodeArgs, StatusArgs};
use crate::api::views::{JoinTokenView, NodesView};

/// `ringway join-token`: prints the token alone, so that it can be piped.
pub(super) fn join_token(args: &StatusArgs, terminal: Terminal) -> Result<u8, Failure> {
    let client = Client::connect(&args.connect)?;
    let made: JoinTokenView = client.post("/v1/join-tokens", &serde_json::json!({}), None)?;
    terminal.result(&made, |made| made.token.clone());
    Ok(0)
}

/// `ringway remove-node`.
pub(super) fn remove(args: &RemoveNodeArgs, terminal: Terminal) -> Result<u8, Failure> {
    let client = Client::connect(&args.connect)?;
    let path = format!("/v1/nodes/{}/removal", args.node);
    let nodes: NodesView = client.post(&path, &serde_json::json!({}), None)?;
    terminal.result(&nodes, |_| {
        format!("node {} is removed: its certificate is worth nothing any more", args.node)
    });
    Ok(0)
}
