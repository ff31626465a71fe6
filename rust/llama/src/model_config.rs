//! How to load a model.

use crate::context_config::ContextConfig;
use crate::fingerprint::Fingerprint;
use crate::model_error::ModelError;
use crate::outline::ModelOutline;
use crate::placement::Placement;
use crate::preflight::{self, Checked};
use std::path::{Path, PathBuf};
use tabagent_gguf::MetadataOverride;

/// How many layers go to GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GpuLayers {
    /// All of them where there is a GPU.
    #[default]
    Auto,
    /// This many, counted from the last; 0 keeps the model on the CPU.
    Count(u32),
}

/// Called with the loaded part, from 0 to 1; returns whether to go on. Runs on the loading thread.
pub(crate) type ProgressFn = Box<dyn FnMut(f32) -> bool + Send>;

/// How to load a model: its file and what to do with it.
pub struct ModelConfig {
    pub(crate) path: PathBuf,
    pub(crate) gpu_layers: GpuLayers,
    pub(crate) placement: Placement,
    pub(crate) use_mmap: bool,
    pub(crate) mlock: bool,
    pub(crate) vocab_only: bool,
    pub(crate) check_tensors: bool,
    pub(crate) overrides: Vec<(String, MetadataOverride)>,
    pub(crate) progress: Option<ProgressFn>,
    pub(crate) context: ContextConfig,
    pub(crate) plain_weights: bool,
    /// Count memory instead of allocating it.
    pub(crate) dry_run: bool,
    /// The checks of the file, once they were made.
    pub(crate) checked: Option<Checked>,
}

impl ModelConfig {
    /// The default way to load the GGUF file at `path`; of a split model any part will do.
    ///
    /// # Errors
    /// [`ModelError::NotFound`] or [`ModelError::IsDirectory`].
    pub fn new(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        if path.is_dir() {
            return Err(ModelError::IsDirectory(path.to_owned()));
        }
        if !path.exists() {
            return Err(ModelError::NotFound(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            gpu_layers: GpuLayers::Auto,
            placement: Placement::default(),
            use_mmap: true,
            mlock: false,
            vocab_only: false,
            check_tensors: false,
            overrides: Vec::new(),
            progress: None,
            context: ContextConfig::default(),
            plain_weights: false,
            dry_run: false,
            checked: None,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks the file, as the load will not do again, and tells what its header says of the model's size. Overrides must have been set before.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] and the others of a file that is none to load.
    pub fn outline(&mut self) -> Result<ModelOutline, ModelError> {
        if let Some(checked) = &self.checked {
            return Ok(checked.outline);
        }
        let checked = preflight::check(&self.path, &self.overrides)?;
        let outline = checked.outline;
        self.checked = Some(checked);
        Ok(outline)
    }

    /// A digest of the headers of all the model's files, with metadata and tensor tables, and of the files' lengths: all of a file but its weights.
    /// Checks the file first, as [`ModelConfig::outline`] does. Takes some milliseconds for a vocabulary of 262,144 tokens.
    ///
    /// # Errors
    /// As [`ModelConfig::outline`].
    pub fn header_digest(&mut self) -> Result<[u8; 32], ModelError> {
        self.outline()?;
        let Some(checked) = &self.checked else { return Ok([0; 32]) };
        Ok(Fingerprint::of_headers(&checked.paths, &checked.lengths)?.0)
    }

    /// A copy that nobody watches.
    pub(crate) fn without_progress(&self) -> Self {
        Self {
            path: self.path.clone(),
            overrides: self.overrides.clone(),
            placement: self.placement.clone(),
            context: self.context.clone(),
            progress: None,
            checked: None,
            ..*self
        }
    }

    /// Puts this many layers on GPUs.
    #[must_use]
    pub fn with_gpu_layers(mut self, layers: u32) -> Self {
        self.gpu_layers = GpuLayers::Count(layers);
        self
    }

    /// Puts the parts of the model where `placement` says.
    #[must_use]
    pub fn with_placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// Where the parts of the model go.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The context size in tokens of [`Model::create_context`](crate::Model::create_context).
    #[must_use]
    pub fn with_context_size(mut self, tokens: u32) -> Self {
        self.context = self.context.with_context_size(tokens);
        self
    }

    /// All settings of [`Model::create_context`](crate::Model::create_context).
    #[must_use]
    pub fn with_context(mut self, context: ContextConfig) -> Self {
        self.context = context;
        self
    }

    /// Maps the file instead of reading it (the default).
    #[must_use]
    pub fn with_mmap(mut self, use_mmap: bool) -> Self {
        self.use_mmap = use_mmap;
        self
    }

    /// Locks the weights in RAM.
    #[must_use]
    pub fn with_mlock(mut self, mlock: bool) -> Self {
        self.mlock = mlock;
        self
    }

    /// Loads the vocabulary alone: enough to tokenize.
    #[must_use]
    pub fn with_vocab_only(mut self, vocab_only: bool) -> Self {
        self.vocab_only = vocab_only;
        self
    }

    /// Scans all tensors for NaN and infinity while loading; reads the whole file.
    #[must_use]
    pub fn with_check_tensors(mut self, check: bool) -> Self {
        self.check_tensors = check;
        self
    }

    /// Keeps weights as the file has them, in place of packing some of them anew for the processor: quicker to load, slower to compute with.
    #[must_use]
    pub fn with_plain_weights(mut self, plain: bool) -> Self {
        self.plain_weights = plain;
        self
    }

    /// Replaces a metadata value of the file.
    #[must_use]
    pub fn with_override(mut self, key: impl Into<String>, value: MetadataOverride) -> Self {
        self.checked = None;
        self.overrides.push((key.into(), value));
        self
    }

    /// Watches the load, and can stop it.
    #[must_use]
    pub fn with_progress(mut self, progress: impl FnMut(f32) -> bool + Send + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }
}

impl std::fmt::Debug for ModelConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelConfig").field("path", &self.path).finish_non_exhaustive()
    }
}
