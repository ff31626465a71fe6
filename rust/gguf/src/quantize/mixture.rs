//! Which tensors of a file get more or fewer bits than its default (`llama_tensor_get_type_impl` in `src/llama-quant.cpp`).

use crate::file_type::FileType as F;
use crate::ggml_type::GgmlType;
use crate::tensor::Shape;

use super::error::QuantizeError;
use super::facts::Facts;
use super::order::layer_number;
use super::role::Role;

/// A file type's rules and how many tensors of each role they have seen; tensors must come in the file's order.
pub(super) struct Mixture<'a> {
    pub(super) facts: &'a Facts,
    pub(super) file_type: F,
    /// The type asked for the output matrix.
    pub(super) output_type: Option<GgmlType>,
    /// The type asked for the token embeddings.
    pub(super) embedding_type: Option<GgmlType>,
    pub(super) has_imatrix: bool,
    /// True if the token embeddings are the output matrix, too.
    pub(super) is_tied: bool,
    /// Tensors of the model that hold values of the attention.
    pub(super) n_values: usize,
    pub(super) seen: Seen,
}

/// Tensors seen so far.
#[derive(Default)]
pub(super) struct Seen {
    values: usize,
    down: usize,
    gate: usize,
    up: usize,
}

/// A place among the tensors of a role: how many came before, and how many there are.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    of: usize,
}

impl Place {
    /// In the first eighth.
    fn is_early(self) -> bool {
        self.index < self.of / 8
    }

    /// In the first or last eighth, or every third between.
    fn gets_more_bits(self) -> bool {
        self.is_early() || self.index >= 7 * self.of / 8 || (self.index - self.of / 8) % 3 == 2
    }
}

impl Mixture<'_> {
    /// The type for the tensor called `name`; `default` if no rule applies.
    pub(super) fn choose(
        &mut self,
        name: &str,
        shape: &Shape,
        default: GgmlType,
    ) -> Result<GgmlType, QuantizeError> {
        let role = Role::of(name);
        if self.facts.architecture == "glm5-next"
            && ["attn_q_a", "attn_q_b", "nextn.eh_proj"].iter().any(|part| name.contains(part))
            && !default.is_float()
        {
            return Ok(GgmlType::Q8_0);
        }
        if role == Role::Output || (self.is_tied && role == Role::TokenEmbedding) {
            return Ok(self.output(shape, default));
        }
        if self.file_type == F::MXFP4_MOE {
            return Ok(self.mxfp4_moe(role, shape));
        }
        if role == Role::TokenEmbedding {
            return Ok(self.embedding(default));
        }
        if matches!(self.file_type, F::IQ2_XXS | F::IQ2_XS | F::IQ1_S | F::IQ2_S | F::IQ2_M | F::IQ1_M) {
            return Ok(self.lowest(role, default));
        }
        match role {
            _ if role.holds_values() => Ok(self.values(default)),
            Role::AttentionK if self.facts.n_experts == 8 => Ok(GgmlType::Q8_0),
            Role::AttentionK | Role::AttentionQ => Ok(self.keys(default)),
            Role::FfnDown => {
                let place = self.layer(self.seen.down, name)?;
                self.seen.down += 1;
                Ok(self.down(place, default))
            }
            Role::AttentionOutput => Ok(self.attention_output(default)),
            Role::FfnGate => {
                let place = self.layer(self.seen.gate, name)?;
                self.seen.gate += 1;
                Ok(self.gate_or_up(place, default))
            }
            Role::FfnUp => {
                let place = self.layer(self.seen.up, name)?;
                self.seen.up += 1;
                Ok(self.gate_or_up(place, default))
            }
            _ => Ok(default),
        }
    }

    /// The layer of a feed-forward tensor: counted, or in models with experts read from the name, because those tensors are out of order.
    fn layer(&self, seen: usize, name: &str) -> Result<Place, QuantizeError> {
        let n_layers = self.facts.n_layers;
        let of = n_layers as usize;
        if self.facts.n_experts <= 1 {
            return Ok(Place { index: seen, of });
        }
        let index = layer_number(name).and_then(|layer| usize::try_from(layer).ok());
        match index.filter(|index| *index < of) {
            Some(index) => Ok(Place { index, of }),
            None => Err(QuantizeError::NoLayer { tensor: name.to_owned(), n_layers }),
        }
    }

    fn is_falcon(&self) -> bool {
        self.facts.architecture == "falcon"
    }

    fn output(&self, shape: &Shape, default: GgmlType) -> GgmlType {
        if let Some(kind) = self.output_type {
            return kind;
        }
        let is_partial = !shape.row_len().is_multiple_of(default.block_size());
        match self.file_type {
            F::MXFP4_MOE => GgmlType::Q8_0,
            _ if self.is_falcon() || is_partial => GgmlType::Q8_0,
            F::IQ2_XXS | F::IQ2_XS | F::IQ3_XXS | F::IQ1_S | F::IQ2_S | F::IQ2_M | F::IQ1_M => GgmlType::Q5_K,
            _ if default == GgmlType::Q8_0 => default,
            _ => GgmlType::Q6_K,
        }
    }

    fn mxfp4_moe(&self, role: Role, shape: &Shape) -> GgmlType {
        let is_expert = shape.dim(2) > 1
            && (self.facts.architecture != "bailingmoe3"
                || matches!(role, Role::FfnUp | Role::FfnGate | Role::FfnDown));
        if is_expert { GgmlType::MXFP4 } else { GgmlType::Q8_0 }
    }

    fn embedding(&self, default: GgmlType) -> GgmlType {
        if let Some(kind) = self.embedding_type {
            return kind;
        }
        match self.file_type {
            F::IQ2_XXS | F::IQ2_XS | F::IQ1_S | F::IQ1_M => GgmlType::Q2_K,
            F::IQ2_S | F::IQ2_M | F::IQ3_XXS => GgmlType::IQ3_S,
            F::TQ1_0 | F::TQ2_0 | F::Q2_0 => GgmlType::Q4_K,
            _ => default,
        }
    }

    /// The type in files of fewer than three bits, for all tensors but output and embeddings.
    fn lowest(&mut self, role: Role, default: GgmlType) -> GgmlType {
        let is_s_or_m = matches!(self.file_type, F::IQ2_S | F::IQ2_M);
        let finer = if is_s_or_m { GgmlType::IQ3_S } else { GgmlType::Q2_K };
        match role {
            _ if role.holds_values() => {
                let is_shared = self.facts.n_gqa >= 4 || self.facts.n_experts >= 4;
                if is_shared { GgmlType::Q4_K } else { finer }
            }
            Role::AttentionK if self.facts.n_experts == 8 => GgmlType::Q4_K,
            Role::FfnDown => {
                let place = Place { index: self.seen.down, of: self.facts.n_layers as usize };
                self.seen.down += 1;
                if place.is_early() { finer } else { default }
            }
            Role::AttentionOutput if self.facts.n_experts == 8 => GgmlType::Q5_K,
            Role::AttentionOutput if matches!(self.file_type, F::IQ1_S | F::IQ1_M) => GgmlType::IQ2_XXS,
            Role::AttentionOutput if is_s_or_m => GgmlType::IQ3_S,
            _ => default,
        }
    }

    fn values(&mut self, default: GgmlType) -> GgmlType {
        let place = Place { index: self.seen.values, of: self.n_values };
        self.seen.values += 1;
        let is_shared = self.facts.n_gqa >= 4;
        let kind = match self.file_type {
            F::Q2_K => {
                if is_shared {
                    GgmlType::Q4_K
                } else {
                    GgmlType::Q3_K
                }
            }
            F::Q2_K_S | F::IQ3_XXS | F::IQ3_XS | F::IQ3_S if is_shared => GgmlType::Q4_K,
            F::IQ3_XXS if !self.has_imatrix => GgmlType::IQ3_S,
            F::IQ3_M => GgmlType::Q4_K,
            F::Q3_K_M => {
                if place.index < 2 {
                    GgmlType::Q5_K
                } else {
                    GgmlType::Q4_K
                }
            }
            F::Q3_K_L => GgmlType::Q5_K,
            F::IQ4_NL | F::IQ4_XS if is_shared => GgmlType::Q5_K,
            F::Q4_K_M | F::Q5_K_M if place.gets_more_bits() => GgmlType::Q6_K,
            F::Q4_K_S if place.index < 4 => GgmlType::Q5_K,
            _ => default,
        };
        match kind {
            _ if self.facts.n_experts == 8 => GgmlType::Q8_0,
            GgmlType::Q3_K | GgmlType::Q4_K if self.facts.is_70b => GgmlType::Q5_K,
            _ => kind,
        }
    }

    /// Keys and queries.
    fn keys(&self, default: GgmlType) -> GgmlType {
        match self.file_type {
            F::IQ3_XS => GgmlType::IQ3_XXS,
            F::IQ3_XXS => GgmlType::IQ2_S,
            _ => default,
        }
    }

    fn down(&self, place: Place, default: GgmlType) -> GgmlType {
        let is_falcon = self.is_falcon();
        let is_first = place.index < place.of / 16;
        let (early, more) = (place.is_early(), place.gets_more_bits());
        match self.file_type {
            F::Q2_K => GgmlType::Q3_K,
            F::Q2_K_S if early => GgmlType::Q4_K,
            F::IQ3_XXS if !self.has_imatrix => {
                if early {
                    GgmlType::Q4_K
                } else {
                    GgmlType::Q3_K
                }
            }
            F::Q3_K_M if is_first => GgmlType::Q5_K,
            F::Q3_K_M => {
                if !is_falcon || more {
                    GgmlType::Q4_K
                } else {
                    GgmlType::Q3_K
                }
            }
            F::IQ3_M if early || (self.facts.n_experts == 8 && more) => GgmlType::Q4_K,
            F::Q3_K_L => {
                if is_falcon {
                    GgmlType::Q4_K
                } else {
                    GgmlType::Q5_K
                }
            }
            F::Q4_K_M if is_falcon && is_first => GgmlType::Q6_K,
            F::Q4_K_M if is_falcon => {
                if more {
                    GgmlType::Q5_K
                } else {
                    GgmlType::Q4_K
                }
            }
            F::Q4_K_M | F::Q5_K_M if more => GgmlType::Q6_K,
            F::IQ4_NL | F::IQ4_XS if early && !self.has_imatrix => GgmlType::Q5_K,
            F::Q4_K_S if early && !is_falcon => GgmlType::Q5_K,
            F::Q4_0 if early && self.has_imatrix => GgmlType::Q4_1,
            F::Q5_0 if early && self.has_imatrix => GgmlType::Q5_1,
            _ => default,
        }
    }

    fn attention_output(&self, default: GgmlType) -> GgmlType {
        if self.is_falcon() {
            return if self.file_type == F::Q3_K_L { GgmlType::Q4_K } else { default };
        }
        if self.facts.n_experts == 8 {
            return match self.file_type {
                F::Q2_K
                | F::IQ3_XS
                | F::IQ3_XXS
                | F::Q3_K_S
                | F::Q3_K_M
                | F::IQ4_NL
                | F::Q4_K_S
                | F::Q4_K_M
                | F::IQ3_S
                | F::IQ3_M
                | F::IQ4_XS => GgmlType::Q5_K,
                _ => default,
            };
        }
        match self.file_type {
            F::Q2_K => GgmlType::Q3_K,
            F::IQ3_XXS => GgmlType::IQ3_S,
            F::Q3_K_M | F::IQ3_M => GgmlType::Q4_K,
            F::Q3_K_L => GgmlType::Q5_K,
            _ => default,
        }
    }

    fn gate_or_up(&self, place: Place, default: GgmlType) -> GgmlType {
        let is_inner = !place.is_early() && place.index < 7 * place.of / 8;
        if self.file_type == F::IQ3_XS && is_inner { GgmlType::IQ3_XXS } else { default }
    }
}
