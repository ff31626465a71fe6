//! Loading a model in another process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tabagent_llama::{Elsewhere, KvType, Model as LlamaModel, SEQUENCE_SETTINGS};

use super::Isolation;
use super::decoder::DistantDecoder;
use super::host::Host;
use super::message::{Loaded, Work};
use crate::error::Error;
use crate::load::LoadOptions;
use crate::open::{DecoderFacts, NoEngine, Open};

/// How long a decode may take at least before it counts as hung, where servers on other machines take part: a server that is stopped does not close its connection, so nothing else
/// tells that it will not answer.
const SERVER_PATIENCE: Duration = Duration::from_secs(10);

/// Loads a model as [`Model::load`](crate::Model::load) does, but in a child.
pub(crate) fn load(
    path: PathBuf,
    library: &Path,
    module: Option<String>,
    options: &LoadOptions,
    isolation: &Isolation,
    progress: &dyn Fn(f32) -> bool,
) -> Result<Open, Error> {
    let mut host = Host::new(isolation.clone(), path, library, module, options);
    let (process, loaded) = host.start(progress)?;
    host.note(&loaded);
    let Loaded { copy, library, fitted, offload, work } = loaded;
    host.set_library(library);
    let host = Arc::new(host);
    let owner: Arc<dyn Elsewhere> = Arc::<Host>::clone(&host);
    let model = LlamaModel::elsewhere(copy, owner).ok_or_else(|| host.wrong())?;
    let open = match work {
        Work::Tokenize => Open::vocab_only(model),
        Work::Embed { why, longest, batch_size, threads } => {
            Open::embedding(model, NoEngine::Elsewhere(why), longest, batch_size, threads)
        }
        Work::Generate(generate) => {
            let kv_type = |name: &str| name.parse::<KvType>().map_err(Error::from);
            let (keys, values) = &generate.kv_types;
            let facts = DecoderFacts {
                sizes: generate.sizes,
                memory: generate.memory,
                kv_types: (kv_type(keys)?, kv_type(values)?),
                sequence_settings: SEQUENCE_SETTINGS.into_iter().zip(generate.settings.clone()).collect(),
            };
            let decoder = DistantDecoder::new(Arc::clone(&host), &process, model.clone(), generate);
            let decoder = decoder.map_err(|ended| host.crashed(ended))?;
            let gauge = decoder.gauge();
            let config = options.engine_config();
            let mut config = tabagent_runtime::EngineConfig { on_crash: host.on_crash(), ..config };
            if !options.placement.servers().is_empty() {
                config.first_patience = Some(config.patience * 5);
                config.patience = SERVER_PATIENCE;
            }
            Open::generating_by(model, decoder, gauge, facts, &config, options)?
        }
    };
    Ok(open.fitted(fitted).offloaded(offload).hosted(host))
}
