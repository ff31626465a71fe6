//! The numbers of threads that are tried.

/// Numbers from 1 to `most` in increasing order: close to each other near `most`, since each busy neighbour takes a core or so, and further apart below.
/// The halves of `most`, theirs, and so on are among them.
pub(super) fn counts(most: usize) -> Vec<usize> {
    let most = most.max(1);
    let mut counts = vec![1];
    let mut half = most;
    while half > 1 {
        counts.extend([half, half - half / 4]);
        half /= 2;
    }
    let mut gap = 1;
    while gap <= most / 2 {
        counts.push(most - gap);
        gap += if gap < 4 { 1 } else { 1 << (gap.ilog2() - 1) };
    }
    counts.sort_unstable();
    counts.dedup();
    counts
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn ladder_goes_from_one_to_the_most() {
        assert_eq!(counts(0), [1]);
        assert_eq!(counts(1), [1]);
        assert_eq!(counts(2), [1, 2]);
        assert_eq!(counts(4), [1, 2, 3, 4]);
        for most in 1..600 {
            let counts = counts(most);
            assert!(counts[0] == 1 && counts.last() == Some(&most) && counts.is_sorted_by(|a, b| a < b));
            assert!(counts.len() <= 36, "{most}: {counts:?}");
        }
    }

    #[test]
    fn every_number_has_a_rung_just_below_it() {
        for most in [8, 16, 64, 128] {
            for wanted in most / 2..=most {
                let below = counts(most).into_iter().filter(|count| *count <= wanted).max().unwrap_or(0);
                assert!(below as f64 >= 0.75 * wanted as f64, "{most}: {below} for {wanted}");
                if most - wanted <= 4 {
                    assert_eq!(below, wanted, "{most}");
                }
            }
        }
    }
}
