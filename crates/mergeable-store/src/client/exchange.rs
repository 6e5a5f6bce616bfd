//! The exchange of hashes with a peer: asking, pulling what differs, telling the own.

use super::{Asked, Call, MAX_PEERS, PullFrom, State, Synchronizer, TIMEOUT_MS};
use crate::Text;
use crate::hash::ContentHashes;
use crate::json::Json;
use crate::message::{self, Say};
use crate::pull::{self, Next, Pull};

impl Synchronizer {
    pub(super) fn answered(
        &mut self,
        call: &mut Call<'_>,
        from: &str,
        request: Option<&Text>,
        body: &Json,
    ) {
        let is_answer = |asked: &mut Asked| {
            request == Some(&asked.request) && asked.to.as_ref().is_none_or(|to| to == from)
        };
        if let Some(asked) = self.asked.take_if(is_answer) {
            let hashes = message::read_content_hashes(body);
            self.last_peer_hashes = hashes.or(self.last_peer_hashes);
            match hashes {
                Some(hashes) => {
                    let transaction = pull::transaction_id(call.rng);
                    self.pull_from(call, from, hashes, transaction, asked.to.is_some());
                }
                None if self.state == State::Asking => self.go_live(call),
                None => {}
            }
            return;
        }
        let awaited = |pull: &&mut PullFrom| pull.peer == from && pull.pull.awaits(request);
        let Some(pull) = self.pull.as_mut().filter(awaited) else {
            return;
        };
        match pull.pull.answer(&self.store, body, call.now + TIMEOUT_MS, call.rng) {
            Next::Ask(remainder) => self.send(call, from, remainder),
            Next::Failed => self.pulled(call),
            Next::Done(changes) => {
                self.merge(call, &changes);
                self.pulled(call);
            }
        }
    }

    /// Somebody has told hashes; they are looked at once nothing else is under way.
    pub(super) fn heard(
        &mut self,
        call: &mut Call<'_>,
        from: &str,
        hashes: ContentHashes,
        request: Option<&Text>,
    ) {
        if self.is_live() && self.pull.is_none() {
            let transaction = pull::transaction_of(request, call.rng);
            self.pull_from(call, from, hashes, transaction, false);
        } else if self.again.len() < MAX_PEERS || self.again.contains_key(from) {
            self.again.insert(from.into(), hashes);
        }
    }

    pub(super) fn pull_from(
        &mut self,
        call: &mut Call<'_>,
        from: &str,
        hashes: ContentHashes,
        transaction: Text,
        announce: bool,
    ) {
        if self.state == State::Asking {
            self.state = State::Loading;
        }
        match Pull::start(&self.store, hashes, transaction, call.now + TIMEOUT_MS, call.rng) {
            Some((pull, remainder)) => {
                self.pull = Some(PullFrom { peer: from.to_owned(), pull, announce });
                self.send(call, from, remainder);
            }
            None => self.pulled(call),
        }
    }

    /// A pull is over, with or without success.
    pub(super) fn pulled(&mut self, call: &mut Call<'_>) {
        let pull = self.pull.take();
        if self.state == State::Loading {
            return self.go_live(call);
        }
        if pull.is_some_and(|pull| pull.announce && pull.pull.announced != self.store.hashes()) {
            self.announce(call);
        }
        self.look_again(call);
    }

    pub(super) fn go_live(&mut self, call: &mut Call<'_>) {
        self.state = State::Live;
        self.announce(call);
        self.look_again(call);
    }

    pub(super) fn look_again(&mut self, call: &mut Call<'_>) {
        // Each that differs begins a pull, after which the next is looked at.
        while self.is_live()
            && self.pull.is_none()
            && let Some((from, hashes)) = self.again.shift_remove_index(0)
        {
            self.heard(call, &from, hashes, None);
        }
    }

    pub(super) fn announce(&mut self, call: &mut Call<'_>) {
        let transaction = pull::transaction_id(call.rng);
        self.send(call, "", Say::ContentHashes(self.store.hashes()).remainder(Some(&transaction)));
    }

    pub(super) fn ask(&mut self, call: &mut Call<'_>, to: Option<&str>) {
        let request = pull::request_id(&pull::transaction_id(call.rng), call.rng);
        let remainder = Say::GetContentHashes.remainder(Some(&request));
        self.asked =
            Some(Asked { request, to: to.map(str::to_owned), deadline: call.now + TIMEOUT_MS });
        self.send(call, to.unwrap_or_default(), remainder);
    }
}
