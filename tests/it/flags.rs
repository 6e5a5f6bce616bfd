//! Stages, cohorts and the kill switch, from a file and from fixed toggles.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossfade::flags::{
    Application, Evaluation, FileSettings, FixedToggles, Grant, Interlock, NoInterlock, Reason,
    RollbackSwitch, Scope, StageDecider, StageRequest, Toggles, UnknownVariant,
};
use crossfade::identity::insecure_dev;
use crossfade::migration::{ResourceName, Stage, UserId};
use serde_json::{Value, json};

use crate::identity::{HandClock, NOW_MS};

pub(crate) fn users() -> ResourceName {
    ResourceName::new("users")
}

/// A document of toggles.
pub(crate) fn document(features: &Value) -> Value {
    json!({ "version": 2, "features": features })
}

pub(crate) fn rollout(percent: u8, stickiness: &str) -> Value {
    json!({ "name": "flexibleRollout", "constraints": [], "parameters": {
        "rollout": percent.to_string(), "stickiness": stickiness, "groupId": "crossfade" } })
}

pub(crate) fn toggle(name: &str, enabled: bool, strategy: &Value) -> Value {
    json!({ "name": name, "enabled": enabled, "strategies": [strategy] })
}

/// A stage toggle as an Unleash server serves it: one variant weighs everything, the others nothing.
pub(crate) fn stage(name: &str) -> Value {
    let mut strategy = rollout(100, "default");
    let variants = ["off", "dualwrite", "shadow", "live", "rampdown", "complete"];
    let mut variants: Vec<_> = variants
        .iter()
        .map(|known| json!({ "name": known, "weight": u32::from(*known == name) * 1000, "stickiness": "default" }))
        .collect();
    if !variants.iter().any(|variant| variant["weight"] == 1000) {
        variants.push(json!({ "name": name, "weight": 1000, "stickiness": "default" }));
    }
    strategy["variants"] = json!(variants);
    toggle("crossfade.users.stage", true, &strategy)
}

fn settings(path: &Path) -> FileSettings {
    FileSettings {
        path: path.to_owned(),
        reload: Duration::from_millis(10),
        application: Application::default(),
    }
}

/// Toggles of a file, and the means to rewrite it and wait until it was seen.
struct FileFlags {
    folder: tempfile::TempDir,
    toggles: Arc<Toggles>,
    clock: Arc<HandClock>,
}

impl FileFlags {
    fn new(features: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flags.json");
        std::fs::write(&path, document(features).to_string()).unwrap();
        let clock = HandClock::new();
        let toggles = Arc::new(Toggles::from_file(settings(&path), clock.clone()).unwrap());
        Self { folder, toggles, clock }
    }

    fn evaluation(&self) -> Evaluation {
        Evaluation::new(Arc::clone(&self.toggles), "crossfade", [users()])
    }

    fn write(&self, text: &str) {
        // Renamed into place: no look sees half of it.
        let (new, path) = (self.folder.path().join("new"), self.folder.path().join("flags.json"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// Until a look that began after now has ended well.
    async fn seen(&self) {
        let mut documents = self.toggles.subscribe();
        let before = *documents.borrow_and_update();
        documents.wait_for(|count| *count >= before + 2).await.unwrap();
    }

    async fn failed(&self) -> String {
        loop {
            if let Some(error) = self.toggles.status().last_error {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn a_variant_names_the_stage_and_a_change_is_seen() {
    let flags = FileFlags::new(&json!([stage("shadow")]));
    let evaluation = flags.evaluation();
    assert_eq!(evaluation.requested_stage(&users()), Some(Stage::Shadow));
    for next in Stage::ALL {
        flags.write(&document(&json!([stage(next.as_str())])).to_string());
        flags.seen().await;
        assert_eq!(evaluation.requested_stage(&users()), Some(next));
    }
}

#[tokio::test]
async fn a_cohort_of_a_quarter_is_about_a_quarter_and_stays_the_same() {
    let cohort = toggle("crossfade.users.cohort", true, &rollout(25, "userId"));
    let flags = FileFlags::new(&json!([cohort]));
    let evaluation = flags.evaluation();
    let everybody: Vec<UserId> = (0..10_000).map(|n| UserId::new(format!("user_{n}"))).collect();
    let inside = || everybody.iter().map(|user| evaluation.in_cohort(&users(), user));
    let first: Vec<bool> = inside().collect();
    let share = first.iter().filter(|inside| **inside).count();
    // Four standard deviations of a fair draw of 10,000 are 173.
    assert!((2_327..=2_673).contains(&share), "{share}");
    assert!(inside().eq(first.iter().copied()));
}

#[tokio::test]
async fn a_growing_cohort_keeps_whom_it_had() {
    let clock = HandClock::new();
    let fixed = FixedToggles::new("crossfade", clock);
    let evaluation = Evaluation::new(fixed.toggles(), "crossfade", [users()]);
    let everybody: Vec<UserId> = (0..1_000).map(|n| UserId::new(format!("user_{n}"))).collect();
    let mut before = vec![false; everybody.len()];
    for percent in [0, 10, 50, 100] {
        fixed.set_cohort(&users(), percent);
        let now: Vec<bool> = everybody.iter().map(|u| evaluation.in_cohort(&users(), u)).collect();
        assert!(before.iter().zip(&now).all(|(before, now)| now >= before), "{percent}");
        before = now;
    }
    assert!(before.iter().all(|inside| *inside));
}

#[tokio::test]
async fn an_organisation_can_be_a_cohort() {
    let mut strategy = rollout(100, "userId");
    strategy["constraints"] =
        json!([{ "contextName": "orgId", "operator": "IN", "values": ["o_1"] }]);
    let flags = FileFlags::new(&json!([toggle("crossfade.users.cohort", true, &strategy)]));
    let evaluation = flags.evaluation();
    let member = |query| insecure_dev(&http::HeaderMap::new(), Some(query)).unwrap();
    assert!(evaluation.in_cohort(&users(), &member("user=a&org=o_1")));
    assert!(!evaluation.in_cohort(&users(), &member("user=a&org=o_2")));
    assert!(!evaluation.in_cohort(&users(), &UserId::new("a")));
}

#[tokio::test]
async fn a_date_is_judged_by_the_clock_that_was_given() {
    let mut strategy = rollout(100, "default");
    let begin = "2026-11-24T00:00:00Z";
    strategy["constraints"] =
        json!([{ "contextName": "currentTime", "operator": "DATE_AFTER", "value": begin }]);
    let flags = FileFlags::new(&json!([toggle("crossfade.users.cohort", true, &strategy)]));
    let evaluation = flags.evaluation();
    let user = UserId::new("a");
    assert!(!evaluation.in_cohort(&users(), &user));
    flags.clock.set(NOW_MS + 86_400_001);
    assert!(evaluation.in_cohort(&users(), &user));
}

#[tokio::test]
async fn a_sample_is_a_share_of_the_reads_and_everything_without_its_toggle() {
    let flags = FileFlags::new(&json!([]));
    assert!((0..100).all(|_| flags.evaluation().sampled(&users())));
    let half = toggle("crossfade.users.shadow", true, &rollout(50, "random"));
    let flags = FileFlags::new(&json!([half]));
    let evaluation = flags.evaluation();
    let drawn = (0..10_000).filter(|_| evaluation.sampled(&users())).count();
    // Eight standard deviations: a fair draw leaves this once in 10^15 runs.
    assert!((4_600..=5_400).contains(&drawn), "{drawn}");
    let off = toggle("crossfade.users.shadow", false, &rollout(100, "random"));
    let flags = FileFlags::new(&json!([off]));
    assert!(!flags.evaluation().sampled(&users()));
}

#[tokio::test]
async fn what_no_toggle_says_is_not_made_up() {
    let flags = FileFlags::new(&json!([]));
    let evaluation = flags.evaluation();
    assert_eq!(evaluation.stage_request(&users()), StageRequest::Absent);
    assert_eq!(evaluation.enabled(), None);
    assert!(!evaluation.in_cohort(&users(), &UserId::new("a")));
    let off = toggle("crossfade.users.stage", false, &rollout(100, "default"));
    let flags = FileFlags::new(&json!([off]));
    assert_eq!(flags.evaluation().stage_request(&users()), StageRequest::NoVariant);
    assert_eq!(flags.evaluation().stage_request(&ResourceName::new("other")), StageRequest::Absent);
}

#[tokio::test]
async fn a_variant_that_is_no_stage_is_reported_once_and_not_applied() {
    let flags = FileFlags::new(&json!([stage("shadwo")]));
    let evaluation = flags.evaluation();
    for _ in 0..3 {
        assert_eq!(evaluation.stage_request(&users()), StageRequest::UnknownVariant);
    }
    let unknown =
        UnknownVariant { toggle: "crossfade.users.stage".to_owned(), variant: "shadwo".to_owned() };
    assert_eq!(evaluation.unknown_variants(), (vec![unknown], 1));
    flags.write(&document(&json!([stage("shadow")])).to_string());
    flags.seen().await;
    assert_eq!(evaluation.requested_stage(&users()), Some(Stage::Shadow));
    assert_eq!(evaluation.unknown_variants(), (vec![], 1));
}

#[tokio::test]
async fn a_file_that_turns_bad_keeps_the_last_good_state() {
    let flags = FileFlags::new(&json!([stage("live")]));
    let evaluation = flags.evaluation();
    flags.write("{\n  \"version\": 2,\n  \"features\": [,]\n}");
    let error = flags.failed().await;
    assert!(error.contains("flags.json`, line 3, column 16: no JSON"), "{error}");
    assert!(error.contains("/api/client/features"), "{error}");
    assert_eq!(evaluation.requested_stage(&users()), Some(Stage::Live));
    assert_eq!(flags.toggles.status().failures, 1);
    // The same bad content again is no further failure; another bad content is.
    flags.write(r#"{ "version": 2, "features": [{ "name": "x", "enabled": "yes" }] }"#);
    while flags.toggles.status().failures < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let error = flags.toggles.status().last_error.unwrap();
    assert!(error.contains("line 1, column 60, at `features[0].enabled`"), "{error}");
    assert_eq!(evaluation.requested_stage(&users()), Some(Stage::Live));
    flags.write(&document(&json!([stage("shadow")])).to_string());
    flags.seen().await;
    assert_eq!(evaluation.requested_stage(&users()), Some(Stage::Shadow));
    let status = flags.toggles.status();
    assert_eq!((status.last_error, status.failures), (None, 2));
}

#[tokio::test]
async fn a_file_that_goes_away_keeps_the_last_good_state_and_its_age_grows() {
    let flags = FileFlags::new(&json!([stage("live")]));
    std::fs::remove_file(flags.folder.path().join("flags.json")).unwrap();
    let error = flags.failed().await;
    assert!(error.contains("cannot be read"), "{error}");
    assert_eq!(flags.evaluation().requested_stage(&users()), Some(Stage::Live));
    flags.clock.set(NOW_MS + 90_000);
    assert_eq!(flags.toggles.status().age_ms, Some(90_000));
}

#[tokio::test]
async fn a_bad_file_at_the_start_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.json");
    let start = |text: Option<&str>| {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        Toggles::from_file(settings(&path), HandClock::new()).unwrap_err().to_string()
    };
    assert!(start(None).contains("create it"));
    assert!(start(Some("")).contains("no JSON"));
    assert!(start(Some("[1]")).contains("line 1"));
    assert!(start(Some("{}")).contains("missing field `version`"));
    assert!(start(Some(r#"{"version":2,"features":[]} x"#)).contains("trailing"));
}

#[tokio::test]
async fn weights_that_the_engine_cannot_draw_from_do_no_harm() {
    let with_weights = |weights: &[i64]| {
        let mut toggle = stage("live");
        let variants: Vec<_> = weights
            .iter()
            .map(|weight| json!({ "name": "live", "weight": weight, "stickiness": "random" }))
            .collect();
        toggle["strategies"][0]["variants"] = json!(variants);
        toggle["variants"] = json!(variants);
        toggle
    };
    for (weights, request) in [
        (&[0, 0][..], StageRequest::NoVariant),
        (&[-5], StageRequest::NoVariant),
        (&[i64::from(i32::MAX); 3], StageRequest::Stage(Stage::Live)),
        (&[i64::from(i32::MIN), 1], StageRequest::Stage(Stage::Live)),
    ] {
        let flags = FileFlags::new(&json!([with_weights(weights)]));
        assert_eq!(flags.evaluation().stage_request(&users()), request, "{weights:?}");
        assert_eq!(flags.toggles.status().warnings.len(), 1, "{weights:?}");
    }
}

/// A decider over fixed toggles.
struct Fixture {
    fixed: FixedToggles,
    decider: StageDecider,
}

impl Fixture {
    fn new(known: Option<Stage>, interlock: Arc<dyn Interlock>) -> Self {
        let fixed = FixedToggles::new("crossfade", HandClock::new());
        let evaluation = Evaluation::new(fixed.toggles(), "crossfade", [users()]);
        let switch = Arc::new(RollbackSwitch::default());
        let known = known.map(|stage| (users(), stage));
        let decider = StageDecider::new(evaluation, switch, interlock, known);
        Self { fixed, decider }
    }

    fn open(known: Option<Stage>) -> Self {
        Self::new(known, Arc::new(NoInterlock))
    }

    fn decided(&self) -> (Option<Stage>, Stage, Reason) {
        let stage = self.decider.decide(&users());
        (stage.requested, stage.effective, stage.because)
    }

    fn trip(&self, accept_stale: bool) -> u64 {
        self.decider.rollback().trip(&Scope::All, "ann", "r", NOW_MS, accept_stale).epoch
    }
}

#[test]
fn without_flags_the_last_known_stage_holds_and_without_it_off() {
    let absent = StageRequest::Absent;
    let fixture = Fixture::open(None);
    assert_eq!(fixture.decided(), (None, Stage::Off, Reason::Nothing(absent)));
    assert!(fixture.decider.remember().is_empty());
    let fixture = Fixture::open(Some(Stage::RampDown));
    assert_eq!(fixture.decided(), (None, Stage::RampDown, Reason::LastKnown(absent)));
    fixture.fixed.set_variant(&users(), "nonsense");
    let unknown = Reason::LastKnown(StageRequest::UnknownVariant);
    assert_eq!(fixture.decided(), (None, Stage::RampDown, unknown));
    fixture.fixed.set_stage(&users(), Stage::Live);
    assert_eq!(fixture.decided(), (Some(Stage::Live), Stage::Live, Reason::Flags));
}

#[test]
fn a_stage_is_to_be_kept_until_it_is_and_survives_its_toggle() {
    let fixture = Fixture::open(None);
    fixture.fixed.set_stage(&users(), Stage::Shadow);
    let owed = fixture.decider.remember();
    assert_eq!(owed.len(), 1);
    assert_eq!((&owed[0].resource, owed[0].stage), (&users(), Stage::Shadow));
    assert_eq!(fixture.decider.remember(), owed);
    fixture.fixed.set_stage(&users(), Stage::Live);
    let next = fixture.decider.remember();
    // What was kept meanwhile is not what is owed now.
    fixture.decider.kept(&owed);
    assert_eq!(fixture.decider.remember(), next);
    fixture.decider.kept(&next);
    assert!(fixture.decider.remember().is_empty());
    fixture.fixed.remove("crossfade.users.stage");
    assert_eq!(fixture.decided().1, Stage::Live);
    assert!(fixture.decider.remember().is_empty());
}

#[test]
fn a_rollback_is_stronger_than_flags_and_leaves_the_last_known_stage() {
    let fixture = Fixture::open(Some(Stage::Live));
    fixture.fixed.set_stage(&users(), Stage::RampDown);
    let epoch = fixture.trip(false);
    let because = Reason::RolledBack { scope: Scope::All, epoch };
    assert_eq!(fixture.decided(), (Some(Stage::RampDown), Stage::Off, because));
    assert!(fixture.decider.remember().is_empty());
    assert_eq!(fixture.decider.last_known(&users()), Some(Stage::Live));
    fixture.decider.rollback().lift(&Scope::All, "ann", "done").unwrap();
    assert_eq!(fixture.decided().1, Stage::RampDown);
}

#[test]
fn complete_is_left_out_of_a_rollback_unless_stale_rows_are_accepted() {
    let fixture = Fixture::open(Some(Stage::Complete));
    let epoch = fixture.trip(false);
    let left_out = Reason::CompleteLeftOut { epoch };
    assert_eq!(fixture.decided(), (None, Stage::Complete, left_out));
    let epoch = fixture.trip(true);
    let because = Reason::RolledBack { scope: Scope::All, epoch };
    assert_eq!(fixture.decided(), (None, Stage::Off, because));
}

#[test]
fn complete_holds_only_once_it_is_kept_and_flags_cannot_use_it_to_escape() {
    let fixture = Fixture::open(Some(Stage::RampDown));
    fixture.fixed.set_stage(&users(), Stage::Complete);
    assert_eq!(fixture.decided().1, Stage::RampDown);
    let owed = fixture.decider.remember();
    assert_eq!(fixture.decided(), (Some(Stage::Complete), Stage::RampDown, Reason::NotKeptYet));
    fixture.trip(false);
    assert_eq!(fixture.decided().1, Stage::Off);
    fixture.decider.rollback().lift(&Scope::All, "ann", "done");
    fixture.decider.kept(&owed);
    assert_eq!(fixture.decided(), (Some(Stage::Complete), Stage::Complete, Reason::Flags));
}

/// Lets nothing go further than `shadow`.
#[derive(Debug)]
struct UpToShadow;

impl Interlock for UpToShadow {
    fn grant(&self, _: &ResourceName, from: Stage, requested: Stage) -> Grant {
        if requested <= Stage::Shadow.max(from) {
            return Grant::Whole;
        }
        Grant::Held { stage: from.max(Stage::Shadow), why: "no gate passed".into() }
    }
}

#[test]
fn an_interlock_holds_a_stage_and_says_why() {
    let fixture = Fixture::new(Some(Stage::DualWrite), Arc::new(UpToShadow));
    fixture.fixed.set_stage(&users(), Stage::Live);
    let held = Reason::Held("no gate passed".into());
    assert_eq!(fixture.decided(), (Some(Stage::Live), Stage::Shadow, held));
    fixture.decider.remember();
    assert_eq!(fixture.decider.last_known(&users()), Some(Stage::Shadow));
}

#[tokio::test]
async fn only_a_document_that_says_off_trips() {
    let decider = |toggles: &Arc<Toggles>| {
        let evaluation = Evaluation::new(Arc::clone(toggles), "crossfade", [users()]);
        let switch = Arc::new(RollbackSwitch::default());
        StageDecider::new(evaluation, switch, Arc::new(NoInterlock), None)
    };
    let on = |enabled, strategy: &Value| json!([toggle("crossfade.enabled", enabled, strategy)]);
    for (features, trips) in [
        (json!([]), false),
        (on(true, &rollout(100, "default")), false),
        // On, though nobody falls into it: a percentage, and a stickiness that has no value here.
        (on(true, &rollout(0, "default")), false),
        (on(true, &rollout(100, "userId")), false),
        (on(false, &rollout(100, "default")), true),
    ] {
        let flags = FileFlags::new(&features);
        let decider = decider(&flags.toggles);
        let tripped = decider.obey_kill_switch(NOW_MS);
        assert_eq!(tripped.is_some(), trips, "{features}");
        assert_eq!(decider.decide(&users()).effective, Stage::Off);
    }
}

#[test]
fn the_kill_switch_trips_once_and_again_only_on_a_new_document() {
    let fixture = Fixture::open(Some(Stage::Live));
    fixture.fixed.set_enabled(true);
    assert_eq!(fixture.decider.obey_kill_switch(NOW_MS), None);
    fixture.fixed.set_enabled(false);
    let tripped = fixture.decider.obey_kill_switch(NOW_MS).unwrap();
    assert_eq!((tripped.actor.as_str(), tripped.at_ms, tripped.epoch), ("flags", NOW_MS, 1));
    assert_eq!(fixture.decider.obey_kill_switch(NOW_MS), None);
    assert_eq!(fixture.decided().1, Stage::Off);
    // On again lifts nothing.
    fixture.fixed.set_enabled(true);
    assert_eq!(fixture.decider.obey_kill_switch(NOW_MS), None);
    assert_eq!(fixture.decided().1, Stage::Off);
    // Lifted while the last document still says off: that document is old news.
    fixture.fixed.set_enabled(false);
    fixture.decider.obey_kill_switch(NOW_MS);
    fixture.decider.rollback().lift(&Scope::All, "ann", "we must").unwrap();
    assert_eq!(fixture.decider.obey_kill_switch(NOW_MS + 86_400_000), None);
    assert_eq!(fixture.decided().1, Stage::Live);
    // The provider says off anew.
    fixture.fixed.set_enabled(false);
    assert_eq!(fixture.decider.obey_kill_switch(NOW_MS).unwrap().epoch, 3);
}
