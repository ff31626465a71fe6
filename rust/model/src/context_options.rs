//! Options of contexts that are made beside the decode thread's.

use tabagent_llama::ContextConfig;

use crate::cache_options::CacheOptions;
use crate::error::Error;
use crate::value::{COUNT, Fields, Value};

/// The range of sizes in memory, in words.
const SIZE: &str = "a number of bytes";

/// Reads the options of a context by their names; `threads` is the number of threads where the options have none.
///
/// # Errors
/// [`OptionError`](crate::OptionError) names the option that is unknown or has a wrong type; [`Error::Context`] for an unknown `kv_type`.
pub(crate) fn context_config(options: Value, threads: u32) -> Result<ContextConfig, Error> {
    let mut given = Fields::new(options, "options")?;
    let default = ContextConfig::default();
    let config = ContextConfig {
        context_size: given.integer("context_size", COUNT)?,
        batch_size: given.integer("batch_size", COUNT)?,
        micro_batch_size: given.integer("micro_batch_size", COUNT)?,
        max_sequences: given.integer("max_sequences", COUNT)?.unwrap_or(default.max_sequences),
        threads: given.integer("threads", COUNT)?.or(Some(threads).filter(|count| *count > 0)),
        prompt_threads: given.integer("prompt_threads", COUNT)?,
        captures: given.texts("captures")?.unwrap_or_default(),
        capture_limit: given.integer("capture_limit", SIZE)?.unwrap_or(default.capture_limit),
        ..default
    };
    let config = CacheOptions::read(&mut given)?.set(&config);
    given.finish()?;
    Ok(config)
}
