//! Which texts are computed together.

/// How much one batch takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Tokens, unless a single text has more.
    pub(crate) tokens: usize,
    /// Texts.
    pub(crate) texts: usize,
}

/// Batches of texts that have so many tokens, as their indexes.
///
/// Texts are taken in order of length, the longest first, so that the memory that they need is known with the first batch; of the same length, in the
/// order in which they were given. A batch ends where the next text does not fit. A text with more tokens than a batch takes is alone in one.
/// A batch that is not full wastes nothing.
pub(crate) fn plan(lengths: &[usize], limits: Limits) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(lengths[*index]));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0_usize;
    for index in order {
        let length = lengths[index];
        match batches.last_mut() {
            Some(batch) if batch.len() < limits.texts && tokens.saturating_add(length) <= limits.tokens => {
                batch.push(index);
                tokens += length;
            }
            _ => {
                batches.push(vec![index]);
                tokens = length;
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_taken_from_the_longest_to_the_shortest() {
        let limits = Limits { tokens: 10, texts: 3 };
        assert_eq!(plan(&[], limits), Vec::<Vec<usize>>::new());
        assert_eq!(
            plan(&[3, 12, 5, 4, 2, 1, 1, 1], limits),
            [vec![1], vec![2, 3], vec![0, 4, 5], vec![6, 7]]
        );
        assert_eq!(plan(&[2; 5], limits), [vec![0, 1, 2], vec![3, 4]]);
    }

    proptest! {
        #[test]
        fn every_text_is_in_one_batch_and_no_batch_exceeds_its_limits(
            lengths in prop::collection::vec(1_usize..700, 0..300),
            tokens in 1_usize..600,
            texts in 1_usize..70,
        ) {
            let batches = plan(&lengths, Limits { tokens, texts });
            let sum = |batch: &[usize]| batch.iter().map(|index| lengths[*index]).sum::<usize>();
            for batch in &batches {
                prop_assert!(!batch.is_empty() && batch.len() <= texts);
                prop_assert!(batch.len() == 1 || sum(batch) <= tokens);
            }
            let flat: Vec<usize> = batches.iter().flatten().copied().collect();
            prop_assert!(flat.windows(2).all(|pair| lengths[pair[0]] >= lengths[pair[1]]));
            // No batch ends while the next text fits.
            for pair in batches.windows(2) {
                let next = lengths[pair[1][0]];
                prop_assert!(pair[0].len() == texts || sum(&pair[0]) + next > tokens);
            }
            let mut seen = flat;
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        }
    }
}
