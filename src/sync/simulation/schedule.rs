//! A schedule by its seed: some dozen actions, then everything is mended, and the end is checked.

#![expect(clippy::print_stdout, reason = "how often each fault and branch happened is the result")]

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;

use super::creates::{Creates, named};
use super::history::{Rows, store_id};
use super::legacy::Mode;
use super::tally::{Seen, Tally};
use super::trace;
use super::world::World;
use crate::clock::Clock as _;
use crate::storage::Storage as _;
use crate::sync::Standing;
use crate::sync::outbox::retry;

/// How many schedules are run; the environment can ask for more.
const SCHEDULES: u64 = 400;
const SCHEDULES_KEY: &str = "CROSSFADE_SCHEDULES";
/// The first seed.
const SEED_KEY: &str = "CROSSFADE_SEED";
/// How long it may take, in simulated time, until nothing is on its way any more.
const MEND_LIMIT: Duration = Duration::from_secs(600);

async fn act(world: &mut World) {
    let random = world.random.clone();
    let chance = random.below(100);
    if chance > 68 {
        trace(world.clock, || format!("action {chance}"));
    }
    match chance {
        0..=27 => world.rest(),
        28..=64 => world.edit(),
        65..=67 => world.past(),
        68 => world.unmapped(),
        69..=74 => random.pick(&world.clients).disconnect(),
        75..=80 => {
            let (client, drain) = (random.pick(&world.clients).clone(), world.rolled_back);
            if let Some(process) = &world.process {
                client.connect(process, drain).await;
            }
            world.burst(&client).await;
        }
        81..=83 => {
            let modes = [Mode::Up, Mode::Up, Mode::Down, Mode::Failing, Mode::Slow];
            world.legacy.set_mode(*random.pick(&modes));
        }
        84..=86 => world.legacy.lose_answers(*random.pick(&[0, 0, 30, 80])),
        87 => {
            if let Some(process) = &world.process {
                process.disk.delay_commits(*random.pick(&[0, 1, 40]));
                world.tally.saw(Seen::SlowDatabase);
            }
        }
        88 => {
            world.disk.fail_commits(1 + u32::try_from(random.below(3)).unwrap());
            world.tally.saw(Seen::FailedCommit);
        }
        89..=91 => world.kill(),
        92 => world.stop().await,
        93 => world.lose_client(),
        94 => match world.rolled_back {
            false => world.roll_back().await,
            true => world.lift().await,
        },
        95 if world.rolled_back => world.lift().await,
        96 => world.change_stage(),
        97 => world.race(),
        _ => world.start().await,
    }
}

async fn run(creates: Creates, seed: u64, tally: &Tally) -> Result<(), String> {
    let mut world = World::new(creates, seed, tally).await;
    let steps = 30 + world.random.below(50);
    for _ in 0..steps {
        act(&mut world).await;
        tokio::time::sleep(Duration::from_millis(world.random.below(250))).await;
        for client in &world.clients {
            if client.was_drained() {
                tally.saw(Seen::Drained);
            }
        }
        world.note_arrivals();
        world.check_answers().await?;
    }
    mend(&mut world).await?;
    check(&mut world).await
}

/// Ends all faults, and waits until nothing is on its way.
async fn mend(world: &mut World) -> Result<(), String> {
    world.legacy.set_mode(Mode::Up);
    world.legacy.lose_answers(0);
    world.disk.fail_commits(0);
    world.start().await;
    if let Some(process) = &world.process {
        process.disk.delay_commits(0);
    }
    world.callers_done().await;
    if world.rolled_back {
        world.lift().await;
    }
    come_to_rest(world, None).await?;
    if world.has_tail() {
        // Nothing is written any more: what was written past crossfade the tail finds, and nobody else.
        let now_ms = world.clock.now_ms();
        come_to_rest(world, Some(now_ms)).await?;
    }
    Ok(())
}

async fn come_to_rest(world: &World, after_ms: Option<u64>) -> Result<(), String> {
    let started = tokio::time::Instant::now();
    while let Some(open) = still_open(world, after_ms).await {
        if started.elapsed() > MEND_LIMIT {
            return Err(format!("it does not come to rest: {open}"));
        }
        world.connect_all(false).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}

/// What is still on its way; and whether the tail, from `after_ms` on (epoch milliseconds), has read all that legacy has.
async fn still_open(world: &World, after_ms: Option<u64>) -> Option<String> {
    let process = world.process.as_ref()?;
    for dead in world.disk.dead_letters(100).await.unwrap() {
        // Its answer is seen in the next round.
        let _ = retry(&process.outbox, dead.seq).await;
    }
    let users = &process.users.name;
    if process.caught_up.standing(users) == Standing::Unfinished {
        let _ = process.backfill.run(&process.users, |_| {}).await;
    }
    let outbox = world.disk.outbox_summary(3).await.unwrap();
    let intents = world.disk.open_intents(10).await.unwrap().len();
    let standing = process.caught_up.standing(users);
    let (owed, offline) =
        (process.owed.len(), world.clients.iter().filter(|c| !c.is_connected()).count());
    let differ = differing_clients(world).await;
    let swept_ms = process.tail.states()[users].progress.swept_ms;
    let followed = after_ms.is_none_or(|after_ms| swept_ms.is_some_and(|at| at > after_ms));
    let rest = outbox.pending == 0
        && outbox.dead == 0
        && intents == 0
        && owed == 0
        && offline == 0
        && differ.is_empty()
        && followed
        && standing == Standing::Finished;
    (!rest).then(|| {
        format!(
            "outbox {outbox:?}, {intents} intents, {owed} owed mirrors, {offline} offline, {standing:?}, {differ:?} differ, last swept at {swept_ms:?}"
        )
    })
}

/// Clients whose hashes are not the store's.
async fn differing_clients(world: &World) -> Vec<String> {
    let process = world.process.as_ref().unwrap();
    let mut differ = Vec::new();
    for client in &world.clients {
        let path = crate::migration::PathId::new(&format!("org/{}", client.org)).unwrap();
        let Ok(handle) = process.registry.get(&path).await else { continue };
        let hashes = handle.hashes().await;
        if hashes.ok() != Some(client.read(mergeable_store::MergeableStore::hashes)) {
            differ.push(client.name.clone());
        }
    }
    differ
}

async fn check(world: &mut World) -> Result<(), String> {
    let past = match world.has_tail() {
        true => Vec::new(),
        false => world.history().past().iter().map(|row| (*row).to_owned()).collect::<Vec<_>>(),
    };
    let process = world.process.as_ref().unwrap();
    let found = process.reconcile.run(&process.users, None, |_| {}).await.unwrap();
    world.tally.saw(Seen::Reconciled);
    let unexpected: Vec<_> = found
        .differences
        .iter()
        .filter(|one| !past.contains(&one.row.as_str().to_owned()))
        .collect();
    if !unexpected.is_empty() {
        return Err(format!("the sides have diverged: {unexpected:?}"));
    }
    if !world.has_tail() {
        let authority = Some(crate::sync::reconcile::Authority::Legacy);
        process.reconcile.run(&process.users, authority, |_| {}).await.unwrap();
    }
    while !differing_clients(world).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let names = world.legacy.names();
    let legacy = world.legacy_rows()?;
    let store = world.store_rows().await;
    let fell = world.fallen(&store)?;
    let store = named(store, &names)?;
    let aliased = names.values().filter(|name| name.starts_with('c') && store.contains_key(*name));
    world.tally.add(Seen::Aliased, aliased.count() as u64);
    if legacy != store {
        return Err(format!("at the end, legacy has {legacy:?} and the store {store:?}"));
    }
    let mut ids = world.history().ids.clone();
    ids.extend(fell.iter().map(|(name, id)| (name.clone(), id.clone())));
    for client in &world.clients {
        let of_org: Rows = legacy
            .iter()
            .filter(|(_, row)| row["orgId"] == client.org)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let name = |id: String| names.get(&id).cloned().unwrap_or(id);
        let mut theirs: Vec<_> = client.rows().into_iter().map(name).collect();
        theirs.sort();
        let rows: Vec<_> = of_org.keys().cloned().collect();
        if theirs != rows {
            return Err(format!("{} has {theirs:?}, legacy {rows:?}", client.name));
        }
        for (row, cells) in &of_org {
            let id = store_id(&ids, row);
            let name = client.cell(id, "name").map(|cell| cell.to_json());
            if name.as_ref() != cells.get("name") {
                return Err(format!("{} has {name:?} of {row}, legacy {cells:?}", client.name));
            }
        }
    }
    let deliveries = world.legacy.deliveries();
    let mut history = world.history();
    (history.deliveries, history.fell) = (deliveries, fell.into_keys().collect());
    let wrong = history.check(&legacy);
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

fn number(key: &str, otherwise: u64) -> u64 {
    std::env::var(key).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Runs schedules by their seeds, each with one of these legacies, and tells how often what happened.
fn run_all(of: &[Creates], first: u64, schedules: u64) -> Tally {
    let (tally, mut failed) = (Tally::default(), Vec::new());
    for seed in first..first + schedules {
        let creates = &of[usize::try_from(seed).unwrap() % of.len()];
        let recorder = PrometheusBuilder::new().build_recorder();
        let exported = recorder.handle();
        let counted = metrics::with_local_recorder(&recorder, || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(run(*creates, seed, &tally))
        });
        tally.add_metrics(&exported.render());
        if let Err(problem) = counted {
            println!("seed {seed}, {creates:?}: {problem}");
            failed.push(seed);
        }
    }
    println!("{schedules} schedules from seed {first}, {} failed: {failed:?}", failed.len());
    let of_own_ids = Seen::WITH_OWN_IDS.into_iter().chain([Seen::NotKnownAgain]);
    for what in Seen::ALL.into_iter().chain(of_own_ids) {
        println!("{:>9} {what:?}", tally.of(what));
    }
    assert!(failed.is_empty(), "seeds {failed:?}");
    tally
}

/// `CROSSFADE_SCHEDULES=5000 CROSSFADE_SEED=1 cargo test --release --lib simulation -- --nocapture`
#[test]
fn nothing_is_lost_in_any_schedule() {
    let (schedules, first) = (number(SCHEDULES_KEY, SCHEDULES), number(SEED_KEY, 1));
    let tally = run_all(&[Creates::ClientId], first, schedules);
    let never: Vec<_> = Seen::ALL.into_iter().filter(|what| tally.of(*what) == 0).collect();
    assert!(schedules < SCHEDULES || never.is_empty(), "never happened: {never:?}");
}

/// The same where legacy makes the ids of rows, and knows a create again by its key, or not at all.
#[test]
fn nothing_is_lost_or_made_twice_where_legacy_makes_ids() {
    let (schedules, first) = (number(SCHEDULES_KEY, SCHEDULES), number(SEED_KEY, 1));
    let tally = run_all(&[Creates::Probe, Creates::Key], first, schedules);
    let of = Seen::WITH_OWN_IDS.into_iter();
    let never: Vec<_> = of.filter(|what| tally.of(*what) == 0).collect();
    assert!(schedules < SCHEDULES || never.is_empty(), "never happened: {never:?}");
}

/// A REST user changed a row under legacy's id before it was known whose create had made it; then the create's own value, which
/// legacy had had all along, was sent over that.
#[test]
fn what_went_out_with_a_create_is_not_owed_again() {
    run_all(&[Creates::Key], 700_385, 1);
}
