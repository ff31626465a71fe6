//! Which tensors a model needs, of which shapes, and where in the computation they belong.

use tabagent_gguf::{GgufModel, quants};

use crate::blueprint::{Arrangement, Blueprint, Feed, HeadNorm, Layer, Norm};
use crate::error::LoadError;

/// A matrix, by its place in the list of those to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MatrixId(pub(crate) usize);

/// Numbers, by their place in the list of those to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VectorId(pub(crate) usize);

/// A matrix to load: all of a tensor, or the part of one expert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MatrixNeed {
    pub(crate) tensor: String,
    pub(crate) n_cols: usize,
    pub(crate) n_rows: usize,
    /// Which of how many parts.
    pub(crate) part: usize,
    pub(crate) n_parts: usize,
}

/// A matrix with what follows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Linear {
    pub(crate) matrix: MatrixId,
    pub(crate) scale: Option<f32>,
    pub(crate) bias: Option<VectorId>,
}

/// Weight and bias of a norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NormWeights {
    pub(crate) weight: VectorId,
    pub(crate) bias: Option<VectorId>,
}

/// Queries, keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Projection {
    Separate([Linear; 3]),
    Fused(Linear),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FeedWeights {
    Gated { gate: Linear, up: Linear, down: Linear, sub_norm: Option<NormWeights> },
    Fused { gate_up: Linear, down: Linear, sub_norm: Option<NormWeights> },
    Plain { up: Linear, down: Linear },
    Experts { router: Linear, experts: Vec<[Linear; 3]>, shared: Option<[Linear; 3]> },
}

/// The weights of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LayerWeights {
    pub(crate) norm: Option<NormWeights>,
    pub(crate) second_norm: Option<NormWeights>,
    pub(crate) projection: Projection,
    pub(crate) head_norms: Option<[VectorId; 2]>,
    pub(crate) sub_norm: Option<NormWeights>,
    pub(crate) output: Linear,
    pub(crate) norm_after: Option<NormWeights>,
    pub(crate) feed_norm: Option<NormWeights>,
    pub(crate) feed: FeedWeights,
    pub(crate) feed_norm_after: Option<NormWeights>,
}

/// All weights of a model, and the tensors that they are loaded from.
#[derive(Debug, PartialEq)]
pub(crate) struct WeightsPlan {
    pub(crate) embedding: MatrixId,
    pub(crate) positions: Option<MatrixId>,
    pub(crate) layers: Vec<LayerWeights>,
    pub(crate) output_norm: NormWeights,
    pub(crate) output: Linear,
    pub(crate) n_vocab: usize,
    pub(crate) needs: Needs,
}

/// What to load, by id.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Needs {
    pub(crate) matrices: Vec<MatrixNeed>,
    /// Names and lengths.
    pub(crate) vectors: Vec<(String, usize)>,
}

impl WeightsPlan {
    /// Finds the tensors of a blueprint in a file and checks their shapes.
    pub(crate) fn new(blueprint: &Blueprint, file: &GgufModel) -> Result<Self, LoadError> {
        let mut finder = Finder { file, norm: blueprint.norm, needs: Needs::default() };
        let width = blueprint.width;
        let n_vocab = finder.n_vocab(width)?;
        let embedding = finder.matrix("token_embd.weight", width, n_vocab)?;
        let positions = blueprint
            .learned_positions
            .map(|n| finder.matrix("position_embd.weight", width, n))
            .transpose()?;
        let layers = blueprint
            .layers
            .iter()
            .enumerate()
            .map(|(index, layer)| finder.layer(index, layer, width))
            .collect::<Result<_, _>>()?;
        let output_norm = finder.norm("output_norm", width)?;
        let output = if finder.has("output.weight") || !blueprint.output.may_be_tied {
            finder.linear("output", width, n_vocab)?
        } else {
            let bias = finder.vector_if_any("output.bias", n_vocab)?;
            Linear { matrix: embedding, scale: None, bias }
        };
        let needs = finder.needs;
        Ok(Self { embedding, positions, layers, output_norm, output, n_vocab, needs })
    }
}

struct Finder<'a> {
    file: &'a GgufModel,
    norm: Norm,
    needs: Needs,
}

impl Finder<'_> {
    fn layer(&mut self, index: usize, layer: &Layer, width: usize) -> Result<LayerWeights, LoadError> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let attention = &layer.attention;
        let (query, kv, head) = (attention.query_width(), attention.kv_width(), attention.head);
        let norm = layer.has_norms_before.then(|| self.norm(&name("attn_norm"), width)).transpose()?;
        let second_norm = match layer.arrangement {
            Arrangement::Parallel if self.has(&name("attn_norm_2.weight")) => {
                Some(self.norm(&name("attn_norm_2"), width)?)
            }
            _ => None,
        };
        let projection = if self.has(&name("attn_qkv.weight")) {
            Projection::Fused(self.fused(index, width, query, kv)?)
        } else {
            Projection::Separate([
                self.linear(&name("attn_q"), width, query)?,
                self.linear(&name("attn_k"), width, kv)?,
                self.linear(&name("attn_v"), width, kv)?,
            ])
        };
        let (q, k) = (name("attn_q_norm.weight"), name("attn_k_norm.weight"));
        let head_norms = match attention.head_norm {
            HeadNorm::None => None,
            HeadNorm::Each => Some([self.vector(&q, &[head])?, self.vector(&k, &[head])?]),
            HeadNorm::Whole => Some([self.vector(&q, &[query])?, self.vector(&k, &[kv])?]),
            HeadNorm::EachOwnIfAny if !self.has(&q) && !self.has(&k) => None,
            HeadNorm::EachOwnIfAny => Some([
                self.vector(&q, &[head, attention.n_heads])?,
                self.vector(&k, &[head, attention.n_kv_heads])?,
            ]),
        };
        let sub_norm =
            attention.has_sub_norm.then(|| self.norm(&name("attn_sub_norm"), query)).transpose()?;
        let output = self.linear(&name("attn_output"), query, width)?;
        let has_feed_norm = layer.has_norms_before
            && match layer.arrangement {
                Arrangement::Sequential => true,
                Arrangement::ParallelWithoutNorm => self.has(&name("ffn_norm.weight")),
                Arrangement::Parallel => false,
            };
        let feed_norm = has_feed_norm.then(|| self.norm(&name("ffn_norm"), width)).transpose()?;
        let feed = self.feed(index, layer.feed, width)?;
        let after = layer.has_norms_after;
        let norm_after = after.then(|| self.norm(&name("post_attention_norm"), width)).transpose()?;
        let feed_norm_after = after.then(|| self.norm(&name("post_ffw_norm"), width)).transpose()?;
        Ok(LayerWeights {
            norm,
            second_norm,
            projection,
            head_norms,
            sub_norm,
            output,
            norm_after,
            feed_norm,
            feed,
            feed_norm_after,
        })
    }

    /// Queries, keys and values in one matrix; older files have three biases for it.
    fn fused(&mut self, index: usize, width: usize, query: usize, kv: usize) -> Result<Linear, LoadError> {
        let parts = ["attn_q.bias", "attn_k.bias", "attn_v.bias"].map(|part| format!("blk.{index}.{part}"));
        let fused = self.linear(&format!("blk.{index}.attn_qkv"), width, query + 2 * kv)?;
        if let Some(part) = parts.iter().find(|part| fused.bias.is_none() && self.has(part)) {
            let text = "belongs to a separate matrix, but the file has `attn_qkv`".to_owned();
            return Err(LoadError::Tensor { name: part.clone(), problem: text });
        }
        Ok(fused)
    }

    fn feed(&mut self, index: usize, feed: Feed, row: usize) -> Result<FeedWeights, LoadError> {
        let name = |part: &str| format!("blk.{index}.{part}");
        Ok(match feed {
            Feed::Gated { width, is_fused, has_sub_norm, .. } => {
                let sub_norm = has_sub_norm.then(|| self.norm(&name("ffn_sub_norm"), width)).transpose()?;
                let down = self.linear(&name("ffn_down"), width, row)?;
                if is_fused {
                    let gate_up = self.linear(&name("ffn_up"), row, 2 * width)?;
                    FeedWeights::Fused { gate_up, down, sub_norm }
                } else {
                    let gate = self.linear(&name("ffn_gate"), row, width)?;
                    let up = self.linear(&name("ffn_up"), row, width)?;
                    FeedWeights::Gated { gate, up, down, sub_norm }
                }
            }
            Feed::Plain { width, .. } => FeedWeights::Plain {
                up: self.linear(&name("ffn_up"), row, width)?,
                down: self.linear(&name("ffn_down"), width, row)?,
            },
            Feed::Experts { n, width, shared_width, .. } => {
                let router = self.linear(&name("ffn_gate_inp"), row, n)?;
                let gates = self.experts(&name("ffn_gate_exps.weight"), row, width, n)?;
                let ups = self.experts(&name("ffn_up_exps.weight"), row, width, n)?;
                let downs = self.experts(&name("ffn_down_exps.weight"), width, row, n)?;
                let experts = gates.into_iter().zip(ups).zip(downs);
                let experts = experts.map(|((gate, up), down)| [gate, up, down]).collect();
                let shared = match shared_width {
                    0 => None,
                    width => Some([
                        self.linear(&name("ffn_gate_shexp"), row, width)?,
                        self.linear(&name("ffn_up_shexp"), row, width)?,
                        self.linear(&name("ffn_down_shexp"), width, row)?,
                    ]),
                };
                FeedWeights::Experts { router, experts, shared }
            }
        })
    }

    fn experts(
        &mut self,
        tensor: &str,
        n_cols: usize,
        n_rows: usize,
        n_parts: usize,
    ) -> Result<Vec<Linear>, LoadError> {
        self.check_shape(tensor, &[n_cols, n_rows, n_parts])?;
        let part = |part| {
            let need = MatrixNeed { tensor: tensor.to_owned(), n_cols, n_rows, part, n_parts };
            Linear { matrix: self.need(need), scale: None, bias: None }
        };
        Ok((0..n_parts).map(part).collect())
    }

    fn linear(&mut self, name: &str, n_cols: usize, n_rows: usize) -> Result<Linear, LoadError> {
        let matrix = self.matrix(&format!("{name}.weight"), n_cols, n_rows)?;
        let scale = self.scalar_if_any(&format!("{name}.scale"))?;
        let bias = self.vector_if_any(&format!("{name}.bias"), n_rows)?;
        Ok(Linear { matrix, scale, bias })
    }

    fn matrix(&mut self, tensor: &str, n_cols: usize, n_rows: usize) -> Result<MatrixId, LoadError> {
        self.check_shape(tensor, &[n_cols, n_rows])?;
        Ok(self.need(MatrixNeed { tensor: tensor.to_owned(), n_cols, n_rows, part: 0, n_parts: 1 }))
    }

    fn need(&mut self, need: MatrixNeed) -> MatrixId {
        self.needs.matrices.push(need);
        MatrixId(self.needs.matrices.len() - 1)
    }

    fn norm(&mut self, name: &str, n: usize) -> Result<NormWeights, LoadError> {
        let weight = self.vector(&format!("{name}.weight"), &[n])?;
        let bias = match self.norm {
            Norm::Layer { .. } => Some(self.vector(&format!("{name}.bias"), &[n])?),
            Norm::Rms { .. } => None,
        };
        Ok(NormWeights { weight, bias })
    }

    fn vector_if_any(&mut self, tensor: &str, n: usize) -> Result<Option<VectorId>, LoadError> {
        self.has(tensor).then(|| self.vector(tensor, &[n])).transpose()
    }

    fn vector(&mut self, tensor: &str, shape: &[usize]) -> Result<VectorId, LoadError> {
        self.check_shape(tensor, shape)?;
        self.needs.vectors.push((tensor.to_owned(), shape.iter().product()));
        Ok(VectorId(self.needs.vectors.len() - 1))
    }

    fn scalar_if_any(&self, tensor: &str) -> Result<Option<f32>, LoadError> {
        if !self.has(tensor) {
            return Ok(None);
        }
        self.check_shape(tensor, &[1])?;
        Ok(numbers(self.file, tensor, 1)?.first().copied())
    }

    fn has(&self, tensor: &str) -> bool {
        self.file.tensor(tensor).is_some()
    }

    /// How many rows of `width` the token embeddings have, which is how many tokens there are.
    fn n_vocab(&self, width: usize) -> Result<usize, LoadError> {
        let name = "token_embd.weight";
        let error = |problem| Err(LoadError::Tensor { name: name.to_owned(), problem });
        let Some(tensor) = self.file.tensor(name) else { return error("is missing".to_owned()) };
        let n_rows = usize::try_from(tensor.info.shape.dim(1)).unwrap_or_default();
        if n_rows == 0 || n_rows > i32::MAX as usize || tensor.info.shape.dim(0) != width as u64 {
            let shape = tensor.info.shape;
            return error(format!("has shape `{shape}`, but must have rows of `{width}`"));
        }
        let named = self.file.metadata().get("tokenizer.ggml.tokens").and_then(|tokens| tokens.as_array());
        if let Some(n_tokens) = named.map(|tokens| tokens.len()).filter(|n| *n != n_rows) {
            return error(format!("has `{n_rows}` rows, but the vocabulary `{n_tokens}` tokens"));
        }
        Ok(n_rows)
    }

    fn check_shape(&self, name: &str, expected: &[usize]) -> Result<(), LoadError> {
        let error = |problem| Err(LoadError::Tensor { name: name.to_owned(), problem });
        let Some(tensor) = self.file.tensor(name) else {
            return error(format!("is missing, but must have shape `{expected:?}`"));
        };
        let shape = tensor.info.shape;
        let fits = |(index, n): (usize, &usize)| shape.dim(index) == *n as u64;
        let n_elements = expected.iter().try_fold(1_u64, |product, n| product.checked_mul(*n as u64));
        if expected.iter().enumerate().all(fits) && n_elements == Some(shape.n_elements()) {
            return Ok(());
        }
        error(format!("has shape `{shape}`, but must have `{expected:?}`"))
    }
}

/// The `n` numbers of a small tensor, as F32. Whether they are finite is checked for all tensors at once.
pub(crate) fn numbers(file: &GgufModel, name: &str, n: usize) -> Result<Vec<f32>, LoadError> {
    let Some(tensor) = file.tensor(name) else {
        return Err(LoadError::Tensor { name: name.to_owned(), problem: "is missing".to_owned() });
    };
    let error = |source| LoadError::Numbers { name: name.to_owned(), source };
    let bytes = tensor.little_endian_data();
    let mut out = vec![0.0; n];
    quants::dequantize(tensor.info.ggml_type, &bytes, &mut out).map_err(error)?;
    Ok(out)
}
