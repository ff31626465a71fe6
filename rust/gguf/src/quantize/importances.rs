//! An importance matrix and which of its entries count.

use std::collections::HashMap;

/// How much each weight of a row matters, for tensors by name, with where that comes from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Importances {
    file: String,
    datasets: Vec<String>,
    n_chunks: u64,
    entries: HashMap<String, Vec<f32>>,
}

impl Importances {
    /// Entries of a file that is called `file` in the result's metadata: for each tensor the importance of each weight of a row, for
    /// each expert after the other; the texts that they were measured on, and how many pieces of them.
    pub fn new(
        file: &str,
        datasets: Vec<String>,
        n_chunks: u64,
        entries: impl IntoIterator<Item = (String, Vec<f32>)>,
    ) -> Self {
        Self { file: file.to_owned(), datasets, n_chunks, entries: entries.into_iter().collect() }
    }

    /// Only the tensors with one of `parts` in their names; all if there are no parts.
    #[must_use]
    pub fn including(mut self, parts: &[String]) -> Self {
        if !parts.is_empty() {
            self.entries.retain(|name, _| parts.iter().any(|part| name.contains(part)));
        }
        self
    }

    /// Without the tensors that have one of `parts` in their names.
    #[must_use]
    pub fn excluding(mut self, parts: &[String]) -> Self {
        self.entries.retain(|name, _| !parts.iter().any(|part| name.contains(part)));
        self
    }

    /// The importances for the tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.entries.get(name).map(Vec::as_slice)
    }

    /// For how many tensors there are any.
    pub fn n_entries(&self) -> usize {
        self.entries.len()
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The texts that they were measured on.
    pub fn datasets(&self) -> &[String] {
        &self.datasets
    }

    /// Pieces of text that they were measured on; 0 if that is not known.
    pub fn n_chunks(&self) -> u64 {
        self.n_chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_chosen_by_parts_of_names() {
        let all = Importances::new(
            "i.gguf",
            vec![],
            3,
            ["blk.0.attn_q.weight", "blk.0.ffn_up.weight", "blk.1.ffn_up.weight"]
                .map(|name| (name.to_owned(), vec![1.0])),
        );
        let parts = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        assert_eq!(all.clone().including(&parts(&["ffn", "attn"])).n_entries(), 3);
        assert_eq!(all.clone().including(&[]).n_entries(), 3);
        assert_eq!(all.clone().including(&parts(&["blk.1."])).n_entries(), 1);
        let rest = all.excluding(&parts(&["ffn"]));
        assert!(rest.get("blk.0.attn_q.weight").is_some() && rest.get("blk.0.ffn_up.weight").is_none());
    }
}
