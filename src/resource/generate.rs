//! Cells that legacy makes by itself, as the store makes them in its place (design rule 8).

use chrono::{DateTime, Utc};

use super::{Cell, CellRef};

/// What makes a cell's value where its writer gives none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "kebab-case")]
pub enum Generated {
    /// A UUID of version 7, hyphenated.
    Uuid,
    /// The same as 32 hexadecimal digits.
    UuidHex,
    /// When the row was made.
    CreatedAt,
    /// When it was last changed.
    UpdatedAt,
    /// 1 in a new row, one more with each change.
    Version,
}

impl Generated {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::UuidHex => "uuid-hex",
            Self::CreatedAt => "created-at",
            Self::UpdatedAt => "updated-at",
            Self::Version => "version",
        }
    }

    /// Whether it makes ids.
    #[must_use]
    pub const fn is_id(self) -> bool {
        matches!(self, Self::Uuid | Self::UuidHex)
    }

    /// Whether it makes times.
    #[must_use]
    pub const fn is_time(self) -> bool {
        matches!(self, Self::CreatedAt | Self::UpdatedAt)
    }
}

/// How the API spells a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub enum TimeSpelling {
    /// `2026-01-31T08:00:00.000Z`, as JavaScript's `toISOString`.
    Iso,
    /// `2026-01-31 08:00:00`, as SQLite's `CURRENT_TIMESTAMP`.
    Sqlite,
    /// Seconds since 1970, a number.
    S,
    /// Milliseconds since 1970, a number.
    Ms,
}

impl TimeSpelling {
    /// Whether it is a number.
    #[must_use]
    pub const fn is_number(self) -> bool {
        matches!(self, Self::S | Self::Ms)
    }
}

/// Makes a cell's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generator {
    /// What it makes.
    pub kind: Generated,
    /// What stands before an id.
    pub prefix: String,
    /// How a time is spelled.
    pub spelling: TimeSpelling,
}

/// 128 bits that name a new row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewId([u8; 16]);

impl NewId {
    /// A UUID of version 7: the time in milliseconds since 1970 first, so that ids of one time are together.
    #[must_use]
    pub fn of_time(now_ms: u64, random: [u8; 10]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&now_ms.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        Self(marked(bytes, 7))
    }

    /// A UUID of version 8: the same for whoever asks with the same key again.
    #[must_use]
    pub fn of_key(digest: [u8; 16]) -> Self {
        Self(marked(digest, 8))
    }

    fn hex(self, hyphens: bool) -> String {
        let mut text = String::with_capacity(36);
        for (place, byte) in self.0.iter().enumerate() {
            if hyphens && matches!(place, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text += &format!("{byte:02x}");
        }
        text
    }
}

/// Sets the bits that tell a UUID's version and variant (RFC 9562 §4).
const fn marked(mut bytes: [u8; 16], version: u8) -> [u8; 16] {
    bytes[6] = (bytes[6] & 0x0f) | (version << 4);
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    bytes
}

impl Generator {
    /// An id; `None` if it makes none.
    #[must_use]
    pub fn id(&self, id: NewId) -> Option<Cell> {
        let hyphens = self.kind == Generated::Uuid;
        let text = format!("{}{}", self.prefix, id.hex(hyphens));
        self.kind.is_id().then(|| Cell::String(text.as_str().into()))
    }

    /// What it makes of the value before, when the row is made or changed at `now_ms` (epoch milliseconds). `None`: the
    /// value stays.
    #[must_use]
    pub fn next(&self, before: Option<CellRef<'_>>, now_ms: u64, is_new: bool) -> Option<Cell> {
        match self.kind {
            Generated::Uuid | Generated::UuidHex => None,
            Generated::CreatedAt if !is_new => None,
            Generated::CreatedAt | Generated::UpdatedAt => Some(self.time(now_ms)),
            Generated::Version => match before {
                Some(CellRef::Number(number)) if !is_new => Some(Cell::Number(number + 1.0)),
                _ => Some(Cell::Number(1.0)),
            },
        }
    }

    fn time(&self, now_ms: u64) -> Cell {
        let at = i64::try_from(now_ms).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
        let at = at.unwrap_or_default();
        let text = |format: &str| Cell::String(at.format(format).to_string().as_str().into());
        #[expect(clippy::cast_precision_loss, reason = "below 2^53 for as long as there are dates")]
        let number = |number: u64| Cell::Number(number as f64);
        match self.spelling {
            TimeSpelling::Iso => text("%Y-%m-%dT%H:%M:%S%.3fZ"),
            TimeSpelling::Sqlite => text("%Y-%m-%d %H:%M:%S"),
            TimeSpelling::S => number(now_ms / 1_000),
            TimeSpelling::Ms => number(now_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_769_846_400_123;

    fn generator(kind: Generated, spelling: TimeSpelling) -> Generator {
        Generator { kind, prefix: String::new(), spelling }
    }

    #[test]
    fn times_are_spelled_as_the_api_spells_them() {
        let at = |spelling| {
            generator(Generated::CreatedAt, spelling).next(None, NOW, true).unwrap().to_json()
        };
        assert_eq!(at(TimeSpelling::Iso), "2026-01-31T08:00:00.123Z");
        assert_eq!(at(TimeSpelling::Sqlite), "2026-01-31 08:00:00");
        assert_eq!(at(TimeSpelling::S), 1_769_846_400);
        assert_eq!(at(TimeSpelling::Ms), NOW);
        let both = ["2026-01-31T08:00:00.123Z", "2026-01-31 08:00:00"];
        assert!(both.iter().all(|text| crate::compare::instant(text).is_some()));
    }

    #[test]
    fn a_change_leaves_the_time_of_creation_and_counts_the_version() {
        let next = |kind, before: Option<Cell>, is_new| {
            let before = before.as_ref().map(Cell::view);
            generator(kind, TimeSpelling::Ms).next(before, NOW, is_new).map(|cell| cell.to_json())
        };
        assert_eq!(next(Generated::CreatedAt, Some(Cell::Number(1.0)), false), None);
        assert_eq!(next(Generated::UpdatedAt, Some(Cell::Number(1.0)), false), Some(NOW.into()));
        assert_eq!(next(Generated::Version, Some(Cell::Number(7.0)), false), Some(8.into()));
        assert_eq!(next(Generated::Version, Some(Cell::Number(7.0)), true), Some(1.into()));
        assert_eq!(next(Generated::Version, None, false), Some(1.into()));
        assert_eq!(next(Generated::Uuid, None, true), None);
    }

    #[test]
    fn ids_are_uuids_with_their_prefix() {
        let id = NewId::of_time(NOW, [0xff; 10]);
        let uuid = Generator {
            prefix: "user_".to_owned(),
            ..generator(Generated::Uuid, TimeSpelling::Iso)
        };
        assert_eq!(uuid.id(id).unwrap().to_json(), "user_019c1310-e47b-7fff-bfff-ffffffffffff");
        let hex = generator(Generated::UuidHex, TimeSpelling::Iso);
        assert_eq!(hex.id(id).unwrap().to_json(), "019c1310e47b7fffbfffffffffffffff");
        assert_eq!(generator(Generated::Version, TimeSpelling::Iso).id(id), None);
        assert_eq!(NewId::of_key([0; 16]).hex(true), "00000000-0000-8000-8000-000000000000");
    }

    proptest! {
        #[test]
        fn ids_sort_by_their_time(a in 0..1_u64 << 48, b in 0..1_u64 << 48, r in any::<[u8; 10]>(), s in any::<[u8; 10]>()) {
            let text = |at, random| NewId::of_time(at, random).hex(true);
            if a < b {
                prop_assert!(text(a, r) < text(b, s));
            }
            prop_assert_eq!(text(a, r).len(), 36);
            prop_assert_eq!(text(a, r).as_bytes()[14], b'7');
        }
    }
}
