//! Models that are loaded in another process.
//!
//! Such a [`Model`] knows its facts, its metadata and its vocabulary's tables; for what llama.cpp alone can do it asks the other process by the trait
//! [`Elsewhere`]. Contexts are made where the model is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::adapter::AdapterFacts;
use crate::batch::TokenId;
use crate::device::Device;
use crate::embedding_facts::EmbeddingFacts;
use crate::model::Model;
use crate::model_facts::ModelFacts;
use crate::vocab_kind::VocabKind;
use crate::vocab_table::VocabTable;

/// Asks the process that has a model. Any thread may call it.
pub trait Elsewhere: std::fmt::Debug + Send + Sync {
    /// As [`Vocab::tokenize`](crate::Vocab::tokenize).
    ///
    /// # Errors
    /// That of the other process, or its death.
    fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, ElsewhereError>;

    /// The bytes of tokens as llama.cpp itself cleans them up.
    ///
    /// # Errors
    /// That of the other process, or its death.
    fn detokenize(&self, tokens: &[TokenId], unparse_special: bool) -> Result<Vec<u8>, ElsewhereError>;

    /// Has the adapter at `path` loaded there as number `id`; returns its facts and the number of the model's tensors.
    ///
    /// # Errors
    /// That of the other process, or its death.
    fn load_adapter(&self, id: u64, path: &Path) -> Result<(AdapterFacts, usize), ElsewhereError>;

    /// The adapter is used no more.
    fn drop_adapter(&self, id: u64);
}

/// An error of another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct ElsewhereError {
    /// The name of its kind.
    pub kind: String,
    /// What it says.
    pub text: String,
    /// The file and the number of the operating system's error, if it is one of that.
    pub file: Option<Box<(OsString, i32)>>,
    /// What is wrong in which GGUF file, if it is that.
    pub fault: Option<Box<FileFault>>,
}

/// What is wrong in a GGUF file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFault {
    /// The file.
    pub file: Option<String>,
    /// Where in it.
    pub offset: Option<u64>,
    /// The key that is wrong.
    pub key: Option<String>,
    /// The tensor that is wrong.
    pub tensor: Option<String>,
    /// The rule that it breaks.
    pub rule: String,
}

/// All that is known of a model in another process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCopy {
    /// The file that it was loaded from, which is not sent along: the one who asks knows it.
    #[serde(skip)]
    pub path: PathBuf,
    /// Facts about it.
    pub facts: ModelFacts,
    /// What its file says about embeddings.
    pub embedding: EmbeddingFacts,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
    /// Its chat templates, the default one without a name.
    pub templates: Vec<(Option<String>, String)>,
    /// Whether only the vocabulary was loaded.
    pub vocab_only: bool,
    /// The devices that it may use beside the CPU.
    pub devices: Vec<Device>,
    /// Its vocabulary.
    pub vocab: VocabCopy,
}

/// All that is known of a vocabulary in another process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VocabCopy {
    pub(crate) kind: VocabKind,
    pub(crate) adds_bos: bool,
    pub(crate) adds_eos: bool,
    pub(crate) adds_sep: bool,
    /// The special tokens that there are, by the names of the methods that give them.
    pub(crate) special: BTreeMap<String, TokenId>,
    pub(crate) table: VocabTable,
}

/// The metadata key of the default chat template; those with names have the name behind it.
pub(crate) const TEMPLATE: &str = "tokenizer.chat_template";

impl Model {
    /// A copy of what is known of this model, for another process.
    pub fn copy(&self) -> ModelCopy {
        let named = self.metadata().keys().filter_map(|key| key.strip_prefix(TEMPLATE)?.strip_prefix('.'));
        let names = std::iter::once(None).chain(named.map(Some));
        let template = |name: Option<&str>| Some((name.map(str::to_owned), self.chat_template(name)?));
        ModelCopy {
            path: self.path().to_owned(),
            facts: self.facts().clone(),
            embedding: self.embedding_facts().clone(),
            metadata: self.metadata().clone(),
            templates: names.filter_map(template).collect(),
            devices: self.devices().to_vec(),
            vocab_only: self.is_vocab_only(),
            vocab: self.vocab().copy(),
        }
    }

    /// The model of another process of which this is a copy; `None` if the copy is damaged.
    pub fn elsewhere(mut copy: ModelCopy, owner: Arc<dyn Elsewhere>) -> Option<Self> {
        copy.is_whole().then(|| Self::of_copy(copy, owner))
    }
}

impl ModelCopy {
    /// Whether its parts fit together, which makes it ready for use.
    pub fn is_whole(&mut self) -> bool {
        self.vocab.table.prepare()
    }

    /// Tokens of its vocabulary.
    pub fn n_tokens(&self) -> usize {
        self.vocab.table.len()
    }
}
