//! What every tensor becomes, decided before anything is written.

use std::collections::HashMap;
use std::fmt;

use crate::check::{Rules, check_parts, check_source};
use crate::file_type::FileType;
use crate::ggml_type::GgmlType;
use crate::model::{GgufModel, ModelTensor};
use crate::quants;
use crate::tensor::{Shape, TensorInfo};

use super::error::QuantizeError;
use super::exempt::{Exemption, exemption};
use super::facts::{Facts, PROJECTOR};
use super::fallback::fitting;
use super::mixture::{Mixture, Seen};
use super::new_value::stored;
use super::options::{QuantizeOptions, Target};
use super::order::{Renumbering, by_layer};
use super::role::Role;

/// A bit of `general.file_type`: the type was guessed from the tensors (`LLAMA_FTYPE_GUESSED` in `include/llama.h`).
const GUESSED: u32 = 1024;

/// Every tensor of the result, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The tensors: by layer and name, or with `keeps_split` in the order of the parts.
    pub tensors: Vec<PlannedTensor>,
    /// The result's `general.file_type`.
    pub file_type: u32,
    /// The number of layers to be stored, if layers are left out.
    pub n_layers: Option<u32>,
}

/// What becomes of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedTensor {
    /// The name in the result; differs from `source_name` only if layers are left out.
    pub name: String,
    /// The name in the model, by which importances are looked up, too.
    pub source_name: String,
    /// The part of the model that holds it, from 0.
    pub part: usize,
    /// The dimensions.
    pub shape: Shape,
    /// The type before.
    pub from: GgmlType,
    /// The type after.
    pub to: GgmlType,
    /// Why that type.
    pub reason: Reason,
    /// Bytes before.
    pub bytes_before: u64,
    /// Bytes after.
    pub bytes_after: u64,
}

/// Why a tensor gets its type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Only a copy was asked for.
    Copy,
    /// It is never quantized.
    Exempt(Exemption),
    /// It is the output matrix, which was to be left as it is.
    OutputLeft,
    /// The type was asked for the output matrix.
    OutputType,
    /// The type was asked for the token embeddings.
    EmbeddingType,
    /// The rule with this pattern applies.
    Rule(String),
    /// The file type's default.
    Default,
    /// The file type's mixture has another type for this role at this place.
    Mixture(Role),
    /// Its rows cannot be cut into blocks of the type that it should get.
    Fallback(GgmlType),
    /// It was chosen tensor by tensor.
    Chosen,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy => f.write_str("copied"),
            Self::Exempt(Exemption::Vector) => f.write_str("kept: one dimension"),
            Self::Exempt(Exemption::NotAWeight) => f.write_str("kept: no weight"),
            Self::Exempt(Exemption::Named(part)) => write!(f, "kept: `{part}`"),
            Self::OutputLeft => f.write_str("kept: output"),
            Self::OutputType => f.write_str("output type"),
            Self::EmbeddingType => f.write_str("token embedding type"),
            Self::Rule(pattern) => write!(f, "rule `{pattern}`"),
            Self::Default => f.write_str("default"),
            Self::Mixture(role) => write!(f, "mixture: {role}"),
            Self::Fallback(wanted) => {
                write!(f, "rows do not fit {wanted}'s blocks of {}", wanted.block_size())
            }
            Self::Chosen => f.write_str("measured"),
        }
    }
}

impl Plan {
    /// Bytes of all tensors before.
    pub fn bytes_before(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes_before).sum()
    }

    /// Bytes of all tensors after.
    pub fn bytes_after(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes_after).sum()
    }

    /// Numbers in all tensors.
    pub fn n_weights(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.shape.n_elements()).sum()
    }

    /// Refuses requantizing that `options` do not allow, and types whose importances are missing; llama.cpp's quantizer does so when it comes to the
    /// tensor.
    ///
    /// # Errors
    /// [`QuantizeError::Requantized`] and [`QuantizeError::ImatrixMissing`].
    pub fn check(&self, options: &QuantizeOptions) -> Result<(), QuantizeError> {
        let mut quantized = self.tensors.iter().filter(|tensor| tensor.is_quantized());
        let shown = |tensor: &PlannedTensor| crate::text::shown(tensor.source_name.as_bytes());
        if let (false, Some(tensor)) =
            (options.allows_requantizing, quantized.clone().find(|tensor| tensor.loses_twice()))
        {
            return Err(QuantizeError::Requantized { tensor: shown(tensor), from: tensor.from });
        }
        let has_any = |tensor: &PlannedTensor| {
            options.imatrix.as_ref().is_some_and(|known| known.importances(&tensor.source_name).is_some())
        };
        match quantized.find(|tensor| tensor.needs_importances(self.file_type) && !has_any(tensor)) {
            Some(tensor) => Err(QuantizeError::ImatrixMissing { tensor: shown(tensor), to: tensor.to }),
            None => Ok(()),
        }
    }
}

impl PlannedTensor {
    /// True if the tensor changes its type.
    pub fn is_quantized(&self) -> bool {
        self.from != self.to
    }

    /// True if a quantized tensor is quantized again. `I2_S` is only packed anew, exactly.
    fn loses_twice(&self) -> bool {
        !self.from.is_float() && self.from != GgmlType::I2_S
    }

    /// True if the type gives garbage without importances (`tensor_requires_imatrix` in `src/llama-quant.cpp`).
    fn needs_importances(&self, file_type: u32) -> bool {
        if matches!(Role::of(&self.name), Role::Output | Role::TokenEmbedding) {
            // Some encoders do not work at all without importances.
            return quants::needs_imatrix(self.to);
        }
        match self.to {
            GgmlType::IQ3_XXS
            | GgmlType::IQ2_XXS
            | GgmlType::IQ2_XS
            | GgmlType::IQ2_S
            | GgmlType::IQ1_M
            | GgmlType::IQ1_S => true,
            GgmlType::Q2_K => file_type == FileType::Q2_K_S.id(),
            _ => false,
        }
    }
}

/// Decides the type of every tensor of `model` as llama.cpp's quantizer does (`src/llama-quant.cpp`), and checks that it can be made.
///
/// Reads no weights. Missing permissions and missing importances are not refused here, so that the plan can be looked at: [`Plan::check`] refuses
/// them.
///
/// # Errors
/// [`QuantizeError::Gguf`] for a model that llama.cpp could not load; [`QuantizeError::NotWeights`], [`QuantizeError::ForkType`],
/// [`QuantizeError::PartialBlock`], [`QuantizeError::UnknownTensorType`], [`QuantizeError::NoLayer`], [`QuantizeError::Prune`],
/// [`QuantizeError::Rule`] and [`QuantizeError::ChosenTypes`] where there is no way to do what is asked.
pub fn plan(model: &GgufModel, options: &QuantizeOptions) -> Result<Plan, QuantizeError> {
    for (key, value) in &options.overrides {
        stored(key, value)?;
    }
    let first = model.first();
    let rules = Rules::with_overrides(first, &options.overrides);
    if rules.architecture != PROJECTOR {
        check_source(first, &options.overrides)?;
    }
    check_parts(model.parts())?;
    let facts = Facts::read(&rules)?;
    let (tensors, n_layers) = ordered(model, options)?;
    let mut chooser = Chooser::new(&facts, options, &tensors)?;
    let planned: Result<Vec<_>, _> =
        tensors.into_iter().enumerate().map(|(index, tensor)| chooser.plan(index, tensor)).collect();
    let tensors = planned?;
    let file_type = match &options.target {
        Target::FileType(kind) => kind.id(),
        Target::Copy => match rules.u32("general.file_type")? {
            Some(id) => id,
            None => most_common(by_name(model).map(|info| info.ggml_type)) | GUESSED,
        },
        Target::Chosen(_) => most_common(tensors.iter().map(|tensor| tensor.to)),
    };
    Ok(Plan { tensors, file_type, n_layers })
}

/// A tensor of the model and the name that it will have.
struct Named<'a> {
    name: String,
    part: usize,
    tensor: ModelTensor<'a>,
}

/// The tensors that stay, in the result's order, and the number of layers if some do not.
fn ordered<'a>(
    model: &'a GgufModel,
    options: &QuantizeOptions,
) -> Result<(Vec<Named<'a>>, Option<u32>), QuantizeError> {
    let parts = model.parts().iter().enumerate();
    let mut all: Vec<(usize, ModelTensor<'a>)> = parts
        .flat_map(|(part, file)| file.tensors().iter().map(move |info| (part, ModelTensor { file, info })))
        .collect();
    all.sort_by(|(_, a), (_, b)| by_layer(&a.info.name, &b.info.name));
    let mut pruned = options.pruned_layers.clone();
    pruned.sort_unstable();
    let mut numbers = Renumbering::new(&pruned);
    let mut kept: Vec<Named<'a>> = all
        .into_iter()
        .filter_map(|(part, tensor)| {
            numbers.rename(&tensor.info.name).map(|name| Named { name, part, tensor })
        })
        .collect();
    if let Some(layer) = numbers.unseen() {
        let problem = "the model has no tensors of that layer".to_owned();
        return Err(QuantizeError::Prune { layer, problem });
    }
    let n_layers = pruned.first().map(|_| numbers.n_layers());
    if let (Some(0), Some(&layer)) = (n_layers, pruned.first()) {
        return Err(QuantizeError::Prune { layer, problem: "no layer would stay".to_owned() });
    }
    if options.keeps_split {
        kept.sort_by_key(|named| (named.part, named.tensor.info.offset));
    }
    Ok((kept, n_layers))
}

/// Chooses types tensor by tensor, in order.
struct Chooser<'a> {
    options: &'a QuantizeOptions,
    architecture: &'a str,
    mixture: Option<Mixture<'a>>,
}

impl<'a> Chooser<'a> {
    fn new(
        facts: &'a Facts,
        options: &'a QuantizeOptions,
        tensors: &[Named<'_>],
    ) -> Result<Self, QuantizeError> {
        if let Target::Chosen(types) = &options.target
            && types.len() != tensors.len()
        {
            return Err(QuantizeError::ChosenTypes { expected: tensors.len(), found: types.len() });
        }
        let mixture = match options.target {
            Target::FileType(file_type) => Some(Mixture {
                facts,
                file_type,
                output_type: options.output_type,
                embedding_type: options.embedding_type,
                has_imatrix: options.imatrix.is_some(),
                is_tied: !tensors.iter().any(|named| Role::of(&named.name) == Role::Output),
                n_values: tensors.iter().filter(|named| Role::of(&named.name).holds_values()).count(),
                seen: Seen::default(),
            }),
            _ => None,
        };
        Ok(Self { options, architecture: &facts.architecture, mixture })
    }

    fn plan(&mut self, index: usize, named: Named<'_>) -> Result<PlannedTensor, QuantizeError> {
        let info = named.tensor.info;
        let (to, reason) = self.choose(index, &named)?;
        let from = info.ggml_type;
        if from != to {
            check_pair(&named.name, info.shape.row_len(), from, to)?;
        }
        let bytes_after = if from == to { Some(info.n_bytes) } else { to.n_bytes(info.shape.n_elements()) };
        let Some(bytes_after) = bytes_after else {
            return Err(partial(&named.name, info.shape.row_len(), to));
        };
        Ok(PlannedTensor {
            name: named.name,
            source_name: info.name.clone(),
            part: named.part,
            shape: info.shape,
            from,
            to,
            reason,
            bytes_before: info.n_bytes,
            bytes_after,
        })
    }

    /// The type of one tensor (`llama_tensor_get_type` in `src/llama-quant.cpp`).
    fn choose(&mut self, index: usize, named: &Named<'_>) -> Result<(GgmlType, Reason), QuantizeError> {
        let (options, name, info) = (self.options, named.name.as_str(), named.tensor.info);
        let kept = info.ggml_type;
        if options.target == Target::Copy {
            return Ok((kept, Reason::Copy));
        }
        let role = Role::of(name);
        if let Some(exemption) = exemption(self.architecture, name, &info.shape) {
            return Ok((kept, Reason::Exempt(exemption)));
        }
        if options.leaves_output && role == Role::Output {
            return Ok((kept, Reason::OutputLeft));
        }
        if let Target::Chosen(types) = &options.target {
            return Ok((types.get(index).copied().unwrap_or(kept), Reason::Chosen));
        }
        if let (Some(kind), Role::TokenEmbedding) = (options.embedding_type, role) {
            // The table of per-layer embeddings is large, so a rule may choose its type.
            let is_ruled = name == "per_layer_token_embd.weight" && self.rule(name)?.is_some();
            if !is_ruled {
                return Ok((kind, Reason::EmbeddingType));
            }
        }
        if let (Some(kind), Role::Output) = (options.output_type, role) {
            return Ok((kind, Reason::OutputType));
        }
        let Some(default) = self.mixture.as_ref().map(|mixture| mixture.file_type.default_type()) else {
            return Ok((kept, Reason::Copy));
        };
        if default.is_float() {
            return Ok((default, Reason::Default));
        }
        let (wanted, reason) = match self.rule(name)? {
            Some((kind, pattern)) => (kind, Reason::Rule(pattern)),
            None if options.is_pure => (default, Reason::Default),
            None => self.mixed(name, role, &info.shape, default)?,
        };
        let row_len = info.shape.row_len();
        let fitting = fitting(wanted, row_len).ok_or_else(|| partial(name, row_len, wanted))?;
        Ok(if fitting == wanted { (wanted, reason) } else { (fitting, Reason::Fallback(wanted)) })
    }

    fn mixed(
        &mut self,
        name: &str,
        role: Role,
        shape: &Shape,
        default: GgmlType,
    ) -> Result<(GgmlType, Reason), QuantizeError> {
        let Some(mixture) = &mut self.mixture else { return Ok((default, Reason::Default)) };
        let kind = mixture.choose(name, shape, default)?;
        let reason = match role {
            _ if kind == default => Reason::Default,
            Role::TokenEmbedding if mixture.is_tied && self.options.output_type.is_some() => {
                Reason::OutputType
            }
            _ => Reason::Mixture(role),
        };
        Ok((kind, reason))
    }

    /// The first rule that applies.
    fn rule(&self, name: &str) -> Result<Option<(GgmlType, String)>, QuantizeError> {
        for rule in &self.options.rules {
            if rule.applies_to(name)? {
                return Ok(Some((rule.ggml_type(), rule.pattern().to_owned())));
            }
        }
        Ok(None)
    }
}

/// Refuses types that no decoder reads or no encoder writes.
fn check_pair(name: &str, row_len: u64, from: GgmlType, to: GgmlType) -> Result<(), QuantizeError> {
    let tensor = || crate::text::shown(name.as_bytes());
    // Ternary weights with one scale are packed anew where that keeps them exactly, and otherwise left to `convert`.
    let is_exact = match to {
        GgmlType::TQ2_0 => true,
        GgmlType::Q4_0 => !row_len.is_multiple_of(GgmlType::TQ2_0.block_size()),
        _ => false,
    };
    let is_weights = quants::can_quantize(from) || (from == GgmlType::I2_S && is_exact);
    if !is_weights && from == GgmlType::I2_S {
        return Err(QuantizeError::ForkType { tensor: tensor() });
    }
    if !is_weights {
        return Err(QuantizeError::NotWeights { tensor: tensor(), from });
    }
    // The last two are for activations; no file holds them.
    if !quants::can_quantize(to) || matches!(to, GgmlType::Q8_1 | GgmlType::Q8_K) {
        return Err(QuantizeError::UnknownTensorType { text: to.name().to_owned() });
    }
    if row_len.is_multiple_of(to.block_size()) { Ok(()) } else { Err(partial(name, row_len, to)) }
}

fn partial(name: &str, row_len: u64, to: GgmlType) -> QuantizeError {
    QuantizeError::PartialBlock { tensor: crate::text::shown(name.as_bytes()), row_len, to }
}

/// The tensors in the order in which llama.cpp's loader counts their types.
fn by_name(model: &GgufModel) -> impl Iterator<Item = &TensorInfo> {
    let mut all: Vec<&TensorInfo> = model.tensors().map(|tensor| tensor.info).collect();
    all.sort_by(|a, b| by_layer(&a.name, &b.name));
    all.into_iter()
}

/// The file type that llama.cpp's loader guesses: that of the most common type, and of several equally common ones the first to reach that number.
fn most_common(types: impl Iterator<Item = GgmlType>) -> u32 {
    let mut counts = HashMap::new();
    let mut best = (0, GgmlType::F32);
    for kind in types {
        let count = counts.entry(kind).or_insert(0);
        *count += 1;
        if *count > best.0 {
            best = (*count, kind);
        }
    }
    FileType::guessed_id(best.1)
}
