//! V8's sort, for comparators that contradict themselves: the outcome then depends on which pairs it asks about.

/// Runs shorter than this are sorted by insertion.
const SHORT: usize = 64;
/// So many wins in a row of one side of a merge start the search by doubling steps.
const GALLOP: usize = 7;

/// Sorts by a comparator that never says "equal": `before(a, b)`, or b is before a. Elements are numbered in between, since
/// they are moved around more often than compared.
pub(crate) fn sort<T>(items: &mut Vec<T>, before: impl Fn(&T, &T) -> bool) {
    let mut order: Vec<usize> = (0..items.len()).collect();
    let mut sorter = Sorter {
        before: |a: usize, b: usize| before(&items[a], &items[b]),
        runs: Vec::new(),
        gallop: GALLOP,
    };
    sorter.sort(&mut order);
    let mut places = vec![0; order.len()];
    for (place, item) in order.into_iter().enumerate() {
        places[item] = place;
    }
    let mut placed: Vec<_> = places.into_iter().zip(items.drain(..)).collect();
    placed.sort_unstable_by_key(|(place, _)| *place);
    items.extend(placed.into_iter().map(|(_, item)| item));
}

struct Sorter<F> {
    before: F,
    /// Start and length of the sorted runs that are not merged yet.
    runs: Vec<(usize, usize)>,
    gallop: usize,
}

impl<F: Fn(usize, usize) -> bool> Sorter<F> {
    fn sort(&mut self, items: &mut [usize]) {
        let len = items.len();
        if len < 2 {
            return;
        }
        let least = least_run(len);
        let mut low = 0;
        while low < len {
            let mut run = self.count_run(&mut items[low..]);
            if run < least {
                let forced = least.min(len - low);
                self.insert(&mut items[low..low + forced], run);
                run = forced;
            }
            self.runs.push((low, run));
            self.collapse(items);
            low += run;
        }
        while self.runs.len() > 1 {
            let mut at = self.runs.len() - 2;
            if at > 0 && self.runs[at - 1].1 < self.runs[at + 1].1 {
                at -= 1;
            }
            self.merge_at(items, at);
        }
    }

    /// The length of the run at the start, made ascending.
    fn count_run(&self, items: &mut [usize]) -> usize {
        if items.len() < 2 {
            return items.len();
        }
        let descending = (self.before)(items[1], items[0]);
        let mut run = 2;
        while run < items.len() && (self.before)(items[run], items[run - 1]) == descending {
            run += 1;
        }
        if descending {
            items[..run].reverse();
        }
        run
    }

    /// Sorts by binary insertion; the first `start` are sorted already.
    fn insert(&self, items: &mut [usize], start: usize) {
        for at in start.max(1)..items.len() {
            let pivot = items[at];
            let (mut left, mut right) = (0, at);
            while left < right {
                let middle = left + (right - left) / 2;
                if (self.before)(pivot, items[middle]) {
                    right = middle;
                } else {
                    left = middle + 1;
                }
            }
            items[left..=at].rotate_right(1);
        }
    }

    /// Merges runs until each is longer than the next, and than the next two together.
    fn collapse(&mut self, items: &mut [usize]) {
        while self.runs.len() > 1 {
            let mut at = self.runs.len() - 2;
            let len = |run: usize| self.runs[run].1;
            let violated = |at: usize| at >= 1 && len(at - 1) <= len(at) + len(at + 1);
            if violated(at) || (at >= 2 && len(at - 2) <= len(at) + len(at - 1)) {
                if len(at - 1) < len(at + 1) {
                    at -= 1;
                }
            } else if len(at) > len(at + 1) {
                break;
            }
            self.merge_at(items, at);
        }
    }

    fn merge_at(&mut self, items: &mut [usize], at: usize) {
        let (mut start_a, mut len_a) = self.runs[at];
        let (start_b, mut len_b) = self.runs.remove(at + 1);
        self.runs[at].1 = len_a + len_b;
        let skip = self.gallop_right(&items[start_a..start_a + len_a], items[start_b], 0);
        start_a += skip;
        len_a -= skip;
        if len_a == 0 {
            return;
        }
        let last_a = items[start_a + len_a - 1];
        len_b = self.gallop_left(&items[start_b..start_b + len_b], last_a, len_b - 1);
        if len_b == 0 {
            return;
        }
        let items = &mut items[start_a..start_b + len_b];
        if len_a <= len_b { self.merge_low(items, len_a) } else { self.merge_high(items, len_a) }
    }

    /// Where `key` belongs among sorted items, before those equal to it; the search starts at `hint`.
    fn gallop_left(&self, items: &[usize], key: usize, hint: usize) -> usize {
        let right_of = |at: usize| (self.before)(items[at], key);
        gallop(items.len(), hint, right_of)
    }

    /// As [`Self::gallop_left`], after those equal to it.
    fn gallop_right(&self, items: &[usize], key: usize, hint: usize) -> usize {
        let right_of = |at: usize| !(self.before)(key, items[at]);
        gallop(items.len(), hint, right_of)
    }

    /// Merges from the left; the left run is the shorter one and not empty.
    fn merge_low(&mut self, items: &mut [usize], len_a: usize) {
        let a = items[..len_a].to_vec();
        let len_b = items.len();
        let (mut at_a, mut at_b, mut to) = (0, len_a, 0);
        items[to] = items[at_b];
        to += 1;
        at_b += 1;
        let mut gallop = self.gallop;
        'merge: {
            if at_b == len_b || a.len() - at_a == 1 {
                break 'merge;
            }
            loop {
                let (mut wins_a, mut wins_b) = (0, 0);
                loop {
                    if (self.before)(items[at_b], a[at_a]) {
                        items[to] = items[at_b];
                        (to, at_b, wins_b, wins_a) = (to + 1, at_b + 1, wins_b + 1, 0);
                        if at_b == len_b {
                            break 'merge;
                        }
                        if wins_b >= gallop {
                            break;
                        }
                    } else {
                        items[to] = a[at_a];
                        (to, at_a, wins_a, wins_b) = (to + 1, at_a + 1, wins_a + 1, 0);
                        if a.len() - at_a == 1 {
                            break 'merge;
                        }
                        if wins_a >= gallop {
                            break;
                        }
                    }
                }
                gallop += 1;
                let mut first = true;
                while wins_a >= GALLOP || wins_b >= GALLOP || first {
                    first = false;
                    gallop = (gallop - 1).max(1);
                    self.gallop = gallop;
                    wins_a = self.gallop_right(&a[at_a..], items[at_b], 0);
                    items[to..to + wins_a].copy_from_slice(&a[at_a..at_a + wins_a]);
                    (to, at_a) = (to + wins_a, at_a + wins_a);
                    if wins_a > 0 && a.len() - at_a <= 1 {
                        break 'merge;
                    }
                    items[to] = items[at_b];
                    (to, at_b) = (to + 1, at_b + 1);
                    if at_b == len_b {
                        break 'merge;
                    }
                    wins_b = self.gallop_left(&items[at_b..], a[at_a], 0);
                    items.copy_within(at_b..at_b + wins_b, to);
                    (to, at_b) = (to + wins_b, at_b + wins_b);
                    if at_b == len_b {
                        break 'merge;
                    }
                    items[to] = a[at_a];
                    (to, at_a) = (to + 1, at_a + 1);
                    if a.len() - at_a == 1 {
                        break 'merge;
                    }
                }
                gallop += 1;
                self.gallop = gallop;
            }
        }
        // What is left of the right run is smaller than what is left of the left one.
        items.copy_within(at_b..len_b, to);
        let to = to + len_b - at_b;
        items[to..].copy_from_slice(&a[at_a..]);
    }

    /// Merges from the right; the right run is the shorter one and not empty.
    fn merge_high(&mut self, items: &mut [usize], len_a: usize) {
        let b = items[len_a..].to_vec();
        // Each is one past the next element to take or to fill.
        let (mut end_a, mut end_b, mut to) = (len_a, b.len(), items.len());
        to -= 1;
        end_a -= 1;
        items[to] = items[end_a];
        let mut gallop = self.gallop;
        'merge: {
            if end_a == 0 || end_b == 1 {
                break 'merge;
            }
            loop {
                let (mut wins_a, mut wins_b) = (0, 0);
                loop {
                    to -= 1;
                    if (self.before)(b[end_b - 1], items[end_a - 1]) {
                        end_a -= 1;
                        items[to] = items[end_a];
                        (wins_a, wins_b) = (wins_a + 1, 0);
                        if end_a == 0 {
                            break 'merge;
                        }
                        if wins_a >= gallop {
                            break;
                        }
                    } else {
                        end_b -= 1;
                        items[to] = b[end_b];
                        (wins_a, wins_b) = (0, wins_b + 1);
                        if end_b == 1 {
                            break 'merge;
                        }
                        if wins_b >= gallop {
                            break;
                        }
                    }
                }
                gallop += 1;
                let mut first = true;
                while wins_a >= GALLOP || wins_b >= GALLOP || first {
                    first = false;
                    gallop = (gallop - 1).max(1);
                    self.gallop = gallop;
                    let stay = self.gallop_right(&items[..end_a], b[end_b - 1], end_a - 1);
                    wins_a = end_a - stay;
                    items.copy_within(stay..end_a, to - wins_a);
                    (to, end_a) = (to - wins_a, stay);
                    if end_a == 0 {
                        break 'merge;
                    }
                    (to, end_b) = (to - 1, end_b - 1);
                    items[to] = b[end_b];
                    if end_b == 1 {
                        break 'merge;
                    }
                    let stay = self.gallop_left(&b[..end_b], items[end_a - 1], end_b - 1);
                    wins_b = end_b - stay;
                    items[to - wins_b..to].copy_from_slice(&b[stay..end_b]);
                    (to, end_b) = (to - wins_b, stay);
                    if wins_b > 0 && end_b <= 1 {
                        break 'merge;
                    }
                    (to, end_a) = (to - 1, end_a - 1);
                    items[to] = items[end_a];
                    if end_a == 0 {
                        break 'merge;
                    }
                }
                gallop += 1;
                self.gallop = gallop;
            }
        }
        // What is left of the left run is greater than what is left of the right one.
        items.copy_within(0..end_a, to - end_a);
        items[..end_b].copy_from_slice(&b[..end_b]);
    }
}

/// The place of the first item not right of the key: doubling steps from `hint`, then by halves.
fn gallop(len: usize, hint: usize, right_of: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high);
    let mut step = 1;
    if right_of(hint) {
        // The answer is in hint + 1 ..= len.
        let most = len - hint;
        let mut last = 0;
        while step < most && right_of(hint + step) {
            last = step;
            step = step * 2 + 1;
        }
        (low, high) = (hint + last + 1, hint + step.min(most));
    } else {
        let most = hint + 1;
        let mut last = 0;
        while step < most && !right_of(hint - step) {
            last = step;
            step = step * 2 + 1;
        }
        (low, high) = (hint + 1 - step.min(most), hint - last);
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if right_of(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn least_run(mut len: usize) -> usize {
    let mut odd = 0;
    while len >= SHORT {
        odd |= len & 1;
        len >>= 1;
    }
    len + odd
}
