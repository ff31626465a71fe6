//! Byte strings with ids, found by walking along a text.

use crate::output::TokenId;

/// A trie; the children of a node lie beside each other, in the order of their bytes.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
    /// The byte that leads to each node.
    bytes: Vec<u8>,
    /// The root's children, by byte; 0 for none.
    first: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    children: u32,
    n_children: u16,
    /// The id that ends here; negative for none.
    id: TokenId,
}

impl Trie {
    /// A trie of these strings. Of equal ones the last counts.
    pub(crate) fn new<'t>(strings: impl Iterator<Item = (&'t [u8], TokenId)>) -> Self {
        let mut strings: Vec<(&[u8], TokenId)> = strings.filter(|(text, _)| !text.is_empty()).collect();
        strings.sort_by_key(|(text, _)| *text);
        let mut trie = Self {
            nodes: vec![Node { children: 0, n_children: 0, id: -1 }],
            bytes: vec![0],
            first: vec![0; 256],
        };
        // The strings below a node, and how many of their bytes lead there.
        let mut level = vec![(0_usize, 0..strings.len())];
        let mut depth = 0;
        while !level.is_empty() {
            let mut next = Vec::new();
            for (node, range) in level {
                let here = strings[range.clone()].iter().take_while(|(text, _)| text.len() == depth);
                let n_here = here.clone().count();
                if let Some((_, id)) = here.last() {
                    trie.nodes[node].id = *id;
                }
                let mut start = range.start + n_here;
                trie.nodes[node].children = trie.nodes.len() as u32;
                while start < range.end {
                    let byte = strings[start].0[depth];
                    let n = strings[start..range.end].partition_point(|(text, _)| text[depth] == byte);
                    if depth == 0 {
                        trie.first[usize::from(byte)] = trie.nodes.len() as u32;
                    }
                    next.push((trie.nodes.len(), start..start + n));
                    trie.nodes[node].n_children += 1;
                    trie.nodes.push(Node { children: 0, n_children: 0, id: -1 });
                    trie.bytes.push(byte);
                    start += n;
                }
            }
            level = next;
            depth += 1;
        }
        trie
    }

    /// Gives every string that `text` begins with to `take`: its length and its id, the shortest first. Returns how many bytes of the text are the
    /// beginning of some string.
    #[inline]
    pub(crate) fn walk(&self, text: &[u8], mut take: impl FnMut(usize, TokenId)) -> usize {
        let mut at = 0;
        for (depth, byte) in text.iter().enumerate() {
            let Some(next) = self.child(at, *byte) else { return depth };
            at = next;
            let id = self.nodes[at].id;
            if id >= 0 {
                take(depth + 1, id);
            }
        }
        text.len()
    }

    /// The longest string that `text` begins with: its length and its id.
    pub(crate) fn longest(&self, text: &[u8]) -> Option<(usize, TokenId)> {
        let mut longest = None;
        self.walk(text, |length, id| longest = Some((length, id)));
        longest
    }

    #[inline]
    fn child(&self, node: usize, byte: u8) -> Option<usize> {
        if node == 0 {
            let child = self.first.get(usize::from(byte)).copied().unwrap_or_default() as usize;
            return (child > 0).then_some(child);
        }
        let Node { children, n_children, .. } = self.nodes[node];
        let start = children as usize;
        let bytes = &self.bytes[start..start + usize::from(n_children)];
        let at = if bytes.len() <= 8 {
            bytes.iter().position(|other| *other == byte)?
        } else {
            bytes.binary_search(&byte).ok()?
        };
        Some(start + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_found_along_a_text() {
        let texts: [&[u8]; 6] = [b"a", b"abc", b"abd", b"b\xff", b"", b"abcdef"];
        let trie = Trie::new(texts.iter().zip(0..).map(|(text, id)| (*text, id)));
        let mut found = Vec::new();
        assert_eq!(trie.walk(b"abcde", |length, id| found.push((length, id))), 5);
        assert_eq!(found, [(1, 0), (3, 1)]);
        assert_eq!(trie.longest(b"b\xff!"), Some((2, 3)));
        assert_eq!((trie.longest(b"b"), trie.longest(b""), trie.longest(b"x")), (None, None, None));
        assert_eq!(Trie::default().walk(b"a", |_, _| {}), 0);
    }
}
