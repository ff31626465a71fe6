//! What a model computes, as data: the description that an architecture makes of a file's metadata.

use crate::error::LoadError;
use crate::keys::Keys;
use crate::rope_plan::RopePlan;

/// The widest rows, the most heads and the largest vocabulary that are taken for meant.
const MAX_WIDTH: usize = 1 << 18;
const MAX_HEADS: usize = 4096;
const MAX_EXPERTS: usize = 1024;

/// A decoder-only transformer, layer by layer. [`Blueprint::transformer`] reads what all architectures have in common; each changes what is different.
#[derive(Clone, Debug, PartialEq)]
pub struct Blueprint {
    /// Numbers of a token between layers.
    pub width: usize,
    /// Tokens that the model was trained with at once.
    pub context_train: usize,
    /// Rows of token embeddings are multiplied with it.
    pub embedding_scale: f32,
    /// How many positions have a learned row that is added to the token's, if any have.
    pub learned_positions: Option<usize>,
    /// The norm of the layers and of the output.
    pub norm: Norm,
    /// The layers.
    pub layers: Vec<Layer>,
    /// The rotations that layers use, by their index.
    pub ropes: Vec<RopePlan>,
    /// From the last layer to logits.
    pub output: Output,
}

/// How rows are normalized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// By the root of the mean square, with a weight.
    Rms {
        /// Added to the mean square.
        epsilon: f32,
    },
    /// By mean and deviation, with weight and bias.
    Layer {
        /// Added to the variance.
        epsilon: f32,
    },
}

/// One layer: attention and a feed-forward part, each added to the row that went in.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Attention.
    pub attention: Attention,
    /// The feed-forward part.
    pub feed: Feed,
    /// What the feed-forward part reads.
    pub arrangement: Arrangement,
    /// Whether there are norms before attention and feed-forward part.
    pub has_norms_before: bool,
    /// Whether there are norms after attention and feed-forward part.
    pub has_norms_after: bool,
    /// What attention and feed-forward part give is multiplied with it.
    pub residual_scale: f32,
}

/// What the feed-forward part of a layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// The sum of the layer's input and its attention.
    Sequential,
    /// The normalized input of the layer; attention reads the same, or has an own norm (`attn_norm_2`) if there is one.
    Parallel,
    /// As [`Parallel`](Self::Parallel) if the layer has no norm for the feed-forward part, else as [`Sequential`](Self::Sequential).
    ParallelWithoutNorm,
}

/// Attention with groups of query heads for each key-value head.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Heads of queries.
    pub n_heads: usize,
    /// Heads of keys and values; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Numbers of a head.
    pub head: usize,
    /// How queries and keys are normalized.
    pub head_norm: HeadNorm,
    /// Which of the model's rotations; `None` where positions do not count.
    pub rope: Option<usize>,
    /// Products of queries and keys are multiplied with it.
    pub scale: f32,
    /// Scores are bent to lie between plus and minus this.
    pub soft_cap: Option<f32>,
    /// How many positions a token sees, itself included; `None` for all.
    pub window: Option<usize>,
    /// Whether there is a norm between heads and output (`attn_sub_norm`).
    pub has_sub_norm: bool,
}

/// How queries and keys are normalized before they are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadNorm {
    /// Not at all.
    None,
    /// Each head by itself, all with one weight.
    Each,
    /// Each head by itself with a weight of its own and by [`Norm::Layer`] without bias, if the file has such weights.
    EachOwnIfAny,
    /// All heads as one row.
    Whole,
}

/// The function between the two steps of a feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// The normal distribution's, in the form with `tanh`.
    Gelu,
}

/// The feed-forward part of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Feed {
    /// Down after activation(gate) times up.
    Gated {
        /// Numbers between the steps.
        width: usize,
        /// The activation of the gate.
        activation: Activation,
        /// Whether gate and up are one matrix, the gate first.
        is_fused: bool,
        /// Whether there is a norm before the last step (`ffn_sub_norm`).
        has_sub_norm: bool,
    },
    /// Down after activation(up).
    Plain {
        /// Numbers between the steps.
        width: usize,
        /// The activation.
        activation: Activation,
    },
    /// The best of many gated parts, weighted.
    Experts {
        /// How many there are.
        n: usize,
        /// How many of them a token uses.
        n_used: usize,
        /// Numbers between their steps.
        width: usize,
        /// The activation of the gates.
        activation: Activation,
        /// Whether the weights of those in use are made to sum to 1.
        is_normalized: bool,
        /// The weights are multiplied with it.
        scale: f32,
        /// Numbers between the steps of a gated part that every token uses besides; 0 for none.
        shared_width: usize,
    },
}

/// From the last layer to logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output {
    /// Whether the file may leave out the output matrix, so that token embeddings serve.
    pub may_be_tied: bool,
    /// Logits are multiplied with it.
    pub scale: f32,
    /// Logits are bent to lie between plus and minus this.
    pub soft_cap: Option<f32>,
}

impl Norm {
    /// [`Norm::Rms`] as the file says.
    pub(crate) fn rms(keys: &Keys<'_>) -> Result<Self, LoadError> {
        Ok(Self::Rms { epsilon: keys.positive("attention.layer_norm_rms_epsilon")? })
    }

    /// [`Norm::Layer`] as the file says.
    pub(crate) fn layer(keys: &Keys<'_>) -> Result<Self, LoadError> {
        Ok(Self::Layer { epsilon: keys.positive("attention.layer_norm_epsilon")? })
    }
}

impl Blueprint {
    /// What most models are: gated feed-forward parts with `SiLU`, norms before, attention over all positions, one rotation for all layers. Pairs are
    /// neighbours or, with `is_neox`, half a head apart.
    pub(crate) fn transformer(keys: &Keys<'_>, norm: Norm, is_neox: bool) -> Result<Self, LoadError> {
        let n_layers = keys.n_layers()?;
        let width = keys.number("embedding_length", 1..=MAX_WIDTH)?;
        let context_train = keys.number("context_length", 1..=1 << 30)?;
        let heads = each(keys, "attention.head_count", n_layers, MAX_HEADS)?;
        let kv_heads = keys
            .each_layer("attention.head_count_kv", n_layers, 1..=MAX_HEADS)?
            .unwrap_or_else(|| heads.clone());
        let widths = keys.each_layer("feed_forward_length", n_layers, 1..=MAX_WIDTH)?;
        let experts = keys.number_or("expert_count", 0, 0..=MAX_EXPERTS)?;
        let widths = match widths {
            Some(widths) => widths,
            None if experts > 0 => vec![0; n_layers],
            None => each(keys, "feed_forward_length", n_layers, MAX_WIDTH)?,
        };
        let head = head_size(keys, width, heads[0])?;
        let rope = RopePlan::read(keys, head, context_train, is_neox)?;
        let mut layers = Vec::with_capacity(n_layers);
        for ((&n_heads, &n_kv_heads), &width) in heads.iter().zip(&kv_heads).zip(&widths) {
            if !n_heads.is_multiple_of(n_kv_heads) {
                let text = format!("is `{n_kv_heads}`, but must divide the `{n_heads}` heads of queries");
                return Err(keys.error("attention.head_count_kv", text));
            }
            layers.push(Layer {
                attention: Attention {
                    n_heads,
                    n_kv_heads,
                    head,
                    head_norm: HeadNorm::None,
                    rope: Some(0),
                    scale: 1.0 / (head as f32).sqrt(),
                    soft_cap: None,
                    window: None,
                    has_sub_norm: false,
                },
                feed: Feed::Gated {
                    width,
                    activation: Activation::Silu,
                    is_fused: false,
                    has_sub_norm: false,
                },
                arrangement: Arrangement::Sequential,
                has_norms_before: true,
                has_norms_after: false,
                residual_scale: 1.0,
            });
        }
        Ok(Self {
            width,
            context_train,
            embedding_scale: 1.0,
            learned_positions: None,
            norm,
            layers,
            ropes: vec![rope],
            output: Output { may_be_tied: true, scale: 1.0, soft_cap: None },
        })
    }

    /// The blueprint with `change` made to the attention of each layer, which it gets by number.
    pub(crate) fn with_attention(mut self, change: impl Fn(usize, &mut Attention)) -> Self {
        self.layers.iter_mut().enumerate().for_each(|(index, layer)| change(index, &mut layer.attention));
        self
    }

    /// The blueprint with `change` made to each layer.
    pub(crate) fn with_layers(mut self, change: impl Fn(&mut Layer)) -> Self {
        self.layers.iter_mut().for_each(change);
        self
    }

    /// The blueprint with rotations whose angles are divided by tensors of the file.
    pub(crate) fn with_rope_factors(mut self) -> Self {
        self.ropes.iter_mut().for_each(|rope| rope.has_factors = true);
        self
    }

    /// The blueprint with this scale of scores, if there is one.
    pub(crate) fn with_attention_scale(self, scale: Option<f32>) -> Self {
        match scale {
            Some(scale) => self.with_attention(|_, attention| attention.scale = scale),
            None => self,
        }
    }

    /// The blueprint with a scale of scores by the row divided by the heads, if it has that many layers.
    pub(crate) fn with_row_sized_scores(self, n_layers: usize) -> Self {
        if self.layers.len() != n_layers {
            return self;
        }
        let width = self.width;
        self.with_attention(|_, attention| {
            attention.scale = 1.0 / ((width / attention.n_heads) as f32).sqrt();
        })
    }

    /// The blueprint with embeddings that are multiplied with the root of their size.
    pub(crate) fn with_scaled_embeddings(mut self) -> Self {
        self.embedding_scale = (self.width as f32).sqrt();
        self
    }

    /// The blueprint with norms after attention and feed-forward part.
    pub(crate) fn with_norms_after(self) -> Self {
        self.with_layers(|layer| layer.has_norms_after = true)
    }

    /// The blueprint with an output matrix that the file must have.
    pub(crate) fn with_own_output(mut self) -> Self {
        self.output.may_be_tied = false;
        self
    }

    /// The blueprint with windows in all layers but each `every`th, or those that the file names; layers with a window rotate as `rope` says.
    pub(crate) fn with_windows(
        mut self,
        keys: &Keys<'_>,
        window: usize,
        every: usize,
        rope: RopePlan,
    ) -> Result<Self, LoadError> {
        let name = "attention.sliding_window_pattern";
        let flags = if let Some(flags) = keys.flags(name, self.layers.len())? {
            flags
        } else {
            let every = keys.number_or(name, every, 0..=self.layers.len().max(every))?;
            let is_windowed = |layer: usize| every == 0 || layer % every < every - 1;
            (0..self.layers.len()).map(is_windowed).collect()
        };
        if window == 0 && flags.contains(&true) {
            return Err(keys.error("attention.sliding_window", "is `0`, but layers have windows".to_owned()));
        }
        self.ropes.push(rope);
        let index = self.ropes.len() - 1;
        Ok(self.with_attention(|layer, attention| {
            if flags.get(layer) == Some(&true) {
                attention.window = Some(window);
                attention.rope = Some(index);
            }
        }))
    }

    /// The blueprint with what the feed-forward parts' activation is.
    pub(crate) fn with_activation(self, new: Activation) -> Self {
        self.with_layers(|layer| match &mut layer.feed {
            Feed::Gated { activation, .. }
            | Feed::Plain { activation, .. }
            | Feed::Experts { activation, .. } => *activation = new,
        })
    }

    /// The blueprint with feed-forward parts of one step up, an activation and one step down.
    pub(crate) fn with_plain_feed(self, activation: Activation) -> Self {
        self.with_layers(|layer| {
            if let Feed::Gated { width, .. } = layer.feed {
                layer.feed = Feed::Plain { width, activation };
            }
        })
    }

    /// The blueprint with experts in place of all feed-forward parts.
    pub(crate) fn with_experts(
        self,
        keys: &Keys<'_>,
        n: usize,
        is_normalized: bool,
        shared_width: usize,
    ) -> Result<Self, LoadError> {
        let n_used = keys.number("expert_used_count", 1..=n)?;
        let own = keys.number_or("expert_feed_forward_length", 0, 0..=MAX_WIDTH)?;
        let scale = keys.positive_if_any("expert_weights_scale")?.unwrap_or(1.0);
        if own == 0 && !keys.has("feed_forward_length") {
            return Err(keys.error("feed_forward_length", "is missing".to_owned()));
        }
        Ok(self.with_layers(|layer| {
            if let Feed::Gated { width, activation, .. } = layer.feed {
                let width = if own == 0 { width } else { own };
                layer.feed =
                    Feed::Experts { n, n_used, width, activation, is_normalized, scale, shared_width };
            }
        }))
    }

    /// Numbers between the steps of the gated part that every token uses besides experts; 0 for none.
    pub(crate) fn shared_width(keys: &Keys<'_>) -> Result<usize, LoadError> {
        keys.number_or("expert_shared_feed_forward_length", 0, 0..=MAX_WIDTH)
    }

    /// How many experts the file says that there are; 0 for none.
    pub(crate) fn n_experts(keys: &Keys<'_>) -> Result<usize, LoadError> {
        keys.number_or("expert_count", 0, 0..=MAX_EXPERTS)
    }

    /// Numbers of the widest row between the steps of a feed-forward part.
    pub fn feed_width(&self) -> usize {
        self.layers.iter().map(|layer| layer.feed.width()).max().unwrap_or_default()
    }

    /// Whether keys can be moved to other positions: where each layer's positions are rotations, or do not count.
    pub fn can_shift(&self) -> bool {
        self.learned_positions.is_none()
    }
}

impl Feed {
    /// Numbers between its steps, the most that one row needs.
    pub fn width(&self) -> usize {
        match *self {
            Self::Gated { width, .. } | Self::Plain { width, .. } => width,
            Self::Experts { width, shared_width, .. } => width.max(shared_width),
        }
    }
}

impl Attention {
    /// Numbers of all queries of a token.
    pub fn query_width(&self) -> usize {
        self.n_heads * self.head
    }

    /// Numbers of all keys of a token, and of all values.
    pub fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head
    }
}

fn each(keys: &Keys<'_>, name: &str, n_layers: usize, most: usize) -> Result<Vec<usize>, LoadError> {
    match keys.each_layer(name, n_layers, 1..=most)? {
        Some(values) => Ok(values),
        None => Err(keys.error(name, format!("is missing, but must be a whole number from `1` to `{most}`"))),
    }
}

/// Numbers of a head: the row divided by the heads unless the file says otherwise.
fn head_size(keys: &Keys<'_>, width: usize, n_heads: usize) -> Result<usize, LoadError> {
    let most = 1024;
    let key = keys.number_or("attention.key_length", width / n_heads, 1..=most)?;
    let value = keys.number_or("attention.value_length", width / n_heads, 1..=most)?;
    if key == 0 || key > most {
        let text = format!(
            "is `{n_heads}`, so that a head has `{key}` numbers, but must give heads of `1` to `{most}`"
        );
        return Err(keys.error("attention.head_count", text));
    }
    if key != value {
        let text = format!("is `{value}`, but must be that of `attention.key_length`, `{key}`");
        return Err(keys.error("attention.value_length", text));
    }
    Ok(key)
}
