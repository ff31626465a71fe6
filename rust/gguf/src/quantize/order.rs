//! The order of tensors in a quantized file, and the layers that are left out.

use std::cmp::Ordering;
use std::collections::HashMap;

/// Compares names as llama.cpp's loader sorts tensors: those of no layer first, then layer by layer, each by name
/// (`weight_name_comparer` in `src/llama-model-loader.h`).
pub(super) fn by_layer(a: &str, b: &str) -> Ordering {
    let layer = |name: &str| layer_number(name).unwrap_or(-1);
    layer(a).cmp(&layer(b)).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

/// The number after `blk.` at the start of a name, read as C's `scanf` does.
pub(super) fn layer_number(name: &str) -> Option<i64> {
    let rest = name.strip_prefix("blk.")?.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let digits = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let magnitude: i64 = digits.get(..end)?.parse().ok()?;
    Some(if rest.starts_with('-') { -magnitude } else { magnitude })
}

/// New numbers for the layers that stay (`remap_layer` in `src/llama-quant.cpp`).
pub(super) struct Renumbering<'a> {
    /// Layers to leave out, sorted.
    pruned: &'a [u32],
    new: HashMap<u32, Option<u32>>,
    next: u32,
}

impl<'a> Renumbering<'a> {
    pub(super) fn new(pruned: &'a [u32]) -> Self {
        Self { pruned, new: HashMap::new(), next: 0 }
    }

    /// The name that a tensor gets, or `None` if its layer is left out. Names must come in the order of [`by_layer`].
    pub(super) fn rename(&mut self, name: &str) -> Option<String> {
        let Some(((start, end), layer)) = self
            .pruned
            .first()
            .and_then(|_| layer_digits(name))
            .and_then(|(start, end)| Some(((start, end), name.get(start..end)?.parse::<u32>().ok()?)))
        else {
            return Some(name.to_owned());
        };
        let next = &mut self.next;
        let new = *self.new.entry(layer).or_insert_with(|| {
            if self.pruned.contains(&layer) {
                return None;
            }
            let new = if self.pruned.first().is_some_and(|first| layer < *first) { layer } else { *next };
            *next = new.saturating_add(1);
            Some(new)
        });
        Some(format!("{}{}{}", name.get(..start)?, new?, name.get(end..)?))
    }

    /// How many layers there are after all names were seen.
    pub(super) fn n_layers(&self) -> u32 {
        self.next
    }

    /// The first layer to be left out that no name had.
    pub(super) fn unseen(&self) -> Option<u32> {
        self.pruned.iter().copied().find(|layer| !self.new.contains_key(layer))
    }
}

/// Where the digits between the first `blk.` and `.` lie.
fn layer_digits(name: &str) -> Option<(usize, usize)> {
    name.match_indices("blk.").find_map(|(at, _)| {
        let start = at + 4;
        let rest = name.get(start..)?;
        let n_digits = rest.find(|c: char| !c.is_ascii_digit())?;
        (n_digits > 0 && rest.get(n_digits..)?.starts_with('.')).then_some((start, start + n_digits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_sorted_by_layer_and_name() {
        let mut names =
            ["blk.10.a", "blk.2.b", "v.blk.3.a", "output.weight", "blk.2.a", "blk.x.a", "blk.-1.a"];
        names.sort_by(|a, b| by_layer(a, b));
        assert_eq!(
            names,
            ["blk.-1.a", "blk.x.a", "output.weight", "v.blk.3.a", "blk.2.a", "blk.2.b", "blk.10.a"]
        );
    }

    #[test]
    fn layers_after_those_left_out_move_up() {
        let pruned = [1, 3];
        let mut numbers = Renumbering::new(&pruned);
        let renamed: Vec<Option<String>> =
            ["token_embd.weight", "blk.0.a", "blk.1.a", "blk.2.a", "blk.2.b", "blk.3.a", "blk.4.a"]
                .iter()
                .map(|name| numbers.rename(name))
                .collect();
        let expected = [
            Some("token_embd.weight"),
            Some("blk.0.a"),
            None,
            Some("blk.1.a"),
            Some("blk.1.b"),
            None,
            Some("blk.2.a"),
        ];
        assert_eq!(renamed.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
        assert_eq!((numbers.n_layers(), numbers.unseen()), (3, None));
    }

    #[test]
    fn layers_that_are_not_there_are_told() {
        let mut numbers = Renumbering::new(&[7]);
        assert_eq!(numbers.rename("blk.0.a").as_deref(), Some("blk.0.a"));
        assert_eq!(numbers.rename("blk.99999999999999.a").as_deref(), Some("blk.99999999999999.a"));
        assert_eq!(numbers.unseen(), Some(7));
    }
}
