//! The store: generations, resources, sources, audit and acknowledgements in SQLite.
//!
//! SQL stands here and nowhere else, and keeps to what PostgreSQL also speaks (numbered parameters,
//! `ON CONFLICT`, no rowid); only the migrations and the options of the connection are the dialect's.
//! Writes go through one connection, so that they never wait in SQLite's busy handler for each other;
//! reads have their own and see the last commit (WAL).
//!
//! INVARIANT: a commit that returned is on disk (`synchronous=FULL`): what was acknowledged to a
//! person survives power loss.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqlSafeStr, SqlitePool};

use crate::domain::GenerationNumber;

mod acknowledgements;
mod change;
mod generations;
mod identities;
mod materials;
mod nodes;
mod resources;
mod sources;
#[cfg(test)]
mod tests;

pub use change::{Change, changes_between};
pub use generations::{Appended, Committed, Pin};
pub use sources::SourceState;

/// How long a connection waits for a lock that another process holds (a backup, a shell).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections for reads.
const READERS_MAX: u32 = 4;

/// The migrations in order. They are never edited once released: a changed checksum stops the start.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "generations", include_str!("migrations/sqlite/0001_generations.sql")),
    (2, "identities", include_str!("migrations/sqlite/0002_identities.sql")),
    (3, "nodes", include_str!("migrations/sqlite/0003_nodes.sql")),
];

/// The open store.
#[derive(Debug, Clone)]
pub struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
}

/// What the store could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the store failed to {doing}")]
    Database {
        /// Infinitive phrase.
        doing: &'static str,
        /// The database's own words.
        #[source]
        source: sqlx::Error,
    },
    /// The schema is not one that this binary can use.
    #[error("the store's schema cannot be brought to this version of Ringway")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// Somebody else appended a generation in between.
    #[error("generation {expected} is no longer the newest: {actual} is")]
    LostRace {
        /// What the caller built on; 0 for an empty history.
        expected: u64,
        /// What is there.
        actual: u64,
    },
    /// No such generation.
    #[error("there is no generation {0}")]
    NoGeneration(GenerationNumber),
    /// A row that this binary did not write.
    #[error("the store holds a row that makes no sense: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// What the person on call should do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Database { source, .. } => Some(way_out(source)),
            Self::Migrate(sqlx::migrate::MigrateError::Execute(source)) => Some(way_out(source)),
            Self::Migrate(_) => Some("start the newer binary, or restore the store from before the upgrade"),
            Self::Corrupt(_) => Some("restore the store from a backup; the snapshots keep serving meanwhile"),
            Self::LostRace { .. } | Self::NoGeneration(_) => None,
        }
    }
}

/// What to do by SQLite's own code.
fn way_out(error: &sqlx::Error) -> &'static str {
    let code = error.as_database_error().and_then(|error| error.code());
    way_out_of(code.and_then(|code| code.parse().ok()))
}

/// The same by the number; that of an extended code has the plain one in its lowest byte.
fn way_out_of(code: Option<u32>) -> &'static str {
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => "another program holds control.db: end it, and try again",
        Some(11 | 26) => {
            "control.db is damaged: restore it from a backup, or move it away to begin a new history; gateways serve on meanwhile"
        }
        Some(13) => "the disk of the state directory is full: make room, and try again",
        _ => "check space and permissions of the state directory",
    }
}

/// Names what was being done when the database failed.
fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { doing, source }
}

impl Store {
    /// Opens the file, makes it if need be, and brings its schema up to date.
    ///
    /// # Errors
    /// The file cannot be opened, or was written by a newer or altered version.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        // For this user alone, as what SQLite lays beside it; whatever cannot be made here is said when it is opened.
        std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(file).ok();
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let pool = |connections| {
            SqlitePoolOptions::new().max_connections(connections).idle_timeout(None).max_lifetime(None)
        };
        // A full disk ends a transaction by itself, which sqlx takes for one that goes on: no other could begin on it.
        let writer = pool(1).before_acquire(|connection, _| {
            let usable = !connection.is_in_transaction();
            Box::pin(async move { Ok(usable) })
        });
        let writer = writer.connect_with(options.clone()).await.map_err(failed("open its file"))?;
        migrator().run(&writer).await.map_err(StoreError::Migrate)?;
        let readers = pool(READERS_MAX).connect_with(options).await.map_err(failed("open its file"))?;
        Ok(Self { writer, readers })
    }

    /// Finishes what is under way and closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn migrator() -> Migrator {
    let migration = |&(version, description, sql): &(i64, &'static str, &'static str)| {
        Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect())
}

/// SQL integers are signed; our numbers are small enough for both.
fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn from_sql(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt(format!("{number} where a count belongs")))
}

fn hash_from_sql(bytes: &[u8]) -> Result<crate::domain::ContentHash, StoreError> {
    <[u8; 32]>::try_from(bytes)
        .map(crate::domain::ContentHash)
        .map_err(|_| StoreError::Corrupt(format!("a hash of {} bytes", bytes.len())))
}
