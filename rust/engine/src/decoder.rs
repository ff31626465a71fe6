//! The engine as the runtime drives it.

use std::sync::Arc;

use tabagent_kernels::RopeOptions;
use tabagent_runtime::{BatchToken, Decoder, DecoderError, Group, Stop, Vocabulary};

use crate::blueprint::Blueprint;
use crate::device::{Device, DeviceError};
use crate::error::LoadError;
use crate::forward::{Buffers, Interrupted, Row, Step, heads};
use crate::loaded_model::LoadedModel;
use crate::lora::LoraMix;
use crate::memory::{Full, Memory};
use crate::options::DecoderOptions;
use crate::saved_cells::{self, SavedCells};
use crate::shift;

/// A model with a memory of sequences: a [`Decoder`] over the engine's own computation.
///
/// ```no_run
/// use std::path::Path;
/// use std::sync::Arc;
/// use tabagent_engine::{Cpu, DecoderOptions, EngineDecoder, LoadedModel};
/// use tabagent_runtime::{Engine, EngineConfig, Vocabulary};
///
/// # fn run(vocabulary: Arc<dyn Vocabulary>) -> Result<(), Box<dyn std::error::Error>> {
/// let cpu = Cpu::new(2)?;
/// let model = LoadedModel::open(Path::new("model.gguf"), &cpu, &|_, _| true)?;
/// let decoder = EngineDecoder::new(Arc::new(model), cpu, vocabulary, DecoderOptions::new(4096))?;
/// let engine = Engine::spawn(decoder, "model", &EngineConfig::default())?;
/// # let _ = engine;
/// # Ok(())
/// # }
/// ```
pub struct EngineDecoder<D: Device> {
    model: Arc<LoadedModel<D>>,
    device: D,
    vocabulary: Arc<dyn Vocabulary>,
    options: DecoderOptions,
    ropes: Vec<D::Rope>,
    /// The rotations without the factor of `YaRN`, which keys have already.
    turning_ropes: Vec<D::Rope>,
    memory: Memory<D::Page>,
    /// The adapters of the group that is decoded.
    adapters: Option<LoraMix<D>>,
    buffers: Buffers<D::Buffer>,
    /// Rows of logits of the last batch.
    logits: Vec<f32>,
    /// Which of them each token of that batch has.
    output_of: Vec<Option<usize>>,
}

/// Sequences, and how many tokens each gets.
type Additions = Vec<(u32, usize)>;

impl<D: Device> EngineDecoder<D> {
    /// A decoder of `model` with an empty memory, which computes on `device`.
    ///
    /// # Errors
    /// [`LoadError::Option`] for an option out of range, [`LoadError::System`] if `vocabulary` has another number of tokens than the model or the
    /// device refuses a rotation.
    pub fn new(
        model: Arc<LoadedModel<D>>,
        device: D,
        vocabulary: Arc<dyn Vocabulary>,
        options: DecoderOptions,
    ) -> Result<Self, LoadError> {
        options.check(model.blueprint())?;
        if vocabulary.n_tokens() != model.n_vocab() {
            let (given, known) = (vocabulary.n_tokens(), model.n_vocab());
            let text =
                format!("the vocabulary has {given} tokens, but the model {known}; give the model's own");
            return Err(LoadError::System(text));
        }
        let Blueprint { ropes, .. } = model.blueprint();
        let place = |options: &RopeOptions| {
            device.place_rope(options).map_err(|DeviceError(text)| LoadError::System(text))
        };
        let used: Vec<RopeOptions> =
            ropes.iter().map(|rope| model.rope_options(rope, options.n_ctx)).collect();
        let ropes = used.iter().map(place).collect::<Result<_, _>>()?;
        let turning_ropes =
            used.iter().map(|options| place(&shift::turning(options))).collect::<Result<_, _>>()?;
        let memory = Memory::new(options.n_cells, options.n_seq_max, D::PAGE);
        Ok(Self {
            model,
            device,
            vocabulary,
            options,
            ropes,
            turning_ropes,
            memory,
            adapters: None,
            buffers: Buffers::default(),
            logits: Vec::new(),
            output_of: Vec::new(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<LoadedModel<D>> {
        &self.model
    }

    /// Bytes that the memory of sequences takes when all of it is in use.
    pub fn memory_bytes(&self) -> usize {
        let leaf = Self::new_leaf(&self.model, &self.device);
        self.memory.n_pages() * leaf.iter().map(D::page_bytes).sum::<usize>()
    }

    /// Checks a batch, and returns its rows and how many each sequence gets, in the order of their first rows.
    fn rows(&self, batch: &[BatchToken]) -> Result<(Vec<Row>, Additions), DecoderError> {
        let n_outputs = batch.iter().filter(|row| row.logits).count();
        if batch.is_empty() || batch.len() > self.options.n_batch || n_outputs > self.options.n_outputs_max {
            let text = format!("a batch of {} tokens with {n_outputs} outputs is out of range", batch.len());
            return Err(DecoderError::Failed(text));
        }
        let mut more = Additions::new();
        let mut rows = Vec::with_capacity(batch.len());
        for &BatchToken { seq, pos, token, .. } in batch {
            let Some(token) = usize::try_from(token).ok().filter(|token| *token < self.model.n_vocab())
            else {
                return Err(DecoderError::Failed(format!("there is no token {token}")));
            };
            if self.memory.get(seq).is_none() {
                return Err(DecoderError::Failed(format!("there is no sequence {seq}")));
            }
            let index = more.iter().position(|(known, _)| *known == seq).unwrap_or_else(|| {
                more.push((seq, 0));
                more.len() - 1
            });
            let next = self.memory.n_tokens(seq) + more[index].1;
            if pos != next {
                let text = format!("position {pos} of sequence {seq} comes after {next} tokens");
                return Err(DecoderError::Failed(text));
            }
            if pos >= self.options.n_ctx {
                return Err(DecoderError::NoSpace);
            }
            more[index].1 += 1;
            rows.push(Row { seq, pos, token });
        }
        Ok((rows, more))
    }

    /// A page of each layer.
    fn new_leaf(model: &LoadedModel<D>, device: &D) -> Vec<D::Page> {
        model.blueprint().layers.iter().map(|layer| device.page(&heads(&layer.attention))).collect()
    }
}

impl<D: Device> Decoder for EngineDecoder<D> {
    type Saved = SavedCells<D>;

    fn n_ctx(&self) -> usize {
        self.options.n_ctx
    }

    fn n_cells(&self) -> usize {
        self.options.n_cells
    }

    fn n_batch(&self) -> usize {
        self.options.n_batch
    }

    fn n_outputs_max(&self) -> usize {
        self.options.n_outputs_max
    }

    fn n_seq_max(&self) -> usize {
        self.options.n_seq_max
    }

    fn vocabulary(&self) -> Arc<dyn Vocabulary> {
        Arc::clone(&self.vocabulary)
    }

    fn enter(&mut self, group: &Group) -> Result<(), DecoderError> {
        self.adapters = None;
        if group.is_default() {
            return Ok(());
        }
        match group.content::<LoraMix<D>>() {
            Some(mix) if mix.is_for(&self.model) => self.adapters = Some(mix.clone()),
            Some(_) => {
                return Err(DecoderError::Failed("an adapter was loaded for another model".to_owned()));
            }
            None => {
                return Err(DecoderError::Failed(
                    "this engine decodes with adapters of its own alone".to_owned(),
                ));
            }
        }
        Ok(())
    }

    fn decode(&mut self, batch: &[BatchToken], stop: Stop<'_>) -> Result<(), DecoderError> {
        self.logits.clear();
        self.output_of.clear();
        let (rows, more) = self.rows(batch)?;
        let (model, device) = (&*self.model, &mut self.device);
        self.memory.reserve(&more, || Self::new_leaf(model, device)).map_err(|Full| DecoderError::NoSpace)?;
        let wanted = batch.iter().enumerate().filter(|(_, row)| row.logits);
        let outputs: Vec<usize> = wanted.map(|(index, _)| index).collect();
        let memory = &mut self.memory;
        let ropes = &self.ropes;
        let adapters = self.adapters.as_ref();
        let mut step = Step { model, device, ropes, memory, adapters, rows: &rows, outputs: &outputs, stop };
        if let Err(interrupted) = step.run(&mut self.buffers) {
            // The tokens were not counted in yet.
            for (seq, _) in more {
                self.memory.truncate(seq, self.memory.n_tokens(seq));
            }
            return Err(match interrupted {
                Interrupted::Stopped => DecoderError::Aborted,
                Interrupted::Failed(DeviceError(text)) => DecoderError::Failed(text),
            });
        }
        for (seq, n) in more {
            self.memory.grow(seq, n);
        }
        if !outputs.is_empty() {
            self.device.download(&self.buffers.logits, &mut self.logits);
        }
        let mut next = 0;
        self.output_of.extend(batch.iter().map(|row| {
            row.logits.then(|| {
                next += 1;
                next - 1
            })
        }));
        Ok(())
    }

    fn logits(&self, index: usize) -> &[f32] {
        let n_vocab = self.model.n_vocab();
        let row = self.output_of.get(index).copied().flatten();
        row.and_then(|row| self.logits.get(row * n_vocab..)?.get(..n_vocab)).unwrap_or_default()
    }

    fn can_cut(&self, seq: u32, n: usize) -> bool {
        self.memory.get(seq).is_some_and(|sequence| n <= sequence.n_tokens)
    }

    fn truncate(&mut self, seq: u32, from_pos: usize) -> bool {
        self.memory.truncate(seq, from_pos);
        true
    }

    fn can_shift(&self) -> bool {
        self.model.blueprint().can_shift()
    }

    fn shift(&mut self, seq: u32, keep: usize, n: usize) -> bool {
        if !self.can_shift() {
            return false;
        }
        let moved =
            shift::moved(&self.model, &mut self.device, &self.turning_ropes, &self.memory, seq, keep, n);
        moved.is_some_and(|moved| self.memory.replace(seq, moved))
    }

    fn copy(&mut self, from: u32, to: u32, n: usize) -> bool {
        match self.memory.beginning(from, n) {
            Some(beginning) => self.memory.replace(to, beginning),
            None => false,
        }
    }

    fn clear(&mut self, seq: u32) {
        self.memory.truncate(seq, 0);
    }

    fn save(&mut self, seq: u32) -> Result<SavedCells<D>, DecoderError> {
        match self.memory.get(seq) {
            Some(sequence) => Ok(SavedCells::new(&self.model, sequence.clone())),
            None => Err(DecoderError::Failed(format!("there is no sequence {seq}"))),
        }
    }

    fn saved_bytes(state: &SavedCells<D>) -> usize {
        state.n_bytes()
    }

    fn export(&self, state: &SavedCells<D>, n_tokens: usize) -> Option<Vec<u8>> {
        saved_cells::export(&self.device, state, self.options.n_ctx, n_tokens)
    }

    fn import(&self, bytes: &[u8], n_tokens: usize) -> Option<SavedCells<D>> {
        if n_tokens > self.options.n_ctx {
            return None;
        }
        let new = || Self::new_leaf(&self.model, &self.device);
        saved_cells::import(&self.model, &self.device, bytes, self.options.n_ctx, n_tokens, new)
    }

    fn restore(&mut self, seq: u32, state: &SavedCells<D>) -> Result<(), DecoderError> {
        let Some(sequence) = state.sequence_for(&self.model) else {
            return Err(DecoderError::Failed("the state is one of another model".to_owned()));
        };
        if self.memory.get(seq).is_none() {
            return Err(DecoderError::Failed(format!("there is no sequence {seq}")));
        }
        if self.memory.replace(seq, sequence) { Ok(()) } else { Err(DecoderError::NoSpace) }
    }
}

impl<D: Device> std::fmt::Debug for EngineDecoder<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineDecoder").field("options", &self.options).finish_non_exhaustive()
    }
}
