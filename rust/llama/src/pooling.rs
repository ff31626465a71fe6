//! How the vectors of a text's tokens become one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tabagent_sys::llama_pooling_type;

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Pooling {
    /// They do not: each token keeps its own.
    None,
    /// The mean over all tokens.
    Mean,
    /// The first token's, which in BERT is `[CLS]`.
    Cls,
    /// The last token's.
    Last,
    /// A classifier's outputs in place of a vector, for models that rank documents.
    Rank,
}

impl Pooling {
    const ALL: [(Self, llama_pooling_type); 5] = [
        (Self::None, llama_pooling_type::NONE),
        (Self::Mean, llama_pooling_type::MEAN),
        (Self::Cls, llama_pooling_type::CLS),
        (Self::Last, llama_pooling_type::LAST),
        (Self::Rank, llama_pooling_type::RANK),
    ];

    /// What a model's file names, if it names one.
    pub(crate) fn of_file(architecture: &str, metadata: &BTreeMap<String, String>) -> Option<Self> {
        let stated = metadata.get(&format!("{architecture}.pooling_type"))?.parse::<i32>().ok()?;
        Self::ALL.iter().find(|(_, c)| c.0 == stated).map(|(pooling, _)| *pooling)
    }

    pub(crate) fn to_c(self) -> llama_pooling_type {
        Self::ALL.iter().find(|(pooling, _)| *pooling == self).map_or(llama_pooling_type::NONE, |(_, c)| *c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_a_pooling_by_its_number() {
        let of = |value: &str| {
            Pooling::of_file("bert", &BTreeMap::from([("bert.pooling_type".to_owned(), value.to_owned())]))
        };
        let found = ["0", "1", "2", "3", "4", "5", "-1", "mean"].map(of);
        let known = [Pooling::None, Pooling::Mean, Pooling::Cls, Pooling::Last, Pooling::Rank].map(Some);
        assert_eq!(found[..5], known);
        assert_eq!(found[5..], [None, None, None]);
        assert_eq!(Pooling::of_file("llama", &BTreeMap::new()), None);
    }

    #[test]
    fn each_is_one_of_llama_cpps() {
        let numbers =
            [Pooling::None, Pooling::Mean, Pooling::Cls, Pooling::Last, Pooling::Rank].map(|p| p.to_c().0);
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
    }
}
