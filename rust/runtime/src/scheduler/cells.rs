//! Which cells of the memory each sequence holds, and how many are shared.

/// Counts the cells of sequences that may share their beginnings.
///
/// A sequence is a path of runs; a run is a number of cells that lie together in every sequence that holds them. Copying a sequence shares its runs,
/// so what several sequences hold is counted once.
#[derive(Debug)]
pub(crate) struct Cells {
    runs: Vec<Run>,
    /// Runs that nobody holds, to be used again.
    spare: Vec<usize>,
    /// For each sequence the runs that it holds, in order.
    paths: Vec<Vec<usize>>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    len: usize,
    /// How many sequences hold it.
    holders: usize,
}

/// A set of cells.
#[derive(Debug, Default)]
pub(crate) struct Cover(Vec<usize>);

impl Cells {
    pub(crate) fn new(n_sequences: usize) -> Self {
        Self { runs: Vec::new(), spare: Vec::new(), paths: vec![Vec::new(); n_sequences] }
    }

    /// Cells in use, shared ones counted once.
    pub(crate) fn used(&self) -> usize {
        self.runs.iter().map(|run| if run.holders > 0 { run.len } else { 0 }).sum()
    }

    /// Cells of `seq`.
    #[cfg(test)]
    pub(crate) fn len(&self, seq: u32) -> usize {
        self.path(seq).iter().map(|run| self.runs[*run].len).sum()
    }

    /// How many cells of `seq` are not in `cover`.
    pub(crate) fn beyond(&self, cover: &Cover, seq: u32) -> usize {
        self.path(seq).iter().filter(|run| !cover.0.contains(run)).map(|run| self.runs[*run].len).sum()
    }

    /// Adds the cells of `seq` to `cover`, and returns how many are new there.
    pub(crate) fn cover(&self, cover: &mut Cover, seq: u32) -> usize {
        let n_new = self.beyond(cover, seq);
        cover.0.extend_from_slice(self.path(seq));
        n_new
    }

    /// Whether another sequence holds some of the cells of `seq`.
    pub(crate) fn is_shared(&self, seq: u32) -> bool {
        self.path(seq).iter().any(|run| self.runs[*run].holders > 1)
    }

    /// Appends `n` cells to `seq`.
    pub(crate) fn grow(&mut self, seq: u32, n: usize) {
        if n == 0 {
            return;
        }
        if let Some(last) = self.path(seq).last().copied()
            && self.runs[last].holders == 1
        {
            self.runs[last].len += n;
            return;
        }
        let run = self.add(Run { len: n, holders: 1 });
        self.path_mut(seq).push(run);
    }

    /// Makes the empty sequence `to` share the first `n` cells of `from`.
    pub(crate) fn copy(&mut self, from: u32, to: u32, n: usize) {
        let n_runs = self.split(from, n);
        let path = self.path(from)[..n_runs].to_vec();
        for run in &path {
            self.runs[*run].holders += 1;
        }
        *self.path_mut(to) = path;
    }

    /// Takes all cells from position `n` on away from `seq`.
    pub(crate) fn truncate(&mut self, seq: u32, n: usize) {
        let n_runs = self.split(seq, n);
        for run in self.path_mut(seq).split_off(n_runs) {
            self.runs[run].holders -= 1;
            if self.runs[run].holders == 0 {
                self.spare.push(run);
            }
        }
    }

    /// Makes position `n` of `seq` the border between two runs, and returns how many runs lie before it.
    fn split(&mut self, seq: u32, n: usize) -> usize {
        let mut start = 0;
        for (index, &run) in self.path(seq).iter().enumerate() {
            let Run { len, holders } = self.runs[run];
            if start >= n {
                return index;
            }
            if start + len > n {
                self.runs[run].len = n - start;
                let tail = self.add(Run { len: start + len - n, holders });
                for path in &mut self.paths {
                    if let Some(at) = path.iter().position(|held| *held == run) {
                        path.insert(at + 1, tail);
                    }
                }
                return index + 1;
            }
            start += len;
        }
        self.path(seq).len()
    }

    fn add(&mut self, run: Run) -> usize {
        if let Some(index) = self.spare.pop() {
            self.runs[index] = run;
            return index;
        }
        self.runs.push(run);
        self.runs.len() - 1
    }

    fn path(&self, seq: u32) -> &[usize] {
        &self.paths[seq as usize]
    }

    fn path_mut(&mut self, seq: u32) -> &mut Vec<usize> {
        &mut self.paths[seq as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::{Cells, Cover};

    #[derive(Clone, Debug)]
    enum Change {
        Grow(u32, usize),
        Copy(u32, u32, usize),
        Truncate(u32, usize),
    }

    fn change() -> impl Strategy<Value = Change> {
        let seq = 0..4u32;
        prop_oneof![
            3 => (seq.clone(), 0usize..9).prop_map(|(seq, n)| Change::Grow(seq, n)),
            2 => (seq.clone(), seq.clone(), 0usize..30).prop_map(|(from, to, n)| Change::Copy(from, to, n)),
            2 => (seq, 0usize..30).prop_map(|(seq, n)| Change::Truncate(seq, n)),
        ]
    }

    proptest! {
        /// The model gives every cell a number of its own.
        #[test]
        fn counts_are_those_of_numbered_cells(changes in prop::collection::vec(change(), 1..60)) {
            let (mut cells, mut model, mut n_made) = (Cells::new(4), vec![Vec::<usize>::new(); 4], 0);
            for change in changes {
                match change {
                    Change::Grow(seq, n) => {
                        cells.grow(seq, n);
                        model[seq as usize].extend(n_made..n_made + n);
                        n_made += n;
                    }
                    Change::Copy(from, to, n) if from != to => {
                        cells.truncate(to, 0);
                        cells.copy(from, to, n);
                        let n = n.min(model[from as usize].len());
                        model[to as usize] = model[from as usize][..n].to_vec();
                    }
                    Change::Copy(..) => {}
                    Change::Truncate(seq, n) => {
                        cells.truncate(seq, n);
                        model[seq as usize].truncate(n);
                    }
                }
                let all: HashSet<usize> = model.iter().flatten().copied().collect();
                prop_assert_eq!(cells.used(), all.len());
                let mut cover = Cover::default();
                for seq in 0..4u32 {
                    prop_assert_eq!(cells.len(seq), model[seq as usize].len());
                    let before: HashSet<usize> = model[..seq as usize].iter().flatten().copied().collect();
                    let n_new = model[seq as usize].iter().filter(|cell| !before.contains(cell)).count();
                    prop_assert_eq!(cells.cover(&mut cover, seq), n_new);
                }
            }
        }
    }
}
