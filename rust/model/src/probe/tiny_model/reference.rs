//! The tiny model in plain `f32` arithmetic, one number after another.

use tabagent_gguf::quants::dequantize;

use super::{EPSILON, HEADS, INNER, LAYERS, TOKENS, Tensor, VOCABULARY, WIDTH};

const HEAD: usize = (WIDTH / HEADS) as usize;
/// What positions are divided by, to the power of a pair's share of the head: llama.cpp's default.
const ROPE_BASE: f32 = 10_000.0;

/// The logits after the last three tokens.
pub(super) fn logits(tensors: &[Tensor]) -> Vec<f32> {
    let weights = Weights(tensors);
    let mut caches = vec![Cache::default(); LAYERS as usize];
    let mut all = Vec::new();
    for (position, &token) in TOKENS.iter().enumerate() {
        let width = WIDTH as usize;
        let mut vector = weights.values("token_embd")[token as usize * width..][..width].to_vec();
        for (layer, cache) in caches.iter_mut().enumerate() {
            let weight = |name: &str| format!("blk.{layer}.{name}");
            let normed = norm(&vector, &weights.values(&weight("attn_norm")));
            let mut query = weights.multiply(&weight("attn_q"), &normed);
            let mut key = weights.multiply(&weight("attn_k"), &normed);
            query.chunks_mut(HEAD).for_each(|head| rotate(head, position));
            rotate(&mut key, position);
            cache.keys.push(key);
            cache.values.push(weights.multiply(&weight("attn_v"), &normed));
            let attended: Vec<f32> = query.chunks(HEAD).flat_map(|head| cache.attend(head)).collect();
            add(&mut vector, &weights.multiply(&weight("attn_output"), &attended));
            let normed = norm(&vector, &weights.values(&weight("ffn_norm")));
            let gate = weights.multiply(&weight("ffn_gate"), &normed);
            let up = weights.multiply(&weight("ffn_up"), &normed);
            let inner: Vec<f32> = gate.iter().zip(&up).map(|(x, y)| x / (1.0 + (-x).exp()) * y).collect();
            assert_eq!(inner.len(), INNER as usize);
            add(&mut vector, &weights.multiply(&weight("ffn_down"), &inner));
        }
        if position + 3 >= TOKENS.len() {
            let normed = norm(&vector, &weights.values("output_norm"));
            all.extend(weights.multiply("output", &normed));
        }
    }
    assert_eq!(all.len(), 3 * VOCABULARY as usize);
    all
}

struct Weights<'a>(&'a [Tensor]);

impl Weights<'_> {
    fn tensor(&self, name: &str) -> &Tensor {
        let name = format!("{name}.weight");
        self.0.iter().find(|tensor| tensor.name == name).expect("a weight of the model")
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let tensor = self.tensor(name);
        let mut values = vec![0.0; tensor.dims.iter().product::<u64>() as usize];
        dequantize(tensor.kind, &tensor.data, &mut values).expect("weights of a known type");
        values
    }

    fn multiply(&self, name: &str, vector: &[f32]) -> Vec<f32> {
        self.values(name).chunks(vector.len()).map(|row| dot(row, vector)).collect()
    }
}

/// The keys and values of the tokens so far.
#[derive(Clone, Default)]
struct Cache {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

impl Cache {
    fn attend(&self, query: &[f32]) -> Vec<f32> {
        let scale = 1.0 / (HEAD as f32).sqrt();
        let weights: Vec<f32> = self.keys.iter().map(|key| (dot(query, key) * scale).exp()).collect();
        let sum: f32 = weights.iter().sum();
        let mut attended = vec![0.0; HEAD];
        for (weight, value) in weights.iter().zip(&self.values) {
            attended.iter_mut().zip(value).for_each(|(to, from)| *to += weight / sum * from);
        }
        attended
    }
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(x, y)| x * y).sum()
}

fn add(to: &mut [f32], more: &[f32]) {
    to.iter_mut().zip(more).for_each(|(to, more)| *to += more);
}

fn norm(vector: &[f32], weights: &[f32]) -> Vec<f32> {
    let mean = dot(vector, vector) / vector.len() as f32;
    let scale = 1.0 / (mean + EPSILON).sqrt();
    vector.iter().zip(weights).map(|(x, weight)| x * scale * weight).collect()
}

/// Rotates the pairs of neighbours by angles that grow with the position.
fn rotate(head: &mut [f32], position: usize) {
    let size = head.len() as f32;
    for (index, pair) in head.chunks_mut(2).enumerate() {
        let angle = position as f32 * ROPE_BASE.powf(-2.0 * index as f32 / size);
        let (x, y) = (pair[0], pair[1]);
        pair[0] = x * angle.cos() - y * angle.sin();
        pair[1] = x * angle.sin() + y * angle.cos();
    }
}
