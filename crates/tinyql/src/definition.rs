//! What a query asks, as TinyBase's `setQueryDefinition` is told it.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use mergeable_store::{AsText, Cell, CellRef, Text};

use crate::aggregate::Aggregate;
use crate::context::{FromContext, GroupContext, RowContext};

type Shared<F> = Arc<F>;
pub(crate) type SelectFn = Shared<dyn Fn(&RowContext<'_>) -> Option<Cell> + Send + Sync>;
pub(crate) type WhereFn = Shared<dyn Fn(&RowContext<'_>) -> bool + Send + Sync>;
pub(crate) type OnFn = Shared<dyn Fn(&FromContext<'_>) -> Option<Cell> + Send + Sync>;
pub(crate) type HavingFn = Shared<dyn Fn(&GroupContext<'_>) -> bool + Send + Sync>;
pub(crate) type NameFn = Shared<dyn Fn(&Text) -> Text + Send + Sync>;

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A table of the store.
    Table(Text),
    /// The result of another query, defined before or after.
    Query(Text),
}

impl Source {
    /// A table of the store.
    pub fn table(id: impl AsText) -> Self {
        Self::Table(id.to_text())
    }

    /// The result of another query.
    pub fn query(id: impl AsText) -> Self {
        Self::Query(id.to_text())
    }

    pub(crate) fn id(&self) -> &Text {
        match self {
            Self::Table(id) | Self::Query(id) => id,
        }
    }
}

/// What a cell is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A cell. An object or array equals nothing, as in JavaScript.
    Cell(Cell),
    /// A parameter. One that is not set equals a missing cell.
    Param(Text),
    /// A missing cell.
    Missing,
}

impl Operand {
    pub(crate) fn is(&self, cell: Option<CellRef<'_>>, params: &Params) -> bool {
        let operand = match self {
            Self::Cell(cell) => Some(cell),
            Self::Param(name) => params.get(name),
            Self::Missing => None,
        };
        match (operand, cell) {
            (Some(Cell::Json(_) | Cell::RawJson(_)), _) => false,
            (Some(operand), Some(cell)) => cell == *operand,
            (operand, cell) => operand.is_none() && cell.is_none(),
        }
    }
}

impl<C: Into<Cell>> From<C> for Operand {
    fn from(cell: C) -> Self {
        Self::Cell(cell.into())
    }
}

/// A parameter, to compare with.
pub fn param(name: impl AsText) -> Operand {
    Operand::Param(name.to_text())
}

/// Values of parameters, by name.
pub type Params = IndexMap<Text, Cell>;

/// A query: a source and its clauses. The order of selects and groups counts, that of joins does not.
#[derive(Clone, Debug)]
pub struct Definition {
    pub(crate) source: Source,
    pub(crate) selects: Vec<Select>,
    pub(crate) joins: Vec<Join>,
    pub(crate) wheres: Vec<Where>,
    pub(crate) groups: Vec<Group>,
    pub(crate) havings: Vec<Having>,
    pub(crate) params: Params,
}

impl Definition {
    /// A query over a source. Without a select its result is empty.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self {
            source,
            selects: Vec::new(),
            joins: Vec::new(),
            wheres: Vec::new(),
            groups: Vec::new(),
            havings: Vec::new(),
            params: Params::new(),
        }
    }

    /// Adds cells to the result.
    #[must_use]
    pub fn select(mut self, select: Select) -> Self {
        self.selects.push(select);
        self
    }

    /// Adds a source that is joined by row id.
    #[must_use]
    pub fn join(mut self, join: Join) -> Self {
        self.joins.push(join);
        self
    }

    /// Leaves rows out for which this does not hold (TinyBase's `where`).
    #[must_use]
    pub fn filter(mut self, filter: Where) -> Self {
        self.wheres.push(filter);
        self
    }

    /// Makes one row of all rows that are equal in the selected cells that are not aggregated.
    #[must_use]
    pub fn group(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    /// Leaves groups out for which this does not hold. Without a group, rows equal in all cells become one.
    #[must_use]
    pub fn having(mut self, having: Having) -> Self {
        self.havings.push(having);
        self
    }

    /// Sets a parameter.
    #[must_use]
    pub fn with_param(mut self, name: impl AsText, value: impl Into<Cell>) -> Self {
        self.params.insert(name.to_text(), value.into());
        self
    }
}

/// Something to select.
#[derive(Clone)]
pub struct Select {
    pub(crate) what: Selected,
    pub(crate) name: Option<Text>,
}

#[derive(Clone)]
pub(crate) enum Selected {
    Cell(CellOf),
    Function(SelectFn),
    /// All cells of the source, or of a join, each under the name that the function makes of its id.
    All {
        join: Option<Text>,
        rename: Option<NameFn>,
    },
}

/// A cell of the source or of a join.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CellOf {
    pub(crate) of: Of,
    pub(crate) cell: Text,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Of {
    Source,
    /// A join's name, or the id of the source's table.
    Join(Text),
    /// A join's name only.
    QueryJoin(Text),
}

impl CellOf {
    fn source(cell: impl AsText) -> Self {
        Self { of: Of::Source, cell: cell.to_text() }
    }

    fn join(join: impl AsText, cell: impl AsText) -> Self {
        Self { of: Of::Join(join.to_text()), cell: cell.to_text() }
    }

    fn query_join(join: impl AsText, cell: impl AsText) -> Self {
        Self { of: Of::QueryJoin(join.to_text()), cell: cell.to_text() }
    }
}

impl Select {
    /// A cell of the source.
    pub fn cell(cell: impl AsText) -> Self {
        Self { what: Selected::Cell(CellOf::source(cell)), name: None }
    }

    /// A cell of a join, by the join's name.
    pub fn joined(join: impl AsText, cell: impl AsText) -> Self {
        Self { what: Selected::Cell(CellOf::join(join, cell)), name: None }
    }

    /// A cell of a joined query, by the join's name.
    pub fn joined_query(join: impl AsText, cell: impl AsText) -> Self {
        Self { what: Selected::Cell(CellOf::query_join(join, cell)), name: None }
    }

    /// What a function makes of a row. It must give the same for the same cells.
    pub fn by(function: impl Fn(&RowContext<'_>) -> Option<Cell> + Send + Sync + 'static) -> Self {
        Self { what: Selected::Function(Arc::new(function)), name: None }
    }

    /// All cells of the source.
    #[must_use]
    pub fn all() -> Self {
        Self { what: Selected::All { join: None, rename: None }, name: None }
    }

    /// All cells of a join.
    pub fn all_joined(join: impl AsText) -> Self {
        Self { what: Selected::All { join: Some(join.to_text()), rename: None }, name: None }
    }

    /// The name in the result (TinyBase's `as`); else a cell's own id, or how many selects that are not `all` stand before
    /// a function. Of equal names the last select wins.
    #[must_use]
    pub fn named(mut self, name: impl AsText) -> Self {
        self.name = Some(name.to_text());
        self
    }

    /// Of all cells selected: their names in the result.
    #[must_use]
    pub fn renamed(mut self, rename: impl Fn(&Text) -> Text + Send + Sync + 'static) -> Self {
        if let Selected::All { rename: old, .. } = &mut self.what {
            *old = Some(Arc::new(rename));
        }
        self
    }

    /// As [`Select::renamed`]: their ids with something in front.
    #[must_use]
    pub fn prefixed(self, prefix: impl AsText) -> Self {
        let prefix = prefix.to_text();
        if prefix.is_empty() {
            return self;
        }
        self.renamed(move |id| {
            let mut units = prefix.to_utf16();
            units.extend(id.to_utf16());
            Text::from_utf16(&units)
        })
    }
}

impl fmt::Debug for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what: &dyn fmt::Debug = match &self.what {
            Selected::Cell(cell) => cell,
            Selected::Function(_) => &"function",
            Selected::All { join, .. } => join,
        };
        f.debug_struct("Select").field("what", what).field("name", &self.name).finish()
    }
}

/// A source joined by row id: to each row belongs the row whose id the row's `on` value names, or none.
#[derive(Clone)]
pub struct Join {
    pub(crate) source: Source,
    pub(crate) from: Option<Text>,
    pub(crate) on: On,
    pub(crate) name: Option<Text>,
}

#[derive(Clone)]
pub(crate) enum On {
    Cell(Text),
    Function(OnFn),
}

impl Join {
    /// Joins by a cell that holds the row id.
    pub fn on(source: Source, cell: impl AsText) -> Self {
        Self { source, from: None, on: On::Cell(cell.to_text()), name: None }
    }

    /// Joins by a function that gives the row id. It must give the same for the same cells.
    pub fn by(
        source: Source,
        function: impl Fn(&FromContext<'_>) -> Option<Cell> + Send + Sync + 'static,
    ) -> Self {
        Self { source, from: None, on: On::Function(Arc::new(function)), name: None }
    }

    /// The join whose row has the `on` value; else the query's source.
    #[must_use]
    pub fn from(mut self, join: impl AsText) -> Self {
        self.from = Some(join.to_text());
        self
    }

    /// The join's name (TinyBase's `as`); else the id of its source. Of equal names the last join wins.
    #[must_use]
    pub fn named(mut self, name: impl AsText) -> Self {
        self.name = Some(name.to_text());
        self
    }
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on: &dyn fmt::Debug = match &self.on {
            On::Cell(cell) => cell,
            On::Function(_) => &"function",
        };
        f.debug_struct("Join")
            .field("source", &self.source)
            .field("from", &self.from)
            .field("on", on)
            .field("name", &self.name)
            .finish()
    }
}

/// A condition that rows have to meet.
#[derive(Clone)]
pub struct Where(pub(crate) Condition);

#[derive(Clone)]
pub(crate) enum Condition {
    Cell(CellOf, Operand),
    Function(WhereFn),
}

impl Where {
    /// A cell of the source equals something, as by JavaScript's `===`.
    pub fn cell(cell: impl AsText, equals: impl Into<Operand>) -> Self {
        Self(Condition::Cell(CellOf::source(cell), equals.into()))
    }

    /// A cell of a join equals something.
    pub fn joined(join: impl AsText, cell: impl AsText, equals: impl Into<Operand>) -> Self {
        Self(Condition::Cell(CellOf::join(join, cell), equals.into()))
    }

    /// A cell of a joined query equals something.
    pub fn joined_query(join: impl AsText, cell: impl AsText, equals: impl Into<Operand>) -> Self {
        Self(Condition::Cell(CellOf::query_join(join, cell), equals.into()))
    }

    /// A function of the row, which must give the same for the same cells.
    pub fn by(function: impl Fn(&RowContext<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self(Condition::Function(Arc::new(function)))
    }
}

impl fmt::Debug for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Condition::Cell(cell, operand) => write!(f, "Where({cell:?} == {operand:?})"),
            Condition::Function(_) => f.write_str("Where(function)"),
        }
    }
}

/// An aggregate of a selected cell.
#[derive(Clone, Debug)]
pub struct Group {
    pub(crate) cell: Text,
    pub(crate) aggregate: Aggregate,
    pub(crate) name: Option<Text>,
}

impl Group {
    /// Aggregates a cell, by its name among the selects. Nothing happens if it is not selected.
    pub fn new(cell: impl AsText, aggregate: Aggregate) -> Self {
        Self { cell: cell.to_text(), aggregate, name: None }
    }

    /// The name in the result (TinyBase's `as`); else that of the selected cell. Of equal names the last wins.
    #[must_use]
    pub fn named(mut self, name: impl AsText) -> Self {
        self.name = Some(name.to_text());
        self
    }
}

/// A condition that groups have to meet.
#[derive(Clone)]
pub struct Having(pub(crate) HavingCondition);

#[derive(Clone)]
pub(crate) enum HavingCondition {
    Cell(Text, Operand),
    Function(HavingFn),
}

impl Having {
    /// A selected or aggregated cell equals something.
    pub fn cell(cell: impl AsText, equals: impl Into<Operand>) -> Self {
        Self(HavingCondition::Cell(cell.to_text(), equals.into()))
    }

    /// A function of the group.
    pub fn by(function: impl Fn(&GroupContext<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self(HavingCondition::Function(Arc::new(function)))
    }
}

impl fmt::Debug for Having {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HavingCondition::Cell(cell, operand) => write!(f, "Having({cell} == {operand:?})"),
            HavingCondition::Function(_) => f.write_str("Having(function)"),
        }
    }
}
