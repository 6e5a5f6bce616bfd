//! The same questions to both storages, and what only a file can show.

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
    let (table, row, cell) = ("\"users\"".to_owned(), format!("{row:?}"), "\"name\"".to_owned());
    let record =
        CellRecord { table, row, cell, value: value.map(str::to_owned), hlc: "h".to_owned() };
    Op::PutCell(path(), record)
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
    let stored = storage.load_path(path()).await.unwrap();
    assert_eq!(stored.cells.len(), 1);
    assert_eq!(stored.cells[0].value, None);
    assert_eq!(stored.owed.len(), 3);

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

    let swap = |from: Option<&str>, to: &str| {
        vec![Op::SwapControl {
            key: "switch".to_owned(),
            from: from.map(str::to_owned),
            to: to.to_owned(),
        }]
    };
    storage.commit(swap(None, "1")).await.unwrap();
    storage.commit(swap(Some("1"), "2")).await.unwrap();
    for stale in [swap(Some("1"), "3"), swap(None, "3")] {
        let refused = storage.commit(stale).await.unwrap_err();
        assert!(matches!(refused, StorageError::Changed(_)), "{refused}");
    }
    assert_eq!(storage.control("switch".to_owned()).await.unwrap().as_deref(), Some("2"));

    let put = |key: &str| Op::PutControl { key: key.to_owned(), value: "live".to_owned() };
    storage.commit(vec![put("stage.users"), put("stage_x")]).await.unwrap();
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
    let storage = LibsqlStorage::open_file(&file).await.unwrap();
    let newer = Op::PutControl { key: "schema_version".to_owned(), value: "99".to_owned() };
    storage.commit(vec![newer]).await.unwrap();
    drop(storage);
    let before = std::fs::read(&file).unwrap();
    let refused = loop {
        match LibsqlStorage::open_file(&file).await {
            Err(StorageError::InUse { .. }) => tokio::task::yield_now().await,
            other => break other.unwrap_err(),
        }
    };
    assert!(matches!(refused, StorageError::Newer { found: 99, .. }), "{refused}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
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
