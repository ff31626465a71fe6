//! The table with which a Unigram tokenizer normalizes text (`llm_tokenizer_ugm` in `src/llama-vocab.cpp`).
//!
//! The table is a trie of the sequences to replace, stored as a double array, and behind it the replacements. llama.cpp walks the trie with the bytes
//! of a text and throws if a step leaves the array or a replacement is missing, which ends the process. Whether that happens depends on the text, so
//! this check takes every step that any text can take.

/// Bytes of the longest sequence that is replaced, and of the longest replacement: tables of real models have 30 and 33.
const MAX_BYTES: usize = 1024;
/// Where this bit of a node is set, its `BASE` counts blocks of 256.
const FAR: u32 = 1 << 9;
/// Where this bit of a node is set, its `BASE` is the place of its replacement.
const LEAF: u32 = 1 << 8;
const VALUE: u32 = 1 << 31;

/// Checks a table.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let too_short = || "is shorter than its own size says; the file is damaged".to_owned();
    let (head, rest) = bytes.split_first_chunk().ok_or_else(too_short)?;
    let size = u32::from_le_bytes(*head) as usize;
    if size >= rest.len() {
        return Err(too_short());
    }
    let (array, replacements) = rest.split_at(size);
    let nodes: Vec<u32> = array.as_chunks().0.iter().map(|node| u32::from_le_bytes(*node)).collect();
    Trie { nodes, replacements }.check()
}

struct Trie<'a> {
    nodes: Vec<u32>,
    replacements: &'a [u8],
}

/// A node on the way from the root: where its children are, and the byte to try next.
struct Step {
    node: usize,
    base: usize,
    byte: u8,
    /// Bytes of the longest match below it.
    height: usize,
}

impl Trie<'_> {
    fn check(&self) -> Result<(), String> {
        let Some(root) = self.nodes.first() else { return Ok(()) };
        // `height` of each node whose children were all visited; no step leads back to the root.
        let mut heights: Vec<Option<usize>> = vec![None; self.nodes.len()];
        let mut is_above = vec![false; self.nodes.len()];
        let mut steps = vec![Step { node: 0, base: base(*root), byte: 0, height: 0 }];
        while let Some(step) = steps.last_mut() {
            if step.byte == u8::MAX {
                let (node, height) = (step.node, step.height);
                heights[node] = Some(height);
                is_above[node] = false;
                steps.pop();
                if let Some(parent) = steps.last_mut() {
                    parent.height = parent.height.max(height + 1);
                }
                continue;
            }
            step.byte += 1;
            let (child, byte) = (step.base ^ usize::from(step.byte), step.byte);
            let Some(packed) = self.nodes.get(child).copied() else {
                return Err(format!(
                    "leads out of its array at byte `0x{byte:02X}` of a text; the file is damaged"
                ));
            };
            if packed & (VALUE | 0xff) != u32::from(byte) {
                continue;
            }
            if is_above[child] {
                return Err("leads around in a circle; the file is damaged".to_owned());
            }
            if let Some(height) = heights[child] {
                step.height = step.height.max(height + 1);
                continue;
            }
            let below = child ^ base(packed);
            if packed & LEAF != 0 {
                self.check_replacement(below)?;
            }
            is_above[child] = true;
            steps.push(Step { node: child, base: below, byte: 0, height: 0 });
            if steps.len() > MAX_BYTES {
                return Err(format!(
                    "replaces sequences of more than `{MAX_BYTES}` bytes; the file is damaged"
                ));
            }
        }
        Ok(())
    }

    fn check_replacement(&self, node: usize) -> Result<(), String> {
        let value = self.nodes.get(node).map(|packed| (packed & (VALUE - 1)) as usize);
        let Some(text) = value.and_then(|start| self.replacements.get(start..)) else {
            return Err("has a replacement that is not there; the file is damaged".to_owned());
        };
        match text.iter().position(|byte| *byte == 0) {
            None => Err("has a replacement without an end; the file is damaged".to_owned()),
            Some(length) if length > MAX_BYTES => Err(format!(
                "has a replacement of `{length}` bytes, more than `{MAX_BYTES}`; the file is damaged"
            )),
            Some(_) => Ok(()),
        }
    }
}

/// The part of a node that leads to its children.
fn base(packed: u32) -> usize {
    ((packed >> 10) << ((packed & FAR) >> 6)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of 512 nodes that replaces `a` with `b`; `change` may spoil it.
    fn table(change: impl FnOnce(&mut Vec<u32>, &mut Vec<u8>)) -> Vec<u8> {
        let mut nodes = vec![0_u32; 512];
        nodes[0] = 256 << 10;
        let child = 256 ^ usize::from(b'a');
        nodes[child] = (((child ^ 0x64) as u32) << 10) | LEAF | u32::from(b'a');
        nodes[0x64] = VALUE | 2;
        let mut replacements = b"x\0b\0".to_vec();
        change(&mut nodes, &mut replacements);
        let mut bytes = ((nodes.len() * 4) as u32).to_le_bytes().to_vec();
        bytes.extend(nodes.iter().flat_map(|node| node.to_le_bytes()));
        bytes.extend(replacements);
        bytes
    }

    fn problem(change: impl FnOnce(&mut Vec<u32>, &mut Vec<u8>)) -> String {
        check(&table(change)).unwrap_err()
    }

    #[test]
    fn a_table_that_holds_for_every_text_is_good() {
        assert_eq!(check(&table(|_, _| ())), Ok(()));
        assert_eq!(check(&[0, 0, 0, 0, 0]), Ok(()));
    }

    #[test]
    fn what_only_some_texts_reach_is_found() {
        let child = 256 ^ usize::from(b'a');
        for (change, text) in [
            (
                &(|n: &mut Vec<u32>, _: &mut Vec<u8>| n[0] = 512 << 10)
                    as &dyn Fn(&mut Vec<u32>, &mut Vec<u8>),
                "out of its array",
            ),
            (&|n, _| n.truncate(400), "out of its array"),
            // Only a text that goes on after the `a` leaves the array.
            (&|n, _| n[child] = (((child ^ 0x3e8) as u32) << 10) | u32::from(b'a'), "out of its array"),
            (&|n, _| n[0x64] = VALUE | 0x190, "not there"),
            (&|_, r| r.truncate(3), "without an end"),
            (
                &|_, r| {
                    r.truncate(2);
                    r.extend([b'b'; 2000]);
                    r.push(0);
                },
                "of `2000` bytes",
            ),
            // The child's children are the root's.
            (&|n, _| n[child] = (((child ^ 256) as u32) << 10) | u32::from(b'a'), "circle"),
        ] {
            let found = problem(change);
            assert!(found.contains(text), "{found:?} lacks {text:?}");
        }
    }

    #[test]
    fn a_size_beyond_the_table_is_refused() {
        for bytes in [&[][..], &[1, 0], &[1, 0, 0, 0], &[1, 0, 0, 0, 0], &[255; 9]] {
            assert!(check(bytes).unwrap_err().contains("shorter"));
        }
    }
}
