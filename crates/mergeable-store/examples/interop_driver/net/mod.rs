//! A server and native clients: `{"net": {"open": ...}}` starts anew, `{"net": {"now", "actions"}}` lets things happen at a
//! time, `{"net": {"state": true}}` tells what all stores hold.
//!
//! Connections that others make (TinyBase's clients) have a key that the test chooses; their frames come in as actions and go
//! out in the answer. Native clients live here, with a queue in either direction; the test says how much of it arrives when.
//! An action is an array:
//!
//! | action | does |
//! | --- | --- |
//! | `["open", key, path, multiplexed]` | a client connects with this URL path |
//! | `["close", key]` | the server learns that a connection is gone |
//! | `["frame", key, text]` | a frame arrives from a client |
//! | `["write", path, ops]` | the server writes to its own store |
//! | `["connect", native]`, `["cut", native]` | a native client comes and goes; what is under way is lost |
//! | `["edit", native, channel, ops, rollBack]` | a native client writes |
//! | `["up", native, frames]`, `["down", native, frames]` | so many frames arrive at the server, at the client |
//! | `["tick"]` | everybody looks at the clock |
//!
//! The answer: `down`, frames to deliver, `closed`, connections that the server has closed, `pending`, frames under way to
//! or from native clients, and `deadline`, when the next `tick` has something to do.

mod client;
mod server;

use mergeable_store::{Json, Millis, Random};

use self::client::Native;
use self::server::Server;
use crate::command::{DriverError, Fields, text};
use crate::object;

/// A repeatable source of randomness (SplitMix64).
pub(crate) struct Rng(u64);

impl Random for Rng {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            *byte = (mixed >> 40) as u8;
        }
    }
}

/// A frame or an end, for the connection with this key.
pub(crate) enum Delivery {
    Frame(String, String),
    Closed(String, u16, String),
}

/// Everybody on this side.
pub(crate) struct Net {
    server: Server,
    natives: Vec<Native>,
    rng: Rng,
}

/// What happens at one time.
pub(crate) struct Turn<'a> {
    pub(crate) now: Millis,
    pub(crate) rng: &'a mut Rng,
}

/// Carries out a command on the net that is there, or opens one.
pub(crate) fn run(net: &mut Option<Net>, command: &Json) -> Result<Json, DriverError> {
    if let Ok(setup) = command.field("open") {
        *net = Some(Net::open(setup)?);
        return Ok(Json::Null);
    }
    let net = net.as_mut().ok_or_else(|| DriverError::Unknown("no net is open".into()))?;
    if command.is_set("state") {
        return net.state();
    }
    let now = command.field("now")?.number("now")? as Millis;
    net.turn(now, command.field("actions")?.items("actions")?)
}

impl Net {
    fn open(setup: &Json) -> Result<Self, DriverError> {
        let natives = setup.field("natives")?.items("natives")?.iter().map(Native::open);
        Ok(Self {
            server: Server::open(setup.field("server")?)?,
            natives: natives.collect::<Result<_, _>>()?,
            rng: Rng(setup.index("seed")? as u64),
        })
    }

    fn turn(&mut self, now: Millis, actions: &[Json]) -> Result<Json, DriverError> {
        let (mut down, mut closed) = (Vec::new(), Vec::new());
        for action in actions {
            self.act(now, action.items("action")?)?;
            for delivery in std::mem::take(&mut self.server.deliveries) {
                match delivery {
                    Delivery::Frame(key, frame) => match self.native(&key) {
                        Some(native) => native.down.push_back(frame),
                        None => down.push(Json::Array(vec![text(key), text(frame)])),
                    },
                    Delivery::Closed(key, code, reason) => match self.native(&key) {
                        Some(native) => native.cut(),
                        None => closed.push(Json::Array(vec![
                            text(key),
                            Json::Number(code.into()),
                            text(reason),
                        ])),
                    },
                }
            }
        }
        let pending: usize =
            self.natives.iter().map(|native| native.up.len() + native.down.len()).sum();
        let natives = self.natives.iter().filter_map(Native::deadline);
        let deadline = natives.chain(self.server.deadline()).min();
        Ok(object([
            ("down", Json::Array(down)),
            ("closed", Json::Array(closed)),
            ("pending", Json::Number(pending as f64)),
            ("deadline", deadline.map_or(Json::Null, |at| Json::Number(at as f64))),
        ]))
    }

    /// The native client that has this connection.
    fn native(&mut self, key: &str) -> Option<&mut Native> {
        self.natives.iter_mut().find(|native| native.key.as_deref() == Some(key))
    }

    fn act(&mut self, now: Millis, action: &[Json]) -> Result<(), DriverError> {
        let [name, args @ ..] = action else {
            return Err(DriverError::Field("action"));
        };
        let name = name.text("action")?.to_string();
        let string = |at: usize| {
            let arg = args.get(at).ok_or(DriverError::Field("argument"))?;
            Ok::<_, DriverError>(arg.text("argument")?.to_string())
        };
        let number = |at: usize| {
            let arg = args.get(at).ok_or(DriverError::Field("argument"))?;
            Ok::<_, DriverError>(arg.number("argument")? as usize)
        };
        let list = |at: usize| args.get(at).ok_or(DriverError::Field("ops"))?.items("ops");
        let is_true = |at: usize| args.get(at) == Some(&Json::Bool(true));
        let mut turn = Turn { now, rng: &mut self.rng };
        match &*name {
            "open" => self.server.connect(&mut turn, &string(0)?, &string(1)?, is_true(2)),
            "close" => self.server.disconnect(&string(0)?),
            "frame" => self.server.receive(&mut turn, &string(0)?, &string(1)?),
            "write" => self.server.write(&mut turn, &string(0)?, list(1)?)?,
            "tick" => {
                self.server.tick(&mut turn);
                for native in &mut self.natives {
                    native.tick(&mut turn);
                }
            }
            _ => {
                let native =
                    self.natives.get_mut(number(0)?).ok_or(DriverError::Field("native"))?;
                match &*name {
                    "connect" => {
                        if let Some(key) = native.key.take() {
                            self.server.disconnect(&key);
                        }
                        let key = native.next_key(number(0)?);
                        self.server.connect(&mut turn, &key, &native.path, native.multiplexed());
                        native.connect(&mut turn, key);
                    }
                    "cut" => {
                        if let Some(key) = native.key.clone() {
                            self.server.disconnect(&key);
                        }
                        native.cut();
                    }
                    "edit" => native.edit(&mut turn, &string(1)?, list(2)?, is_true(3))?,
                    "up" => {
                        for frame in native.take_up(number(1)?) {
                            if let Some(key) = &native.key {
                                self.server.receive(&mut turn, key, &frame);
                            }
                        }
                    }
                    "down" => native.take_down(&mut turn, number(1)?)?,
                    _ => return Err(DriverError::Unknown(name)),
                }
            }
        }
        Ok(())
    }

    fn state(&self) -> Result<Json, DriverError> {
        let natives = self.natives.iter().map(Native::state);
        Ok(object([("server", self.server.state()), ("natives", Json::Array(natives.collect()))]))
    }
}
