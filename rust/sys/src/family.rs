//! Names and signatures that changed over time, and which of them a library has.
//!
//! Some functions took another handle under the same name: `llama_tokenize` takes a model before build 4463 and a vocabulary since, `llama_memory_clear` got a second argument at build
//! 5602. So the functions that share a handle are taken from one family as a whole, and the handle of a family comes from [`Api`](crate::Api) alone.

use crate::api::Api;
use crate::handles;

/// What the functions about tokens take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VocabularyFamily {
    /// The model (before build 4463): `llama_token_bos`.
    OfModel,
    /// The vocabulary of a model: `llama_vocab_bos`.
    Own,
}

/// What the functions about the cache are called and take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryFamily {
    /// `llama_kv_cache_*`, of a context (before build 4881).
    KvCache,
    /// `llama_kv_self_*`, of a context (builds 4881 to 6049). Builds that have `llama_memory_*`, too, give that one argument or two, which no symbol tells.
    KvSelf,
    /// `llama_memory_*`, of a memory; clearing says whether the data is cleared, too.
    Memory,
}

/// How adapters are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterFamily {
    /// `llama_lora_adapter_set`, one at a time (before build 4463).
    Lora,
    /// `llama_set_adapter_lora`, one at a time (before build 8049).
    One,
    /// `llama_set_adapters_lora`, all at once.
    Many,
}

/// The families of a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// What the functions about tokens take.
    pub vocabulary: VocabularyFamily,
    /// What the functions about the cache are called and take.
    pub memory: MemoryFamily,
    /// How adapters are set.
    pub adapters: AdapterFamily,
}

/// Functions that had another name while they were of a model, with this project's name for each.
const OF_MODEL: &[(&str, &str)] = &[
    ("llama_adapter_lora_free", "llama_lora_adapter_free"),
    ("llama_adapter_lora_init", "llama_lora_adapter_init"),
    ("llama_init_from_model", "llama_new_context_with_model"),
    ("llama_model_n_ctx_train", "llama_n_ctx_train"),
    ("llama_model_n_embd", "llama_n_embd"),
    ("llama_model_n_head", "llama_n_head"),
    ("llama_model_n_layer", "llama_n_layer"),
    ("llama_vocab_get_add_bos", "llama_add_bos_token"),
    ("llama_vocab_get_add_eos", "llama_add_eos_token"),
    ("llama_vocab_n_tokens", "llama_n_vocab"),
];

/// Functions that were renamed and nothing else, with this project's name for each: the first one that is exported is taken.
const RENAMED: &[(&str, &[&str])] = &[
    ("llama_model_free", &["llama_free_model"]),
    ("llama_model_load_from_file", &["llama_load_model_from_file"]),
    ("llama_set_adapter_cvec", &["llama_apply_adapter_cvec", "llama_control_vector_apply"]),
];

impl Family {
    /// The family of the newest builds.
    pub const NEWEST: Self = Self {
        vocabulary: VocabularyFamily::Own,
        memory: MemoryFamily::Memory,
        adapters: AdapterFamily::Many,
    };

    /// The family of a library that exports what `exports` says.
    pub fn of(exports: impl Fn(&str) -> bool) -> Self {
        Self {
            vocabulary: if exports("llama_model_get_vocab") {
                VocabularyFamily::Own
            } else {
                VocabularyFamily::OfModel
            },
            memory: if exports("llama_kv_self_clear") {
                MemoryFamily::KvSelf
            } else if exports("llama_memory_clear") {
                MemoryFamily::Memory
            } else {
                MemoryFamily::KvCache
            },
            adapters: if exports("llama_set_adapters_lora") {
                AdapterFamily::Many
            } else if exports("llama_set_adapter_lora") {
                AdapterFamily::One
            } else {
                AdapterFamily::Lora
            },
        }
    }

    /// Whether a symbol is one that the function table has in some family.
    pub(crate) fn uses(symbol: &str) -> bool {
        let own = || Api::REQUIRED.iter().chain(Api::OPTIONAL).copied();
        let renamed = || RENAMED.iter().flat_map(|(_, old)| old.iter().copied());
        let fixed = || own().chain(renamed()).chain(OF_MODEL.iter().map(|(_, old)| *old));
        let families = [
            Self {
                vocabulary: VocabularyFamily::OfModel,
                memory: MemoryFamily::KvCache,
                adapters: AdapterFamily::Lora,
            },
            Self {
                vocabulary: VocabularyFamily::Own,
                memory: MemoryFamily::KvSelf,
                adapters: AdapterFamily::One,
            },
            Self::NEWEST,
        ];
        fixed().any(|name| name == symbol)
            || families.iter().any(|family| {
                handles::names(*family).any(|name| name == symbol)
                    || own().any(|name| family.symbol(name, |_| false) == symbol)
            })
    }

    /// The symbol under which a library of this family, which exports what `exports` says, has a function.
    pub fn symbol(&self, function: &str, exports: impl Fn(&str) -> bool) -> String {
        if let Some(name) = function.strip_prefix("llama_memory_") {
            return match self.memory {
                MemoryFamily::KvCache => format!("llama_kv_cache_{name}"),
                MemoryFamily::KvSelf => format!("llama_kv_self_{name}"),
                MemoryFamily::Memory => function.to_owned(),
            };
        }
        if self.vocabulary == VocabularyFamily::OfModel {
            if let Some((_, old)) = OF_MODEL.iter().find(|(ours, _)| *ours == function) {
                return (*old).to_owned();
            }
            // `llama_vocab_type` has always been called that.
            if let Some(name) = function.strip_prefix("llama_vocab_").filter(|name| *name != "type") {
                return format!("llama_token_{name}");
            }
        }
        let old = RENAMED.iter().find(|(ours, _)| *ours == function).map_or(&[][..], |(_, old)| old);
        let found = old.iter().find(|name| !exports(function) && exports(name));
        found.map_or_else(|| function.to_owned(), |name| (*name).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn symbol(function: &str, exported: &[&str]) -> String {
        let exports: BTreeSet<_> = exported.iter().copied().collect();
        Family::of(|name| exports.contains(name)).symbol(function, |name| exports.contains(name))
    }

    #[test]
    fn functions_are_asked_for_by_the_names_of_their_family() {
        for (function, exported, name) in [
            ("llama_vocab_bos", &[][..], "llama_token_bos"),
            ("llama_vocab_get_text", &[], "llama_token_get_text"),
            ("llama_vocab_type", &[], "llama_vocab_type"),
            ("llama_tokenize", &[], "llama_tokenize"),
            ("llama_vocab_n_tokens", &[], "llama_n_vocab"),
            ("llama_vocab_bos", &["llama_model_get_vocab"], "llama_vocab_bos"),
            ("llama_vocab_n_tokens", &["llama_model_get_vocab"], "llama_vocab_n_tokens"),
            ("llama_memory_seq_rm", &[], "llama_kv_cache_seq_rm"),
            ("llama_memory_seq_rm", &["llama_memory_clear"], "llama_memory_seq_rm"),
            ("llama_memory_seq_rm", &["llama_memory_clear", "llama_kv_self_clear"], "llama_kv_self_seq_rm"),
            ("llama_model_free", &["llama_free_model"], "llama_free_model"),
            ("llama_model_free", &["llama_free_model", "llama_model_free"], "llama_model_free"),
            ("llama_model_free", &[], "llama_model_free"),
            ("llama_set_adapter_cvec", &["llama_control_vector_apply"], "llama_control_vector_apply"),
        ] {
            assert_eq!(symbol(function, exported), name, "{function} {exported:?}");
        }
    }
}
