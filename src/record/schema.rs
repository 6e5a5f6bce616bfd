//! The file of a recording: made, opened, recognised.

use std::path::{Path, PathBuf};
use std::time::Duration;

use libsql::{Builder, Connection, OpenFlags};

use super::RecordError;

/// Says that a SQLite file is a recording ("xfrc").
const APPLICATION_ID: i64 = 0x7866_7263;
/// The schema version written here.
const VERSION: i64 = 2;
/// Readers and the writer wait so long for each other; meanwhile events wait in the queue.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

const TABLES: &str = "
create table meta (name text primary key, value text not null) strict, without rowid;
create table answered (
  slot integer not null, resource text not null, route text not null, kind text not null,
  stage text not null, origin text not null, requests integer not null,
  s1 integer not null, s2 integer not null, s3 integer not null, s4 integer not null,
  s5 integer not null, latencies text not null,
  primary key (slot, resource, route, kind, stage, origin)) strict, without rowid;
create table compared (
  slot integer not null, resource text not null, route text not null, stage text not null,
  verdict text not null, count integer not null,
  primary key (slot, resource, route, stage, verdict)) strict, without rowid;
create table latency (
  slot integer not null, resource text not null, route text not null, measure text not null,
  latencies text not null,
  primary key (slot, resource, route, measure)) strict, without rowid;
create table fallback (
  slot integer not null, resource text not null, route text not null, reason text not null,
  count integer not null,
  primary key (slot, resource, route, reason)) strict, without rowid;
create table signature (
  id text primary key, parts text not null, first_seen integer not null,
  last_seen integer not null) strict, without rowid;
create table signature_slot (
  slot integer not null, id text not null, count integer not null,
  primary key (slot, id)) strict, without rowid;
create table sample (
  id text not null, place integer not null, at integer not null, sample text not null,
  primary key (id, place)) strict, without rowid;
create table note (
  id integer primary key, at integer not null, kind text not null, text text not null) strict;
create table counter (
  slot integer not null, resource text not null, route text not null, name text not null,
  count integer not null,
  primary key (slot, resource, route, name)) strict, without rowid;
create table rule (
  resource text not null, route text not null, rule text not null, compared integer not null,
  located integer not null, hidden integer not null, covered integer not null default 0,
  total integer not null default 0,
  primary key (resource, route, rule)) strict, without rowid;
";

/// What version 1 lacks.
const FROM_1_TO_2: &str = "
begin immediate;
alter table rule add column covered integer not null default 0;
alter table rule add column total integer not null default 0;
pragma user_version = 2;
commit;
";

/// An open recording, and its path for errors.
pub(super) struct Database {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
}

/// Turns a database error into one that names file and action.
pub(super) fn doing(
    path: &Path,
    action: &'static str,
) -> impl FnOnce(libsql::Error) -> RecordError + use<> {
    let path = path.to_owned();
    move |source| RecordError::Database { path, action, source }
}

impl Database {
    /// Opens a recording for writing, and makes it if there is no file, or an empty one.
    pub(super) async fn create(path: &Path, grain_ms: u64) -> Result<Self, RecordError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let database = Self::open(path, flags).await?;
        if database.check().await? == 0 {
            let text = format!(
                "pragma synchronous = normal; begin immediate; {TABLES}
                 insert into meta values ('made_by', '{}'), ('grain_ms', '60000');
                 pragma application_id = {APPLICATION_ID}; pragma user_version = {VERSION}; commit;",
                env!("CARGO_PKG_VERSION")
            );
            let made = database.connection.execute_batch(&text).await;
            made.map_err(doing(path, "make its tables"))?;
        }
        let text = format!(
            "pragma synchronous = normal; update meta set value = '{grain_ms}' where name = 'grain_ms';"
        );
        database.connection.execute_batch(&text).await.map_err(doing(path, "open"))?;
        Ok(database)
    }

    /// Opens a recording for reading. The file itself is opened for writing, so that what a killed
    /// process left unfinished can be rolled back.
    pub(super) async fn read(path: &Path) -> Result<Self, RecordError> {
        if !path.is_file() {
            return Err(RecordError::Missing(path.to_owned()));
        }
        let database = Self::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE).await?;
        if database.check().await? == 0 {
            return Err(RecordError::NotARecording(path.to_owned()));
        }
        let only = database.connection.execute_batch("pragma query_only = on;").await;
        only.map_err(doing(path, "open"))?;
        Ok(database)
    }

    async fn open(path: &Path, flags: OpenFlags) -> Result<Self, RecordError> {
        let built = Builder::new_local(path).flags(flags).build().await;
        let connection =
            built.and_then(|database| database.connect()).map_err(doing(path, "open"))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(doing(path, "open"))?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// The file's schema version, 0 if it is empty. An older one is brought to the present one.
    async fn check(&self) -> Result<i64, RecordError> {
        let application = self.number("pragma application_id").await?;
        let version = self.number("pragma user_version").await?;
        let tables = self.number("select count(*) from sqlite_schema").await?;
        match (application, version) {
            (APPLICATION_ID, found) if found > VERSION => {
                Err(RecordError::Newer { path: self.path.clone(), found, known: VERSION })
            }
            (APPLICATION_ID, VERSION) => Ok(VERSION),
            (APPLICATION_ID, 1) => {
                let upgraded = self.connection.execute_batch(FROM_1_TO_2).await;
                upgraded.map_err(doing(&self.path, "bring to the present version"))?;
                Ok(VERSION)
            }
            (0, 0) if tables == 0 => Ok(0),
            _ => Err(RecordError::NotARecording(self.path.clone())),
        }
    }

    async fn number(&self, query: &str) -> Result<i64, RecordError> {
        let read = async {
            let mut rows = self.connection.query(query, ()).await?;
            match rows.next().await? {
                Some(row) => row.get::<i64>(0),
                None => Ok(0),
            }
        };
        read.await.map_err(doing(&self.path, "read its version"))
    }
}
