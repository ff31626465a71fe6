//! Options of contexts that are made beside the decode thread's.

use tabagent_llama::{ContextConfig, FlashAttention};

use crate::error::Error;
use crate::value::{COUNT, Fields, Value};

/// Reads the options of a context by their names; `threads` is the number of threads where the options have none.
///
/// # Errors
/// [`OptionError`] names the option that is unknown or has a wrong type; [`Error::Context`] for an unknown `kv_type`.
pub(crate) fn context_config(options: Value, threads: u32) -> Result<ContextConfig, Error> {
    const FLASH_ATTENTION: [(&str, FlashAttention); 3] =
        [("auto", FlashAttention::Auto), ("on", FlashAttention::On), ("off", FlashAttention::Off)];
    let mut given = Fields::new(options, "options")?;
    let default = ContextConfig::default();
    let config = ContextConfig {
        context_size: given.integer("context_size", COUNT)?,
        batch_size: given.integer("batch_size", COUNT)?,
        micro_batch_size: given.integer("micro_batch_size", COUNT)?,
        max_sequences: given.integer("max_sequences", COUNT)?.unwrap_or(default.max_sequences),
        threads: given.integer("threads", COUNT)?.or(Some(threads).filter(|count| *count > 0)),
        prompt_threads: given.integer("prompt_threads", COUNT)?,
        kv_type: given.text("kv_type")?.map_or(Ok(default.kv_type), |name| name.parse())?,
        flash_attention: given.named("flash_attention", &FLASH_ATTENTION)?.unwrap_or_default(),
        full_sliding_window: given.flag("full_sliding_window")?.unwrap_or_default(),
        ..default
    };
    given.finish()?;
    Ok(config)
}
