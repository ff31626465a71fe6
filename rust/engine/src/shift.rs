//! Tokens that move up to earlier positions, where those before them are forgotten.

use std::sync::Arc;

use tabagent_kernels::RopeOptions;

use crate::device::Device;
use crate::forward::heads;
use crate::loaded_model::LoadedModel;
use crate::memory::{Memory, Sequence};

/// The rotation that moves what another has turned: without what that multiplies with.
pub(crate) fn turning(options: &RopeOptions) -> RopeOptions {
    let magnitude = match options.yarn {
        Some(yarn) if yarn.ext_factor.to_bits() != 0 => 1.0 + 0.1 * (1.0 / options.freq_scale).ln(),
        _ => 1.0,
    };
    RopeOptions { attn_factor: 1.0 / magnitude, ..options.clone() }
}

/// The tokens of a sequence without `n` of them after the first `keep`, those that follow with their keys turned back by as many positions. `None` if it
/// has fewer tokens.
pub(crate) fn moved<D: Device>(
    model: &LoadedModel<D>,
    device: &mut D,
    ropes: &[D::Rope],
    memory: &Memory<D::Page>,
    seq: u32,
    keep: usize,
    n: usize,
) -> Option<Sequence<D::Page>> {
    let old = memory.get(seq)?;
    let first = keep.checked_add(n)?;
    let n_moved = old.n_tokens.checked_sub(first)?;
    let n_tokens = keep + n_moved;
    // Pages before the first moved token stay, and the one that it goes to is copied.
    let mut leaves: Vec<Vec<D::Page>> = Vec::new();
    let n_kept_leaves = keep / D::PAGE;
    for number in n_kept_leaves..n_tokens.div_ceil(D::PAGE) {
        leaves.push(old.leaves.get(number)?.as_ref().clone());
    }
    let back = vec![-i32::try_from(n).ok()?; n_moved];
    let (mut key_rows, mut value_rows) = (D::Buffer::default(), D::Buffer::default());
    for (index, layer) in model.blueprint().layers.iter().enumerate() {
        let heads = heads(&layer.attention);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for place in first..old.n_tokens {
            let page = old.leaves.get(place / D::PAGE)?.get(index)?;
            device.read_page(page, place % D::PAGE, &mut keys, &mut values);
        }
        let width = layer.attention.kv_width();
        device.upload(&keys, width, &mut key_rows);
        device.upload(&values, width, &mut value_rows);
        if let Some(rope) = layer.attention.rope.and_then(|rope| ropes.get(rope)) {
            let angles = device.angles(rope, &back);
            device.rotate(&angles, &mut key_rows, heads.n_kv_heads, heads.head);
        }
        for (row, place) in (keep..n_tokens).enumerate() {
            let page = leaves.get_mut(place / D::PAGE - n_kept_leaves)?.get_mut(index)?;
            device.write_page(page, place % D::PAGE, row, &key_rows, &value_rows);
        }
    }
    let kept = old.leaves.iter().take(n_kept_leaves).cloned();
    Some(Sequence { leaves: kept.chain(leaves.into_iter().map(Arc::new)).collect(), n_tokens })
}
