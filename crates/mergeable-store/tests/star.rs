//! The star: what it answers, what it refuses, and that clients cannot reach each other past it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected has to fail"
)]

mod support;

use std::cell::RefCell;
use std::rc::Rc;

use mergeable_store::{
    Cell, Changes, ClientId, Close, ConnectionId, Effects, Hlc, Json, Limits, Outgoing, Recipients,
    Star, Target, Writer,
};
use support::net::{NOW, Net, Rule};
use support::{Known, Rng, store, vectors};

/// A star with two raw connections, X and Y, which have answered the greeting that they have nothing.
struct Raw {
    star: Star,
    rng: Rng,
    rule: Rule,
    now: u64,
}

impl Raw {
    fn new(limits: Limits) -> Self {
        let mut raw = Self {
            star: Star::new(store("server"), limits),
            rng: Rng(1),
            rule: Rule::allow_all(),
            now: NOW,
        };
        for id in ["X", "Y"] {
            let greeting = raw.star.connect(NOW, id.into(), &mut raw.rng);
            let request = told(&greeting)[0].1.items()[0].str().to_owned();
            assert_eq!(
                raw.send(
                    id,
                    &format!(
                        "S
[\"{request}\",0,[0,0]]"
                    )
                ),
                Ok(Effects { equal: vec![id.into()], ..Effects::default() })
            );
        }
        raw
    }

    fn send(&mut self, from: &str, frame: &str) -> Result<Effects, Close> {
        self.star.receive(self.now, &from.into(), frame, &mut self.rule, &mut self.rng)
    }

    fn say(&mut self, from: &str, frame: &str) -> Vec<(String, Json)> {
        told(&self.send(from, frame).unwrap())
    }
}

/// What effects send: to whom, and the message.
fn told(effects: &Effects) -> Vec<(String, Json)> {
    let one = |outgoing: &Outgoing| {
        let to = match &outgoing.to {
            Recipients::One(id) => id.to_string(),
            Recipients::All { except: None } => "all".to_owned(),
            Recipients::All { except: Some(id) } => format!("all but {id}"),
        };
        (to, Json::parse(outgoing.frame.strip_prefix("S\n").unwrap()).unwrap())
    };
    effects.send.iter().map(one).collect()
}

fn hlc(ahead_ms: u64, client: &str) -> Hlc {
    Hlc::new(NOW + ahead_ms, 0, ClientId::from_unique_id(client))
}

/// What loses is told to the policy, whoever wins it; and hashes can be asked for.
#[test]
fn edits_that_lose_are_told_and_hashes_are_asked_for() {
    let mut raw = Raw::new(Limits::default());
    let lost = Rc::new(RefCell::new(Vec::new()));
    let told_lost = lost.clone();
    raw.rule.lost = Box::new(move |edit, there| {
        told_lost.borrow_mut().push((edit.writer.clone(), edit.hlc, there));
    });
    let (early, late) = (hlc(1, "X"), hlc(2, "Y"));
    raw.say("Y", &diff("c", 2.0, late));
    raw.say("X", &diff("c", 1.0, early));
    // The same once more changes nothing, and loses nothing.
    raw.say("Y", &diff("c", 2.0, late));
    assert_eq!(*lost.borrow(), [("X".into(), early, late)]);

    let asked = raw.star.ask_hashes(NOW, &"X".into(), &mut raw.rng);
    let request = told(&asked)[0].1.items()[0].str().to_owned();
    let again = raw.star.ask_hashes(NOW, &"X".into(), &mut raw.rng);
    assert_eq!(again, Effects::default(), "it is being asked");
    let hashes = raw.star.store().hashes();
    let answer = format!("S\n[\"{request}\",0,[{},{}]]", hashes.tables, hashes.values);
    let equal = Effects { equal: vec!["X".into()], ..Effects::default() };
    assert_eq!(raw.send("X", &answer), Ok(equal));
}

/// A ContentDiff of one cell of row r in table t.
fn diff(cell: &str, content: f64, hlc: Hlc) -> String {
    let mut changes = Changes::new();
    changes.set_cell("t", "r", cell, Some(content.into()), hlc);
    format!("\n[\"abcdefghijk\",3,{}]", changes.to_json())
}

#[test]
fn frames_get_the_close_codes_and_answers_of_tinybase() {
    let mut checked = 0;
    let file = vectors("transcripts.json");
    let legacy =
        file.at("rawFrames").items().iter().filter(|case| case.at("mode").str() == "legacy");
    for case in legacy {
        let name = case.at("name").str();
        let mut raw = Raw::new(Limits::default());
        let (mut closed, mut answers) = (None, Vec::new());
        for frame in frames(case.at("frames")) {
            match raw.send("X", &frame) {
                Ok(effects) => answers.extend(effects.send),
                Err(close) => closed = Some(close),
            }
        }
        match case.at("closed") {
            Json::Null => assert_eq!(closed, None, "{name}"),
            expected => {
                let code = expected.at("code").uint() as u16;
                let close = Close { code, reason: expected.at("reason").str().to_owned().into() };
                assert_eq!(closed, Some(close), "{name}");
            }
        }
        if *case.at("serverStore") == Json::Bool(true) {
            let expected: Vec<Json> = case.at("toSelf").items().iter().map(without_id).collect();
            let to_self = answers.iter().filter(|outgoing| outgoing.to.contains(&"X".into()));
            let to_self: Vec<Json> = to_self
                .map(|outgoing| without_id(&Json::String((&*outgoing.frame).into())))
                .collect();
            assert_eq!(to_self, expected, "{name}");
        }
        checked += 1;
    }
    assert!(checked > 100, "{checked} cases");
}

/// The frames of a case, which may be given as a numbered series.
fn frames(frames: &Json) -> Vec<String> {
    if let Json::Array(frames) = frames {
        return frames.iter().map(|frame| frame.str().to_owned()).collect();
    }
    let first = frames.at("first").str();
    let series = |number| first.replacen("0000000000000000", &format!("{number:016}"), 1);
    let frames: Vec<String> = (0..frames.at("count").uint()).map(series).collect();
    frames
}

/// A frame's message and body; ids that the server makes up are left out, null is kept.
fn without_id(frame: &Json) -> Json {
    let message = Json::parse(frame.str().strip_prefix("S\n").unwrap()).unwrap();
    let Json::Array(mut parts) = message else { panic!("not a message: {frame:?}") };
    if parts[0] != Json::Null {
        parts[0] = Json::String("id".into());
    }
    Json::Array(parts)
}

#[test]
fn after_an_invalid_frame_a_connection_is_forgotten() {
    let mut raw = Raw::new(Limits::default());
    assert_eq!(raw.send("X", "nonsense"), Err(Close::INVALID));
    assert_eq!(raw.send("X", &diff("c", 1.0, hlc(0, "x"))), Ok(Effects::default()));
    assert_eq!(raw.star.connections().map(ConnectionId::as_str).collect::<Vec<_>>(), ["Y"]);
    assert!(raw.star.store().table_ids().is_empty());
}

#[test]
fn a_frame_too_large_closes_the_socket() {
    let mut raw = Raw::new(Limits::default());
    let long = "x".repeat(16 << 20);
    assert_eq!(raw.send("X", &format!("\n[\"{long}\",1,\"\"]")), Err(Close::TOO_LARGE));
    assert_eq!(raw.send("Y", &format!("\nmsgmsgmsgmsg0001\n0\n2\n{long}")), Err(Close::FRAGMENTS));
}

#[test]
fn no_more_than_sixteen_mebibytes_of_fragments_are_kept() {
    let mut raw = Raw::new(Limits::default());
    let half = "x".repeat(9 << 20);
    let _ = raw.send("X", &format!("\nmsgmsgmsgmsg0001\n0\n2\n{half}")).unwrap();
    assert_eq!(raw.send("X", &format!("\nmsgmsgmsgmsg0002\n0\n2\n{half}")), Err(Close::FRAGMENTS));
}

#[test]
fn fragments_come_in_any_order_and_expire() {
    let mut raw = Raw::new(Limits::default());
    let (head, tail) = ("\n1234567890123456\n0\n2\n[null,1,", "\n1234567890123456\n1\n2\n\"\"]");
    assert!(raw.say("X", tail).is_empty());
    assert_eq!(raw.say("X", head).len(), 1);
    assert!(raw.say("X", head).is_empty());
    assert_eq!(raw.star.next_deadline(), Some(NOW + 1000));
    raw.now += 1000;
    let effects = raw.star.tick(raw.now, &mut raw.rng);
    assert!(effects.send.is_empty());
    assert!(raw.say("X", tail).is_empty(), "the first half has expired");
}

#[test]
fn what_a_client_writes_reaches_the_others_only_and_in_one_frame() {
    let mut raw = Raw::new(Limits::default());
    let _ = raw.star.connect(NOW, "Z".into(), &mut raw.rng);
    let effects = raw.send("X", &diff("c", 1.0, hlc(0, "x"))).unwrap();
    let [outgoing] = effects.send.as_slice() else { panic!("{effects:?}") };
    assert_eq!(outgoing.to, Recipients::All { except: Some("X".into()) });
    let [change] = effects.changed.as_slice() else { panic!("{effects:?}") };
    assert_eq!((change.new.clone(), change.hlc), (Some(Cell::from(1)), hlc(0, "x")));
    assert_eq!(change.by, Writer::Connection("X".into()));
    // The same again, or older: nothing wins, so nobody is told.
    assert_eq!(raw.send("Y", &diff("c", 1.0, hlc(0, "x"))), Ok(Effects::default()));
}

#[test]
fn a_forged_answer_changes_nothing() {
    let mut raw = Raw::new(Limits::default());
    // X announces other hashes, so S asks X.
    let asked = raw.say("X", "\n[\"abcdefghijk\",2,[1,0]]");
    let request = asked[0].1.items()[0].str().to_owned();
    let answer = format!(
        "S\n[\"{request}\",0,[[{{\"t\":[{{\"r\":[{{\"c\":[1,\"{}\"]}}]}}]}}],{{}}]]",
        hlc(0, "y")
    );
    // Y answers in X's place, to S and to everybody; so does X, under an id that nobody gave.
    for forged in [answer.clone(), answer.replacen("S\n", "\n", 1)] {
        assert_eq!(raw.send("Y", &forged), Ok(Effects::default()));
    }
    assert_eq!(
        raw.send("X", &answer.replace(&request, "abcdefghijk.zzzz")),
        Ok(Effects::default())
    );
    assert!(raw.star.store().table_ids().is_empty());
    // X itself is believed.
    assert!(!raw.send("X", &answer).unwrap().changed.is_empty());
}

#[test]
fn frames_directed_to_another_client_are_dropped() {
    let mut raw = Raw::new(Limits::default());
    let written = diff("c", 1.0, hlc(0, "x"));
    for frame in [
        format!("Y{written}"),
        "Y\n[\"abcdefghijk.0000\",0,[1,2]]".into(),
        "X\n[null,1,\"\"]".into(),
    ] {
        assert_eq!(raw.send("X", &frame), Ok(Effects::default()));
    }
    assert!(raw.star.store().table_ids().is_empty());
    // They are validated all the same.
    assert_eq!(raw.send("X", "Y\nnonsense"), Err(Close::INVALID));
}

#[test]
fn a_refused_edit_is_restamped_and_its_writer_goes_back() {
    let mut net = Net::new(2, Limits::default(), 1);
    net.write("users", "u1", "role", 1.0);
    (0..2).for_each(|at| net.connect(at));
    net.settle();
    net.rule = Rule::forbid_cell("role");
    net.edit(0, "users", "u1", "role", Some(2.0));
    net.edit(0, "users", "u2", "role", Some(2.0));
    net.edit(0, "users", "u2", "name", Some(3.0));
    net.settle();
    net.assert_converged();
    for client in &net.clients {
        let store = client.sync.store();
        assert_eq!(store.get_cell("users", "u1", "role"), Some(Cell::from(1).view()));
        assert_eq!(store.get_cell("users", "u2", "role"), None);
        assert_eq!(store.get_cell("users", "u2", "name"), Some(Cell::from(3).view()));
    }
    let refused: Vec<_> =
        net.seen.refused.iter().map(|refusal| (&refusal.target, &refusal.refused)).collect();
    let cell =
        |row: &str| Target::Cell { table: "users".into(), row: row.into(), cell: "role".into() };
    assert_eq!(refused, [(&cell("u1"), &Some(Cell::from(2))), (&cell("u2"), &Some(Cell::from(2)))]);
    assert!(net.seen.refused.iter().all(|refusal| refusal.reason == "role is not yours"));
}

#[test]
fn a_refused_edit_made_offline_is_taken_back_too() {
    let mut net = Net::new(1, Limits::default(), 1);
    net.rule = Rule::forbid_cell("role");
    net.edit(0, "users", "u1", "role", Some(2.0));
    net.connect(0);
    net.settle();
    net.assert_converged();
    assert_eq!(net.clients[0].sync.store().get_cell("users", "u1", "role"), None);
}

#[test]
fn a_stamp_ahead_of_the_server_can_be_refused_without_leaving_the_writer_behind() {
    let mut net = Net::new(1, Limits::default(), 1);
    net.rule = Rule::forbid_cell("role");
    net.connect(0);
    net.settle();
    // The client's clock is four minutes fast.
    let ahead = NOW + 240_000;
    let client = &mut net.clients[0];
    let edit = client.sync.edit(ahead, &mut net.rng, |tx| tx.set_cell("users", "u1", "role", 2));
    client.up.extend(edit.unwrap().1);
    net.settle();
    net.assert_converged();
    assert_eq!(net.clients[0].sync.store().get_cell("users", "u1", "role"), None);
}

#[test]
fn another_content_under_a_stamp_that_is_taken_is_refused() {
    let mut raw = Raw::new(Limits::default());
    let _ = raw.send("X", &diff("c", 1.0, hlc(0, "x"))).unwrap();
    let effects = raw.send("Y", &diff("c", 2.0, hlc(0, "x"))).unwrap();
    assert_eq!(effects.refused.len(), 1);
    let recipients: Vec<_> = told(&effects).into_iter().map(|(to, _)| to).collect();
    assert_eq!(recipients, ["Y", "all but Y"]);
    let (kept, stamp) = raw.star.store().stamp("t", "r", "c").unwrap();
    assert_eq!(kept, Some(Cell::from(1)));
    assert!(stamp > hlc(0, "x"));
    assert_eq!(effects.changed[0].by, Writer::Store);
}

#[test]
fn stamps_from_the_future_are_ignored_or_close_the_connection() {
    let mut raw = Raw::new(Limits::default());
    assert_eq!(raw.send("X", &diff("c", 1.0, hlc(300_001, "x"))), Ok(Effects::default()));
    assert_eq!(raw.star.store().stamp("t", "r", "c"), None);
    assert!(!raw.send("X", &diff("c", 1.0, hlc(300_000, "x"))).unwrap().is_empty());

    let skew = Close { code: 4001, reason: "clock-skew".into() };
    let limits =
        Limits { max_ahead_ms: 60_000, ahead_close: Some(skew.clone()), ..Limits::default() };
    let mut raw = Raw::new(limits);
    assert!(!raw.send("X", &diff("c", 1.0, hlc(60_000, "x"))).unwrap().is_empty());
    assert_eq!(raw.send("X", &diff("c", 2.0, hlc(60_001, "x"))), Err(skew));
    assert_eq!(raw.star.store().get_cell("t", "r", "c"), Some(Cell::from(1).view()));
}

#[test]
fn containers_without_content_leave_no_trace() {
    let mut raw = Raw::new(Limits::default());
    let before = raw.star.store().hashes();
    let frame = "\n[\"abcdefghijk\",3,[[{\"t\":[{\"r\":[{}]}],\"u\":[{}]}],[{}],1]]";
    for _ in 0..3 {
        assert_eq!(raw.send("X", frame), Ok(Effects::default()));
    }
    assert_eq!(raw.star.store().hashes(), before);
}

#[test]
fn container_hlcs_of_old_clients_are_merged_and_passed_on() {
    let mut raw = Raw::new(Limits::default());
    let stamp = hlc(0, "x");
    let frame = format!(
        "\n[\"abcdefghijk\",3,[[{{\"t\":[{{}},\"{stamp}\"]}},\"{stamp}\"],[{{}},\"{stamp}\"],1]]"
    );
    let effects = raw.send("X", &frame).unwrap();
    assert_eq!(effects.changed_containers.len(), 3);
    let body = told(&effects)[0].1.items()[2].stringify();
    assert_eq!(
        Changes::from_json(&body),
        Changes::from_json(&Json::parse(&frame[1..]).unwrap().items()[2].stringify())
    );
}

/// A TinyBase client ignores what comes while it is loading, so what it missed has to be offered again.
#[test]
fn a_client_that_lacks_something_after_a_pull_is_told() {
    let mut raw = Raw::new(Limits::default());
    let _ = raw.send("X", &diff("c", 1.0, hlc(0, "x"))).unwrap();
    let own = raw.star.store().hashes();
    let asked = raw.say("Y", "\n[\"abcdefghijk\",2,[0,0]]");
    let request = asked[0].1.items()[0].str();
    assert!(
        request.starts_with("abcdefghijk."),
        "a pull goes under the transaction that caused it"
    );
    let told = raw.say("Y", &format!("S\n[\"{request}\",0,[[{{}}],{{}}]]"));
    let [(to, message)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(
        (to.as_str(), message.items()[1].uint(), message.items()[2].hashes()),
        ("Y", 2, own)
    );
}

#[test]
fn an_answer_that_does_not_come_is_given_up() {
    let mut raw = Raw::new(Limits::default());
    raw.say("X", "\n[\"abcdefghijk\",2,[1,0]]");
    let mut timed_out = Vec::new();
    while let Some(deadline) = raw.star.next_deadline() {
        timed_out.extend(raw.star.tick(deadline, &mut raw.rng).timed_out);
    }
    // Three times, then S waits to hear from X.
    assert_eq!(timed_out, vec![ConnectionId::from("X"); 3]);
}

#[test]
fn a_drain_brings_what_the_client_still_has_and_ends() {
    let mut net = Net::new(2, Limits::default(), 3);
    net.edit(0, "t", "mine", "c", Some(1.0));
    net.connect(0);
    net.connect(1);
    net.drain(0);
    net.settle();
    while net.seen.drained.is_empty() && net.pass_time() {
        net.settle();
    }
    assert_eq!(net.seen.drained, [net.clients[0].id.clone()]);
    assert_eq!(net.committed.get_cell("t", "mine", "c"), Some(Cell::from(1).view()));
    net.assert_converged();
}

#[test]
fn a_drain_of_a_silent_client_keeps_asking_without_end_but_not_in_a_loop() {
    let mut raw = Raw::new(Limits::default());
    let _ = raw.star.drain(raw.now, &"X".into(), &mut raw.rng);
    for _ in 0..5 {
        raw.now = raw.star.next_deadline().unwrap();
        let effects = raw.star.tick(raw.now, &mut raw.rng);
        assert!(effects.send.len() <= 1 && effects.drained.is_empty());
    }
}

#[test]
fn long_messages_go_in_fragments_when_so_configured() {
    let limits = Limits { fragment_bytes: Some(48), ..Limits::default() };
    let mut net = Net::new(2, limits, 5);
    for row in 0..40 {
        net.write("t", &format!("😀{row}"), "c", f64::from(row));
    }
    (0..2).for_each(|at| net.connect(at));
    net.settle();
    net.assert_converged();
    let piece = |outgoing: &Outgoing| outgoing.frame.splitn(5, '\n').nth(4).map(str::len);
    let longest = net.seen.send.iter().filter_map(piece).max().unwrap();
    assert!((40..=48).contains(&longest), "{longest} bytes");
}

/// A cell of 9 MiB in each of two rows.
fn two_long_rows(raw: &mut Raw) {
    let half = "x".repeat(9 << 20);
    for row in ["a", "b"] {
        let frame = diff("c", 0.0, hlc(0, "x"))
            .replace("\"r\"", &format!("\"{row}\""))
            .replace("[0,", &format!("[\"{half}\","));
        let _ = raw.send("X", &frame).unwrap();
    }
}

#[test]
fn what_an_answer_has_no_room_for_follows_in_diffs() {
    let mut raw = Raw::new(Limits::default());
    two_long_rows(&mut raw);
    let _ = raw.send("X", &diff("c", 1.0, hlc(0, "x"))).unwrap();
    let mut together = store("together");
    let answer = raw.say("Y", "S\n[null,4,{}]");
    assert_eq!(answer[0].1.stringify(), "[null,0,[[{}],{}]]", "the first row is too long for it");
    assert_eq!(raw.star.backlogged().count(), 0, "Y may still be loading");
    // The client has loaded, and tells so by its hashes.
    assert!(raw.say("Y", "\n[\"abcdefghijk\",2,[0,0]]").is_empty(), "no use in asking it now");
    let mut numbers = Vec::new();
    while raw.star.backlogged().next().is_some() {
        assert!(raw.star.send_backlog(raw.now, &mut raw.rng, |id| *id == "X".into()).is_empty());
        for (to, message) in told(&raw.star.send_backlog(raw.now, &mut raw.rng, |_| true)) {
            assert_eq!(to, "Y");
            numbers.push(message.items()[1].uint());
            if numbers.last() == Some(&3) {
                let changes = Changes::from_json(&message.items()[2].stringify()).unwrap();
                together.merge(NOW, &changes).unwrap();
            }
        }
    }
    // Then both look again.
    assert_eq!(numbers, [3, 3, 3, 2, 1]);
    assert_eq!(together.hashes(), raw.star.store().hashes());
    // Nothing is left behind.
    let effects = raw.star.send_backlog(raw.now, &mut raw.rng, |_| true);
    assert!(effects.is_empty());
}

#[test]
fn a_client_that_tells_no_hashes_is_sent_the_rest_all_the_same() {
    let mut raw = Raw::new(Limits::default());
    two_long_rows(&mut raw);
    raw.say("Y", "S\n[null,4,{}]");
    raw.now = raw.star.next_deadline().unwrap();
    let _ = raw.star.tick(raw.now, &mut raw.rng);
    assert_eq!(raw.star.backlogged().collect::<Vec<_>>(), [&ConnectionId::from("Y")]);
    raw.star.disconnect(&"Y".into());
    assert_eq!(raw.star.backlogged().count(), 0);
}

#[test]
fn a_new_client_gets_a_large_store_in_bits() {
    let mut net = Net::new(2, Limits { answer_bytes: 4096, ..Limits::default() }, 9);
    for row in 0..400 {
        net.write("t", &format!("row {row}"), "c", f64::from(row));
    }
    net.connect(0);
    net.edit(0, "t", "offline", "c", Some(1.0));
    net.settle();
    net.assert_converged_with(0);
    let longest = net.seen.send.iter().map(|outgoing| outgoing.frame.len()).max().unwrap();
    assert!(longest < 300 << 10, "{longest} bytes");
    let answers = net.seen.send.iter().filter(|outgoing| outgoing.frame.contains(",0,[[{"));
    assert!(answers.clone().all(|answer| answer.frame.len() < 8192));
    assert!(answers.count() > 0);
}

#[test]
fn what_many_wrote_leaves_in_one_frame_when_it_is_flushed() {
    let mut raw = Raw::new(Limits { coalesce: true, ..Limits::default() });
    let _ = raw.star.connect(NOW, "Z".into(), &mut raw.rng);
    for (at, writer) in ["X", "Y", "X"].into_iter().enumerate() {
        let effects = raw.send(writer, &diff("c", at as f64, hlc(at as u64, writer))).unwrap();
        assert_eq!((effects.send.len(), effects.changed.len()), (0, 1));
    }
    let flushed = told(&raw.star.flush(raw.now, &mut raw.rng));
    let [(to, message)] = flushed.as_slice() else { panic!("{flushed:?}") };
    assert_eq!(to, "all");
    let mut newest = Changes::new();
    newest.set_cell("t", "r", "c", Some(2.0.into()), hlc(2, "X"));
    assert_eq!(Changes::from_json(&message.items()[2].stringify()), Ok(newest));
    assert!(raw.star.flush(raw.now, &mut raw.rng).is_empty(), "once");
    // What one alone wrote is not sent back to it.
    let _ = raw.send("Y", &diff("d", 1.0, hlc(3, "Y"))).unwrap();
    assert_eq!(told(&raw.star.flush(raw.now, &mut raw.rng))[0].0, "all but Y");
}

#[test]
fn hashes_are_told_behind_the_content_that_they_speak_of() {
    let mut raw = Raw::new(Limits { coalesce: true, ..Limits::default() });
    let _ = raw.send("X", &diff("c", 1.0, hlc(0, "X"))).unwrap();
    let told = raw.say("Y", "\n[null,1,\"\"]");
    let [(first, diff), (second, hashes)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((first.as_str(), second.as_str()), ("all but X", "Y"));
    assert_eq!((diff.items()[1].uint(), hashes.items()[1].uint()), (3, 0));
    assert_eq!(hashes.items()[2].hashes(), raw.star.store().hashes());
}

#[test]
fn a_long_broadcast_goes_in_several_frames() {
    let mut raw = Raw::new(Limits { coalesce: true, ..Limits::default() });
    let text = "x".repeat(300 << 10);
    for (at, cell) in ["a", "b", "c", "d", "e", "f", "g"].into_iter().enumerate() {
        let frame = diff(cell, 0.0, hlc(at as u64, "X")).replace("[0,", &format!("[\"{text}\","));
        let _ = raw.send("X", &frame).unwrap();
    }
    let effects = raw.star.flush(raw.now, &mut raw.rng);
    assert!(effects.send.iter().all(|outgoing| outgoing.frame.len() < 1 << 20));
    let mut together = store("together");
    for (_, message) in told(&effects) {
        let changes = Changes::from_json(&message.items()[2].stringify()).unwrap();
        together.merge(NOW, &changes).unwrap();
    }
    assert_eq!(together.hashes(), raw.star.store().hashes());
}
