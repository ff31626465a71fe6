//! Quantizes a model: `quantize IN OUT TYPE [THREADS]`.

use std::error::Error;
use std::path::PathBuf;

use tabagent_gguf::{QuantizeOptions, Target, no_progress, quantize_file};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let mut path = || arguments.next().map(PathBuf::from).ok_or("give `IN OUT TYPE [THREADS]`");
    let (source, out) = (path()?, path()?);
    let mut texts = arguments.map(|text| text.to_string_lossy().into_owned());
    let target: Target = texts.next().ok_or("give a type, such as `Q4_K_M`")?.parse()?;
    let threads = texts.next().map(|text| text.parse()).transpose()?;
    let options = QuantizeOptions::new(target).with_threads(threads).with_requantizing(true);
    quantize_file(&source, &out, &options, &no_progress)?;
    Ok(())
}
