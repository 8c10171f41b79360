//! The history: appending a generation in one transaction, and reading it back.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::{Change, Store, StoreError, failed, from_sql, hash_from_sql, to_sql};
use crate::config::{Digest, Material};
use crate::domain::{
    AuditEntry, AuditVerb, ContentHash, Generation, GenerationNumber, GenerationState, IdentityKey,
};

const COLUMNS: &str = "number, parent, restores, snapshot, snapshot_bytes, root, changes, routes, author, \
                       message, source, created_unix_ms, compile_ms, state, pinned";

/// A generation to append, with what belongs to the same transaction.
#[derive(Debug)]
pub struct Appended {
    /// The new row; its parent must be the newest one.
    pub generation: Generation,
    /// What it changes against its parent.
    pub changes: Vec<Change>,
    /// What the definitions refer to and the store may not have yet.
    pub materials: Vec<(Digest, Material)>,
    /// Ids that are given or taken away with it.
    pub identities: Vec<(IdentityKey, Option<u128>)>,
    /// Content hash of the source that it was applied from.
    pub source: Option<(String, ContentHash)>,
    /// Who did what.
    pub verb: AuditVerb,
}

/// Proof that a generation is on disk; only [`Store::append`] makes it.
#[derive(Debug)]
pub struct Committed(Generation);

impl Committed {
    /// The row.
    pub fn generation(&self) -> &Generation {
        &self.0
    }
}

impl Store {
    /// The newest generation.
    ///
    /// # Errors
    /// The database failed.
    pub async fn head(&self) -> Result<Option<Generation>, StoreError> {
        Ok(self.generations(None, 1).await?.pop())
    }

    /// One generation.
    ///
    /// # Errors
    /// [`StoreError::NoGeneration`], or the database failed.
    pub async fn generation(&self, number: GenerationNumber) -> Result<Generation, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM generations WHERE number = $1");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(to_sql(number.0))
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read a generation"))?
            .map(|row| read_row(&row))
            .transpose()?
            .ok_or(StoreError::NoGeneration(number))
    }

    /// The newest `count` generations, or those before `before`, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn generations(
        &self,
        before: Option<GenerationNumber>,
        count: u32,
    ) -> Result<Vec<Generation>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM generations WHERE number < $1 ORDER BY number DESC LIMIT $2");
        let before = before.map_or(i64::MAX, |number| to_sql(number.0));
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(before)
            .bind(i64::from(count))
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read the history"))?
            .iter()
            .map(read_row)
            .collect()
    }

    /// The newest generation before `below` whose definitions differ from `root`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn newest_different(
        &self,
        below: GenerationNumber,
        root: ContentHash,
    ) -> Result<Option<Generation>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM generations WHERE number < $1 AND root <> $2 ORDER BY number DESC LIMIT 1"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(to_sql(below.0))
            .bind(root.0.as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read the history"))?
            .map(|row| read_row(&row))
            .transpose()
    }

    /// Appends a generation with its changes, audit line and source in one transaction.
    ///
    /// # Errors
    /// [`StoreError::LostRace`] if its parent is not the newest generation; the database failed.
    pub async fn append(&self, appended: Appended) -> Result<Committed, StoreError> {
        let doing = "commit a generation";
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(doing))?;
        let newest: Option<i64> = sqlx::query_scalar("SELECT MAX(number) FROM generations")
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed(doing))?;
        let (expected, actual) =
            (appended.generation.parent.map_or(0, |p| p.0), from_sql(newest.unwrap_or(0))?);
        if expected != actual {
            return Err(StoreError::LostRace { expected, actual });
        }
        insert(&mut transaction, &appended.generation).await.map_err(failed(doing))?;
        super::resources::insert_changes(&mut transaction, appended.generation.number, &appended.changes)
            .await
            .map_err(failed(doing))?;
        super::materials::insert(&mut transaction, &appended.materials).await.map_err(failed(doing))?;
        super::identities::insert(&mut transaction, appended.generation.number, &appended.identities)
            .await
            .map_err(failed(doing))?;
        insert_audit(&mut transaction, &audit_of(&appended)).await.map_err(failed(doing))?;
        if let Some((source, hash)) = &appended.source {
            super::sources::upsert(&mut transaction, source, *hash, &appended.generation)
                .await
                .map_err(failed(doing))?;
        }
        transaction.commit().await.map_err(failed(doing))?;
        Ok(Committed(appended.generation))
    }

    /// Keeps a generation's snapshot file from being pruned, or lets it go, with its line in the audit trail.
    ///
    /// # Errors
    /// [`StoreError::NoGeneration`], or the database failed.
    pub async fn pin(
        &self,
        number: GenerationNumber,
        pin: Pin,
        author: &str,
        now_unix_ms: u64,
    ) -> Result<(), StoreError> {
        let doing = "pin a generation";
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed(doing))?;
        let done = sqlx::query("UPDATE generations SET pinned = $1 WHERE number = $2")
            .bind(i64::from(pin == Pin::Keep))
            .bind(to_sql(number.0))
            .execute(&mut *transaction)
            .await
            .map_err(failed(doing))?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NoGeneration(number));
        }
        let (verb, detail) = match pin {
            Pin::Keep => (AuditVerb::Pin, "its snapshot is kept"),
            Pin::Release => (AuditVerb::Release, "its snapshot may be pruned"),
        };
        let entry = AuditEntry {
            at_unix_ms: now_unix_ms,
            author: author.to_owned(),
            verb,
            generation: number,
            detail: detail.to_owned(),
        };
        insert_audit(&mut transaction, &entry).await.map_err(failed(doing))?;
        transaction.commit().await.map_err(failed(doing))
    }

    /// The newest generation with this snapshot.
    ///
    /// # Errors
    /// The database failed.
    pub async fn generation_of(&self, snapshot: ContentHash) -> Result<Option<Generation>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM generations WHERE snapshot = $1 ORDER BY number DESC LIMIT 1");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(snapshot.0.as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(failed("read a generation"))?
            .map(|row| read_row(&row))
            .transpose()
    }

    /// Snapshots that must stay on disk: those of pinned generations.
    ///
    /// # Errors
    /// The database failed.
    pub async fn pinned_snapshots(&self) -> Result<Vec<ContentHash>, StoreError> {
        let rows: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT DISTINCT snapshot FROM generations WHERE pinned = 1")
                .fetch_all(&self.readers)
                .await
                .map_err(failed("read the pinned generations"))?;
        rows.iter().map(|bytes| hash_from_sql(bytes)).collect()
    }

    /// The newest `count` lines of the audit trail, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit(&self, count: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let rows: Vec<(i64, String, String, i64, String)> = sqlx::query_as(
            "SELECT at_unix_ms, author, verb, generation, detail FROM audit ORDER BY id DESC LIMIT $1",
        )
        .bind(i64::from(count))
        .fetch_all(&self.readers)
        .await
        .map_err(failed("read the audit trail"))?;
        rows.into_iter()
            .map(|(at, author, verb, generation, detail)| {
                Ok(AuditEntry {
                    at_unix_ms: from_sql(at)?,
                    author,
                    verb: AuditVerb::from_name(&verb)
                        .ok_or_else(|| StoreError::Corrupt(format!("the audit verb {verb}")))?,
                    generation: GenerationNumber(from_sql(generation)?),
                    detail,
                })
            })
            .collect()
    }
}

/// Whether a snapshot file may be pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// Never.
    Keep,
    /// As any other.
    Release,
}

fn audit_of(appended: &Appended) -> AuditEntry {
    let generation = &appended.generation;
    let detail = match generation.restores {
        Some(restored) => format!("brought back generation {restored}"),
        None => format!("changed {} resources", generation.changes),
    };
    AuditEntry {
        at_unix_ms: generation.created_unix_ms,
        author: generation.author.clone(),
        verb: appended.verb,
        generation: generation.number,
        detail,
    }
}

async fn insert(
    transaction: &mut Transaction<'_, Sqlite>,
    generation: &Generation,
) -> Result<(), sqlx::Error> {
    let sql = format!(
        "INSERT INTO generations ({COLUMNS}) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(to_sql(generation.number.0))
        .bind(generation.parent.map(|number| to_sql(number.0)))
        .bind(generation.restores.map(|number| to_sql(number.0)))
        .bind(generation.snapshot.0.as_slice())
        .bind(to_sql(generation.snapshot_bytes))
        .bind(generation.root.0.as_slice())
        .bind(to_sql(generation.changes))
        .bind(to_sql(generation.routes))
        .bind(generation.author.as_str())
        .bind(generation.message.as_str())
        .bind(generation.source.as_deref())
        .bind(to_sql(generation.created_unix_ms))
        .bind(to_sql(generation.compile_ms))
        .bind(generation.state.name())
        .bind(i64::from(generation.pinned))
        .execute(&mut **transaction)
        .await
        .map(drop)
}

async fn insert_audit(
    transaction: &mut Transaction<'_, Sqlite>,
    entry: &AuditEntry,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO audit (at_unix_ms, author, verb, generation, detail) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(to_sql(entry.at_unix_ms))
    .bind(entry.author.as_str())
    .bind(entry.verb.name())
    .bind(to_sql(entry.generation.0))
    .bind(entry.detail.as_str())
    .execute(&mut **transaction)
    .await
    .map(drop)
}

fn read_row(row: &SqliteRow) -> Result<Generation, StoreError> {
    let doing = "read a generation";
    let number = |column: &str| -> Result<u64, StoreError> {
        from_sql(row.try_get::<i64, _>(column).map_err(failed(doing))?)
    };
    let optional = |column: &str| -> Result<Option<GenerationNumber>, StoreError> {
        let value: Option<i64> = row.try_get(column).map_err(failed(doing))?;
        value.map(|value| from_sql(value).map(GenerationNumber)).transpose()
    };
    let hash = |column: &str| hash_from_sql(row.try_get::<&[u8], _>(column).map_err(failed(doing))?);
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed(doing));
    let state = text("state")?;
    Ok(Generation {
        number: GenerationNumber(number("number")?),
        parent: optional("parent")?,
        restores: optional("restores")?,
        snapshot: hash("snapshot")?,
        snapshot_bytes: number("snapshot_bytes")?,
        root: hash("root")?,
        changes: number("changes")?,
        routes: number("routes")?,
        author: text("author")?,
        message: text("message")?,
        source: row.try_get("source").map_err(failed(doing))?,
        created_unix_ms: number("created_unix_ms")?,
        compile_ms: number("compile_ms")?,
        state: GenerationState::from_name(&state)
            .ok_or_else(|| StoreError::Corrupt(format!("the generation state {state}")))?,
        pinned: number("pinned")? == 1,
    })
}
