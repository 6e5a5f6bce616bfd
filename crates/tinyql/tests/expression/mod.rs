//! The expression language of the vectors, and definitions written in it.

use mergeable_store::{Cell, CellRef, Json, Text};
use tinyql::{
    Aggregate, Definition, FromContext, Group, GroupContext, Having, Join, Operand, RowContext,
    Select, Source, Where, param,
};

use crate::Known;

/// What an expression can read.
pub(crate) trait Context {
    fn cell(&self, join: Option<&Text>, cell: &Text) -> Option<Cell>;
    fn row_id(&self) -> Option<Text>;
    fn param(&self, name: &Text) -> Option<Cell>;
}

impl Context for RowContext<'_> {
    fn cell(&self, join: Option<&Text>, cell: &Text) -> Option<Cell> {
        let cell = match join {
            Some(join) => self.joined(join, cell),
            None => RowContext::cell(self, cell),
        };
        cell.map(CellRef::to_cell)
    }

    fn row_id(&self) -> Option<Text> {
        Some(RowContext::row_id(self).clone())
    }

    fn param(&self, name: &Text) -> Option<Cell> {
        RowContext::param(self, name).cloned()
    }
}

impl Context for FromContext<'_> {
    fn cell(&self, _: Option<&Text>, cell: &Text) -> Option<Cell> {
        FromContext::cell(self, cell).map(CellRef::to_cell)
    }

    fn row_id(&self) -> Option<Text> {
        Some(self.root_row_id().clone())
    }

    fn param(&self, name: &Text) -> Option<Cell> {
        FromContext::param(self, name).cloned()
    }
}

impl Context for GroupContext<'_> {
    fn cell(&self, _: Option<&Text>, cell: &Text) -> Option<Cell> {
        GroupContext::cell(self, cell).map(CellRef::to_cell)
    }

    fn row_id(&self) -> Option<Text> {
        None
    }

    fn param(&self, name: &Text) -> Option<Cell> {
        GroupContext::param(self, name).cloned()
    }
}

pub(crate) enum Expression {
    Cell(Option<Text>, Text),
    RowId,
    Literal(Cell),
    Param(Text),
    Undefined,
    Equal(Box<[Self; 2]>),
    /// By whether the first may be less than, equal to and greater than the second.
    Compare([bool; 3], Box<[Self; 2]>),
    Arithmetic(fn(f64, f64) -> f64, Box<[Self; 2]>),
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Concatenate(Vec<Self>),
    If(Box<[Self; 3]>),
}

impl Expression {
    pub(crate) fn read(json: &Json) -> Self {
        let Json::Array(items) = json else { return Self::Literal(json.cell()) };
        let args = &items[1..];
        let all = || args.iter().map(Self::read).collect::<Vec<_>>();
        let two = || Box::new([Self::read(&args[0]), Self::read(&args[1])]);
        let cell = || match args {
            [cell] => Self::Cell(None, cell.text().clone()),
            [join, cell] => Self::Cell(Some(join.text().clone()), cell.text().clone()),
            _ => panic!("{}", json.stringify()),
        };
        match items[0].text().to_string().as_str() {
            "cell" => cell(),
            "rowId" => Self::RowId,
            "lit" => Self::Literal(args[0].cell()),
            "param" => Self::Param(args[0].text().clone()),
            "undef" => Self::Undefined,
            "eq" => Self::Equal(two()),
            "gt" => Self::Compare([false, false, true], two()),
            "ge" => Self::Compare([false, true, true], two()),
            "lt" => Self::Compare([true, false, false], two()),
            "add" => Self::Arithmetic(|a, b| a + b, two()),
            "sub" => Self::Arithmetic(|a, b| a - b, two()),
            "mul" => Self::Arithmetic(|a, b| a * b, two()),
            "and" => Self::And(all()),
            "or" => Self::Or(all()),
            "not" => Self::Not(Box::new(Self::read(&args[0]))),
            "has" => Self::Not(Box::new(Self::Equal(Box::new([cell(), Self::Undefined])))),
            "cat" => Self::Concatenate(all()),
            "if" => Self::If(Box::new([
                Self::read(&args[0]),
                Self::read(&args[1]),
                Self::read(&args[2]),
            ])),
            other => panic!("unknown expression {other}"),
        }
    }

    pub(crate) fn value(&self, context: &dyn Context) -> Option<Cell> {
        let numbers = |two: &[Self; 2]| match (two[0].value(context), two[1].value(context)) {
            (Some(Cell::Number(a)), Some(Cell::Number(b))) => Some((a, b)),
            _ => None,
        };
        match self {
            Self::Cell(join, cell) => context.cell(join.as_ref(), cell),
            Self::RowId => context.row_id().map(Cell::String),
            Self::Literal(cell) => Some(cell.clone()),
            Self::Param(name) => context.param(name),
            Self::Undefined => None,
            Self::Equal(two) => Some(Cell::Bool(two[0].value(context) == two[1].value(context))),
            Self::Compare([less, equal, greater], two) => {
                Some(Cell::Bool(numbers(two).is_some_and(|(a, b)| {
                    (*less && a < b) || (*equal && a == b) || (*greater && a > b)
                })))
            }
            Self::Arithmetic(operator, two) => {
                numbers(two).map(|(a, b)| Cell::Number(operator(a, b)))
            }
            Self::And(all) => Some(Cell::Bool(all.iter().all(|one| one.holds(context)))),
            Self::Or(all) => Some(Cell::Bool(all.iter().any(|one| one.holds(context)))),
            Self::Not(one) => Some(Cell::Bool(!one.holds(context))),
            Self::Concatenate(all) => {
                let mut text = String::new();
                for one in all {
                    match one.value(context)? {
                        Cell::String(part) => text.push_str(part.as_str()?),
                        number @ Cell::Number(_) => text.push_str(&number.encoded()),
                        _ => return None,
                    }
                }
                Some(text.as_str().into())
            }
            Self::If(three) => {
                let [condition, then, otherwise] = &**three;
                if condition.holds(context) { then } else { otherwise }.value(context)
            }
        }
    }

    pub(crate) fn holds(&self, context: &dyn Context) -> bool {
        self.value(context) == Some(Cell::Bool(true))
    }
}

fn operand(json: &Json) -> Operand {
    match json.get("param") {
        Some(name) => param(name.text()),
        None => Operand::Cell(json.at("eq").cell()),
    }
}

fn is_query(json: &Json) -> bool {
    json.get("query") == Some(&Json::Bool(true))
}

fn source(json: &Json, id: &str) -> Source {
    let id = json.at(id).text();
    if is_query(json) { Source::query(id) } else { Source::table(id) }
}

fn select(json: &Json) -> Select {
    let select = match (json.get("all"), json.get("fn"), json.get("table")) {
        (Some(_), _, table) => {
            let all = table.map_or_else(Select::all, |table| Select::all_joined(table.text()));
            return match json.get("prefix") {
                Some(prefix) => all.prefixed(prefix.text()),
                None => all,
            };
        }
        (_, Some(function), _) => {
            let function = Expression::read(function);
            Select::by(move |row| function.value(row))
        }
        (.., Some(table)) if is_query(json) => {
            Select::joined_query(table.text(), json.at("cell").text())
        }
        (.., Some(table)) => Select::joined(table.text(), json.at("cell").text()),
        _ => Select::cell(json.at("cell").text()),
    };
    match json.get("as") {
        Some(name) => select.named(name.text()),
        None => select,
    }
}

fn join(json: &Json) -> Join {
    let mut join = match json.get("onFn") {
        Some(function) => {
            let function = Expression::read(function);
            Join::by(source(json, "table"), move |row| function.value(row))
        }
        None => Join::on(source(json, "table"), json.at("on").text()),
    };
    if let Some(from) = json.get("from") {
        join = join.from(from.text());
    }
    match json.get("as") {
        Some(name) => join.named(name.text()),
        None => join,
    }
}

fn filter(json: &Json) -> Where {
    match (json.get("fn"), json.get("table")) {
        (Some(function), _) => {
            let function = Expression::read(function);
            Where::by(move |row| function.holds(row))
        }
        (None, Some(table)) => Where::joined(table.text(), json.at("cell").text(), operand(json)),
        (None, None) => Where::cell(json.at("cell").text(), operand(json)),
    }
}

fn group(json: &Json) -> Group {
    let aggregate = match json.at("agg").text().to_string().as_str() {
        "count" => Aggregate::Count,
        "sum" => Aggregate::Sum,
        "avg" => Aggregate::Avg,
        "min" => Aggregate::Min,
        "max" => Aggregate::Max,
        other => panic!("unknown aggregate {other}"),
    };
    let group = Group::new(json.at("cell").text(), aggregate);
    match json.get("as") {
        Some(name) => group.named(name.text()),
        None => group,
    }
}

fn having(json: &Json) -> Having {
    match json.get("fn") {
        Some(function) => {
            let function = Expression::read(function);
            Having::by(move |group| function.holds(group))
        }
        None => Having::cell(json.at("cell").text(), operand(json)),
    }
}

/// The definition of a query of the vectors.
pub(crate) fn definition(json: &Json) -> Definition {
    let clauses = |name: &str| json.get(name).map_or(&[][..], Json::items).iter();
    let mut definition = Definition::new(source(json, "from"));
    definition = clauses("select").map(select).fold(definition, Definition::select);
    definition = clauses("join").map(join).fold(definition, Definition::join);
    definition = clauses("where").map(filter).fold(definition, Definition::filter);
    definition = clauses("group").map(group).fold(definition, Definition::group);
    definition = clauses("having").map(having).fold(definition, Definition::having);
    let params = json.get("params").map(Json::entries).unwrap_or_default();
    params
        .into_iter()
        .fold(definition, |definition, (name, value)| definition.with_param(name, value.cell()))
}
