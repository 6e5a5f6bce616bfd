//! A multiplexed socket's frames, against the rules written down once more.

use std::collections::BTreeSet;

use mergeable_store::{
    ChannelEvent, ChannelId, Channels, Close, Json, Limits, MAX_CHANNEL_ID_BYTES, MAX_CHANNELS,
    MAX_CHANNELS_WITH_LEFT,
};

use crate::arrange::NOW;
use crate::wire::{self, Groups, Read};

/// Each frame of a multiplexed socket does what the rules say; after a violation none does anything.
pub fn channels(data: &[u8]) {
    let timeout = Limits::default().fragment_timeout_ms;
    let (mut channels, mut rules) = (Channels::new("base", timeout), Rules::default());
    let mut now = NOW;
    for (frame, pause) in wire::frames(data) {
        let expected = rules.read(now, frame);
        let got = channels.receive(now, frame);
        assert_eq!(got, expected, "{frame:?}");
        if got.is_err() {
            assert_eq!(channels.receive(now, "S\n[\"a\",-1,[0,1]]"), Ok(None));
            return;
        }
        assert!(channels.open().map(ChannelId::as_str).eq(rules.open.iter().map(String::as_str)));
        now += pause;
        if pause > 0 {
            // By then the paths have let go of what was left.
            (0..std::mem::take(&mut rules.leaving)).for_each(|_| channels.taken_down());
        }
    }
}

#[derive(Default)]
struct Rules {
    greeted: bool,
    open: BTreeSet<String>,
    leaving: usize,
    groups: Groups,
}

impl Rules {
    fn read<'a>(&mut self, now: u64, frame: &'a str) -> Result<Option<ChannelEvent<'a>>, Close> {
        match frame.split_once('\n') {
            Some(("S", remainder)) => self.control(remainder),
            Some(("M", remainder)) => self.data(now, remainder),
            _ => Err(Close::INVALID),
        }
    }

    fn control<'a>(&mut self, remainder: &str) -> Result<Option<ChannelEvent<'a>>, Close> {
        let message = Json::parse(remainder).map_err(|_| Close::INVALID)?;
        let reply = format!("S\n{}", message.stringify());
        let Json::Array(parts) = message else { return Err(Close::INVALID) };
        let [request, number, Json::Array(control)] = &parts[..] else {
            return Err(Close::INVALID);
        };
        let [kind, body] = &control[..] else { return Err(Close::INVALID) };
        let asked = is_string(request);
        if !equals(number, -1.0) {
            return Err(Close::INVALID);
        }
        match [0.0, 1.0, 2.0].map(|number| equals(kind, number)) {
            [true, ..] if asked && equals(body, 1.0) => {
                self.greeted = true;
                Ok(Some(ChannelEvent::Reply(reply)))
            }
            [_, true, _] if asked => self.subscribe(body, reply),
            [_, _, true] if *request == Json::Null => self.unsubscribe(body),
            _ => Err(Close::INVALID),
        }
    }

    /// The channel's id, `None` for one with a lone surrogate; not looked at before Hello but for its form.
    fn channel(&self, body: &Json) -> Result<Option<String>, Close> {
        let Json::String(text) = body else { return Err(Close::INVALID) };
        if text.as_wtf8().len() > MAX_CHANNEL_ID_BYTES {
            let judged = self.greeted && text.as_str().is_some();
            return if judged { Err(Close::CHANNELS) } else { Ok(None) };
        }
        let lossy = text.to_string_lossy().into_owned();
        let segments = lossy.split('/').all(|segment| !["", ".", ".."].contains(&segment));
        let undefined = lossy == "\u{FFFC}";
        if undefined || !segments || lossy.chars().any(|char| "\n\r?#".contains(char)) {
            return Err(Close::INVALID);
        }
        Ok(text.as_str().map(str::to_owned))
    }

    fn subscribe<'a>(
        &mut self,
        body: &Json,
        reply: String,
    ) -> Result<Option<ChannelEvent<'a>>, Close> {
        let channel = self.channel(body)?;
        if !self.greeted {
            return Ok(None);
        }
        let Some(channel) = channel.filter(|channel| !self.open.contains(channel)) else {
            return Ok(Some(ChannelEvent::Reply(reply)));
        };
        let open = self.open.len();
        if open == MAX_CHANNELS || open + self.leaving >= MAX_CHANNELS_WITH_LEFT {
            return Err(Close::CHANNELS);
        }
        self.open.insert(channel.clone());
        let path = format!("base/{channel}");
        let channel = ChannelId::new(&channel).expect("its form was looked at");
        Ok(Some(ChannelEvent::Subscribe { channel, path, reply }))
    }

    fn unsubscribe<'a>(&mut self, body: &Json) -> Result<Option<ChannelEvent<'a>>, Close> {
        let Some(channel) = self.channel(body)? else { return Ok(None) };
        if !self.greeted || !self.open.remove(&channel) {
            return Ok(None);
        }
        self.leaving += 1;
        self.groups.forget(&format!("{channel}\n"));
        let channel = ChannelId::new(&channel).expect("its form was looked at");
        Ok(Some(ChannelEvent::Unsubscribe(channel)))
    }

    fn data<'a>(
        &mut self,
        now: u64,
        remainder: &'a str,
    ) -> Result<Option<ChannelEvent<'a>>, Close> {
        let (channel, payload) = remainder.split_once('\n').ok_or(Close::INVALID)?;
        if channel.len() > MAX_CHANNEL_ID_BYTES {
            return Err(Close::CHANNELS);
        }
        if !self.open.contains(channel) {
            return Err(Close::INVALID);
        }
        let (client, rest) = payload.split_once('\n').ok_or(Close::INVALID)?;
        match wire::read_fragment(rest) {
            Read::Fragment(piece) => {
                self.groups.add(now, &format!("{channel}\n{client}"), rest, &piece)?;
            }
            // What has the form of a fragment is judged here, because it counts for the whole socket; all else by the path.
            Read::Close(close) if wire::has_fragment_form(rest) => return Err(close),
            _ => self.groups.expire(now),
        }
        let channel = ChannelId::new(channel).expect("it is open");
        Ok(Some(ChannelEvent::Data { channel, payload }))
    }
}

fn is_string(json: &Json) -> bool {
    matches!(json, Json::String(text) if *text != "\u{FFFC}")
}

/// JavaScript's `json == number`, for numbers, booleans and decimal text.
fn equals(json: &Json, number: f64) -> bool {
    match json {
        Json::Number(json) => *json == number,
        Json::Bool(json) => number == if *json { 1.0 } else { 0.0 },
        Json::String(text) => match text.to_string_lossy().trim() {
            "" => number == 0.0,
            text => text.parse::<f64>().is_ok_and(|text| text == number),
        },
        _ => false,
    }
}
