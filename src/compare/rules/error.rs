//! What is wrong with a setting, and where.

/// A setting that makes no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {problem}")]
pub struct RuleError {
    /// Where it stands below `[resource.compare]`.
    pub key: RuleKey,
    /// What is wrong, and what to do.
    pub problem: RuleProblem,
}

/// Where a setting stands below `[resource.compare]`: a list, a place in it, and what is in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleKey {
    /// The list.
    pub list: &'static str,
    /// Which of its entries, from 0.
    pub place: usize,
    /// The key in the entry, if the entry is a table.
    pub field: Option<&'static str>,
    /// Which entry of the inner list, if the entry or the field is a list.
    pub inner: Option<usize>,
}

impl RuleKey {
    pub(super) const fn of(list: &'static str, place: usize) -> Self {
        Self { list, place, field: None, inner: None }
    }

    pub(super) const fn field(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    pub(super) const fn inner(self, place: usize) -> Self {
        Self { inner: Some(place), ..self }
    }

    pub(super) const fn wrong(self, problem: RuleProblem) -> RuleError {
        RuleError { key: self, problem }
    }
}

impl std::fmt::Display for RuleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.list, self.place)?;
        if let Some(field) = self.field {
            write!(f, ".{field}")?;
        }
        self.inner.map_or(Ok(()), |inner| write!(f, "[{inner}]"))
    }
}

/// What can be wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleProblem {
    /// Not a JSONPath.
    #[error(
        "is no JSONPath (RFC 9535), position {position} of `{expression}`: {reason}; write it as in \"$.data[*].updatedAt\""
    )]
    Syntax {
        /// The expression.
        expression: String,
        /// Where it goes wrong, counted from 1.
        position: usize,
        /// What is wrong.
        reason: String,
    },
    /// No path at all.
    #[error("is missing: write it as in \"$.data[*].updatedAt\"")]
    NoPath,
    /// A path that hides the whole answer.
    #[error("`$` would ignore every difference; name the fields that may differ")]
    IgnoresEverything,
    /// An array rule that contradicts itself.
    #[error("needs either `by` (with `ordered`, if you like) or `as`, not both and not neither")]
    ArrayMode,
    /// A number rule without a tolerance, or with several.
    #[error("needs one of `abs`, `rel` and `ulp`; write it as in `abs = 0.01`")]
    NumberMode,
    /// A tolerance that is none.
    #[error("must be over 0 and finite: without the rule numbers are compared exactly")]
    Tolerance,
    /// A share that makes all numbers of one sign equal.
    #[error("must be over 0 and under 1: it is a share of the greater number")]
    Share,
    /// More steps than a tolerance should have.
    #[error("must be from 1 to {MAX_ULP}")]
    Ulp,
    /// A string rule that does nothing.
    #[error(
        "needs `as` or `mask`; write it as in `as = [\"trim\"]` (nfc, trim, fold_case, url) or `mask = [\"[0-9]+\"]`"
    )]
    StringMode,
    /// Not a regular expression, or one that is too large.
    #[error("is no regular expression: {0}")]
    Mask(String),
    /// A time further off than any two readings are.
    #[error("must be at most {MAX_WITHIN_MS} (a day)")]
    Within,
    /// A bijection over nothing.
    #[error("is empty: name the places of one sort of id, as in [\"$.data[*].id\", \"$.id\"]")]
    BindsNothing,
    /// Not a header name.
    #[error("`{0}` is no header's name")]
    Header(String),
    /// A header that no two answers share.
    #[error("`{0}` differs between any two answers, whoever gives them: take it out")]
    VolatileHeader(String),
    /// More rules than can be told apart.
    #[error(
        "is one too many: a list has at most {MAX_RULES} entries, all lists together {MAX_ALL}"
    )]
    TooMany,
}

/// A list has at most so many entries.
pub(super) const MAX_RULES: usize = 1_000;
/// All lists have at most so many: the number of each fits the mark that a node carries.
pub(super) const MAX_ALL: usize = 10_000;
/// The greatest distance in binary floats.
pub(super) const MAX_ULP: u64 = 1 << 20;
/// A day.
pub(super) const MAX_WITHIN_MS: u64 = 24 * 60 * 60 * 1000;
