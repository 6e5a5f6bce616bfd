//! The users table, on a thread of its own.
//!
//! libSQL does its work inside the future that asks for it and so blocks the thread that polls it.
//! One thread owns the only connection and takes commands in order: no async worker is blocked,
//! and no two writers can meet.

use std::path::PathBuf;

use libsql::Connection;
use tokio::sync::{mpsc, oneshot};

use super::identity::Scope;
use super::query::UserQuery;
use super::rows::{self, Page};
use super::user::{User, UserChange};

/// Commands that may wait for the thread. More make their senders wait, as a busy database would.
const QUEUE: usize = 256;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS users (
  id TEXT PRIMARY KEY NOT NULL,
  org_id TEXT NOT NULL,
  email TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('admin', 'member', 'viewer')),
  age INTEGER,
  active INTEGER NOT NULL CHECK (active IN (0, 1)),
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  version INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS users_by_org ON users (org_id, id);
";

/// Where the rows are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SampleStorage {
    /// In memory, gone when the API stops.
    Memory,
    /// In a libSQL file, made if it is not there.
    File(PathBuf),
}

/// Why the table could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file is no database, or cannot be made.
    #[error(
        "cannot open the database: {0}; name a file that can be written, or delete it if it is no database"
    )]
    Open(#[source] libsql::Error),
    /// No thread for the database.
    #[error("cannot start the database's thread: {0}")]
    Thread(#[source] std::io::Error),
    /// A statement failed.
    #[error("the database refused a statement: {0}")]
    Query(#[from] libsql::Error),
    /// A row holds what this API never writes.
    #[error(
        "the users table holds a role `{0}` that this API never writes; delete the file to begin again"
    )]
    Row(String),
    /// The email belongs to another user.
    #[error("another user has this email")]
    EmailTaken,
    /// The id belongs to another user.
    #[error("another user has this id")]
    IdTaken,
    /// The API was stopped.
    #[error("the database is closed")]
    Closed,
}

type Reply<T> = oneshot::Sender<Result<T, TableError>>;

enum Command {
    List { scope: Scope, query: UserQuery, reply: Reply<Page> },
    Get { scope: Scope, id: String, reply: Reply<Option<User>> },
    Insert { users: Vec<User>, reply: Reply<()> },
    Seed { users: Vec<User>, reply: Reply<()> },
    Update { org: String, id: String, change: UserChange, at: String, reply: Reply<Option<User>> },
    Delete { org: String, id: String, reply: Reply<bool> },
    Ping { reply: Reply<()> },
    Close { reply: Reply<()> },
}

/// A handle to the thread; clones speak to the same one, and it ends with the last of them.
#[derive(Debug, Clone)]
pub(super) struct UsersTable {
    commands: mpsc::Sender<Command>,
}

impl UsersTable {
    /// Opens the database on a new thread and makes the table if it is not there.
    pub(super) async fn open(storage: SampleStorage) -> Result<Self, TableError> {
        let (commands, inbox) = mpsc::channel(QUEUE);
        let (ready, opened) = oneshot::channel();
        let runtime =
            tokio::runtime::Builder::new_current_thread().build().map_err(TableError::Thread)?;
        std::thread::Builder::new()
            .name("sample-legacy-db".to_owned())
            .spawn(move || runtime.block_on(serve(storage, ready, inbox)))
            .map_err(TableError::Thread)?;
        opened.await.map_err(|_| TableError::Closed)??;
        Ok(Self { commands })
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, TableError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| TableError::Closed)?;
        answer.await.map_err(|_| TableError::Closed)?
    }

    pub(super) async fn list(&self, scope: Scope, query: UserQuery) -> Result<Page, TableError> {
        self.ask(|reply| Command::List { scope, query, reply }).await
    }

    pub(super) async fn get(&self, scope: Scope, id: String) -> Result<Option<User>, TableError> {
        self.ask(|reply| Command::Get { scope, id, reply }).await
    }

    pub(super) async fn insert(&self, user: User) -> Result<(), TableError> {
        self.ask(|reply| Command::Insert { users: vec![user], reply }).await
    }

    /// Inserts all of `users`, or none, if the table is empty; does nothing otherwise.
    pub(super) async fn seed(&self, users: Vec<User>) -> Result<(), TableError> {
        self.ask(|reply| Command::Seed { users, reply }).await
    }

    pub(super) async fn update(
        &self,
        org: String,
        id: String,
        change: UserChange,
        at: String,
    ) -> Result<Option<User>, TableError> {
        self.ask(|reply| Command::Update { org, id, change, at, reply }).await
    }

    /// Whether there was such a user.
    pub(super) async fn delete(&self, org: String, id: String) -> Result<bool, TableError> {
        self.ask(|reply| Command::Delete { org, id, reply }).await
    }

    /// Whether the database answers.
    pub(super) async fn ping(&self) -> Result<(), TableError> {
        self.ask(|reply| Command::Ping { reply }).await
    }

    /// Ends the thread after the commands that came before.
    pub(super) async fn close(&self) {
        // Already closed is closed.
        let _ = self.ask(|reply| Command::Close { reply }).await;
    }
}

async fn serve(storage: SampleStorage, ready: Reply<()>, mut inbox: mpsc::Receiver<Command>) {
    let conn = match open(&storage).await {
        Ok(conn) => conn,
        Err(error) => {
            let _ = ready.send(Err(TableError::Open(error)));
            return;
        }
    };
    if ready.send(Ok(())).is_err() {
        return;
    }
    // An answer that nobody waits for any more is dropped: the caller has gone away.
    while let Some(command) = inbox.recv().await {
        match command {
            Command::List { scope, query, reply } => {
                drop(reply.send(rows::list(&conn, &scope, &query).await))
            }
            Command::Get { scope, id, reply } => {
                drop(reply.send(rows::get(&conn, &scope, id).await))
            }
            Command::Insert { users, reply } => drop(reply.send(rows::insert(&conn, &users).await)),
            Command::Seed { users, reply } => drop(reply.send(rows::seed(&conn, &users).await)),
            Command::Update { org, id, change, at, reply } => {
                drop(reply.send(rows::update(&conn, org, id, change, at).await));
            }
            Command::Delete { org, id, reply } => {
                drop(reply.send(rows::delete(&conn, org, id).await))
            }
            Command::Ping { reply } => {
                drop(reply.send(rows::ping(&conn).await));
            }
            Command::Close { reply } => {
                // First the connection, so that the file is free once the answer is there.
                drop(conn);
                drop(reply.send(Ok(())));
                return;
            }
        }
    }
}

async fn open(storage: &SampleStorage) -> Result<Connection, libsql::Error> {
    let (path, pragmas) = match storage {
        SampleStorage::Memory => (PathBuf::from(":memory:"), ""),
        SampleStorage::File(path) => {
            (path.clone(), "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
        }
    };
    let conn = libsql::Builder::new_local(path).build().await?.connect()?;
    conn.execute_batch(pragmas).await?;
    conn.execute_batch(SCHEMA).await?;
    Ok(conn)
}
