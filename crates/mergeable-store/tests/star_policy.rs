//! A policy that has a connection closed: nothing of its message is merged, nothing is left of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected has to fail"
)]

mod support;

use mergeable_store::{
    Changes, ClientId, Close, Edit, Effects, Hlc, Limits, Policy, Ruling, Star, Target,
};
use support::net::NOW;
use support::{Rng, store};

/// Refuses cell `b`; closes at cell `z`, and at another content under a stamp if told so.
#[derive(Default)]
struct Strict {
    close_at_same_stamp: bool,
    same_stamps: usize,
}

impl Policy for Strict {
    fn judge(&mut self, edit: &Edit<'_>) -> Ruling {
        match &edit.target {
            Target::Cell { cell, .. } if *cell == "b" => Ruling::Refuse("not yours".to_owned()),
            Target::Cell { cell, .. } if *cell == "z" => Ruling::Close(Close::INVALID),
            _ => Ruling::Accept,
        }
    }

    fn same_stamp(&mut self, _: &Edit<'_>) -> Option<Close> {
        self.same_stamps += 1;
        self.close_at_same_stamp.then_some(Close::INVALID)
    }
}

fn star() -> Star {
    let mut star = Star::new(store("server"), Limits::default());
    let _ = star.connect(NOW, "X".into(), &mut Rng(1));
    star
}

/// X writes these cells of a row, all with one stamp.
fn write(star: &mut Star, policy: &mut Strict, cells: &[(&str, f64)]) -> Result<Effects, Close> {
    let mut changes = Changes::new();
    for (cell, content) in cells {
        let hlc = Hlc::new(NOW, 0, ClientId::from_unique_id("x"));
        changes.set_cell("t", "r", *cell, Some((*content).into()), hlc);
    }
    let frame = format!("\n[\"abcdefghijk\",3,{}]", changes.to_json());
    star.receive(NOW, &"X".into(), &frame, policy, &mut Rng(2))
}

#[test]
fn a_policy_may_close_a_connection_and_then_nothing_of_its_message_is_merged() {
    let (mut star, mut policy) = (star(), Strict::default());
    let before = star.store().content();
    let closed = write(&mut star, &mut policy, &[("a", 1.0), ("b", 1.0), ("z", 1.0)]);
    assert_eq!(closed, Err(Close::INVALID));
    assert_eq!(star.store().content(), before);
    // It is forgotten: nothing that it says counts any more.
    assert_eq!(write(&mut star, &mut policy, &[("a", 1.0)]), Ok(Effects::default()));
}

#[test]
fn another_content_under_a_stamp_is_refused_or_closes_its_connection() {
    let (mut star, mut policy) = (star(), Strict::default());
    let _ = write(&mut star, &mut policy, &[("a", 1.0)]).unwrap();
    // The same content is no edit.
    let _ = write(&mut star, &mut policy, &[("a", 1.0)]).unwrap();
    assert_eq!(policy.same_stamps, 0);
    let before = star.store().content();
    policy.close_at_same_stamp = true;
    let closed = write(&mut star, &mut policy, &[("a", 2.0), ("c", 2.0)]);
    assert_eq!((closed, policy.same_stamps), (Err(Close::INVALID), 1));
    assert_eq!(star.store().content(), before);

    let _ = star.connect(NOW, "X".into(), &mut Rng(3));
    policy.close_at_same_stamp = false;
    let effects = write(&mut star, &mut policy, &[("a", 2.0)]).unwrap();
    assert_eq!((effects.refused.len(), policy.same_stamps), (1, 2));
    assert_ne!(star.store().content(), before, "what is there has a newer stamp");
    assert_eq!(star.store().get_cell("t", "r", "a").map(|cell| cell.to_cell()), Some(1.0.into()));
}
