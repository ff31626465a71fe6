//! One step of a model: a batch of tokens through all layers.

use crate::blueprint::{Activation, Arrangement, Attention, Feed, HeadNorm, Layer, Norm};
use crate::device::{Device, DeviceError, Heads, PlacedNorm, Sight};
use crate::experts;
use crate::loaded_model::LoadedModel;
use crate::lora::LoraMix;
use crate::memory::Memory;
use crate::weights_plan::{FeedWeights, LayerWeights, Linear, NormWeights, Projection};

/// A row of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) seq: u32,
    /// Its place among the sequence's tokens.
    pub(crate) pos: usize,
    pub(crate) token: usize,
}

/// Why a step ended early.
#[derive(Debug)]
pub(crate) enum Interrupted {
    Stopped,
    Failed(DeviceError),
}

impl From<DeviceError> for Interrupted {
    fn from(error: DeviceError) -> Self {
        Self::Failed(error)
    }
}

/// What a step needs besides: the model, rotations, and the memory of the batch's sequences.
pub(crate) struct Step<'a, D: Device> {
    pub(crate) model: &'a LoadedModel<D>,
    pub(crate) device: &'a mut D,
    pub(crate) ropes: &'a [D::Rope],
    pub(crate) memory: &'a mut Memory<D::Page>,
    /// Added to what matrices give.
    pub(crate) adapters: Option<&'a LoraMix<D>>,
    pub(crate) rows: &'a [Row],
    /// The rows whose logits are wanted, in order.
    pub(crate) outputs: &'a [usize],
    pub(crate) stop: &'a (dyn Fn() -> bool + Sync),
}

/// Buffers of a step, kept for the next.
#[derive(Default)]
pub(crate) struct Buffers<B> {
    /// What goes from layer to layer.
    pub(crate) row: B,
    pub(crate) normed: B,
    pub(crate) other: B,
    pub(crate) query: B,
    pub(crate) key: B,
    pub(crate) value: B,
    pub(crate) mixed: B,
    pub(crate) attended: B,
    pub(crate) gate: B,
    pub(crate) up: B,
    pub(crate) fed: B,
    pub(crate) picked: B,
    pub(crate) logits: B,
}

impl<D: Device> Step<'_, D> {
    /// Computes the logits of the wanted rows into `buffers.logits`, and has keys and values of all rows written. The memory has room for them.
    pub(crate) fn run(&mut self, buffers: &mut Buffers<D::Buffer>) -> Result<(), Interrupted> {
        let (blueprint, plan) = (self.model.blueprint(), self.model.plan());
        let tokens: Vec<usize> = self.rows.iter().map(|row| row.token).collect();
        let embedding = self.model.matrix(plan.embedding);
        self.device.embed(embedding, &tokens, blueprint.embedding_scale, &mut buffers.row)?;
        if let Some(positions) = plan.positions {
            let places: Vec<usize> = self.rows.iter().map(|row| row.pos).collect();
            self.device.embed(self.model.matrix(positions), &places, 1.0, &mut buffers.other)?;
            self.device.add(&buffers.other, 1.0, &mut buffers.row);
        }
        let positions: Vec<i32> = self.rows.iter().map(|row| row.pos as i32).collect();
        let angles: Vec<D::Angles> =
            self.ropes.iter().map(|rope| self.device.angles(rope, &positions)).collect();
        let n_layers = blueprint.layers.len();
        for (index, (layer, weights)) in blueprint.layers.iter().zip(&plan.layers).enumerate() {
            let turn = layer.attention.rope.and_then(|rope| angles.get(rope));
            self.layer(index, layer, weights, turn, index + 1 == n_layers, buffers)?;
        }
        if self.outputs.is_empty() {
            return Ok(());
        }
        self.check_stop()?;
        self.norm(plan.output_norm, &buffers.row, &mut buffers.normed);
        self.linear(plan.output, &buffers.normed, &mut buffers.logits)?;
        if blueprint.output.scale.to_bits() != 1.0_f32.to_bits() {
            self.device.scale(blueprint.output.scale, &mut buffers.logits);
        }
        if let Some(cap) = blueprint.output.soft_cap {
            self.device.soft_cap(cap, &mut buffers.logits);
        }
        Ok(())
    }

    fn layer(
        &mut self,
        index: usize,
        layer: &Layer,
        weights: &LayerWeights,
        angles: Option<&D::Angles>,
        is_last: bool,
        buffers: &mut Buffers<D::Buffer>,
    ) -> Result<(), Interrupted> {
        self.check_stop()?;
        match weights.norm {
            Some(norm) => self.norm(norm, &buffers.row, &mut buffers.normed),
            None => self.copy(&buffers.row, &mut buffers.normed),
        }
        if let Some(norm) = weights.second_norm {
            self.norm(norm, &buffers.row, &mut buffers.other);
            self.attention(index, &layer.attention, weights, angles, Input::Other, buffers)?;
        } else {
            self.attention(index, &layer.attention, weights, angles, Input::Normed, buffers)?;
        }
        if is_last {
            // Only the rows whose logits are wanted go on.
            if self.outputs.is_empty() {
                return Ok(());
            }
            for buffer in [&mut buffers.row, &mut buffers.normed, &mut buffers.attended] {
                self.device.gather(buffer, self.outputs, &mut buffers.other);
                std::mem::swap(buffer, &mut buffers.other);
            }
        }
        if let Some(norm) = weights.norm_after {
            self.norm(norm, &buffers.attended, &mut buffers.other);
            std::mem::swap(&mut buffers.attended, &mut buffers.other);
        }
        let is_parallel = match layer.arrangement {
            Arrangement::Sequential => false,
            Arrangement::Parallel => true,
            Arrangement::ParallelWithoutNorm => weights.feed_norm.is_none(),
        };
        self.device.add(&buffers.attended, layer.residual_scale, &mut buffers.row);
        if !is_parallel {
            match weights.feed_norm {
                Some(norm) => self.norm(norm, &buffers.row, &mut buffers.normed),
                None => self.copy(&buffers.row, &mut buffers.normed),
            }
        }
        self.check_stop()?;
        self.feed(layer.feed, &weights.feed, buffers)?;
        if let Some(norm) = weights.feed_norm_after {
            self.norm(norm, &buffers.fed, &mut buffers.other);
            std::mem::swap(&mut buffers.fed, &mut buffers.other);
        }
        self.device.add(&buffers.fed, layer.residual_scale, &mut buffers.row);
        Ok(())
    }

    /// Attention of the rows in `normed` or `other`, into `attended`.
    fn attention(
        &mut self,
        index: usize,
        attention: &Attention,
        weights: &LayerWeights,
        angles: Option<&D::Angles>,
        input: Input,
        buffers: &mut Buffers<D::Buffer>,
    ) -> Result<(), Interrupted> {
        let Buffers { normed, other, query, key, value, mixed, attended, gate, .. } = buffers;
        let input = match input {
            Input::Normed => &*normed,
            Input::Other => &*other,
        };
        match &weights.projection {
            Projection::Separate(linears) => self.linears(linears, input, [query, key, value])?,
            Projection::Fused(linear) => {
                self.linear(*linear, input, gate)?;
                let (n_query, n_kv) = (attention.query_width(), attention.kv_width());
                self.device.columns(gate, 0, n_query, query);
                self.device.columns(gate, n_query, n_kv, key);
                self.device.columns(gate, n_query + n_kv, n_kv, value);
            }
        }
        if let Some(norms) = weights.head_norms {
            self.head_norm(attention, norms, query, key);
        }
        if let Some(angles) = angles {
            self.device.rotate(angles, query, attention.n_heads, attention.head);
            self.device.rotate(angles, key, attention.n_kv_heads, attention.head);
        }
        self.remember(index, key, value)?;
        self.attend(index, attention, query, mixed)?;
        if let Some(norm) = weights.sub_norm {
            self.norm(norm, mixed, query);
            std::mem::swap(mixed, query);
        }
        self.linear(weights.output, mixed, attended)?;
        Ok(())
    }

    fn head_norm(
        &mut self,
        attention: &Attention,
        norms: [crate::weights_plan::VectorId; 2],
        query: &mut D::Buffer,
        key: &mut D::Buffer,
    ) {
        let [query_weight, key_weight] = norms.map(|id| self.model.vector(id));
        let norm = self.model.blueprint().norm;
        for (weight, rows, n_heads) in
            [(query_weight, query, attention.n_heads), (key_weight, key, attention.n_kv_heads)]
        {
            let placed = PlacedNorm { norm, weight: Some(weight), bias: None };
            match attention.head_norm {
                HeadNorm::None => {}
                HeadNorm::Each => self.device.norm_parts(&placed, attention.head, rows),
                HeadNorm::Whole => self.device.norm_parts(&placed, attention.head * n_heads, rows),
                HeadNorm::EachOwnIfAny => {
                    let plain = PlacedNorm { weight: None, ..placed };
                    self.device.norm_parts(&plain, attention.head, rows);
                    self.device.multiply_columns(weight, rows);
                }
            }
        }
    }

    /// Writes the batch's keys and values of a layer.
    fn remember(&mut self, index: usize, key: &D::Buffer, value: &D::Buffer) -> Result<(), DeviceError> {
        for (number, row) in self.rows.iter().enumerate() {
            let leaf = self.memory.leaf_mut(row.seq, row.pos);
            let Some(page) = leaf.and_then(|leaf| leaf.get_mut(index)) else {
                return Err(DeviceError(format!("sequence `{}` has no page of its own", row.seq)));
            };
            self.device.write_page(page, row.pos % D::PAGE, number, key, value);
        }
        Ok(())
    }

    fn attend(
        &mut self,
        index: usize,
        attention: &Attention,
        query: &D::Buffer,
        mixed: &mut D::Buffer,
    ) -> Result<(), DeviceError> {
        let mut pages: Vec<Vec<&D::Page>> = Vec::new();
        let mut place_of = vec![usize::MAX; self.memory.n_seq()];
        let mut sights = Vec::with_capacity(self.rows.len());
        for row in self.rows {
            let (Some(place), Some(sequence)) =
                (place_of.get_mut(row.seq as usize), self.memory.get(row.seq))
            else {
                return Err(DeviceError(format!("there is no sequence `{}`", row.seq)));
            };
            if *place == usize::MAX {
                *place = pages.len();
                pages.push(sequence.leaves.iter().filter_map(|leaf| leaf.get(index)).collect());
            }
            let end = row.pos + 1;
            let start = attention.window.map_or(0, |window| end.saturating_sub(window));
            sights.push(Sight { sequence: *place, tokens: start..end });
        }
        self.device.attend(&heads(attention), query, &sights, &pages, mixed)
    }

    /// The feed-forward part of the rows in `normed`, into `fed`.
    fn feed(
        &mut self,
        feed: Feed,
        weights: &FeedWeights,
        buffers: &mut Buffers<D::Buffer>,
    ) -> Result<(), Interrupted> {
        let Buffers { normed, gate, up, fed, other, .. } = buffers;
        let activation = match feed {
            Feed::Gated { activation, .. }
            | Feed::Plain { activation, .. }
            | Feed::Experts { activation, .. } => activation,
        };
        match weights {
            FeedWeights::Gated { gate: gate_weights, up: up_weights, down, sub_norm } => {
                self.linears(&[*gate_weights, *up_weights], normed, [gate, up])?;
                self.device.gate(activation, gate, up);
                if let Some(norm) = sub_norm {
                    self.norm(*norm, gate, up);
                    std::mem::swap(gate, up);
                }
                self.linear(*down, gate, fed)
            }
            FeedWeights::Fused { gate_up, down, sub_norm } => {
                self.linear(*gate_up, normed, other)?;
                self.device.halves(other, gate, up);
                self.device.gate(activation, gate, up);
                if let Some(norm) = sub_norm {
                    self.norm(*norm, gate, up);
                    std::mem::swap(gate, up);
                }
                self.linear(*down, gate, fed)
            }
            FeedWeights::Plain { up: up_weights, down } => {
                self.linear(*up_weights, normed, up)?;
                self.device.activate(activation, up);
                self.linear(*down, up, fed)
            }
            FeedWeights::Experts { router, experts, shared } => {
                experts::feed(self, feed, *router, experts, buffers)?;
                if let Some(shared) = shared {
                    self.gated(*shared, activation, buffers)?;
                    self.device.add(&buffers.other, 1.0, &mut buffers.fed);
                }
                Ok(())
            }
        }
    }

    /// A gated part of the rows in `normed`, into `other`.
    fn gated(
        &mut self,
        [gate_weights, up_weights, down]: [Linear; 3],
        activation: Activation,
        buffers: &mut Buffers<D::Buffer>,
    ) -> Result<(), Interrupted> {
        let Buffers { normed, gate, up, other, .. } = buffers;
        self.linears(&[gate_weights, up_weights], normed, [gate, up])?;
        self.device.gate(activation, gate, up);
        self.linear(down, gate, other)
    }

    pub(crate) fn check_stop(&self) -> Result<(), Interrupted> {
        if (self.stop)() { Err(Interrupted::Stopped) } else { Ok(()) }
    }

    fn norm(&mut self, weights: NormWeights, input: &D::Buffer, out: &mut D::Buffer) {
        let norm: Norm = self.model.blueprint().norm;
        let weight = Some(self.model.vector(weights.weight));
        let bias = weights.bias.map(|id| self.model.vector(id));
        self.device.norm(&PlacedNorm { norm, weight, bias }, input, out);
    }

    fn copy(&mut self, input: &D::Buffer, out: &mut D::Buffer) {
        let all: Vec<usize> = (0..self.device.n_rows(input)).collect();
        self.device.gather(input, &all, out);
    }

    pub(crate) fn linear(
        &mut self,
        linear: Linear,
        input: &D::Buffer,
        out: &mut D::Buffer,
    ) -> Result<(), Interrupted> {
        self.linears(&[linear], input, [out])
    }

    /// Linear maps of the same rows.
    pub(crate) fn linears<const N: usize>(
        &mut self,
        linears: &[Linear; N],
        input: &D::Buffer,
        mut outs: [&mut D::Buffer; N],
    ) -> Result<(), Interrupted> {
        let matrices = linears.each_ref().map(|linear| self.model.matrix(linear.matrix));
        self.device.multiply(&matrices, input, &mut outs)?;
        for (linear, out) in linears.iter().zip(outs) {
            if let Some(scale) = linear.scale {
                self.device.scale(scale, out);
            }
            if let Some(adapters) = self.adapters {
                adapters.add(self.device, linear.matrix, input, out)?;
            }
            if let Some(bias) = linear.bias {
                self.device.add_bias(self.model.vector(bias), out);
            }
        }
        Ok(())
    }
}

/// Where attention reads.
#[derive(Clone, Copy, PartialEq)]
enum Input {
    Normed,
    Other,
}

/// The heads of a layer, as devices take them.
pub(crate) fn heads(attention: &Attention) -> Heads {
    Heads {
        n_heads: attention.n_heads,
        n_kv_heads: attention.n_kv_heads,
        head: attention.head,
        scale: attention.scale,
        soft_cap: attention.soft_cap,
    }
}
