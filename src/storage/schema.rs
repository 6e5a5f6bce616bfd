//! The tables, and how an older database is brought up to date.

/// The newest schema version this build knows.
pub(super) const VERSION: i64 = 6;

/// One script per version: the n-th brings version n to n + 1.
pub(super) const STEPS: [&str; VERSION as usize] =
    [VERSION_1, VERSION_2, VERSION_3, VERSION_4, AUDIT, ALIASES];

/// The same for the control file of a local database.
pub(super) const CONTROL_STEPS: [&str; 2] = [
    "CREATE TABLE crossfade_control (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;",
    AUDIT,
];

/// Who did what. Of a local database that of the control file is used: other processes write there, too.
const AUDIT: &str = "
CREATE TABLE crossfade_audit (
  number INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, actor TEXT NOT NULL,
  action TEXT NOT NULL, subject TEXT NOT NULL, reason TEXT NOT NULL, process TEXT NOT NULL);
CREATE TRIGGER crossfade_audit_stays BEFORE DELETE ON crossfade_audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER crossfade_audit_is_not_changed BEFORE UPDATE ON crossfade_audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
";

/// Which id legacy gave a row that was made under another; creates that legacy was asked for, until it is known how they
/// ended; and those that it refused.
const ALIASES: &str = "
CREATE TABLE crossfade_aliases (
  resource TEXT NOT NULL, row_id TEXT NOT NULL, legacy_id TEXT NOT NULL,
  PRIMARY KEY (resource, row_id)) WITHOUT ROWID;
CREATE INDEX crossfade_aliases_by_legacy_id ON crossfade_aliases (resource, legacy_id);
CREATE TABLE crossfade_asked_creates (
  resource TEXT NOT NULL, row_id TEXT NOT NULL, seq INTEGER NOT NULL, body TEXT NOT NULL,
  asked_ms INTEGER NOT NULL, PRIMARY KEY (resource, row_id)) WITHOUT ROWID;
CREATE TABLE crossfade_refused_creates (
  resource TEXT NOT NULL, row_id TEXT NOT NULL, refused_ms INTEGER NOT NULL,
  PRIMARY KEY (resource, row_id)) WITHOUT ROWID;
CREATE INDEX crossfade_refused_creates_by_time ON crossfade_refused_creates (refused_ms);
";

/// No table changes: of a local database control values move to a file of their own, and who does not know of that
/// file must not open this one.
const VERSION_3: &str = "";

/// Requests to legacy that are under way; and the way from a row to what is owed of it, whatever its path. A row lives for as long as its request and its mirror.
const VERSION_4: &str = "
CREATE TABLE crossfade_intents (
  id INTEGER PRIMARY KEY, resource TEXT NOT NULL, row_id TEXT, opened_ms INTEGER NOT NULL);
CREATE INDEX crossfade_outbox_by_row_id ON crossfade_outbox (resource, row_id);
";

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

/// Paths, tables and cells are numbered, so that a cell's key repeats three small numbers and not their
/// texts; and a path has generations, each with a number of its own. Row ids stay text: each is in a
/// handful of cells, and a number for it would cost every edit of a new row one more tree.
const VERSION_2: &str = "
CREATE TABLE crossfade_paths (
  id INTEGER PRIMARY KEY, path TEXT NOT NULL, generation INTEGER NOT NULL,
  standing TEXT NOT NULL CHECK (standing IN ('current', 'former', 'prepared')),
  UNIQUE (path, generation));
CREATE UNIQUE INDEX crossfade_paths_current ON crossfade_paths (path) WHERE standing = 'current';
CREATE TABLE crossfade_ids (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
INSERT INTO crossfade_paths (path, generation, standing)
  SELECT path, 1, 'current' FROM crossfade_cells UNION SELECT path, 1, 'current' FROM crossfade_values
  UNION SELECT path, 1, 'current' FROM crossfade_containers;
INSERT INTO crossfade_ids (text)
  SELECT table_id FROM crossfade_cells UNION SELECT cell_id FROM crossfade_cells;

CREATE TABLE crossfade_cells_2 (
  path_id INTEGER NOT NULL, table_id INTEGER NOT NULL, row_id TEXT NOT NULL, cell_id INTEGER NOT NULL,
  value TEXT, hlc TEXT NOT NULL,
  PRIMARY KEY (path_id, table_id, row_id, cell_id)) WITHOUT ROWID;
INSERT INTO crossfade_cells_2
  SELECT p.id, t.id, c.row_id, i.id, c.value, c.hlc FROM crossfade_cells c
  JOIN crossfade_paths p ON p.path = c.path
  JOIN crossfade_ids t ON t.text = c.table_id JOIN crossfade_ids i ON i.text = c.cell_id
  ORDER BY 1, 2, 3, 4;
DROP TABLE crossfade_cells;
ALTER TABLE crossfade_cells_2 RENAME TO crossfade_cells;

CREATE TABLE crossfade_values_2 (
  path_id INTEGER NOT NULL, value_id TEXT NOT NULL, value TEXT, hlc TEXT NOT NULL,
  PRIMARY KEY (path_id, value_id)) WITHOUT ROWID;
INSERT INTO crossfade_values_2
  SELECT p.id, v.value_id, v.value, v.hlc FROM crossfade_values v
  JOIN crossfade_paths p ON p.path = v.path;
DROP TABLE crossfade_values;
ALTER TABLE crossfade_values_2 RENAME TO crossfade_values;

CREATE TABLE crossfade_containers_2 (
  path_id INTEGER NOT NULL, kind TEXT NOT NULL, table_id TEXT NOT NULL, row_id TEXT NOT NULL,
  hlc TEXT NOT NULL, PRIMARY KEY (path_id, kind, table_id, row_id)) WITHOUT ROWID;
INSERT INTO crossfade_containers_2
  SELECT p.id, c.kind, c.table_id, c.row_id, c.hlc FROM crossfade_containers c
  JOIN crossfade_paths p ON p.path = c.path;
DROP TABLE crossfade_containers;
ALTER TABLE crossfade_containers_2 RENAME TO crossfade_containers;
";
