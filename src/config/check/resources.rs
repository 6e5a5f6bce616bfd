//! The migrated entities: what each is made of, and that they do not get into each other's way.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::migration::ResourceName;
use crate::resource::{CreateMode, PathPattern, PathTemplate, Resource, Route, Routes};

use super::super::key::Key;
use super::super::raw;
use super::super::settings::Server;
use super::Checker;
use super::sections::is_under;

/// What must differ between resources: what is taken, and the key that took it.
#[derive(Default)]
struct Taken {
    names: BTreeMap<String, Key>,
    tables: BTreeMap<String, Key>,
    /// Method and path; an excluded path has no method.
    routes: BTreeMap<String, Key>,
    /// Templates of paths, with what fills them.
    paths: BTreeMap<String, (String, Key)>,
}

impl Checker<'_> {
    pub(super) fn resources(
        &mut self,
        raw: Vec<raw::Resource>,
        server: Option<&Server>,
    ) -> Option<Vec<Arc<Resource>>> {
        let key = Key::of("resource");
        if raw.is_empty() {
            self.report(&key, "is missing: add at least one [[resource]]");
        }
        let mut taken = Taken::default();
        let resources: Vec<_> = raw
            .into_iter()
            .enumerate()
            .map(|(place, raw)| self.resource(&key.index(place), raw, server, &mut taken))
            .collect();
        let resources: Vec<_> =
            resources.into_iter().map(|one| one.map(Arc::new)).collect::<Option<_>>()?;
        self.references(&key, &resources);
        Some(resources)
    }

    fn resource(
        &mut self,
        key: &Key,
        raw: raw::Resource,
        server: Option<&Server>,
        taken: &mut Taken,
    ) -> Option<Resource> {
        let name = self.name(&key.field("name"), raw.name, &mut taken.names);
        let table = self.table(&key.field("table"), raw.table, &mut taken.tables);
        let (schema, declared) = self.schema(&key.field("cells"), raw.cells.unwrap_or_default());
        let cells = super::rows::Cells { schema: &schema, declared: &declared };
        let id = self.id(&key.field("id"), raw.id, &cells);
        let version = self.version(&key.field("version"), raw.version, &cells);
        let path = self.template(key, raw.path, raw.claims, raw.row, &cells, &mut taken.paths);
        let routes =
            self.routes(&key.field("routes"), raw.routes.unwrap_or_default(), server, taken);
        let query =
            self.query(&key.field("query"), raw.query.unwrap_or_default(), id.as_ref(), &cells);
        let paged = query.as_ref().is_none_or(|query| query.page.is_some());
        let envelope =
            self.envelope(&key.field("envelope"), raw.envelope.unwrap_or_default(), paged);
        let write = self.write(&key.field("write"), raw.write, &cells);
        let compare = self.rules(&key.field("compare"), raw.compare.unwrap_or_default());
        let tail = self.tail(&key.field("tail"), raw.tail, query.as_ref(), &cells);
        let create_key = key.field("create");
        let create = self.require(
            &create_key,
            raw.create,
            "write \"client-id\" (legacy takes the caller's id), \"key\" (it honours Idempotency-Key) or \"probe\"",
        );
        let resource = Resource {
            name: name?,
            table: table?,
            id: id?,
            version: version?,
            create: create?,
            path: path?,
            routes: routes?,
            envelope: envelope?,
            query: query?,
            compare,
            write: write?,
            tail: tail?,
            schema,
        };
        self.create_mode(&create_key, &resource);
        Some(resource)
    }

    fn name(
        &mut self,
        key: &Key,
        value: Option<String>,
        names: &mut BTreeMap<String, Key>,
    ) -> Option<ResourceName> {
        let value = self.require(key, value, "write a word, as in \"users\"")?;
        let sound = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
        if !value.starts_with(|c: char| c.is_ascii_lowercase())
            || value.len() > 64
            || !value.bytes().all(sound)
        {
            self.report(
                key,
                "must be 1 to 64 of a-z 0-9 - _ and begin with a letter: flags are named by it",
            );
            return None;
        }
        self.unique(key, &value, names)?;
        Some(ResourceName::new(value))
    }

    fn table(
        &mut self,
        key: &Key,
        value: Option<String>,
        tables: &mut BTreeMap<String, Key>,
    ) -> Option<String> {
        let value = self.require(key, value, "write the TinyBase table's id")?;
        let sound = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if !value.starts_with(|c: char| c.is_ascii_alphabetic())
            || value.len() > 64
            || !value.bytes().all(sound)
        {
            self.report(key, "must be 1 to 64 of A-Z a-z 0-9 - _ and begin with a letter");
            return None;
        }
        self.unique(key, &value, tables)?;
        Some(value)
    }

    /// Takes the value, or tells who has it.
    fn unique(&mut self, key: &Key, value: &str, taken: &mut BTreeMap<String, Key>) -> Option<()> {
        if let Some(other) = taken.get(value) {
            let other = self.source.problem(other, "").key;
            self.report(key, format!("`{value}` is taken by {other}: it must be there only once"));
            return None;
        }
        taken.insert(value.to_owned(), key.clone());
        Some(())
    }

    fn template(
        &mut self,
        key: &Key,
        path: Option<String>,
        claims: Option<BTreeMap<String, crate::resource::ClaimName>>,
        row: Option<BTreeMap<String, String>>,
        cells: &super::rows::Cells<'_>,
        paths: &mut BTreeMap<String, (String, Key)>,
    ) -> Option<PathTemplate> {
        let path_key = key.field("path");
        let row = row.unwrap_or_default();
        for (name, cell) in &row {
            self.path_cell(&key.field("row").field(name), cell, cells);
        }
        let text = self.require(&path_key, path, "write it as in \"org/{org}\"")?;
        let row = row.into_iter().map(|(name, cell)| (name, cell.into())).collect();
        let template = match PathTemplate::new(&text, &claims.unwrap_or_default(), &row) {
            Ok(template) => template,
            Err(problems) => {
                // A binding that could not be read is told already.
                let parts = [key.field("claims"), key.field("row")];
                let told = |part: &Key| self.unreadable.iter().any(|key| key.starts_with(part));
                if !parts.iter().any(told) {
                    problems.iter().for_each(|problem| self.report(&path_key, problem));
                }
                return None;
            }
        };
        let erased = template.erased();
        let shape = template.shape();
        if let Some((other_shape, other)) = paths.get(&erased)
            && *other_shape != shape
        {
            let other = self.source.problem(other, "").key;
            let message = format!(
                "means the same paths as {other}, filled from another claim (`{shape}`, there `{other_shape}`)"
            );
            self.report(&path_key, message);
            return None;
        }
        paths.entry(erased).or_insert((shape, path_key));
        Some(template)
    }

    fn routes(
        &mut self,
        key: &Key,
        raw: raw::Routes,
        server: Option<&Server>,
        taken: &mut Taken,
    ) -> Option<Routes> {
        let list_key = key.field("list");
        let list = self.require(&list_key, raw.list, "write it as in \"GET /users\"");
        let get_key = key.field("get");
        let get = self.require(&get_key, raw.get, "write it as in \"GET /users/{id}\"");
        let mut route = |text: Option<String>, name: &str, one_row, read| {
            text.map(|text| self.route(&key.field(name), &text, one_row, read, server, taken))
        };
        let list = route(list, "list", false, true);
        let get = route(get, "get", true, true);
        let create = route(raw.create, "create", false, false);
        let update = route(raw.update, "update", true, false);
        let delete = route(raw.delete, "delete", true, false);
        let mut exclude = Vec::new();
        for (place, text) in raw.exclude.unwrap_or_default().iter().enumerate() {
            exclude.push(self.exclusion(&key.field("exclude").index(place), text, taken));
        }
        let mut harmless = Vec::new();
        for (place, text) in raw.harmless.unwrap_or_default().iter().enumerate() {
            harmless.push(self.harmless(&key.field("harmless").index(place), text, taken));
        }
        Some(Routes {
            list: list??,
            get: get??,
            // An inner `None` is a route that was refused: told already.
            create: create.map_or(Some(None), |route| route.map(Some))?,
            update: update.map_or(Some(None), |route| route.map(Some))?,
            delete: delete.map_or(Some(None), |route| route.map(Some))?,
            exclude: exclude.into_iter().collect::<Option<_>>()?,
            harmless: harmless.into_iter().collect::<Option<_>>()?,
        })
    }

    /// A request that looks like a write and changes no row.
    fn harmless(&mut self, key: &Key, text: &str, taken: &mut Taken) -> Option<Route> {
        let route = self.accept(key, Route::parse(text, text.contains("{id}")))?;
        if matches!(route.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "CONNECT") {
            self.report(key, "must be POST, PUT, PATCH or DELETE: reads change nothing anyhow");
            return None;
        }
        // A route that is mapped is never harmless.
        self.unique(key, route.template.as_str(), &mut taken.routes)?;
        Some(route)
    }

    fn route(
        &mut self,
        key: &Key,
        text: &str,
        one_row: bool,
        read: bool,
        server: Option<&Server>,
        taken: &mut Taken,
    ) -> Option<Route> {
        let route = self.accept(key, Route::parse(text, one_row))?;
        if read != (route.method == http::Method::GET)
            || matches!(route.method.as_str(), "HEAD" | "OPTIONS" | "TRACE" | "CONNECT")
        {
            let remedy = if read { "must be a GET" } else { "must be POST, PUT, PATCH or DELETE" };
            self.report(key, remedy);
            return None;
        }
        if let Some(server) = server {
            for (name, mount) in
                [("sync_mount", &server.sync_mount), ("own_mount", &server.own_mount)]
            {
                if is_under(route.path.as_str(), mount) {
                    self.report(
                        key,
                        format!("is under server.{name} (`{mount}`): move that to another path"),
                    );
                }
            }
        }
        if let Some(other) = taken.routes.get(route.path.as_str()) {
            let other = self.source.problem(other, "").key;
            self.report(key, format!("is excluded by {other}: take one of them out"));
            return None;
        }
        self.unique(key, route.template.as_str(), &mut taken.routes)?;
        Some(route)
    }

    fn exclusion(&mut self, key: &Key, text: &str, taken: &mut Taken) -> Option<PathPattern> {
        let path = self.accept(key, PathPattern::parse(text))?;
        if path.takes_id() {
            self.report(key, "must be a path without `{id}`, as in \"/users/me\"");
            return None;
        }
        let mapped = |route: &&String| route.split_once(' ').is_some_and(|(_, path)| path == text);
        if let Some(route) = taken.routes.keys().find(mapped).cloned() {
            self.report(key, format!("is mapped as `{route}`: take one of them out"));
            return None;
        }
        self.unique(key, text, &mut taken.routes)?;
        Some(path)
    }

    fn create_mode(&mut self, key: &Key, resource: &Resource) {
        let generated = resource.schema.cell(&resource.id).is_some_and(|id| id.read_only);
        match resource.create {
            CreateMode::ClientId if generated => self.report(
                key,
                format!("needs an id that legacy takes from the caller, and cells.{} is read_only: use \"key\" or \"probe\"", resource.id),
            ),
            CreateMode::Probe if resource.probe().is_none() => self.report(
                key,
                "needs a cell with `unique = true`, other than the id, and a filter with op = \"eq\" on it",
            ),
            _ => {}
        }
    }
}
