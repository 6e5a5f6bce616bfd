//! Where a row lives: the template of a resource's path, filled from claims or from a row.

use std::collections::BTreeMap;

use crate::migration::{InvalidPath, PathId};

use super::{Cell, CellId, CellRef, RowView};

/// A claim of a verified session that can fill a placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "snake_case")]
pub enum ClaimName {
    /// The active organisation's id.
    OrgId,
    /// The active organisation's slug.
    OrgSlug,
    /// The signed-in user's id.
    UserId,
}

impl ClaimName {
    /// The word used in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrgId => "org_id",
            Self::OrgSlug => "org_slug",
            Self::UserId => "user_id",
        }
    }
}

/// A path with placeholders (`org/{org}`), each bound to a claim and to a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Placeholder { claim: ClaimName, cell: CellId },
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateProblem {
    /// The text between placeholders is no path.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// Braces that do not span a whole segment.
    #[error("`{0}` is no segment: a placeholder fills a whole segment, as in `org/{{org}}`")]
    Placeholder(String),
    /// A placeholder without a claim.
    #[error(
        "placeholder `{{{0}}}` has no claim: add `{0} = \"org_id\"` (or org_slug, user_id) to `claims`"
    )]
    NoClaim(String),
    /// A placeholder without a field of the row.
    #[error("placeholder `{{{0}}}` has no field: add `{0} = \"<cell>\"` to `row`")]
    NoField(String),
    /// A binding that the template does not use.
    #[error("`{0}` is bound, and the path has no `{{{0}}}`")]
    Unused(String),
}

/// Why a template could not be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// The session has no such claim.
    #[error("the session has no `{}`", .0.as_str())]
    NoClaim(ClaimName),
    /// The row has no such cell, or one that holds no text.
    #[error("the row's `{0}` names no path")]
    NoCell(CellId),
    /// The value cannot be one segment of a path. It is not told: it may be personal.
    #[error("the value of `{0}` cannot be a segment of a path: A-Z a-z 0-9 . _ ~ - only")]
    Unfit(String),
}

impl PathTemplate {
    /// Whether a row's path comes from this cell.
    #[must_use]
    pub fn uses(&self, cell: &str) -> bool {
        self.segments.iter().any(
            |segment| matches!(segment, Segment::Placeholder { cell: of, .. } if **of == *cell),
        )
    }

    /// Compiles a template. All problems are told, not just the first.
    ///
    /// # Errors
    /// Every placeholder must fill a whole segment and be bound on both sides; every binding must be used.
    pub fn new(
        text: &str,
        claims: &BTreeMap<String, ClaimName>,
        row: &BTreeMap<String, CellId>,
    ) -> Result<Self, Vec<TemplateProblem>> {
        let mut problems = Vec::new();
        let mut segments = Vec::new();
        let mut used = Vec::new();
        for part in text.split('/') {
            match placeholder(part) {
                Err(problem) => problems.push(problem),
                Ok(None) => segments.push(Segment::Literal(part.to_owned())),
                Ok(Some(name)) => {
                    used.push(name);
                    match (claims.get(name), row.get(name)) {
                        (Some(&claim), Some(cell)) => {
                            segments.push(Segment::Placeholder { claim, cell: cell.clone() });
                        }
                        (claim, cell) => {
                            problems.extend(
                                claim.is_none().then(|| TemplateProblem::NoClaim(name.into())),
                            );
                            problems.extend(
                                cell.is_none().then(|| TemplateProblem::NoField(name.into())),
                            );
                        }
                    }
                }
            }
        }
        let bound: std::collections::BTreeSet<_> = claims.keys().chain(row.keys()).collect();
        let unused = bound.into_iter().filter(|name| !used.contains(&name.as_str()));
        problems.extend(unused.map(|name| TemplateProblem::Unused(name.clone())));
        if problems.is_empty() {
            Ok(Self { text: text.to_owned(), segments })
        } else {
            Err(problems)
        }
    }

    /// The template as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The template with claims in the place of placeholders: equal for two resources that share their paths.
    #[must_use]
    pub fn shape(&self) -> String {
        self.join(|claim, _| Ok(format!("{{{}}}", claim.as_str()))).unwrap_or_default()
    }

    /// The template with `{}` in the place of placeholders: equal for two that can name the same paths.
    #[must_use]
    pub fn erased(&self) -> String {
        self.join(|_, _| Ok("{}".to_owned())).unwrap_or_default()
    }

    /// The cells that place a row.
    pub fn cells(&self) -> impl Iterator<Item = &CellId> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Placeholder { cell, .. } => Some(cell),
        })
    }

    /// The path that a session may read.
    ///
    /// # Errors
    /// [`PathProblem`] if a claim is missing or cannot be a segment.
    pub fn from_claims<'a>(
        &self,
        claim: impl Fn(ClaimName) -> Option<&'a str>,
    ) -> Result<PathId, PathProblem> {
        self.fill(
            |name, _| {
                let value = claim(name).filter(|value| !value.is_empty());
                value.map(str::to_owned).ok_or(PathProblem::NoClaim(name))
            },
            |name, _| name.as_str().to_owned(),
        )
    }

    /// The path that a row belongs to.
    ///
    /// # Errors
    /// [`PathProblem`] if a cell is missing, holds no text or whole number, or cannot be a segment.
    pub fn from_row<'a>(&self, row: impl RowView<'a>) -> Result<PathId, PathProblem> {
        self.fill(
            |_, cell| {
                row.cell(cell).and_then(key_text).ok_or_else(|| PathProblem::NoCell(cell.clone()))
            },
            |_, cell| cell.to_string(),
        )
    }

    /// Whether a row of `path` may have this value in this cell: a cell that does not place rows may have any.
    #[must_use]
    pub fn admits(&self, path: &PathId, cell: &str, value: &Cell) -> bool {
        let mut segments = self.segments.iter().zip(path.as_str().split('/'));
        segments.all(|(segment, there)| match segment {
            Segment::Placeholder { cell: places, .. } if &**places == cell => {
                key_text(value.view()).as_deref() == Some(there)
            }
            _ => true,
        })
    }

    /// Whether it names one path alone, so that all rows of the resource are in it.
    #[must_use]
    pub fn is_one_path(&self) -> bool {
        self.cells().next().is_none()
    }

    /// What the rows of `path` have in this cell, if it places them.
    #[must_use]
    pub fn value_in<'p>(&self, path: &'p PathId, cell: &str) -> Option<&'p str> {
        let mut segments = self.segments.iter().zip(path.as_str().split('/'));
        segments.find_map(|(segment, there)| match segment {
            Segment::Placeholder { cell: places, .. } if &**places == cell => Some(there),
            _ => None,
        })
    }

    /// Whether a path may be one of this template's, whatever its placeholders hold.
    #[must_use]
    pub fn may_name(&self, path: &PathId) -> bool {
        let there = path.as_str().split('/');
        there.clone().count() == self.segments.len()
            && self.segments.iter().zip(there).all(|(segment, there)| match segment {
                Segment::Literal(text) => text == there,
                Segment::Placeholder { .. } => true,
            })
    }

    fn fill(
        &self,
        value: impl Fn(ClaimName, &CellId) -> Result<String, PathProblem>,
        source: impl Fn(ClaimName, &CellId) -> String,
    ) -> Result<PathId, PathProblem> {
        let text = self.join(|claim, cell| {
            let value = value(claim, cell)?;
            // A value with a slash would reach another path: it must be one segment by itself.
            let segment = PathId::new(&value).is_ok() && !value.contains('/');
            if segment { Ok(value) } else { Err(PathProblem::Unfit(source(claim, cell))) }
        })?;
        PathId::new(&text).map_err(|_| PathProblem::Unfit(self.text.clone()))
    }

    fn join(
        &self,
        value: impl Fn(ClaimName, &CellId) -> Result<String, PathProblem>,
    ) -> Result<String, PathProblem> {
        let filled = self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => Ok(text.clone()),
            Segment::Placeholder { claim, cell } => value(*claim, cell),
        });
        Ok(filled.collect::<Result<Vec<_>, _>>()?.join("/"))
    }
}

/// The name in `{name}`, or `None` for a literal segment.
fn placeholder(segment: &str) -> Result<Option<&str>, TemplateProblem> {
    if !segment.contains(['{', '}']) {
        PathId::new(segment)?;
        return Ok(None);
    }
    let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    name.filter(|name| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
    .map(Some)
    .ok_or_else(|| TemplateProblem::Placeholder(segment.to_owned()))
}

/// A cell's value as the text of an id: a string, or a whole number in decimal digits.
pub(super) fn key_text(cell: CellRef<'_>) -> Option<String> {
    match cell {
        CellRef::String(text) => text.as_str().filter(|text| !text.is_empty()).map(str::to_owned),
        CellRef::Number(number)
            if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
            let whole = number as i64;
            Some(whole.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_names_paths_of_its_own_form_alone() {
        let claims = [("org".to_owned(), ClaimName::OrgId)].into();
        let row = [("org".to_owned(), CellId::from("orgId"))].into();
        let template = PathTemplate::new("org/{org}/users", &claims, &row).unwrap();
        let may_name = |path: &str| template.may_name(&PathId::new(path).unwrap());
        assert!(may_name("org/o_42/users"));
        for other in ["org/o_42", "org/o_42/users/more", "orgs/o_42/users", "org/o_42/teams"] {
            assert!(!may_name(other), "{other}");
        }
    }
    use crate::resource::RowCells;

    fn template(text: &str) -> Result<PathTemplate, Vec<TemplateProblem>> {
        let claims = [("org".to_owned(), ClaimName::OrgId)].into();
        let row = [("org".to_owned(), CellId::from("orgId"))].into();
        PathTemplate::new(text, &claims, &row)
    }

    fn row(value: Cell) -> RowCells {
        [("orgId", value)].into_iter().collect()
    }

    #[test]
    fn claims_and_row_agree_on_the_path() {
        let template = template("org/{org}/users").unwrap();
        let by_claims = template.from_claims(|claim| (claim == ClaimName::OrgId).then_some("o_42"));
        let by_row = template.from_row(&row(Cell::String("o_42".into())));
        assert_eq!(by_claims, by_row);
        assert_eq!(by_row.unwrap().as_str(), "org/o_42/users");
        assert_eq!(template.from_row(&row(Cell::Number(7.0))).unwrap().as_str(), "org/7/users");
        assert_eq!(template.shape(), "org/{org_id}/users");
    }

    #[test]
    fn no_value_reaches_another_path() {
        let template = template("org/{org}").unwrap();
        for value in ["a/b", "..", ".", "a b", "ä", "a%2fb", "{org}"] {
            let problem = template.from_row(&row(Cell::String(value.into()))).unwrap_err();
            assert_eq!(problem, PathProblem::Unfit("orgId".into()), "{value}");
            assert!(template.from_claims(|_| Some(value)).is_err(), "{value}");
        }
    }

    #[test]
    fn a_missing_value_is_told() {
        let template = template("org/{org}").unwrap();
        for cell in [Cell::Null, Cell::Bool(true), Cell::Number(0.5), Cell::String("".into())] {
            let problem = template.from_row(&row(cell)).unwrap_err();
            assert_eq!(problem, PathProblem::NoCell("orgId".into()));
        }
        assert_eq!(template.from_claims(|_| None), Err(PathProblem::NoClaim(ClaimName::OrgId)));
        assert_eq!(template.from_claims(|_| Some("")), Err(PathProblem::NoClaim(ClaimName::OrgId)));
    }

    #[test]
    fn a_template_tells_all_its_problems() {
        let problems = template("o rg/x{org}/{team}").unwrap_err();
        assert_eq!(problems.len(), 5, "{problems:?}");
        assert_eq!(problems[1], TemplateProblem::Placeholder("x{org}".into()));
        assert_eq!(problems[2], TemplateProblem::NoClaim("team".into()));
        assert_eq!(problems[3], TemplateProblem::NoField("team".into()));
        assert_eq!(problems[4], TemplateProblem::Unused("org".into()));
        assert!(template("").is_err());
        assert!(template("/{org}").is_err());
    }
}
