//! Lists of processor numbers as Linux writes them.

use std::collections::BTreeSet;

/// The largest processor number believed: Linux supports 8,192 processors, and a damaged file must not fill the memory.
const LARGEST: usize = 65_535;

/// Reads a list such as `0-3,8,10-11` (`Documentation/admin-guide/cputopology.rst` of Linux).
///
/// `None` if any part is not a number or a rising range up to 65,535. An empty text is the empty list.
///
/// ```
/// let list = tabagent_variants::parse_cpu_list("0-2,5\n").unwrap();
/// assert_eq!(list.into_iter().collect::<Vec<_>>(), [0, 1, 2, 5]);
/// ```
pub fn parse_cpu_list(text: &str) -> Option<BTreeSet<usize>> {
    let mut cpus = BTreeSet::new();
    let text = text.trim();
    if text.is_empty() {
        return Some(cpus);
    }
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        if first > last || last > LARGEST {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_lists_are_none() {
        for text in ["a", "1-", "-1", "3-1", "0,,1", "0-99999999999", "0-70000", "1 2"] {
            assert_eq!(parse_cpu_list(text), None, "{text}");
        }
    }

    #[test]
    fn empty_list_is_empty() {
        assert_eq!(parse_cpu_list(" \n"), Some(BTreeSet::new()));
    }
}
