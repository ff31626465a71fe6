//! How much memory a context may take.
//!
//! llama.cpp allocates the KV cache at once and touches all of it. Linux promises memory that it does not have, so a cache that is
//! too large does not fail: the system kills the process.

use crate::context_config::{KvType, Resolved};
use crate::model_facts::ModelFacts;
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of memory that can still be used, by `MemAvailable` and the cgroup's limit; `None` where the system does not tell.
pub(crate) fn available_memory() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let available = parse_meminfo(&meminfo)?;
    let read = |name: &str| {
        let text = std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let in_group = match (read("memory.max"), read("memory.current")) {
        (Some(max), Some(current)) => Some(max.saturating_sub(current)),
        _ => None,
    };
    Some(available.min(in_group.unwrap_or(u64::MAX)))
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes that llama.cpp keeps about each cell: position, shift and a bit for each of 256 sequences (src/llama-kv-cells.h).
const CELL_BYTES: u64 = 40;

/// Bytes that the KV cache of a context takes, estimated low so that what fits is not refused.
///
/// Layers with a sliding window keep only the window. How many there are depends on the architecture; one layer in six, as in Gemma 3, is
/// assumed to keep the whole context.
pub(crate) fn kv_bytes(
    facts: &ModelFacts,
    metadata: &BTreeMap<String, String>,
    resolved: &Resolved,
    kv_type: KvType,
    full_window: bool,
) -> u64 {
    if facts.recurrent || facts.hybrid || facts.heads == 0 {
        return 0;
    }
    let head = |key: &str| -> u64 {
        let key = format!("{}.attention.{key}", facts.architecture);
        let stated = metadata.get(&key).and_then(|v| v.parse::<u64>().ok());
        stated.unwrap_or(u64::from(facts.embedding_dim / facts.heads))
    };
    let compressed = metadata.contains_key(&format!("{}.attention.kv_lora_rank", facts.architecture));
    if compressed {
        return 0;
    }
    let layers = u64::from(facts.layers);
    let layers = if facts.sliding_window > 0 && !full_window { layers.div_ceil(6) } else { layers };
    let values_per_token =
        u64::from(facts.kv_heads).saturating_mul(head("key_length").saturating_add(head("value_length")));
    let values = values_per_token.saturating_mul(layers).saturating_mul(u64::from(resolved.n_ctx));
    let cells = CELL_BYTES.saturating_mul(u64::from(resolved.n_ctx));
    (values / 32).saturating_mul(kv_type.bytes_of_32()).saturating_add(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> ModelFacts {
        ModelFacts {
            description: String::new(),
            architecture: "llama".to_owned(),
            name: None,
            quantization: String::new(),
            parameters: 0,
            size: 0,
            context_train_size: 2048,
            embedding_dim: 576,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            sliding_window: 0,
            has_encoder: false,
            has_decoder: true,
            recurrent: false,
            hybrid: false,
            layers_on_gpu: 0,
        }
    }

    #[test]
    fn smollm2_takes_what_llama_cpp_reports() {
        let resolved = Resolved {
            n_ctx: 2048,
            n_batch: 1,
            n_ubatch: 1,
            n_seq_max: 1,
            n_outputs_max: 1,
            n_threads: 1,
            n_threads_batch: 1,
        };
        // llama.cpp says "45.00 MiB" for 2,048 cells in F16.
        let cells = 2048 * CELL_BYTES;
        assert_eq!(kv_bytes(&facts(), &BTreeMap::new(), &resolved, KvType::F16, false), (45 << 20) + cells);
        let metadata = BTreeMap::from([("llama.attention.key_length".to_owned(), "128".to_owned())]);
        assert_eq!(kv_bytes(&facts(), &metadata, &resolved, KvType::F32, false), ((3 * 45) << 20) + cells);
        let hybrid = ModelFacts { hybrid: true, ..facts() };
        assert_eq!(kv_bytes(&hybrid, &BTreeMap::new(), &resolved, KvType::F16, false), 0);
    }

    #[test]
    fn meminfo_is_in_kib() {
        assert_eq!(parse_meminfo("MemTotal: 9 kB\nMemAvailable:   1024 kB\n"), Some(1 << 20));
        assert_eq!(parse_meminfo("MemTotal: 9 kB\n"), None);
    }
}
