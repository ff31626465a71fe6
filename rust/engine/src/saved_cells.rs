//! Saved sequences: in memory as the pages themselves, elsewhere as bytes that tell what they belong to.

use std::sync::Arc;

use half::f16;
use sha2::{Digest, Sha256};

use crate::device::Device;
use crate::loaded_model::LoadedModel;
use crate::memory::Sequence;

const MAGIC: &[u8; 8] = b"TABCELLS";
const VERSION: u32 = 1;
/// Magic, version, number of tokens, digest of what the cells belong to.
const HEADER: usize = 8 + 4 + 8 + 32;

/// What a sequence held: the pages themselves, which are copied only if the sequence goes on while this is kept.
pub struct SavedCells<D: Device> {
    model: Arc<LoadedModel<D>>,
    sequence: Sequence<D::Page>,
}

impl<D: Device> SavedCells<D> {
    pub(crate) fn new(model: &Arc<LoadedModel<D>>, sequence: Sequence<D::Page>) -> Self {
        Self { model: Arc::clone(model), sequence }
    }

    /// Bytes of its pages.
    pub fn n_bytes(&self) -> usize {
        self.sequence.leaves.iter().flat_map(|leaf| leaf.iter()).map(D::page_bytes).sum()
    }

    /// The tokens, for a decoder of the same model.
    pub(crate) fn sequence_for(&self, model: &Arc<LoadedModel<D>>) -> Option<Sequence<D::Page>> {
        Arc::ptr_eq(&self.model, model).then(|| self.sequence.clone())
    }
}

impl<D: Device> std::fmt::Debug for SavedCells<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SavedCells").field("n_tokens", &self.sequence.n_tokens).finish_non_exhaustive()
    }
}

/// The state as bytes: a header, then for each layer and token its key and its value in F16. `None` if it has another number of tokens.
pub(crate) fn export<D: Device>(
    device: &D,
    state: &SavedCells<D>,
    n_ctx: usize,
    n_tokens: usize,
) -> Option<Vec<u8>> {
    let Sequence { leaves, n_tokens: found } = &state.sequence;
    if *found != n_tokens {
        return None;
    }
    let mut bytes = header(&state.model, n_ctx, n_tokens);
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for layer in 0..state.model.blueprint().layers.len() {
        for place in 0..n_tokens {
            let page = leaves.get(place / D::PAGE)?.get(layer)?;
            device.read_page(page, place % D::PAGE, &mut keys, &mut values);
            for number in keys.drain(..).chain(values.drain(..)) {
                bytes.extend(f16::from_f32(number).to_le_bytes());
            }
        }
    }
    Some(bytes)
}

/// The state from bytes. `None` if they are not what [`export`] gives for this model, or a number in them is not finite.
pub(crate) fn import<D: Device>(
    model: &Arc<LoadedModel<D>>,
    device: &D,
    bytes: &[u8],
    n_ctx: usize,
    n_tokens: usize,
    new_leaf: impl Fn() -> Vec<D::Page>,
) -> Option<SavedCells<D>> {
    let cells = bytes.strip_prefix(header(model, n_ctx, n_tokens).as_slice())?;
    let layers = &model.blueprint().layers;
    let per_token: usize = layers.iter().map(|layer| 4 * layer.attention.kv_width()).sum();
    if per_token.checked_mul(n_tokens) != Some(cells.len()) {
        return None;
    }
    let mut leaves: Vec<Vec<D::Page>> = (0..n_tokens.div_ceil(D::PAGE)).map(|_| new_leaf()).collect();
    let mut rest = cells.chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32());
    for (index, layer) in layers.iter().enumerate() {
        let width = layer.attention.kv_width();
        for place in 0..n_tokens {
            let keys: Vec<f32> = rest.by_ref().take(width).collect();
            let values: Vec<f32> = rest.by_ref().take(width).collect();
            if keys.iter().chain(&values).any(|number| !number.is_finite()) {
                return None;
            }
            let page = leaves.get_mut(place / D::PAGE)?.get_mut(index)?;
            device.fill_page(page, place % D::PAGE, &keys, &values);
        }
    }
    let leaves = leaves.into_iter().map(Arc::new).collect();
    Some(SavedCells::new(model, Sequence { leaves, n_tokens }))
}

fn header<D: Device>(model: &LoadedModel<D>, n_ctx: usize, n_tokens: usize) -> Vec<u8> {
    let mut digest = Sha256::new();
    digest.update(model.fingerprint());
    for rope in &model.blueprint().ropes {
        digest.update(format!("{:?}", model.rope_options(rope, n_ctx)));
    }
    let mut header = Vec::with_capacity(HEADER);
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend((n_tokens as u64).to_le_bytes());
    header.extend(digest.finalize());
    header
}
