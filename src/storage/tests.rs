//! The same questions to both storages, and what only a file can show.

use mergeable_store::{Container, Hlc, Text};

use super::*;

fn path() -> PathId {
    PathId::new("org/o_1").unwrap()
}

fn entry(row: &str, accepted_ms: u64) -> NewEntry {
    NewEntry {
        path: path(),
        resource: ResourceName::new("users"),
        row: RowId::new(row),
        cells: vec![("name".to_owned(), "P729fKl----Z21Zg".to_owned())],
        actor: Actor { user: "user_1".to_owned(), org_id: Some("o_1".to_owned()), org_role: None },
        accepted_ms,
    }
}

fn cell(row: &str, value: Option<&str>) -> Op {
    Op::PutCell(path(), record(row.into(), value))
}

const HLC: &str = "P729fKl----Z21Zg";

fn record(row: Text, value: Option<&str>) -> CellRecord {
    let (table, cell, hlc) = ("users".into(), "name".into(), HLC.parse().unwrap());
    CellRecord { table, row, cell, value: value.map(str::to_owned), hlc }
}

/// All records of a generation, read chunk by chunk.
async fn read_all(storage: &dyn Storage, generation: Option<Generation>) -> PathChunk {
    let mut all = PathChunk::default();
    let mut after = None;
    loop {
        let chunk = storage.read_path(path(), generation, after).await.unwrap();
        assert!(chunk.len() <= CHUNK_RECORDS);
        all.cells.extend(chunk.cells);
        all.values.extend(chunk.values);
        all.containers.extend(chunk.containers);
        after = chunk.next;
        if after.is_none() {
            return all;
        }
    }
}

/// Rows with other ids in legacy, and creates.
async fn knows_aliases(storage: &dyn Storage) {
    let (users, teams) = (ResourceName::new("users"), ResourceName::new("teams"));
    let id = |text: &str| RowId::new(text);
    let alias = |resource: &ResourceName, row, legacy_id| Op::Alias {
        resource: resource.clone(),
        row: id(row),
        legacy_id: id(legacy_id),
    };
    let asked = AskedCreate {
        resource: users.clone(),
        row: id("a"),
        seq: Seq(7),
        body: serde_json::json!({ "name": "Ada", "age": null }),
        asked_ms: 40,
    };
    let refused = |row, at_ms, forget_before_ms| {
        let (resource, row) = (users.clone(), id(row));
        Op::RefuseCreate { resource, row, at_ms, forget_before_ms }
    };
    let ops = vec![
        alias(&users, "a", "1"),
        alias(&users, "b", "2"),
        alias(&teams, "a", "2"),
        Op::AskCreate(asked.clone()),
        refused("x", 10, 0),
    ];
    storage.commit(ops).await.unwrap();
    let to_legacy = storage.legacy_id(users.clone(), id("b")).await.unwrap();
    assert_eq!(to_legacy, Some(id("2")));
    assert_eq!(storage.row_of_legacy_id(users.clone(), id("2")).await.unwrap(), Some(id("b")));
    assert_eq!(storage.row_of_legacy_id(teams.clone(), id("2")).await.unwrap(), Some(id("a")));
    assert_eq!(storage.legacy_id(users.clone(), id("1")).await.unwrap(), None);
    let found = storage.asked_create(users.clone(), id("a")).await.unwrap();
    assert_eq!(found, Some(asked.clone()));
    assert_eq!(storage.asked_create(teams.clone(), id("a")).await.unwrap(), None);
    assert!(storage.is_create_refused(users.clone(), id("x")).await.unwrap());
    assert!(!storage.is_create_refused(teams, id("x")).await.unwrap());

    // A row that is made once more has another id; asked once more, it is the later request; what is old is forgotten.
    let again = AskedCreate { asked_ms: 50, ..asked };
    let ops = vec![alias(&users, "a", "3"), Op::AskCreate(again.clone()), refused("y", 30, 20)];
    storage.commit(ops).await.unwrap();
    assert_eq!(storage.legacy_id(users.clone(), id("a")).await.unwrap(), Some(id("3")));
    assert_eq!(storage.row_of_legacy_id(users.clone(), id("1")).await.unwrap(), None);
    assert_eq!(storage.asked_create(users.clone(), id("a")).await.unwrap(), Some(again));
    assert!(!storage.is_create_refused(users.clone(), id("x")).await.unwrap());
    let end = Op::EndCreate { resource: users.clone(), row: id("a") };
    storage.commit(vec![end]).await.unwrap();
    assert_eq!(storage.asked_create(users, id("a")).await.unwrap(), None);
}

async fn answers_questions(storage: &dyn Storage) {
    let seqs = storage
        .commit(vec![
            cell("a", Some("\"Ada\"")),
            Op::Owe(entry("a", 10)),
            Op::Owe(entry("a", 20)),
            Op::Owe(entry("b", 30)),
        ])
        .await
        .unwrap();
    assert_eq!(seqs.len(), 3);
    storage.commit(vec![cell("a", None)]).await.unwrap();
    let stored = read_all(storage, None).await;
    assert_eq!(stored.cells, [record("a".into(), None)]);
    assert_eq!(storage.entries_of(path()).await.unwrap().len(), 3);
    assert_eq!(storage.owed_counts().await.unwrap(), [(path(), 3)]);

    // Only the oldest entry of a row is due, however many wait behind it.
    let due = storage.due_entries(100, 10).await.unwrap();
    assert_eq!(due.iter().map(|e| e.seq).collect::<Vec<_>>(), [seqs[0], seqs[2]]);
    assert_eq!(storage.due_entries(5, 10).await.unwrap(), []);
    let postpone =
        Op::Postpone { seq: seqs[0], attempts: 1, due_ms: 500, error: "down".to_owned() };
    storage.commit(vec![postpone]).await.unwrap();
    // The second entry of `a` must not overtake the first, which waits for its next try.
    let due = storage.due_entries(100, 10).await.unwrap();
    assert_eq!(due.iter().map(|e| e.seq).collect::<Vec<_>>(), [seqs[2]]);
    storage.commit(vec![Op::Settle(seqs[2])]).await.unwrap();
    assert_eq!(storage.next_due_ms().await.unwrap(), Some(20));
    storage.commit(vec![Op::Bury { seq: seqs[1], error: "no".to_owned() }]).await.unwrap();
    let summary = storage.outbox_summary(10).await.unwrap();
    assert_eq!((summary.pending, summary.dead, summary.oldest_ms), (1, 1, Some(10)));
    let dead = storage.dead_letters(10).await.unwrap();
    assert_eq!(dead.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [seqs[1]]);
    assert_eq!(storage.outbox_entry(seqs[1]).await.unwrap().as_ref(), dead.first());
    assert_eq!(storage.outbox_entry(seqs[2]).await.unwrap(), None);
    assert_eq!(storage.owed_since(10).await.unwrap(), 1);
    assert_eq!(storage.owed_since(9).await.unwrap(), 0, "younger than that, or dead");
    let (users, row) = (ResourceName::new("users"), RowId::new("a"));
    assert_eq!(storage.path_of_owed_row(users.clone(), row).await.unwrap(), Some(path()));
    assert_eq!(storage.path_of_owed_row(users, RowId::new("zz")).await.unwrap(), None);
    let owing = OwingPath { path: path(), pending: 1, dead: 1, oldest_ms: 10 };
    assert_eq!(storage.owing_paths(10).await.unwrap(), [owing]);
    assert_eq!(storage.owing_paths(0).await.unwrap(), []);

    let users = ResourceName::new("users");
    let row = RowId::new("a");
    let base = Base { cells: serde_json::json!({"name": "Ada"}).as_object().unwrap().clone() };
    let put = Op::PutBase { path: path(), resource: users.clone(), row: row.clone(), base };
    storage.commit(vec![put]).await.unwrap();
    assert_eq!(storage.path_of_row(users.clone(), row.clone()).await.unwrap(), Some(path()));
    let rows = storage.rows_with_base(users.clone()).await.unwrap();
    assert_eq!(rows, [(path(), row.clone())]);
    let found = storage.bases(path(), users, vec![RowId::new("zz"), row]).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1.cells["name"], "Ada");

    knows_aliases(storage).await;
    let intent = |id, row: Option<&str>, opened_ms| Intent {
        id: IntentId(id),
        resource: ResourceName::new("users"),
        row: row.map(RowId::new),
        opened_ms,
    };
    let (one, other) = (intent(-7, Some("a"), 20), intent(9, None, 10));
    let open = [one.clone(), other.clone()].map(Op::OpenIntent);
    storage.commit(open.to_vec()).await.unwrap();
    assert_eq!(storage.open_intents(9).await.unwrap(), [other.clone(), one]);
    storage.commit(vec![Op::CloseIntent(IntentId(-7))]).await.unwrap();
    assert_eq!(storage.open_intents(9).await.unwrap(), [other]);

    let swap = |from: Option<&str>, to: &str| {
        vec![ControlOp::Swap {
            key: "switch".to_owned(),
            from: from.map(str::to_owned),
            to: to.to_owned(),
        }]
    };
    storage.commit_control(swap(None, "1")).await.unwrap();
    storage.commit_control(swap(Some("1"), "2")).await.unwrap();
    for stale in [swap(Some("1"), "3"), swap(None, "3")] {
        let refused = storage.commit_control(stale).await.unwrap_err();
        assert!(matches!(refused, StorageError::Changed(_)), "{refused}");
    }
    assert_eq!(storage.control("switch".to_owned()).await.unwrap().as_deref(), Some("2"));

    let put = |key: &str| ControlOp::Put { key: key.to_owned(), value: "live".to_owned() };
    // One that is stale takes what was to be kept with it along.
    let mixed = [vec![put("stage.none")], swap(None, "4")].concat();
    storage.commit_control(mixed).await.unwrap_err();
    assert_eq!(storage.control("stage.none".to_owned()).await.unwrap(), None);
    storage.commit_control(vec![put("stage.users"), put("stage_x")]).await.unwrap();
    assert_eq!(storage.controls("stage.".to_owned()).await.unwrap().len(), 1);
    assert_eq!(storage.control("stage.users".to_owned()).await.unwrap().as_deref(), Some("live"));
}

#[tokio::test]
async fn memory_answers_questions() {
    answers_questions(&MemoryStorage::default()).await;
}

#[tokio::test]
async fn a_file_answers_questions_and_keeps_them() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("control.db");
    let storage = LibsqlStorage::open_file(&file).await.unwrap();
    answers_questions(&storage).await;
    drop(storage);
    let storage = reopen(&file).await;
    assert_eq!(storage.outbox_summary(10).await.unwrap().pending, 1);
}

/// The lock goes with the last handle, a moment after it was dropped here.
async fn reopen(file: &std::path::Path) -> LibsqlStorage {
    loop {
        match LibsqlStorage::open_file(file).await {
            Err(StorageError::InUse { .. }) => tokio::task::yield_now().await,
            other => return other.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("control.db");
    let _first = LibsqlStorage::open_file(&file).await.unwrap();
    let second = LibsqlStorage::open_file(&file).await.unwrap_err();
    assert!(matches!(second, StorageError::InUse { .. }), "{second}");
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("control.db");
    drop(LibsqlStorage::open_file(&file).await.unwrap());
    // Its thread closes the database a moment later, and whoever closes it last empties the log.
    let lock =
        std::fs::File::options().write(true).open(dir.path().join("control.db.lock")).unwrap();
    while lock.try_lock().is_err() {
        tokio::task::yield_now().await;
    }
    drop(lock);
    let conn = conn(&file).await;
    let sql = "UPDATE crossfade_control SET value = '99' WHERE key = 'schema_version'";
    conn.execute(sql, ()).await.unwrap();
    // As a kill leaves it: the newer version is in the log alone.
    let killed = dir.path().join("killed.db");
    std::fs::copy(&file, &killed).unwrap();
    std::fs::copy(dir.path().join("control.db-wal"), dir.path().join("killed.db-wal")).unwrap();
    drop(conn);
    for file in [file, killed] {
        is_refused_and_left_as_it_is(&file).await;
    }
}

async fn is_refused_and_left_as_it_is(file: &std::path::Path) {
    let before = std::fs::read(file).unwrap();
    let refused = LibsqlStorage::open_file(file).await.unwrap_err();
    assert!(matches!(refused, StorageError::Newer { found: 99, .. }), "{refused}");
    let refused = LibsqlStorage::open_beside(file).await.unwrap_err();
    assert!(matches!(refused, StorageError::Newer { found: 99, .. }), "{refused}");
    assert!(std::fs::read(file).unwrap() == before, "every byte is as before");
}

/// The database as SQL sees it.
async fn conn(file: &std::path::Path) -> ::libsql::Connection {
    let database = ::libsql::Builder::new_local(file).build().await.unwrap();
    let conn = database.connect().unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    conn
}

#[tokio::test]
async fn the_audit_log_gives_the_newest_first_and_nothing_takes_an_entry_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("control.db");
    let written = |number: u64| {
        let text = |text: &str| format!("{text} {number}");
        ControlOp::Audit(AuditEntry {
            at_ms: number,
            actor: text("ada"),
            action: text("rollback"),
            subject: text("*"),
            reason: text("why"),
            process: text("127.0.0.1:80"),
        })
    };
    let local = LibsqlStorage::open_file(&file).await.unwrap();
    let beside = LibsqlStorage::open_beside(&file).await.unwrap();
    let memory = MemoryStorage::default();
    let both: [(&dyn Storage, &dyn Storage); 2] = [(&local, &beside), (&memory, &memory)];
    for (one, other) in both {
        for number in 1..=3 {
            let writer = if number == 2 { other } else { one };
            writer.commit_control(vec![written(number)]).await.unwrap();
        }
        let newest = other.audit(None, 2).await.unwrap();
        assert_eq!(newest.iter().map(|one| one.entry.at_ms).collect::<Vec<_>>(), [3, 2]);
        let older = one.audit(Some(newest[1].number), 2).await.unwrap();
        assert_eq!(ControlOp::Audit(older[0].entry.clone()), written(1));
        assert_eq!(older.len(), 1);
    }
    let conn = conn(&dir.path().join("control.db.control")).await;
    for sql in ["DELETE FROM crossfade_audit", "UPDATE crossfade_audit SET actor = 'nobody'"] {
        let refused = conn.execute(sql, ()).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
    assert_eq!(local.audit(None, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn processes_that_start_together_make_the_control_file_once() {
    for _ in 0..40 {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("control.db");
        let beside = || LibsqlStorage::open_beside(&file);
        let (one, two, three) = tokio::join!(beside(), beside(), LibsqlStorage::open_file(&file));
        let put = ControlOp::Put { key: "switch".to_owned(), value: "1".to_owned() };
        one.unwrap().commit_control(vec![put]).await.unwrap();
        for storage in [two.unwrap(), three.unwrap()] {
            let found = storage.control("switch".to_owned()).await.unwrap();
            assert_eq!(found.as_deref(), Some("1"));
        }
    }
}

#[tokio::test]
async fn beside_its_process_control_values_are_shared_and_all_else_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("control.db");
    let put = |value: &str| ControlOp::Put { key: "switch".to_owned(), value: value.to_owned() };
    let switch = async |storage: &LibsqlStorage| {
        storage.control("switch".to_owned()).await.unwrap().unwrap_or_default()
    };
    // Before there is anything.
    let beside = LibsqlStorage::open_beside(&file).await.unwrap();
    beside.commit_control(vec![put("1")]).await.unwrap();
    assert_eq!(beside.outbox_summary(1).await.unwrap(), OutboxSummary::default());
    assert!(!file.exists());
    let storage = LibsqlStorage::open_file(&file).await.unwrap();
    assert_eq!(switch(&storage).await, "1");
    storage.commit(vec![Op::Owe(entry("a", 1))]).await.unwrap();
    let beside = LibsqlStorage::open_beside(&file).await.unwrap();
    assert_eq!(beside.outbox_summary(1).await.unwrap().pending, 1);
    storage.commit(vec![Op::Owe(entry("b", 2))]).await.unwrap();
    assert_eq!(beside.outbox_summary(1).await.unwrap().pending, 2);
    beside.commit_control(vec![put("2")]).await.unwrap();
    assert_eq!(switch(&storage).await, "2");
    storage.commit_control(vec![put("3")]).await.unwrap();
    assert_eq!(switch(&beside).await, "3");
    let refused = beside.commit(vec![Op::Owe(entry("c", 3))]).await.unwrap_err();
    assert!(matches!(refused, StorageError::Failed(_)), "{refused}");
    // After the process is gone, too.
    drop(storage);
    drop(reopen(&file).await);
    assert_eq!(beside.outbox_summary(1).await.unwrap().pending, 2);
}

/// A copy of the files, made while they are in use, is what a kill leaves behind.
#[tokio::test]
async fn what_was_committed_outlives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("control.db");
    let storage = LibsqlStorage::open_file(&file).await.unwrap();
    let killed = dir.path().join("killed");
    std::fs::create_dir(&killed).unwrap();
    for n in 0..20_u64 {
        storage.commit(vec![Op::Owe(entry(&n.to_string(), n))]).await.unwrap();
    }
    for name in ["control.db", "control.db-wal", "control.db.control"] {
        std::fs::copy(dir.path().join(name), killed.join(name)).unwrap();
    }
    let file = killed.join("control.db");
    // Whoever looks first finds all of it, and takes nothing away.
    let beside = LibsqlStorage::open_beside(&file).await.unwrap();
    assert_eq!(beside.outbox_summary(0).await.unwrap().pending, 20);
    let again = LibsqlStorage::open_file(&file).await.unwrap();
    assert_eq!(again.outbox_summary(0).await.unwrap().pending, 20);
}

#[tokio::test]
async fn many_commits_at_once_all_become_durable() {
    let dir = tempfile::tempdir().unwrap();
    let storage = LibsqlStorage::open_file(&dir.path().join("control.db")).await.unwrap();
    let commits = (0..300).map(|n| storage.commit(vec![Op::Owe(entry(&n.to_string(), n))]));
    let seqs = futures_util::future::join_all(commits).await;
    let mut seqs: Vec<Seq> = seqs.into_iter().flat_map(Result::unwrap).collect();
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(seqs.len(), 300);
    assert_eq!(storage.outbox_summary(1).await.unwrap().pending, 300);
}

/// A path with more records of each kind than a chunk holds, and with ids that SQL text cannot hold.
async fn reads_in_chunks(storage: &dyn Storage) {
    let lone = Text::from_utf16(&[0xd800, 0x27, 0x5c, 0xdfff]);
    let mut wanted = PathChunk::default();
    let hlc = HLC.parse().unwrap();
    for n in 0..CHUNK_RECORDS + 10 {
        wanted.cells.push(record(format!("r{n}").as_str().into(), Some("\"x\"")));
        let id = format!("v{n}").as_str().into();
        wanted.values.push(ValueRecord { id, value: Some("1".to_owned()), hlc });
        let container = Container::Row("users".into(), format!("r{n}").as_str().into());
        wanted.containers.push(ContainerRecord { container, hlc });
    }
    wanted.cells.push(CellRecord {
        table: lone.clone(),
        cell: lone.clone(),
        ..record(lone.clone(), None)
    });
    wanted.values.push(ValueRecord { id: lone.clone(), value: None, hlc: Hlc::EMPTY });
    for container in [Container::Tables, Container::Table(lone), Container::Values] {
        wanted.containers.push(ContainerRecord { container, hlc });
    }
    let cells = wanted.cells.iter().map(|r| Op::PutCell(path(), r.clone()));
    let values = wanted.values.iter().map(|r| Op::PutValue(path(), r.clone()));
    let containers = wanted.containers.iter().map(|r| Op::PutContainer(path(), r.clone()));
    storage.commit(cells.chain(values).chain(containers).collect()).await.unwrap();
    // The same records of another path are no part of it.
    let other = PathId::new("org/o_2").unwrap();
    storage.commit(vec![Op::PutCell(other, record("other".into(), None))]).await.unwrap();

    let mut found = read_all(storage, None).await;
    let order = |chunk: &mut PathChunk| {
        chunk.cells.sort_by_key(|r| (r.table.clone(), r.row.clone(), r.cell.clone()));
        chunk.values.sort_by_key(|r| r.id.clone());
        chunk.containers.sort_by_key(|r| format!("{:?}", r.container));
    };
    order(&mut found);
    order(&mut wanted);
    assert_eq!(found, wanted);

    let mut counted = CountChunk::default();
    loop {
        let after = counted.next.take();
        counted.add(storage.count(path(), after).await.unwrap());
        if counted.next.is_none() {
            break;
        }
    }
    let users = counted.tables.iter().find(|table| table.table == "users").unwrap();
    let many = CHUNK_RECORDS as u64 + 10;
    assert_eq!((users.rows, users.cells, users.tombstones), (many, many, 0));
    assert_eq!(users.last_write_ms, record("a".into(), None).hlc.time_ms());
    let tombstones: u64 = counted.tables.iter().map(|table| table.tombstones).sum();
    assert_eq!((counted.tables.len(), tombstones), (2, 1));
}

#[tokio::test]
async fn memory_reads_in_chunks() {
    reads_in_chunks(&MemoryStorage::default()).await;
}

#[tokio::test]
async fn a_file_reads_in_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let storage = LibsqlStorage::open_file(&dir.path().join("control.db")).await.unwrap();
    reads_in_chunks(&storage).await;
}

/// A generation is prepared in secret, started at once, and can be erased once it is not current.
async fn has_generations(storage: &dyn Storage) {
    let second = Generation::FIRST.next();
    let chunk = |row: &str| {
        let cells = vec![record(row.into(), Some("1"))];
        PathChunk { cells, ..PathChunk::default() }
    };
    let rows = async |generation| {
        let all = read_all(storage, generation).await;
        all.cells.iter().map(|r| r.row.to_string()).collect::<Vec<_>>()
    };
    storage.commit(vec![cell("a", Some("1")), cell("gone", None)]).await.unwrap();
    storage.commit(vec![Op::Prepare(path(), second, chunk("a"))]).await.unwrap();
    assert_eq!(rows(None).await, ["a", "gone"]);
    assert_eq!(rows(Some(second)).await, ["a"]);
    // Neither one that is not next, nor records for one that is in use.
    for op in [
        Op::Start(path(), second.next()),
        Op::Start(path(), Generation::FIRST),
        Op::Prepare(path(), Generation::FIRST, chunk("b")),
    ] {
        let refused = storage.commit(vec![cell("c", None), op]).await.unwrap_err();
        assert!(matches!(refused, StorageError::Changed(_)), "{refused}");
    }
    storage.commit(vec![Op::Erase(path(), Generation::FIRST, 10)]).await.unwrap();
    assert_eq!(rows(None).await, ["a", "gone"], "the current one cannot be erased");

    storage.commit(vec![Op::Start(path(), second), cell("b", Some("2"))]).await.unwrap();
    assert_eq!(rows(None).await, ["a", "b"]);
    assert_eq!(rows(Some(Generation::FIRST)).await, ["a", "gone"]);
    let standings = async || {
        let all = storage.generations(Some(path())).await.unwrap();
        all.iter().map(|g| (g.generation.number(), g.standing)).collect::<Vec<_>>()
    };
    assert_eq!(standings().await, [(1, Standing::Former), (2, Standing::Current)]);
    storage.commit(vec![Op::Erase(path(), Generation::FIRST, 1)]).await.unwrap();
    assert_eq!(rows(Some(Generation::FIRST)).await, ["gone"]);
    while standings().await.len() > 1 {
        storage.commit(vec![Op::Erase(path(), Generation::FIRST, 1)]).await.unwrap();
    }
    assert_eq!(rows(None).await, ["a", "b"]);
}

#[tokio::test]
async fn memory_has_generations() {
    has_generations(&MemoryStorage::default()).await;
}

#[tokio::test]
async fn a_file_has_generations() {
    let dir = tempfile::tempdir().unwrap();
    let storage = LibsqlStorage::open_file(&dir.path().join("control.db")).await.unwrap();
    has_generations(&storage).await;
}

/// What a transaction that failed has numbered must not be believed afterwards.
#[tokio::test]
async fn a_failed_transaction_leaves_no_number_behind() {
    let dir = tempfile::tempdir().unwrap();
    let storage = LibsqlStorage::open_file(&dir.path().join("control.db")).await.unwrap();
    // A generation that is not the next one.
    let stale = Op::Start(path(), Generation::FIRST);
    let other = PathId::new("org/o_2").unwrap();
    for _ in 0..2 {
        let put = Op::PutCell(other.clone(), record("a".into(), None));
        storage.commit(vec![put, stale.clone()]).await.unwrap_err();
    }
    storage.commit(vec![cell("a", Some("1"))]).await.unwrap();
    assert_eq!(read_all(&storage, None).await.cells, [record("a".into(), Some("1"))]);
    assert_eq!(storage.read_path(other, None, None).await.unwrap(), PathChunk::default());
}

#[tokio::test]
async fn a_database_of_version_1_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("control.db");
    let conn = conn(&file).await;
    conn.execute_batch(schema::STEPS[0]).await.unwrap();
    conn.execute_batch(&format!(
        "INSERT INTO crossfade_control VALUES ('schema_version', '1'), ('unique_id', 'u'),
           ('switch', '0');
         INSERT INTO crossfade_cells VALUES
           ('org/o_1', '\"users\"', '\"a\"', '\"name\"', '\"Ada\"', '{HLC}'),
           ('org/o_1', '\"users\"', '\"\\ud800\"', '\"\\ud800\"', NULL, ''),
           ('org/o_2', '\"users\"', '\"b\"', '\"name\"', '1', '{HLC}');
         INSERT INTO crossfade_values VALUES ('org/o_1', '\"v\"', 'true', '{HLC}');
         INSERT INTO crossfade_containers VALUES ('org/o_1', 't', '\"users\"', '', '{HLC}');"
    ))
    .await
    .unwrap();
    drop(conn);
    // Whoever opens it beside an older process leaves it as it is.
    let beside = LibsqlStorage::open_beside(&file).await.unwrap();
    let put = ControlOp::Put { key: "switch".to_owned(), value: "1".to_owned() };
    beside.commit_control(vec![put]).await.unwrap();
    let version = beside.control("schema_version".to_owned()).await.unwrap();
    assert_eq!(version.as_deref(), Some("1"));
    drop(beside);
    let storage = LibsqlStorage::open_file(&file).await.unwrap();
    for (key, value) in [("switch", "1"), ("unique_id", "u")] {
        assert_eq!(storage.control(key.to_owned()).await.unwrap().as_deref(), Some(value));
    }
    let found = read_all(&storage, None).await;
    let lone = Text::from_utf16(&[0xd800]);
    let tombstone = CellRecord { cell: lone.clone(), hlc: Hlc::EMPTY, ..record(lone, None) };
    assert_eq!(found.cells.len(), 2);
    assert!(found.cells.contains(&record("a".into(), Some("\"Ada\""))), "{found:?}");
    assert!(found.cells.contains(&tombstone), "{found:?}");
    let hlc = HLC.parse().unwrap();
    let value = ValueRecord { id: "v".into(), value: Some("true".to_owned()), hlc };
    assert_eq!(found.values, [value]);
    let container = Container::Table("users".into());
    assert_eq!(found.containers, [ContainerRecord { container, hlc }]);
    let other = PathId::new("org/o_2").unwrap();
    assert_eq!(storage.read_path(other, None, None).await.unwrap().cells.len(), 1);
    drop(storage);
    // The second time there is nothing left to do.
    let storage = reopen(&file).await;
    assert_eq!(read_all(&storage, None).await, found);
    assert_eq!(storage.control("unique_id".to_owned()).await.unwrap().as_deref(), Some("u"));
}
