//! What nodes said about generations, written in batches off the publishing path.

use sqlx::{QueryBuilder, Sqlite, Transaction};

use super::{Store, StoreError, failed, from_sql, hash_from_sql, to_sql};
use crate::domain::{Acknowledgement, GenerationNumber, GenerationState, NodeVerdict};

/// Rows of one `INSERT`.
const ROWS_MAX: usize = 500;

/// Node, hash, `live_ms`, reason, when received.
type AcknowledgementRow = (String, Vec<u8>, Option<i64>, Option<String>, i64);

impl Store {
    /// Notes how far generations got (never a step back) and the last word of each node, in one transaction. Words
    /// on generations that the store does not know (of a store since replaced) are dropped.
    ///
    /// # Errors
    /// The database failed.
    pub async fn note(
        &self,
        states: &[(GenerationNumber, GenerationState)],
        said: &[Acknowledgement],
    ) -> Result<(), StoreError> {
        if states.is_empty() && said.is_empty() {
            return Ok(());
        }
        let doing = "note how generations fare";
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(doing))?;
        for (number, state) in states {
            advance(&mut transaction, *number, *state).await.map_err(failed(doing))?;
        }
        let newest: Option<i64> = sqlx::query_scalar("SELECT MAX(number) FROM generations")
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed(doing))?;
        let newest = from_sql(newest.unwrap_or(0))?;
        let known: Vec<&Acknowledgement> =
            said.iter().filter(|said| (1..=newest).contains(&said.generation.0)).collect();
        for rows in known.chunks(ROWS_MAX) {
            insert_rows(rows).build().execute(&mut *transaction).await.map_err(failed(doing))?;
        }
        transaction.commit().await.map_err(failed(doing))
    }

    /// What nodes said about a generation, ordered by node.
    ///
    /// # Errors
    /// The database failed.
    pub async fn acknowledgements(
        &self,
        number: GenerationNumber,
    ) -> Result<Vec<Acknowledgement>, StoreError> {
        let rows: Vec<AcknowledgementRow> = sqlx::query_as(
            "SELECT node, hash, live_ms, reason, received_unix_ms FROM acknowledgements \
             WHERE generation = $1 ORDER BY node",
        )
        .bind(to_sql(number.0))
        .fetch_all(&self.readers)
        .await
        .map_err(failed("read acknowledgements"))?;
        rows.into_iter()
            .map(|(node, hash, live_ms, reason, received)| {
                Ok(Acknowledgement {
                    node,
                    generation: number,
                    hash: hash_from_sql(&hash)?,
                    verdict: match reason {
                        Some(reason) => NodeVerdict::Refused { reason },
                        None => NodeVerdict::Live { live_ms: from_sql(live_ms.unwrap_or(0))? },
                    },
                    received_unix_ms: from_sql(received)?,
                })
            })
            .collect()
    }
}

fn insert_rows(rows: &[&Acknowledgement]) -> QueryBuilder<Sqlite> {
    let mut insert = QueryBuilder::new(
        "INSERT INTO acknowledgements (node, generation, hash, live_ms, reason, received_unix_ms) ",
    );
    insert.push_values(rows, |mut row, said| {
        let (live_ms, reason) = match &said.verdict {
            NodeVerdict::Live { live_ms } => (Some(to_sql(*live_ms)), None),
            NodeVerdict::Refused { reason } => (None, Some(reason.clone())),
        };
        row.push_bind(said.node.clone())
            .push_bind(to_sql(said.generation.0))
            .push_bind(said.hash.0.to_vec())
            .push_bind(live_ms)
            .push_bind(reason)
            .push_bind(to_sql(said.received_unix_ms));
    });
    insert.push(
        " ON CONFLICT (node, generation) DO UPDATE SET hash = excluded.hash, live_ms = excluded.live_ms, \
         reason = excluded.reason, received_unix_ms = excluded.received_unix_ms",
    );
    insert
}

async fn advance(
    transaction: &mut Transaction<'_, Sqlite>,
    number: GenerationNumber,
    state: GenerationState,
) -> Result<(), sqlx::Error> {
    let from: &[GenerationState] = match state {
        GenerationState::Compiled => &[],
        GenerationState::Published => &[GenerationState::Compiled],
        GenerationState::Live => &[GenerationState::Compiled, GenerationState::Published],
    };
    for before in from {
        sqlx::query("UPDATE generations SET state = $1 WHERE number = $2 AND state = $3")
            .bind(state.name())
            .bind(to_sql(number.0))
            .bind(before.name())
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}
