//! Adapters of the `peft` library: `adapter_model.safetensors` beside `adapter_config.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::convert::checkpoint::{Kind, SourceTensor, open_file};
use crate::ggml_type::GgmlType;
use crate::text::shown;

use super::adapter::Adapter;
use super::base::{Names, Place};
use super::error::LoraError;
use super::factor::Factor;
use super::low_rank::LowRank;
use super::peft_config::PeftConfig;

const WEIGHTS: &str = "adapter_model.safetensors";

/// The role of an adapter's tensor in its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Role {
    /// 0 for `A`, 1 for `B`.
    factor: usize,
    /// True for a table of embeddings, whose matrices are stored the other way round.
    is_embedding: bool,
}

const ROLES: [(&str, Role); 4] = [
    (".lora_A", Role { factor: 0, is_embedding: false }),
    (".lora_B", Role { factor: 1, is_embedding: false }),
    (".lora_embedding_A", Role { factor: 0, is_embedding: true }),
    (".lora_embedding_B", Role { factor: 1, is_embedding: true }),
];

/// The two matrices of a module, by role.
#[derive(Default)]
struct Pair {
    is_embedding: bool,
    factors: [Option<(String, SourceTensor)>; 2],
}

/// Opens the adapter in the folder or file at `path`, with `names` of the model that it is for.
pub(super) fn open(path: &Path, names: &Names) -> Result<Adapter, LoraError> {
    let (folder, weights) = locate(path)?;
    let config = PeftConfig::read(&folder)?;
    let fail = |problem: String| LoraError::adapter(&weights, problem);
    let mut adapter = Adapter::new(path);
    adapter.alpha = Some(config.alpha());
    let mut modules: BTreeMap<String, Pair> = BTreeMap::new();
    for (name, tensor) in open_file(&weights)? {
        match role(&name) {
            Some((module, role)) => {
                let pair = modules.entry(module.to_owned()).or_default();
                pair.is_embedding |= role.is_embedding;
                if pair.factors[role.factor].replace((name.clone(), tensor)).is_some() {
                    return Err(fail(format!("tensor `{}` is there twice", shown(name.as_bytes()))));
                }
            }
            None if name.contains(".base_layer.") => {}
            // llama.cpp and its converter ignore these, too.
            None if name.contains("_layernorm") || name.contains(".norm") => adapter.ignored.push(name),
            None => return Err(fail(unexpected(&name))),
        }
    }
    if modules.is_empty() {
        return Err(fail("it has no tensors that change any".to_owned()));
    }
    for (module, pair) in modules {
        let Some(place) = names.find(&module) else {
            let (module, of) = (shown(module.as_bytes()), names.architecture.name);
            return Err(fail(format!(
                "module `{module}` has no place in a model of architecture `{of}` with so many blocks"
            )));
        };
        let Place::Tensor { name, permuted_heads } = place else {
            adapter.ignored.push(module);
            continue;
        };
        let (left, right) = factors(&module, pair).map_err(fail)?;
        let mut change = LowRank { left, right, strength: 1.0, permuted_heads };
        if let Some(problem) = change.problem() {
            return Err(fail(problem));
        }
        change.strength = config.strength(&module, change.rank())?;
        if adapter.changes.insert(name.clone(), change).is_some() {
            return Err(fail(format!(
                "module `{}` changes `{name}`, which another module changes, too",
                shown(module.as_bytes())
            )));
        }
    }
    Ok(adapter)
}

/// The folder and the file of the weights, given either.
fn locate(path: &Path) -> Result<(PathBuf, PathBuf), LoraError> {
    let (folder, weights) = if path.is_dir() {
        (path.to_owned(), path.join(WEIGHTS))
    } else {
        (path.parent().map(Path::to_owned).unwrap_or_default(), path.to_owned())
    };
    if weights.is_file() {
        return Ok((folder, weights));
    }
    let problem = format!(
        "there is no `{WEIGHTS}`; other formats execute code and are not read, save the adapter with `safe_serialization=True`"
    );
    Err(LoraError::adapter(path, problem))
}

/// The module and the role of the tensor called `name`.
fn role(name: &str) -> Option<(&str, Role)> {
    let name = name.strip_prefix("base_model.model.").unwrap_or(name);
    ROLES.iter().find_map(|(mark, role)| {
        let (module, rest) = name.rsplit_once(mark)?;
        // Some tools leave the adapter's name in.
        let is_end = matches!(rest, ".weight" | ".default.weight")
            || (role.is_embedding && matches!(rest, "" | ".default"));
        (is_end && !module.is_empty()).then_some((module, *role))
    })
}

fn unexpected(name: &str) -> String {
    let is_dora = name.contains("lora_magnitude_vector");
    let why = if is_dora {
        "is of DoRA, which scales every row anew and cannot be merged"
    } else {
        "is no factor of a low-rank change; whole tensors, biases and new tokens are not merged"
    };
    format!("tensor `{}` {why}; merge it with the `peft` library", shown(name.as_bytes()))
}

/// The matrices of `module` as the product has them: the one with the tensor's rows, then the one with its columns.
fn factors(module: &str, pair: Pair) -> Result<(Factor, Factor), String> {
    let [Some(a), Some(b)] = pair.factors else {
        let missing = if pair.factors[0].is_none() { "A" } else { "B" };
        return Err(format!("matrix `{missing}` of module `{}` is missing", shown(module.as_bytes())));
    };
    let factor = |(name, tensor): (String, SourceTensor)| {
        let kind = match tensor.kind {
            Kind::F32 => GgmlType::F32,
            Kind::F16 => GgmlType::F16,
            Kind::Bf16 => GgmlType::BF16,
            Kind::U8 => {
                let name = shown(name.as_bytes());
                return Err(format!("tensor `{name}` has type `U8`; save the adapter as `F16` or `F32`"));
            }
        };
        let dims: Vec<u64> = tensor.shape.iter().rev().map(|&size| size as u64).collect();
        Factor::new(&shown(name.as_bytes()), kind, &dims, tensor.bytes)
    };
    let (a, b) = (factor(a)?, factor(b)?);
    Ok(if pair.is_embedding { (a.transposed(), b.transposed()) } else { (b, a) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_roles_are_read_from_names() {
        let found =
            |name: &str| role(name).map(|(module, role)| (module.to_owned(), role.factor, role.is_embedding));
        let q = "model.layers.0.self_attn.q_proj".to_owned();
        assert_eq!(
            found("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"),
            Some((q.clone(), 0, false))
        );
        assert_eq!(found("model.layers.0.self_attn.q_proj.lora_B.default.weight"), Some((q, 1, false)));
        assert_eq!(
            found("base_model.model.model.embed_tokens.lora_embedding_A"),
            Some(("model.embed_tokens".into(), 0, true))
        );
        for other in [
            "base_model.model.lm_head.weight",
            "base_model.model.x.lora_A.bias",
            "base_model.model.x.lora_magnitude_vector",
            "base_model.model..lora_A",
            ".lora_A.weight",
            "",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
