//! Frames and fragments of one hostile socket, against the rules written down once more.

use mergeable_store::{
    ClientId, Close, ConnectionId, Edit, Frame, Limits, MergeableStore, Policy, Ruling, Star,
};

use crate::arrange::NOW;
use crate::rng::Rng;
use crate::wire::{self, Groups, Read};

/// Each frame is taken, kept as a fragment or closes the socket exactly as the rules say; and a star that gets a message in
/// fragments does what it does when it gets the message whole.
pub fn frame(data: &[u8]) {
    let (mut pieces, mut whole) = (Side::new(), Side::new());
    let mut groups = Groups::default();
    let mut now = NOW;
    for (frame, pause) in wire::frames(data) {
        let read = wire::read(frame);
        assert_eq!(wire::outcome(Frame::parse(frame)), read, "{frame:?}");
        let expected = match read {
            Read::Close(close) => Err(close),
            Read::Message => Ok(Some(frame.to_owned())),
            Read::Fragment(fragment) => {
                groups.take(now, frame, &fragment).map(|whole| whole.map(|whole| whole.frame))
            }
        };
        let got = pieces.receive(now, frame);
        match expected {
            Err(close) => {
                assert_eq!(got.err(), Some(close), "{frame:?}");
                return;
            }
            Ok(None) => assert!(got.is_ok_and(|effects| effects.is_empty()), "{frame:?}"),
            Ok(Some(message)) => assert_eq!(got, whole.receive(now, &message), "{message:?}"),
        }
        now += pause;
        assert_eq!(pieces.star.tick(now, &mut pieces.rng), whole.star.tick(now, &mut whole.rng));
    }
    assert_eq!(pieces.star.store().content(), whole.star.store().content());
}

/// A star with one connection.
struct Side {
    star: Star,
    rng: Rng,
}

impl Side {
    fn new() -> Self {
        let store = MergeableStore::new(ClientId::from_unique_id("S"));
        let mut side = Self { star: Star::new(store, Limits::default()), rng: Rng(1) };
        let _ = side.star.connect(NOW, ConnectionId::from("c"), &mut side.rng);
        side
    }

    fn receive(&mut self, now: u64, frame: &str) -> Result<mergeable_store::Effects, Close> {
        self.star.receive(now, &ConnectionId::from("c"), frame, &mut AllowAll, &mut self.rng)
    }
}

struct AllowAll;

impl Policy for AllowAll {
    fn judge(&mut self, _: &Edit<'_>) -> Ruling {
        Ruling::Accept
    }
}
