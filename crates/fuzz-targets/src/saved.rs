//! Loading whatever a file may hold.

use mergeable_store::{Changes, ClientId, MergeableStore};

use crate::arrange::NOW;
use crate::model::Model;

/// Text that loads saves as a fixed point; text that does not leaves the store as it was.
pub fn saved(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    changes(text);
    let mut store = MergeableStore::new(ClientId::from_unique_id("saved"));
    let mut live = MergeableStore::new(ClientId::from_unique_id("live"));
    live.transaction(NOW, |tx| tx.set_cell("t", "r", "c", 1.0)).unwrap();
    let before = live.content();
    match store.load(NOW, text) {
        Err(error) => {
            assert_eq!(store.content(), "[[{},\"\",0],[{},\"\",0]]");
            assert_eq!(live.load(NOW, text), Err(error));
            assert_eq!(live.content(), before);
        }
        Ok(()) => {
            let saved = store.content();
            let again = MergeableStore::from_content(store.client(), NOW, &saved)
                .unwrap_or_else(|error| panic!("{saved:?} was saved: {error}"));
            assert_eq!(again.content(), saved);
            assert_eq!(again.hashes(), store.hashes());
            assert_eq!(again.computed_hashes(), store.computed_hashes());
            // Whatever hashes the text claims, the stamps are what they are.
            let model = Model::of(&store);
            model.check(&again, false);
            assert_eq!(store.computed_hashes(), model.hashes());
            writable(store);
        }
    }
}

/// The store can be written to, and each write is newer than all that was loaded.
fn writable(mut store: MergeableStore) {
    let highest = store.cell_stamps().map(|(.., stamp)| stamp.hlc).max().unwrap_or_default();
    assert!(store.next_hlc(NOW) > highest);
    store.transaction(NOW, |tx| tx.set_cell("t", "r", "c", "new")).unwrap();
    assert_eq!(store.row_ids("t").iter().filter(|row| **row == "r").count(), 1);
}

/// Changes in JSON text: a fixed point too.
fn changes(text: &str) {
    if let Ok(changes) = Changes::from_json(text) {
        let written = changes.to_json();
        assert_eq!(Changes::from_json(&written).as_ref(), Ok(&changes));
    }
}
