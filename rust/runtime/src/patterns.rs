//! Several strings that are looked for at once (Aho and Corasick, "Efficient string matching", CACM 18(6), 1975).

use std::collections::VecDeque;

/// The state before the first byte.
pub(crate) const ROOT: u32 = 0;

/// The tree of all strings with its failure links. A state stands for the longest end of the text that one of them begins with.
#[derive(Debug)]
pub(crate) struct Patterns {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// Sorted by byte.
    edges: Vec<(u8, u32)>,
    /// The node of the longest proper suffix that is in the tree.
    fail: u32,
    /// Length of the string that leads here.
    depth: usize,
    /// The longest string that ends here: its index and its length.
    ends: Option<(usize, usize)>,
}

impl Patterns {
    /// None of `strings` is empty.
    pub(crate) fn new(strings: &[String]) -> Self {
        Self { nodes: build(strings) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    /// The state after one more byte.
    pub(crate) fn next(&self, state: u32, byte: u8) -> u32 {
        next_state(&self.nodes, state, byte)
    }

    /// How many bytes at the end of the text may become one of the strings.
    pub(crate) fn depth(&self, state: u32) -> usize {
        self.nodes[state as usize].depth
    }

    /// The longest string that ends here: its index and its length.
    pub(crate) fn ends(&self, state: u32) -> Option<(usize, usize)> {
        self.nodes[state as usize].ends
    }

    /// Whether one of the strings is in `bytes`.
    pub(crate) fn is_in(&self, bytes: &[u8]) -> bool {
        let mut state = ROOT;
        bytes.iter().any(|byte| {
            state = self.next(state, *byte);
            self.ends(state).is_some()
        })
    }
}

fn next_state(nodes: &[Node], mut state: u32, byte: u8) -> u32 {
    loop {
        let node = &nodes[state as usize];
        if let Ok(edge) = node.edges.binary_search_by_key(&byte, |edge| edge.0) {
            return node.edges[edge].1;
        }
        if state == ROOT {
            return ROOT;
        }
        state = node.fail;
    }
}

fn build(strings: &[String]) -> Vec<Node> {
    let mut nodes = vec![Node::default()];
    for (index, string) in strings.iter().enumerate() {
        let mut at = ROOT;
        for (depth, &byte) in string.as_bytes().iter().enumerate() {
            let n_nodes = nodes.len() as u32;
            let edges = &mut nodes[at as usize].edges;
            at = match edges.binary_search_by_key(&byte, |edge| edge.0) {
                Ok(edge) => edges[edge].1,
                Err(edge) => {
                    edges.insert(edge, (byte, n_nodes));
                    nodes.push(Node { depth: depth + 1, ..Node::default() });
                    n_nodes
                }
            };
        }
        nodes[at as usize].ends.get_or_insert((index, string.len()));
    }
    link(&mut nodes);
    nodes
}

/// Sets the failure links breadth first, so that links of shorter strings exist when longer ones need them.
fn link(nodes: &mut [Node]) {
    let mut open: VecDeque<u32> = nodes[0].edges.iter().map(|edge| edge.1).collect();
    while let Some(at) = open.pop_front() {
        for (byte, child) in nodes[at as usize].edges.clone() {
            let fail = next_state(nodes, nodes[at as usize].fail, byte);
            let inherited = nodes[fail as usize].ends;
            let node = &mut nodes[child as usize];
            node.fail = fail;
            node.ends = node.ends.or(inherited);
            open.push_back(child);
        }
    }
}
