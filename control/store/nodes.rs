//! Nodes of other hosts that were enrolled.

use super::{Store, StoreError, failed, to_sql};

impl Store {
    /// Notes that a node has a certificate; one that had been removed is enrolled again.
    ///
    /// # Errors
    /// The database failed.
    pub async fn enrol(&self, node: &str, now_unix_ms: u64, expires_unix_ms: u64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO nodes (node, enrolled_unix_ms, expires_unix_ms) VALUES ($1, $2, $3) \
             ON CONFLICT (node) DO UPDATE SET expires_unix_ms = excluded.expires_unix_ms, \
             enrolled_unix_ms = excluded.enrolled_unix_ms, removed = 0",
        )
        .bind(node)
        .bind(to_sql(now_unix_ms))
        .bind(to_sql(expires_unix_ms))
        .execute(&self.writer)
        .await
        .map_err(failed("enrol a node"))
        .map(drop)
    }

    /// Notes how long a node's renewed certificate is good.
    ///
    /// # Errors
    /// The database failed.
    pub async fn renew(&self, node: &str, expires_unix_ms: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE nodes SET expires_unix_ms = $1 WHERE node = $2")
            .bind(to_sql(expires_unix_ms))
            .bind(node)
            .execute(&self.writer)
            .await
            .map_err(failed("renew a node's certificate"))
            .map(drop)
    }

    /// Removes a node: its certificate is worth nothing any more. `false`: it was not enrolled.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_node(&self, node: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE nodes SET removed = 1 WHERE node = $1 AND removed = 0")
            .bind(node)
            .execute(&self.writer)
            .await
            .map_err(failed("remove a node"))?;
        Ok(done.rows_affected() > 0)
    }

    /// Ids of the nodes that are enrolled.
    ///
    /// # Errors
    /// The database failed.
    pub async fn enrolled(&self) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar("SELECT node FROM nodes WHERE removed = 0")
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read the enrolled nodes"))
    }
}
