//! Keys of a ranked index, from a place on.

use super::node::{Child, Node};

/// Keys in ascending order.
#[derive(Clone, Debug)]
pub struct Keys<'a, K> {
    /// What comes after the leaf, innermost last.
    rest: Vec<std::slice::Iter<'a, Child<K>>>,
    leaf: std::slice::Iter<'a, K>,
    left: usize,
}

impl<'a, K> Keys<'a, K> {
    /// The keys from one place to before another, which both exist or are the end.
    pub(super) fn new(root: &'a Node<K>, start: usize, end: usize) -> Self {
        let mut keys = Self { rest: Vec::new(), leaf: [].iter(), left: end - start };
        keys.descend(root, start);
        keys
    }

    fn descend(&mut self, mut node: &'a Node<K>, mut skip: usize) {
        loop {
            match node {
                Node::Leaf(leaf) => {
                    self.leaf = leaf.get(skip..).unwrap_or_default().iter();
                    return;
                }
                Node::Inner(children) => {
                    let mut rest = children.iter();
                    let Some(child) = rest.find(|child| {
                        let here = skip < child.count;
                        skip -= if here { 0 } else { child.count };
                        here
                    }) else {
                        return;
                    };
                    self.rest.push(rest);
                    node = &child.node;
                }
            }
        }
    }
}

impl<'a, K> Iterator for Keys<'a, K> {
    type Item = &'a K;

    fn next(&mut self) -> Option<&'a K> {
        self.left = self.left.checked_sub(1)?;
        loop {
            if let Some(key) = self.leaf.next() {
                return Some(key);
            }
            match self.rest.last_mut()?.next() {
                Some(child) => self.descend(&child.node, 0),
                None => {
                    self.rest.pop();
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K> ExactSizeIterator for Keys<'_, K> {}
