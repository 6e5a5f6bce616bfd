use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Insert(u16),
    Remove(u16),
    /// Removes all keys in a range, so that nodes join.
    RemoveAll(u16, u16),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..2000_u16).prop_map(Op::Insert),
        4 => (0..2000_u16).prop_map(Op::Remove),
        1 => (0..2000_u16, 0..600_u16).prop_map(|(from, len)| Op::RemoveAll(from, len)),
    ]
}

/// Every node has a legal width and the right count, all leaves are equally deep.
fn check<K: Ord>(node: &Node<K>, is_root: bool) -> (usize, usize) {
    match node {
        Node::Leaf(keys) => {
            assert!(keys.len() <= 64 && (is_root || !keys.is_empty()));
            (keys.len(), 0)
        }
        Node::Inner(children) => {
            assert!(children.len() <= 64 && (!is_root || children.len() > 1));
            let mut below = children.iter().map(|child| {
                let (count, depth) = check(&child.node, false);
                assert_eq!(count, child.count);
                (count, depth)
            });
            let (mut count, depth) = below.next().unwrap();
            for (more, other) in below {
                assert_eq!(depth, other);
                count += more;
            }
            (count, depth + 1)
        }
    }
}

proptest! {
    #[test]
    fn it_is_a_sorted_vec(
        start in prop::collection::vec(0..2000_u16, 0..3000),
        ops in prop::collection::vec(any_op(), 0..400),
        at in 0..2500_usize, len in 0..300_usize,
    ) {
        let mut index = RankedIndex::from_keys(start.clone());
        let mut model = start;
        model.sort_unstable();
        model.dedup();
        for op in ops {
            match op {
                Op::Insert(key) => {
                    let place = model.binary_search(&key);
                    prop_assert_eq!(index.insert(key), place.is_err());
                    if let Err(place) = place {
                        model.insert(place, key);
                    }
                }
                Op::Remove(key) => {
                    let place = model.binary_search(&key);
                    prop_assert_eq!(index.remove(&key), place.is_ok());
                    if let Ok(place) = place {
                        model.remove(place);
                    }
                }
                Op::RemoveAll(from, len) => {
                    for key in from..from + len {
                        index.remove(&key);
                    }
                    model.retain(|key| !(from..from + len).contains(key));
                }
            }
        }
        prop_assert_eq!(check(&index.root, true).0, model.len());
        prop_assert_eq!(index.len(), model.len());
        prop_assert!(index.iter().eq(&model));
        prop_assert_eq!(index.get(at), model.get(at));
        let expected = model.iter().skip(at).take(len);
        prop_assert!(index.range(at..at + len).eq(expected));
        let key = at as u16;
        prop_assert_eq!(index.rank(&key), model.binary_search(&key));
        prop_assert_eq!(
            index.partition_point(|other| *other <= key),
            model.partition_point(|other| *other <= key)
        );
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "the figure is what one runs it for")]
fn bytes_of_an_entry() {
    let all: Vec<u64> = (0..100_000).map(|n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    let per_key = |index: &RankedIndex<u64>| index.heap_bytes() as f64 / index.len() as f64;
    let at_once = RankedIndex::from_keys(all.clone());
    let mut one_by_one = RankedIndex::default();
    for key in all {
        assert!(one_by_one.insert(key));
    }
    println!(
        "bytes an 8-byte key: {:.1} built at once, {:.1} inserted at random",
        per_key(&at_once),
        per_key(&one_by_one)
    );
    // The key itself is 8; nodes are a quarter full at least, and full when built at once.
    assert!(per_key(&at_once) < 9.0);
    assert!(per_key(&one_by_one) < 16.0);
}
