//! Who has a database over the network: one process at a time, which says again and again that it is there.
//!
//! No file lock reaches over a network, and no two machines' clocks agree. So the holder changes a control value at every
//! commit, and every second without one; who wants the database takes it once the value has stood still for as long as
//! [`Timing::silence`], by the taker's own clock. That the former holder was only stopped, or cut off, does no harm: each
//! of its transactions begins by changing the value under its own epoch, and changes nothing once there is a higher one.

use std::time::Duration;

use libsql::{Connection, Value};
use tokio::time::Instant;

use super::database::{Database, Work};
use crate::storage::StorageError;

/// Control key of the lease: `<epoch> <beat> held`, or `… free`.
const KEY: &str = "holder";

/// How often a holder is heard of, and when it counts as gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// It says so at least this often.
    pub(super) beat: Duration,
    /// Not heard of for so long, it has lost the database to whoever wants it.
    pub(super) silence: Duration,
}

impl Timing {
    /// A beat a second, and five without one.
    pub(super) const USUAL: Self =
        Self { beat: Duration::from_secs(1), silence: Duration::from_secs(5) };
}

/// The right to write a database, as long as no higher epoch is in it.
#[derive(Debug)]
pub(super) struct Lease {
    epoch: u64,
    beat: u64,
    last: Instant,
    timing: Timing,
}

/// What the database says of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stand {
    epoch: u64,
    is_held: bool,
    text: String,
}

impl Stand {
    fn parse(text: String) -> Result<Self, StorageError> {
        let mut words = text.split(' ');
        let epoch = words.next().and_then(|word| word.parse().ok());
        let is_held = match words.nth(1) {
            Some("held") => Some(true),
            Some("free") => Some(false),
            _ => None,
        };
        match (epoch, is_held) {
            (Some(epoch), Some(is_held)) => Ok(Self { epoch, is_held, text }),
            _ => Err(StorageError::Damaged { what: "lease", reason: "it has another form".into() }),
        }
    }
}

impl Lease {
    /// Takes a database that nobody has, or whose holder is not heard of any more: that takes [`Timing::silence`].
    ///
    /// # Errors
    /// [`StorageError::InUse`] if its holder is heard of meanwhile, or another taker was quicker.
    pub(super) async fn take(
        database: &Database,
        timing: Timing,
        url: &str,
    ) -> Result<Self, StorageError> {
        let conn = database.conn();
        let before = patiently(|| stand(conn)).await?;
        if let Some(before) = before.as_ref().filter(|before| before.is_held) {
            stands_still(conn, before, timing, url).await?;
        }
        let epoch = before.as_ref().map_or(1, |before| before.epoch.saturating_add(1));
        let taken = format!("{epoch} 0 held");
        let changed = match &before {
            None => {
                let sql = "INSERT INTO crossfade_control (key, value) VALUES (?1, ?2)
                           ON CONFLICT (key) DO NOTHING";
                conn.execute(sql, texts([KEY, &taken])).await?
            }
            Some(before) => {
                let sql = "UPDATE crossfade_control SET value = ?2 WHERE key = ?1 AND value = ?3";
                conn.execute(sql, texts([KEY, &taken, &before.text])).await?
            }
        };
        if changed == 0 {
            return Err(StorageError::InUse { url: url.to_owned() });
        }
        Ok(Self { epoch, beat: 0, last: Instant::now(), timing })
    }

    /// Grows with each process that takes the database.
    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When it is to be said again that the holder is there.
    pub(super) fn due(&self) -> Instant {
        self.last + self.timing.beat
    }

    /// Says that the holder is there, within a transaction that is to be undone if it is not.
    ///
    /// # Errors
    /// [`StorageError::Fenced`] if another process has the database by now.
    pub(super) async fn hold(&mut self, work: &mut Work<'_>) -> Result<(), StorageError> {
        let (value, mine) = (self.next(), self.mine());
        let changed = work.execute(HOLD, vec![KEY.into(), value.into(), mine.into()]).await?;
        self.held(changed)
    }

    /// The same without one.
    ///
    /// # Errors
    /// As [`Lease::hold`].
    pub(super) async fn say(&mut self, database: &mut Database) -> Result<(), StorageError> {
        let (value, mine) = (self.next(), self.mine());
        let changed =
            database.read().execute(HOLD, vec![KEY.into(), value.into(), mine.into()]).await?;
        self.held(changed)
    }

    /// Gives the database up, so that nobody has to wait. If that fails, whoever wants it waits.
    pub(super) async fn release(self, database: &Database) {
        let free = format!("{} {} free", self.epoch, self.beat);
        let mine = self.mine();
        if let Err(error) = database.conn().execute(HOLD, texts([KEY, &free, &mine])).await {
            tracing::debug!(%error, "the lease could not be given back");
        }
    }

    fn next(&mut self) -> String {
        // Also when its transaction is undone: only that it changes counts.
        self.beat += 1;
        format!("{} {} held", self.epoch, self.beat)
    }

    /// A pattern of all that this holder may have written.
    fn mine(&self) -> String {
        format!("{} %", self.epoch)
    }

    fn held(&mut self, changed: u64) -> Result<(), StorageError> {
        if changed == 0 {
            return Err(StorageError::Fenced);
        }
        self.last = Instant::now();
        Ok(())
    }
}

const HOLD: &str = "UPDATE crossfade_control SET value = ?2 WHERE key = ?1 AND value LIKE ?3";

fn texts<const N: usize>(texts: [&str; N]) -> Vec<Value> {
    texts.map(Value::from).into()
}

/// How often a server that has no time for a question is asked again, and how long it is left alone before.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// sqld breaks off what it has begun for one connection when another one's turn has lasted too long.
async fn patiently<T, F: Future<Output = Result<T, StorageError>>>(
    ask: impl Fn() -> F,
) -> Result<T, StorageError> {
    let is_passing = |text: &str| text.contains("SQLITE_INTERRUPT") || text.contains("SQLITE_BUSY");
    for _ in 1..TRIES {
        match ask().await {
            Err(StorageError::Failed(text)) if is_passing(&text) => tokio::time::sleep(PAUSE).await,
            told => return told,
        }
    }
    ask().await
}

async fn stand(conn: &Connection) -> Result<Option<Stand>, StorageError> {
    let sql = "SELECT value FROM crossfade_control WHERE key = ?1";
    let mut rows = conn.query(sql, texts([KEY])).await?;
    match rows.next().await? {
        Some(row) => Stand::parse(row.get(0)?).map(Some),
        None => Ok(None),
    }
}

/// Watches a holder until it has not been heard of for long enough.
async fn stands_still(
    conn: &Connection,
    before: &Stand,
    timing: Timing,
    url: &str,
) -> Result<(), StorageError> {
    let begun = Instant::now();
    while begun.elapsed() < timing.silence {
        tokio::time::sleep(timing.beat / 4).await;
        if patiently(|| stand(conn)).await?.as_ref() != Some(before) {
            return Err(StorageError::InUse { url: url.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::*;

    const QUICK: Timing =
        Timing { beat: Duration::from_millis(4), silence: Duration::from_millis(40) };

    struct Shared(tempfile::TempDir);

    impl Shared {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        async fn database(&self) -> Database {
            open::shared_for_tests(&self.0.path().join("shared.db")).await
        }
    }

    async fn commit(
        database: &mut Database,
        lease: &mut Lease,
        key: &str,
    ) -> Result<(), StorageError> {
        let mut work = database.begin().await?;
        lease.hold(&mut work).await?;
        let sql = "INSERT INTO crossfade_control (key, value) VALUES (?1, '')";
        work.execute(sql, vec![key.into()]).await?;
        work.commit().await
    }

    async fn keys(database: &Database) -> Vec<String> {
        let sql = "SELECT key FROM crossfade_control WHERE value = '' ORDER BY key";
        let mut rows = database.conn().query(sql, ()).await.unwrap();
        let mut keys = Vec::new();
        while let Some(row) = rows.next().await.unwrap() {
            keys.push(row.get(0).unwrap());
        }
        keys
    }

    #[tokio::test]
    async fn a_holder_that_is_heard_of_keeps_the_database() {
        let shared = Shared::new();
        let (mut one, two) = (shared.database().await, shared.database().await);
        // A holder's silence never comes: the taker's patience is longer than the test.
        let patient = Timing { silence: Duration::from_secs(600), ..QUICK };
        let mut lease = Lease::take(&one, QUICK, "one").await.unwrap();
        let taking = Lease::take(&two, patient, "two");
        let saying = async {
            loop {
                lease.say(&mut one).await.unwrap();
                tokio::time::sleep(QUICK.beat).await;
            }
        };
        let refused =
            tokio::select! { taken = taking => taken.unwrap_err(), () = saying => unreachable!() };
        assert!(matches!(refused, StorageError::InUse { .. }), "{refused}");
    }

    #[tokio::test]
    async fn who_was_stopped_changes_nothing_any_more() {
        let shared = Shared::new();
        let (mut one, mut two) = (shared.database().await, shared.database().await);
        let mut old = Lease::take(&one, QUICK, "one").await.unwrap();
        commit(&mut one, &mut old, "a").await.unwrap();
        let mut new = Lease::take(&two, QUICK, "two").await.unwrap();
        assert!(new.epoch() > old.epoch());
        for key in ["b", "c"] {
            assert!(matches!(commit(&mut one, &mut old, key).await, Err(StorageError::Fenced)));
        }
        assert!(matches!(old.say(&mut one).await, Err(StorageError::Fenced)));
        commit(&mut two, &mut new, "d").await.unwrap();
        // Nor does it give away what is not its own.
        old.release(&one).await;
        commit(&mut two, &mut new, "e").await.unwrap();
        assert_eq!(keys(&one).await, ["a", "d", "e"]);
    }

    #[tokio::test]
    async fn what_was_given_back_is_there_at_once_and_for_one() {
        let shared = Shared::new();
        let (one, two) = (shared.database().await, shared.database().await);
        let forever = Timing { silence: Duration::from_secs(600), ..QUICK };
        let lease = Lease::take(&one, forever, "one").await.unwrap();
        let epoch = lease.epoch();
        lease.release(&one).await;
        let next = Lease::take(&two, forever, "two").await.unwrap();
        assert_eq!(next.epoch(), epoch + 1);
    }

    #[tokio::test]
    async fn of_many_takers_one_gets_it() {
        let shared = Shared::new();
        let mut databases = Vec::new();
        for _ in 0..6 {
            databases.push(shared.database().await);
        }
        let dead = shared.database().await;
        let _ends = Lease::take(&dead, QUICK, "dead").await.unwrap();
        let takers = databases.iter().map(|database| Lease::take(database, QUICK, "taker"));
        let taken = futures_util::future::join_all(takers).await;
        assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 1);
        let refused = |taken: &Result<Lease, _>| matches!(taken, Err(StorageError::InUse { .. }));
        assert_eq!(taken.iter().filter(|taken| refused(taken)).count(), 5);
    }

    proptest::proptest! {
        #[test]
        fn no_form_is_too_odd(text in "[0-9 a-z]{0,20}") {
            let _ = Stand::parse(text);
        }
    }
}
