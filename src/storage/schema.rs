//! The tables, and how an older database is brought up to date.

/// The newest schema version this build knows.
pub(super) const VERSION: i64 = 1;

/// One script per version: the n-th brings version n to n + 1.
pub(super) const STEPS: [&str; VERSION as usize] = [VERSION_1];

/// Cells keep TinyBase's encoded JSON text; `NULL` is a tombstone. Ids are JSON text, because a
/// TinyBase id may hold lone surrogates that SQL text cannot.
const VERSION_1: &str = "
CREATE TABLE crossfade_control (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE crossfade_cells (
  path TEXT NOT NULL, table_id TEXT NOT NULL, row_id TEXT NOT NULL, cell_id TEXT NOT NULL,
  value TEXT, hlc TEXT NOT NULL,
  PRIMARY KEY (path, table_id, row_id, cell_id)) WITHOUT ROWID;
CREATE TABLE crossfade_values (
  path TEXT NOT NULL, value_id TEXT NOT NULL, value TEXT, hlc TEXT NOT NULL,
  PRIMARY KEY (path, value_id)) WITHOUT ROWID;
CREATE TABLE crossfade_containers (
  path TEXT NOT NULL, kind TEXT NOT NULL, table_id TEXT NOT NULL, row_id TEXT NOT NULL,
  hlc TEXT NOT NULL, PRIMARY KEY (path, kind, table_id, row_id)) WITHOUT ROWID;
CREATE TABLE crossfade_bases (
  path TEXT NOT NULL, resource TEXT NOT NULL, row_id TEXT NOT NULL, cells TEXT NOT NULL,
  PRIMARY KEY (path, resource, row_id)) WITHOUT ROWID;
CREATE INDEX crossfade_bases_by_row ON crossfade_bases (resource, row_id);
CREATE TABLE crossfade_outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  path TEXT NOT NULL, resource TEXT NOT NULL, row_id TEXT NOT NULL,
  cells TEXT NOT NULL, actor TEXT NOT NULL, accepted_ms INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'dead')),
  attempts INTEGER NOT NULL DEFAULT 0, due_ms INTEGER NOT NULL, last_error TEXT);
CREATE INDEX crossfade_outbox_by_row ON crossfade_outbox (path, resource, row_id, state, seq);
CREATE INDEX crossfade_outbox_due ON crossfade_outbox (state, due_ms);
";
