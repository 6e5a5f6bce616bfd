//! Single frames, good and bad, on a socket whose path has a bystander: how they are answered, relayed, and refused.

use mergeable_store::{Close, ConnectionId, Effects, Json, Limits, Star};

use crate::server::{Server, Setup, load};
use crate::support::net::{NOW, Rule};
use crate::support::{Known, Rng, vectors};

const X: &str = "CLIENT-X00000000000000==";
const Y: &str = "CLIENT-Y00000000000000==";

fn frames(case: &Json) -> Vec<String> {
    let frames = case.at("frames");
    if let Json::Array(frames) = frames {
        return frames.iter().map(|frame| frame.text().to_string_lossy().into_owned()).collect();
    }
    // A long row is told by its beginning and its end.
    let (first, last) = (frames.at("first").str(), frames.at("last").str());
    let count = frames.at("count").uint() as usize;
    let row: Vec<String> = if first.starts_with("S\n") {
        let channel = |number| format!("S\n[\"q\",-1,[1,\"c{number}\"]]");
        std::iter::once(first.to_owned()).chain((0..count - 1).map(channel)).collect()
    } else {
        (0..count).map(|number| format!("\n{number:016}\n0\n2\nx")).collect()
    };
    assert_eq!((row[0].as_str(), row[1].as_str()), (first, frames.at("second").str()));
    assert_eq!((row.len(), row[count - 1].as_str()), (count, last));
    row
}

fn expected_close(case: &Json) -> Option<Close> {
    let closed = case.at("closed");
    (*closed != Json::Null).then(|| Close {
        code: closed.at("code").uint() as u16,
        reason: closed.at("reason").str().to_owned().into(),
    })
}

/// A frame without what is random in it: ids of transactions, requests and fragments.
fn without_ids(frame: &str) -> String {
    let (head, remainder) = frame
        .rsplit_once("\n[")
        .map_or((frame, None), |(head, rest)| (head, Json::parse(&format!("[{rest}")).ok()));
    let head: Vec<&str> = head.split('\n').collect();
    let head = head.iter().map(|part| if is_fragment_id(part) { "fragment" } else { part });
    let head = head.collect::<Vec<_>>().join("\n");
    match remainder {
        Some(Json::Array(parts)) if is_random(&parts[0]) => {
            format!("{head}\n{}", Json::Array(parts[1..].to_vec()).stringify())
        }
        _ => frame
            .lines()
            .map(|part| if is_fragment_id(part) { "fragment" } else { part })
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

fn is_fragment_id(part: &str) -> bool {
    part.len() == 16
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn is_random(id: &Json) -> bool {
    matches!(id, Json::String(id) if matches!(id.as_wtf8().len(), 11 | 16))
}

fn texts(case: &Json, key: &str) -> Vec<String> {
    case.at(key).items().iter().map(|text| without_ids(&text.text().to_string_lossy())).collect()
}

#[test]
fn every_raw_frame_is_taken_or_refused_as_tinybase_does() {
    let file = vectors("transcripts.json");
    let cases = file.at("rawFrames").items();
    let (mut closed, mut multiplexed) = (0, 0);
    for case in cases {
        let name = format!(
            "{} {} {:?}",
            case.at("mode").str(),
            case.at("name").str(),
            case.at("serverStore")
        );
        let persisted = *case.at("serverStore") == Json::Bool(true);
        let (saved, limits) = Default::default();
        let mut server = Server::new(Setup { persisted, saved, limits });
        let protocol = if case.at("mode").str() == "multiplexed" { "tinybase" } else { "" };
        let path = case.at("path").str();
        // The bystander of a multiplexed socket is on the path of its first channel.
        let bystander = if protocol.is_empty() { path.to_owned() } else { format!("{path}/ch") };
        server.open("Y", &bystander, "", Y);
        server.open("X", path, protocol, X);
        // Recorded after the server's store had come to rest.
        server.tick(bystander.trim_start_matches('/'));
        for name in ["X", "Y"] {
            server.socket(name).sent.clear();
        }
        for frame in frames(case) {
            server.frame("X", &frame);
        }
        assert_eq!(server.socket("X").closed, expected_close(case), "{name}");
        assert_eq!(server.socket("Y").closed, None, "{name}");
        for (socket, key) in [("X", "toSelf"), ("Y", "toBystander")] {
            let sent = server.socket(socket).sent.iter();
            let sent: Vec<String> = sent.take(6).map(|frame| without_ids(frame)).collect();
            assert_eq!(sent, texts(case, key), "{name}: {key}");
        }
        closed += usize::from(expected_close(case).is_some());
        multiplexed += usize::from(!protocol.is_empty());
    }
    println!(
        "raw frames: {} cases, {closed} of them closed, {multiplexed} multiplexed",
        cases.len()
    );
    assert_eq!(cases.len(), 194);
    assert!(closed > 80 && multiplexed > 60, "{closed} closed, {multiplexed} multiplexed");
}

#[test]
fn the_star_refuses_the_same_frames_and_relays_none() {
    let file = vectors("transcripts.json");
    let mut played = 0;
    for case in file.at("rawFrames").items() {
        if case.at("mode").str() != "legacy" || *case.at("serverStore") != Json::Bool(true) {
            continue;
        }
        let name = case.at("name").str();
        let (mut star, mut rng) = (Star::new(load(None), Limits::default()), Rng(1));
        let (x, y) = (ConnectionId::from(X), ConnectionId::from(Y));
        for id in [&x, &y] {
            let asked = star.connect(NOW, id.clone(), &mut rng);
            assert_eq!(asked.send.len(), 1);
        }
        let mut closed = None;
        for frame in frames(case) {
            match star.receive(NOW, &x, &frame, &mut Rule::allow_all(), &mut rng) {
                Ok(Effects { send, .. }) => {
                    for outgoing in send.iter().filter(|outgoing| outgoing.to.contains(&y)) {
                        assert!(outgoing.frame.starts_with("S\n"), "{name}: {}", outgoing.frame);
                    }
                }
                Err(close) => closed = Some(close),
            }
        }
        assert_eq!(closed, expected_close(case), "{name}");
        played += 1;
    }
    println!("raw frames: {played} cases in star");
    assert!(played >= 55, "{played}");
}
