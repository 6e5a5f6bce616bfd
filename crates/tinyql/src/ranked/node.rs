//! The nodes of a ranked index.

use std::mem;

/// Keys in a leaf, and children of an inner node, at most. More make insertion slower and the tree flatter.
const FULL: usize = 64;
/// With fewer than this, a node takes from a neighbour or joins it.
const SPARSE: usize = FULL / 4;

#[derive(Clone, Debug)]
pub(super) enum Node<K> {
    /// Empty only at the root.
    Leaf(Vec<K>),
    /// Never empty; at the root, at least two.
    Inner(Vec<Child<K>>),
}

#[derive(Clone, Debug)]
pub(super) struct Child<K> {
    /// Keys in and below the node.
    pub(super) count: usize,
    pub(super) node: Node<K>,
}

impl<K> From<Node<K>> for Child<K> {
    fn from(node: Node<K>) -> Self {
        Self { count: node.count(), node }
    }
}

impl<K> Node<K> {
    /// In time proportional to the node, not to what is below it.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Leaf(keys) => keys.len(),
            Self::Inner(children) => children.iter().map(|child| child.count).sum(),
        }
    }

    pub(super) fn get(&self, mut place: usize) -> Option<&K> {
        match self {
            Self::Leaf(keys) => keys.get(place),
            Self::Inner(children) => {
                for child in children {
                    if place < child.count {
                        return child.node.get(place);
                    }
                    place -= child.count;
                }
                None
            }
        }
    }

    pub(super) fn partition_point(&self, before: &mut impl FnMut(&K) -> bool) -> usize {
        match self {
            Self::Leaf(keys) => keys.partition_point(before),
            Self::Inner(children) => {
                let at = children
                    .partition_point(|child| child.node.first().is_some_and(&mut *before))
                    .saturating_sub(1);
                let passed: usize = children[..at].iter().map(|child| child.count).sum();
                passed + children[at].node.partition_point(before)
            }
        }
    }

    fn first(&self) -> Option<&K> {
        match self {
            Self::Leaf(keys) => keys.first(),
            Self::Inner(children) => children.first()?.node.first(),
        }
    }

    pub(super) fn from_sorted(keys: Vec<K>) -> Self {
        let mut level: Vec<Self> = even_chunks(keys).map(Self::Leaf).collect();
        while level.len() > 1 {
            let children = level.into_iter().map(Child::from).collect();
            level = even_chunks(children).map(Self::Inner).collect();
        }
        level.pop().unwrap_or(Self::Leaf(Vec::new()))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Leaf(keys) => keys.capacity() * size_of::<K>(),
            Self::Inner(children) => {
                let below: usize = children.iter().map(|child| child.node.heap_bytes()).sum();
                children.capacity() * size_of::<Child<K>>() + below
            }
        }
    }

    /// The root was split: it becomes the parent of both halves.
    pub(super) fn grow(&mut self, right: Self) {
        let left = mem::replace(self, Self::Leaf(Vec::new()));
        *self = Self::Inner(vec![left.into(), right.into()]);
    }

    /// A root with one child gives way to it.
    pub(super) fn shrink(&mut self) {
        while let Self::Inner(children) = self {
            if children.len() > 1 {
                break;
            }
            *self = children.pop().map_or(Self::Leaf(Vec::new()), |child| child.node);
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::Leaf(keys) => keys.len(),
            Self::Inner(children) => children.len(),
        }
    }

    /// Splits the half with the greater keys off.
    fn split(&mut self) -> Self {
        let half = self.width() / 2;
        match self {
            Self::Leaf(keys) => Self::Leaf(keys.split_off(half)),
            Self::Inner(children) => Self::Inner(children.split_off(half)),
        }
    }

    /// Takes the right neighbour's content in. Both are leaves or both are not.
    fn join(&mut self, right: Self) {
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(mut right)) => left.append(&mut right),
            (Self::Inner(left), Self::Inner(mut right)) => left.append(&mut right),
            (Self::Leaf(_), Self::Inner(_)) | (Self::Inner(_), Self::Leaf(_)) => {
                debug_assert!(false, "neighbours have the same height");
            }
        }
    }
}

impl<K: Ord> Node<K> {
    /// Adds a key below. Whether it is new; and the right half, if this node had to be split.
    pub(super) fn insert(&mut self, key: K) -> (bool, Option<Self>) {
        match self {
            Self::Leaf(keys) => {
                let Err(at) = keys.binary_search(&key) else { return (false, None) };
                if keys.len() < FULL {
                    keys.insert(at, key);
                    return (true, None);
                }
                let mut right = keys.split_off(FULL / 2);
                match at.checked_sub(keys.len()) {
                    Some(at) if at > 0 => right.insert(at, key),
                    _ => keys.insert(at, key),
                }
                (true, Some(Self::Leaf(right)))
            }
            Self::Inner(children) => {
                let at = child_of(children, &key);
                let (added, right) = children[at].node.insert(key);
                match right {
                    None => children[at].count += usize::from(added),
                    Some(right) => {
                        children[at].count = children[at].node.count();
                        children.insert(at + 1, right.into());
                    }
                }
                let right = (children.len() > FULL).then(|| self.split());
                (added, right)
            }
        }
    }

    /// Removes a key below; whether it was there.
    pub(super) fn remove(&mut self, key: &K) -> bool {
        match self {
            Self::Leaf(keys) => match keys.binary_search(key) {
                Ok(at) => {
                    keys.remove(at);
                    true
                }
                Err(_) => false,
            },
            Self::Inner(children) => {
                let at = child_of(children, key);
                if !children[at].node.remove(key) {
                    return false;
                }
                children[at].count -= 1;
                if children[at].node.width() < SPARSE {
                    refill(children, at);
                }
                true
            }
        }
    }
}

/// Where a key is or belongs.
fn child_of<K: Ord>(children: &[Child<K>], key: &K) -> usize {
    children
        .partition_point(|child| child.node.first().is_some_and(|first| first <= key))
        .saturating_sub(1)
}

/// Joins a sparse child with a neighbour, and splits them evenly if that is too much for one.
fn refill<K>(children: &mut Vec<Child<K>>, at: usize) {
    if children.len() < 2 {
        return;
    }
    let left = at.saturating_sub(1);
    let right = children.remove(left + 1);
    let child = &mut children[left];
    child.node.join(right.node);
    child.count += right.count;
    if child.node.width() > FULL {
        let right = Child::from(child.node.split());
        child.count -= right.count;
        children.insert(left + 1, right);
    }
}

/// Chunks of nearly equal size, none above [`FULL`].
fn even_chunks<T>(items: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let (len, chunks) = (items.len(), items.len().div_ceil(FULL));
    let mut items = items.into_iter();
    (0..chunks).map(move |at| {
        let size = len * (at + 1) / chunks - len * at / chunks;
        items.by_ref().take(size).collect()
    })
}
