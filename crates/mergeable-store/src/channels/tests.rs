use super::*;
use crate::MAX_RETAINED_BYTES;

const HELLO: &str = "S\n[\"q\",-1,[0,1]]";

fn greeted() -> Channels {
    let mut channels = Channels::new("base", 1000);
    assert_eq!(channels.receive(0, HELLO), Ok(Some(ChannelEvent::Reply(HELLO.to_owned()))));
    channels
}

fn subscribe(channels: &mut Channels, channel: &str) -> Result<(), Close> {
    channels.receive(0, &format!("S\n[\"q\",-1,[1,\"{channel}\"]]")).map(drop)
}

fn unsubscribe(channels: &mut Channels, channel: &str) {
    let frame = format!("S\n[null,-1,[2,\"{channel}\"]]");
    let event = channels.receive(0, &frame);
    assert_eq!(event, Ok(Some(ChannelEvent::Unsubscribe(ChannelId::new(channel).unwrap()))));
}

#[test]
fn a_channel_is_a_path_under_the_urls_own() {
    let mut channels = greeted();
    let frame = "S\n[\"q2\",-1,[1,\"a/é\"]]";
    let channel = ChannelId::new("a/é").unwrap();
    let (path, reply) = ("base/a/é".to_owned(), frame.to_owned());
    let event = ChannelEvent::Subscribe { channel: channel.clone(), path, reply };
    assert_eq!(channels.receive(0, frame), Ok(Some(event)));
    assert_eq!(channels.receive(0, frame), Ok(Some(ChannelEvent::Reply(frame.to_owned()))));
    let data = ChannelEvent::Data { channel: channel.clone(), payload: "\n[null,1,\"\"]" };
    assert_eq!(channels.receive(0, "M\na/é\n\n[null,1,\"\"]"), Ok(Some(data)));
    assert_eq!(channel.path_under(""), "a/é");
    assert_eq!(Channels::wrap(&channel, "S\nx"), Ok("M\na/é\nS\nx".to_owned()));
    let longest = "x".repeat(MAX_FRAME_BYTES - "M\na/é\n".len());
    assert!(Channels::wrap(&channel, &longest).is_ok());
    assert_eq!(Channels::wrap(&channel, &(longest + "x")), Err(Close::TOO_LARGE));
}

#[test]
fn after_a_violation_nothing_counts() {
    let mut channels = greeted();
    subscribe(&mut channels, "ch").unwrap();
    assert_eq!(channels.receive(0, "M\nother\n\n[null,1,\"\"]"), Err(Close::INVALID));
    assert_eq!(channels.receive(0, "M\nch\n\n[null,1,\"\"]"), Ok(None));
}

#[test]
fn channels_that_were_left_count_until_they_are_taken_down() {
    let mut channels = greeted();
    for number in 0..MAX_CHANNELS {
        subscribe(&mut channels, &format!("a{number}")).unwrap();
    }
    assert_eq!(subscribe(&mut channels.clone(), "one-more"), Err(Close::CHANNELS));
    for number in 0..MAX_CHANNELS {
        unsubscribe(&mut channels, &format!("a{number}"));
    }
    for number in 0..MAX_CHANNELS {
        assert_eq!(channels.open().len() + channels.leaving, MAX_CHANNELS + number);
        subscribe(&mut channels, &format!("b{number}")).unwrap();
    }
    unsubscribe(&mut channels, "b0");
    assert_eq!(subscribe(&mut channels.clone(), "c"), Err(Close::CHANNELS));
    channels.taken_down();
    assert_eq!(subscribe(&mut channels, "c"), Ok(()));
}

#[test]
fn a_refused_channel_is_as_if_it_had_never_been_asked_for() {
    let mut channels = greeted();
    subscribe(&mut channels, "ch").unwrap();
    channels.refuse(&ChannelId::new("ch").unwrap());
    assert_eq!(channels.open().len(), 0);
    assert_eq!(channels.receive(0, "M\nch\n\n[null,1,\"\"]"), Err(Close::INVALID));
}

#[test]
fn fragments_of_all_channels_share_the_bounds_of_the_socket() {
    let mut channels = greeted();
    for channel in ["a", "b"] {
        subscribe(&mut channels, channel).unwrap();
    }
    let fragment =
        |channel: &str, id: usize, text: &str| format!("M\n{channel}\n\n{id:016}\n0\n2\n{text}");
    let mut many = channels.clone();
    for id in 0..100 {
        let channel = if id % 2 == 0 { "a" } else { "b" };
        assert!(many.receive(0, &fragment(channel, id, "x")).is_ok());
    }
    let one_more = fragment("a", 100, "x");
    assert_eq!(many.clone().receive(0, &one_more), Err(Close::FRAGMENTS));
    assert!(many.clone().receive(1000, &one_more).is_ok(), "the others' time is over");
    unsubscribe(&mut many, "b");
    assert!(many.receive(0, &one_more).is_ok(), "those of a channel that was left are gone");
    let half = "x".repeat(MAX_RETAINED_BYTES / 2);
    assert!(channels.receive(0, &fragment("a", 0, &half)).is_ok());
    assert_eq!(channels.receive(0, &fragment("b", 0, &half)), Err(Close::FRAGMENTS));
}

#[test]
fn what_javascript_takes_for_a_number_is_one() {
    for hello in [
        "[\"q\",-1,[0,\"1\"]]",
        "[\"q\",-1,[0,true]]",
        "[\"\",-1,[\"0\",1]]",
        "[\"q\",-1.0,[0,1e0]]",
    ] {
        assert!(matches!(Control::parse(hello), Some(Control::Hello { .. })), "{hello}");
    }
    for none in [
        "[\"q\",-1,[0,2]]",
        "[\"q\",-1,[null,1]]",
        "[\"\u{FFFC}\",-1,[0,1]]",
        "[\"q\",-1,[1,\"\u{FFFC}\"]]",
        "[null,-1,[1,\"a\"]]",
        "[\"q\",-1,[2,\"a\"]]",
        "[null,1,\"\"]",
    ] {
        assert_eq!(Control::parse(none), None, "{none}");
    }
}

#[test]
fn a_lone_surrogate_is_confirmed_and_opens_nothing() {
    let mut channels = greeted();
    let frame = "S\n[\"q\",-1,[1,\"\\ud800\"]]";
    assert_eq!(channels.receive(0, frame), Ok(Some(ChannelEvent::Reply(frame.to_owned()))));
    assert_eq!(channels.open().len(), 0);
}
