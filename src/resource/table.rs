//! From a request's method and path to the operation that it is.

use std::sync::Arc;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::migration::{Operation, OperationKind, RouteTemplate, RowId, WriteKind};

use super::Resource;

/// What a request is.
#[derive(Debug, Clone)]
pub enum Routed {
    /// A mapped route.
    Mapped {
        /// The resource whose route matched.
        resource: Arc<Resource>,
        /// What is asked for.
        operation: Operation,
    },
    /// HEAD of a mapped GET: goes to legacy, counted.
    Head {
        /// The resource whose route matched.
        resource: Arc<Resource>,
        /// The GET route.
        route: RouteTemplate,
    },
    /// A mapped path with a reading method that is not mapped (OPTIONS): goes to legacy.
    MethodUnmapped {
        /// The resource whose path matched.
        resource: Arc<Resource>,
    },
    /// A write to an unmapped route under a resource's prefix: goes to legacy, and may change rows.
    UnmappedWriteUnder {
        /// The resource whose rows may change.
        resource: Arc<Resource>,
        /// The row that the path names, if it names one.
        row: Option<RowId>,
    },
    /// None of crossfade's business: goes to legacy.
    Unmapped,
}

/// Two routes that cannot be told apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{route}` of `{resource}` is already a route of `{other}`")]
pub struct RouteClash {
    /// The later resource.
    pub resource: String,
    /// The earlier one.
    pub other: String,
    /// The route.
    pub route: String,
}

/// All routes of all resources.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    router: matchit::Router<Vec<Entry>>,
    /// Paths whose writes belong to a resource; the longest first.
    prefixes: Vec<(String, Arc<Resource>)>,
    /// Requests that look like writes and change no row.
    harmless: Vec<super::Route>,
}

#[derive(Debug, Clone)]
struct Entry {
    /// `None` for an excluded path: no method of it is mapped.
    target: Option<(Method, RouteTemplate, Kind)>,
    resource: Arc<Resource>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    List,
    Get,
    Create,
    Update,
    Delete,
}

impl RouteTable {
    /// Compiles the routes.
    ///
    /// # Errors
    /// Every route that is mapped twice.
    pub fn new(resources: &[Arc<Resource>]) -> Result<Self, Vec<RouteClash>> {
        let mut table = Self::default();
        let mut clashes = Vec::new();
        for resource in resources {
            for (route, kind) in kinds(resource) {
                let target = Some((route.method.clone(), route.template.clone(), kind));
                let entry = Entry { target, resource: resource.clone() };
                clashes.extend(table.insert(route.path.as_str(), entry).err());
                table.add_prefix(route.path.prefix(), resource);
            }
            for path in &resource.routes.exclude {
                let entry = Entry { target: None, resource: resource.clone() };
                clashes.extend(table.insert(path.as_str(), entry).err());
            }
            table.harmless.extend(resource.routes.harmless.iter().cloned());
        }
        table.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        if clashes.is_empty() { Ok(table) } else { Err(clashes) }
    }

    /// Every resource that has a route; one may come several times.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.prefixes.iter().map(|(_, resource)| resource)
    }

    fn insert(&mut self, path: &str, entry: Entry) -> Result<(), RouteClash> {
        let clash = |other: &str| RouteClash {
            resource: entry.resource.name.to_string(),
            other: other.to_owned(),
            route: entry.name(path),
        };
        // Only a path with the same spelling can have been inserted before: `{id}` is the only placeholder.
        if let Ok(found) = self.router.at_mut(path)
            && found.params.iter().all(|(_, value)| value == "{id}")
        {
            if let Some(same) = found.value.iter().find(|other| other.clashes(&entry)) {
                return Err(clash(same.resource.name.as_str()));
            }
            found.value.push(entry);
            return Ok(());
        }
        let refused = clash("another resource");
        self.router.insert(path, vec![entry]).map_err(|_| refused)
    }

    fn add_prefix(&mut self, prefix: &str, resource: &Arc<Resource>) {
        if !self.prefixes.iter().any(|(known, _)| known == prefix) {
            self.prefixes.push((prefix.to_owned(), resource.clone()));
        }
    }

    /// Says what a request is. `path` and `query` are as on the wire, percent-encoded; `query` is without `?`.
    #[must_use]
    pub fn match_request(&self, method: &Method, path: &str, query: &str) -> Routed {
        let Ok(found) = self.router.at(path) else { return self.unmapped(method, path) };
        let row = match found.params.get("id").map(decode_segment) {
            // An id that cannot be read cannot be looked up, and legacy may take it for something else.
            Some(None) => return self.unmapped(method, path),
            Some(row) => row,
            None => None,
        };
        let mapped = |method: &Method| {
            found.value.iter().find_map(|entry| match &entry.target {
                Some((of, route, kind)) if of == method => Some((entry, route, *kind)),
                _ => None,
            })
        };
        if let Some((entry, route, kind)) = mapped(method)
            && let Some(kind) = kind.about(row, query)
        {
            let resource = entry.resource.clone();
            let operation =
                Operation { resource: resource.name.clone(), route: route.clone(), kind };
            return Routed::Mapped { resource, operation };
        }
        if !is_read(method) {
            return self.unmapped(method, path);
        }
        if method == Method::HEAD
            && let Some((entry, route, _)) = mapped(&Method::GET)
        {
            return Routed::Head { resource: entry.resource.clone(), route: route.clone() };
        }
        let entry = found.value.iter().find(|entry| entry.target.is_some());
        entry.map_or(Routed::Unmapped, |entry| Routed::MethodUnmapped {
            resource: entry.resource.clone(),
        })
    }

    fn unmapped(&self, method: &Method, path: &str) -> Routed {
        let harmless = |route: &super::Route| route.method == *method && route.path.matches(path);
        if is_read(method) || self.harmless.iter().any(harmless) {
            return Routed::Unmapped;
        }
        // A server may decode before it routes: `/%75sers/1` then is a write to a user as well.
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        let under = self.prefixes.iter().find_map(|(prefix, resource)| {
            let rest = decoded.strip_prefix(prefix.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then_some((prefix, resource))
        });
        let Some((prefix, resource)) = under else { return Routed::Unmapped };
        let row = path.strip_prefix(prefix.as_str()).and_then(|rest| {
            let segment = rest.strip_prefix('/')?.split('/').next()?;
            let excluded = |path: &super::PathPattern| {
                path.as_str().strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_prefix('/'))
                    == Some(segment)
            };
            if resource.routes.exclude.iter().any(excluded) {
                None
            } else {
                decode_segment(segment)
            }
        });
        Routed::UnmappedWriteUnder { resource: resource.clone(), row }
    }
}

impl Entry {
    fn clashes(&self, other: &Self) -> bool {
        match (&self.target, &other.target) {
            (Some((method, ..)), Some((other, ..))) => method == other,
            // An excluded path that is also mapped contradicts itself.
            _ => true,
        }
    }

    fn name(&self, path: &str) -> String {
        self.target.as_ref().map_or_else(|| path.to_owned(), |(_, route, _)| route.to_string())
    }
}

impl Kind {
    fn about(self, row: Option<RowId>, query: &str) -> Option<OperationKind> {
        let query = query.to_owned();
        Some(match self {
            Self::List => OperationKind::List { query },
            Self::Get => OperationKind::Get { row: row?, query },
            Self::Create => OperationKind::Write(WriteKind::Create),
            Self::Update => OperationKind::Write(WriteKind::Update(row?)),
            Self::Delete => OperationKind::Write(WriteKind::Delete(row?)),
        })
    }
}

fn kinds(resource: &Resource) -> impl Iterator<Item = (&super::Route, Kind)> {
    let routes = &resource.routes;
    let reads = [(&routes.list, Kind::List), (&routes.get, Kind::Get)];
    let writes = [
        (&routes.create, Kind::Create),
        (&routes.update, Kind::Update),
        (&routes.delete, Kind::Delete),
    ];
    let writes = writes.into_iter().filter_map(|(route, kind)| Some((route.as_ref()?, kind)));
    reads.into_iter().chain(writes)
}

/// Methods that RFC 9110 §9.2.1 calls safe.
fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// One segment, percent-decoded: well encoded UTF-8, without a slash, and no segment that URLs drop.
fn decode_segment(segment: &str) -> Option<RowId> {
    let text = super::decode::percent(segment)?;
    (!matches!(text.as_str(), "" | "." | "..") && !text.contains('/')).then(|| RowId::new(text))
}
