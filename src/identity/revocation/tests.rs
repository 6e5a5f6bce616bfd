//! What is revoked, for whom, and until when; and that processes agree about it.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::state::{MAX_SESSIONS, MAX_USERS};
use super::*;
use crate::clock::Clock;

const TTL: Duration = Duration::from_secs(900);

/// A clock that goes on by one with each look.
#[derive(Debug)]
struct Steps(AtomicU64);

impl Clock for Steps {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

fn revocations(now_ms: u64) -> Revocations {
    let clock = Arc::new(Steps(AtomicU64::new(now_ms)));
    Revocations::new(RevocationState::default(), TTL, clock)
}

fn user(id: &str) -> Subject {
    Subject::User(UserId::new(id))
}

fn session(id: &str) -> Subject {
    Subject::Session(SessionId::new(id))
}

fn order(subject: Subject, standing: Standing) -> Order {
    Order { subject, standing, actor: "ada".to_owned(), reason: "lost laptop".to_owned() }
}

fn revoke(subject: Subject) -> Order {
    order(subject, Standing::Revoked)
}

fn grant(user: &str, session: GrantedIn, issued_at_ms: u64) -> Grant {
    Grant { user: UserId::new(user), session, issued_at_ms }
}

fn in_session(id: &str) -> GrantedIn {
    GrantedIn::Session(SessionId::new(id))
}

fn identity(user: &str, session: Option<&str>, issued_at_ms: Option<u64>) -> Identity {
    Identity {
        user: UserId::new(user),
        org_id: None,
        org_slug: None,
        org_role: None,
        permissions: Vec::new(),
        session_id: session.map(str::to_owned),
        issued_at_ms,
        expires_at_ms: u64::MAX,
    }
}

#[test]
fn a_users_tokens_until_now_are_revoked_and_a_newer_session_token_buys_a_new_one() {
    let revocations = revocations(5_000);
    let entry = revocations.order(&revoke(user("u")), 0).unwrap();
    assert!((5_000..5_010).contains(&entry.at_ms), "{entry:?}");
    let is = |user, at| revocations.is_revoked(&grant(user, GrantedIn::NoSession, at));
    assert!(is("u", 0) && is("u", entry.at_ms) && !is("u", entry.at_ms + 1) && !is("v", 0));
    let mints = |user, at| revocations.may_mint(&identity(user, Some("s"), at));
    assert_eq!(mints("u", Some(entry.at_ms)), Err(NotMinted::Before));
    assert_eq!(mints("u", None), Err(NotMinted::Before), "it does not say when");
    assert_eq!(mints("u", Some(entry.at_ms + 1)), Ok(()));
    assert_eq!((mints("v", Some(0)), mints("v", None)), (Ok(()), Ok(())));
}

#[test]
fn a_token_that_was_minted_while_the_order_was_being_taken_is_revoked_with_the_others() {
    let revocations = revocations(5_000);
    let entry = revocations.order(&revoke(user("u")), 0).unwrap();
    // The clock was looked at more than once, and the last look is what counts.
    assert!(entry.at_ms > 5_000);
    let kept = revocations.state().iter().next().map(|(_, entry)| entry.clone());
    assert_eq!(kept, Some(entry));
}

#[test]
fn a_revoked_session_gets_no_token_any_more_and_its_user_does_elsewhere() {
    let revocations = revocations(5_000);
    revocations.order(&revoke(session("s")), 0).unwrap();
    assert!(revocations.is_revoked(&grant("u", in_session("s"), 0)));
    assert!(revocations.is_revoked(&grant("u", in_session("s"), u64::MAX)), "whenever minted");
    assert!(!revocations.is_revoked(&grant("u", in_session("t"), 0)));
    assert!(!revocations.is_revoked(&grant("u", GrantedIn::NoSession, 0)));
    // A token of a version that did not say its session may be of this one.
    assert!(revocations.is_revoked(&grant("u", GrantedIn::Unknown, 5_000)));
    assert!(!revocations.is_revoked(&grant("u", GrantedIn::Unknown, 6_000)));
    let mints = |session| revocations.may_mint(&identity("u", session, Some(u64::MAX)));
    assert_eq!(mints(Some("s")), Err(NotMinted::Session));
    assert_eq!((mints(Some("t")), mints(None)), (Ok(()), Ok(())));
}

#[test]
fn what_is_lifted_holds_again_and_only_what_is_revoked_can_be_lifted() {
    let revocations = revocations(5_000);
    for subject in [user("u"), session("s")] {
        let lift = order(subject.clone(), Standing::Lifted);
        assert_eq!(revocations.order(&lift, 0), Err(OrderError::NotRevoked));
        let first = revocations.order(&revoke(subject), 0).unwrap();
        assert!(revocations.order(&lift, 0).unwrap().epoch > first.epoch);
        assert_eq!(revocations.order(&lift, 0), Err(OrderError::NotRevoked));
        assert!(!revocations.is_revoked(&grant("u", in_session("s"), 0)));
        assert_eq!(revocations.may_mint(&identity("u", Some("s"), Some(0))), Ok(()));
    }
}

#[test]
fn who_follows_a_token_is_told_when_it_is_revoked_and_not_for_another() {
    let revocations = revocations(5_000);
    let follow = |user| revocations.follow(grant(user, GrantedIn::NoSession, 1));
    let (mut ours, mut others) = (Box::pin(follow("u").revoked()), Box::pin(follow("v").revoked()));
    assert_eq!((&mut ours).now_or_never(), None);
    revocations.order(&revoke(user("w")), 0).unwrap();
    assert_eq!((&mut ours).now_or_never(), None);
    revocations.order(&revoke(user("u")), 0).unwrap();
    assert_eq!(ours.now_or_never(), Some(()));
    assert_eq!((&mut others).now_or_never(), None);
    assert_eq!(follow("u").revoked().now_or_never(), Some(()), "also who comes later");
}

#[test]
fn at_the_bound_the_oldest_user_is_folded_and_no_older_token_counts() {
    let revocations = revocations(1_000);
    let first = revocations.order(&revoke(user("first")), 0).unwrap();
    for n in 0..MAX_USERS {
        revocations.order(&revoke(user(&format!("u{n}"))), 0).unwrap();
    }
    let state = revocations.state();
    assert_eq!((state.iter().count(), state.forgotten_ms()), (MAX_USERS, first.at_ms));
    let is = |user, at| revocations.is_revoked(&grant(user, GrantedIn::NoSession, at));
    assert!(is("first", first.at_ms), "it is not taken back");
    assert!(is("somebody", first.at_ms) && !is("somebody", first.at_ms + 1));
    let mints = |at| revocations.may_mint(&identity("somebody", None, Some(at)));
    assert_eq!((mints(first.at_ms), mints(first.at_ms + 1)), (Err(NotMinted::Before), Ok(())));
}

#[test]
fn at_the_bound_of_sessions_lifted_ones_make_room_and_no_revoked_one_does() {
    let revocations = revocations(1_000);
    for n in 0..MAX_SESSIONS {
        revocations.order(&revoke(session(&format!("s{n}"))), 0).unwrap();
    }
    let one_more = revoke(session("more"));
    assert_eq!(revocations.order(&one_more, 0), Err(OrderError::TooManySessions));
    revocations.order(&revoke(session("s1")), 0).unwrap();
    revocations.order(&order(session("s7"), Standing::Lifted), 0).unwrap();
    revocations.order(&one_more, 0).unwrap();
    assert_eq!(revocations.state().iter().count(), MAX_SESSIONS);
    assert!(revocations.is_revoked(&grant("u", in_session("s0"), 0)));
    assert!(!revocations.is_revoked(&grant("u", in_session("s7"), 0)));
}

#[test]
fn what_no_token_can_be_about_any_more_is_dropped_and_a_revoked_session_stays() {
    let keep = u64::try_from((TTL + LISTED_BEYOND).as_millis()).unwrap();
    let mut state = RevocationState::default();
    state.order(&revoke(user("u")), 1_000).unwrap();
    state.order(&revoke(session("s")), 1_000).unwrap();
    state.order(&revoke(session("t")), 1_000).unwrap();
    state.order(&order(session("t"), Standing::Lifted), 1_001).unwrap();
    let revocations = revocations(1_000 + keep);
    revocations.merge(&state);
    let left: Vec<_> = revocations.state().iter().map(|(one, _)| one.clone()).collect();
    assert_eq!(left, [session("s"), session("t")]);
    let later = self::revocations(1_001 + keep);
    later.merge(&revocations.state());
    let left: Vec<_> = later.state().iter().map(|(one, _)| one.clone()).collect();
    assert_eq!(left, [session("s")]);
    // A session token as old as that buys nothing, whoever's.
    assert_eq!(later.may_mint(&identity("u", None, Some(1_000))), Err(NotMinted::Before));
    assert_eq!(later.may_mint(&identity("u", None, Some(1_001))), Ok(()));
    // One who still lists the user does not bring it back.
    later.merge(&state);
    assert!(!later.state().iter().any(|(one, _)| *one == user("u")));
}

#[test]
fn it_is_kept_as_text_and_shows_no_one_in_a_log() {
    let mut state = RevocationState::default();
    state.order(&revoke(user("user_ann")), 7).unwrap();
    state.order(&revoke(session("sess:1")), 8).unwrap();
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<RevocationState>(&text).unwrap(), state);
    assert!(!format!("{state:?}").contains("user_ann"));
    let nobody = text.replace("user:user_ann", "user_ann");
    let error = serde_json::from_str::<RevocationState>(&nobody).unwrap_err().to_string();
    assert!(!error.contains("user_ann"), "{error}");
}

fn orders() -> impl Strategy<Value = Vec<(usize, Subject, bool)>> {
    let subject = prop_oneof![
        (0..3_u8).prop_map(|n| user(&format!("u{n}"))),
        (0..3_u8).prop_map(|n| session(&format!("s{n}"))),
    ];
    proptest::collection::vec((0..3_usize, subject, any::<bool>()), 0..24)
}

proptest! {
    /// Three processes take orders and tell each other in any order: in the end all say the same of every token.
    #[test]
    fn processes_that_have_heard_everything_agree(
        orders in orders(), told in proptest::collection::vec((0..3_usize, 0..3_usize), 0..12),
    ) {
        let mut states: [RevocationState; 3] = std::array::from_fn(|_| RevocationState::default());
        let mut told = told.into_iter();
        for (at, (process, subject, revokes)) in orders.into_iter().enumerate() {
            let standing = if revokes { Standing::Revoked } else { Standing::Lifted };
            // What is not revoked cannot be lifted: then nothing happens.
            let _ = states[process].order(&order(subject, standing), at as u64 * 10);
            if let Some((from, to)) = told.next() {
                let other = states[from].clone();
                states[to].merge_all(&other);
            }
        }
        let all = states.clone();
        let mut forward = states[0].clone();
        all.iter().for_each(|other| { forward.merge_all(other); });
        let mut backward = states[2].clone();
        all.iter().rev().for_each(|other| { backward.merge_all(other); });
        prop_assert_eq!(&forward, &backward);
        let before = forward.clone();
        forward.merge_all(&backward);
        prop_assert_eq!(forward, before, "hearing it again changes nothing");
    }

    /// A revocation, once merged, covers what it covered before, unless a later order lifts it.
    #[test]
    fn merging_revokes_no_less(one in orders(), two in orders(), at in 0..300_u64) {
        let run = |orders: Vec<(usize, Subject, bool)>| {
            let mut state = RevocationState::default();
            for (n, (_, subject, _)) in orders.into_iter().enumerate() {
                let _ = state.order(&revoke(subject), n as u64 * 10);
            }
            state
        };
        let (one, two) = (run(one), run(two));
        let mut both = one.clone();
        both.merge_all(&two);
        for n in 0..3 {
            let grant = grant(&format!("u{n}"), in_session(&format!("s{n}")), at);
            // Of two revocations of one user the one of the higher epoch holds, which is the later one in each process.
            if one.is_revoked(&grant) && two.is_revoked(&grant) {
                prop_assert!(both.is_revoked(&grant));
            }
            if !one.is_revoked(&grant) && !two.is_revoked(&grant) {
                prop_assert!(!both.is_revoked(&grant));
            }
        }
    }
}
