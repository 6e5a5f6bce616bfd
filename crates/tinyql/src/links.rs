//! Which row each row is joined to, and the other way round.

use std::collections::{BTreeMap, HashMap};

use mergeable_store::Text;

/// The links of one join, from rows of the query's source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    remotes: HashMap<Text, (Text, u64)>,
    /// By when each link was made, since that is the order in which TinyBase tells of a change.
    roots: HashMap<Text, BTreeMap<u64, Text>>,
}

impl Links {
    /// The row that belongs to a row of the source.
    pub(crate) fn remote(&self, root: &Text) -> Option<&Text> {
        self.remotes.get(root).map(|(remote, _)| remote)
    }

    /// A change of `remote` will be told to `root` from now on, and no more one of the row before it.
    pub(crate) fn listen(&mut self, root: &Text, remote: &Text, at: u64) {
        self.roots.entry(remote.clone()).or_default().insert(at, root.clone());
    }

    /// Ends what [`Links::listen`] began; the row that belongs to `root` stays.
    pub(crate) fn stop_listening(&mut self, root: &Text) {
        let Some((remote, at)) = self.remotes.get(root) else { return };
        if let Some(roots) = self.roots.get_mut(remote) {
            roots.remove(at);
            if roots.is_empty() {
                self.roots.remove(remote);
            }
        }
    }

    /// The row that belongs to `root` from now on.
    pub(crate) fn set(&mut self, root: &Text, remote: Option<(Text, u64)>) {
        match remote {
            Some(link) => self.remotes.insert(root.clone(), link),
            None => self.remotes.remove(root),
        };
    }

    /// The first link to `remote` that is not older than `since`.
    pub(crate) fn next(&self, remote: &Text, since: u64) -> Option<(u64, Text)> {
        let (at, root) = self.roots.get(remote)?.range(since..).next()?;
        Some((*at, root.clone()))
    }
}
