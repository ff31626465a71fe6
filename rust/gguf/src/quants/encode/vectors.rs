//! The search that the lattice types share: levels and a scale for a group whose weights come as vectors of a lattice.

use super::super::lattice::{Lattice, Place};
use super::nearest;

/// Sizes of a group's weights, and which of them were negative, a byte for each eight.
pub(super) struct Signed<const N: usize, const S: usize> {
    pub(super) sizes: [f32; N],
    pub(super) signs: [u8; S],
}

/// Takes the signs off.
#[inline(always)]
pub(super) fn without_signs<const N: usize, const S: usize>(values: &[f32]) -> Signed<N, S> {
    let mut signed = Signed { sizes: [0.0; N], signs: [0; S] };
    for k in 0..N {
        let negative = values[k] < 0.0;
        signed.sizes[k] = if negative { -values[k] } else { values[k] };
        signed.signs[k / 8] |= u8::from(negative) << (k % 8);
    }
    signed
}

/// Takes the signs off so that each eight weights have an even number of minus signs: if the number is odd, the weight whose wrong sign costs least
/// flips. Seven bits of the signs remain.
#[inline(always)]
pub(super) fn with_even_signs<const N: usize, const S: usize>(
    values: &[f32],
    weights: &[f32; N],
) -> Signed<N, S> {
    let mut signed = without_signs(values);
    for (eight, signs) in signed.signs.iter_mut().enumerate() {
        if signs.count_ones() % 2 == 1 {
            let cost = |k: usize| weights[8 * eight + k] * values[8 * eight + k] * values[8 * eight + k];
            let cheapest = (1..8).fold(0, |best, k| if cost(k) < cost(best) { k } else { best });
            signed.sizes[8 * eight + cheapest] = -signed.sizes[8 * eight + cheapest];
            *signs ^= 1 << cheapest;
        }
        *signs &= 127;
    }
    signed
}

/// The largest number; the first counts whatever it is.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    values[1..].iter().fold(values[0], |max, &value| if max > value { max } else { value })
}

/// The level whose value `2 × level + 1` is nearest, in `0..levels`.
#[inline(always)]
fn level(scaled: f32, levels: i32) -> u8 {
    nearest(0.5 * (scaled - 1.0)).min(levels - 1).max(0) as u8
}

/// The number of a scale of a group among the odd multiples of `1 ÷ inverse`, in `0..=top`.
#[inline(always)]
pub(super) fn scale_level(inverse: f32, scale: f32, top: i32) -> u8 {
    nearest(0.5 * (inverse * scale - 1.0)).min(top).max(0) as u8
}

/// Weighted sums of value × level value and of level value².
#[inline(always)]
pub(super) fn explained<const N: usize>(
    sizes: &[f32; N],
    weights: &[f32; N],
    levels: &[u8; N],
) -> (f32, f32) {
    let (mut sum_qx, mut sum_q2) = (0.0, 0.0);
    for k in 0..N {
        let (w, q) = (weights[k], f32::from(2 * levels[k] + 1));
        sum_qx += w * sizes[k] * q;
        sum_q2 += w * q * q;
    }
    (sum_qx, sum_q2)
}

/// A group of `N` weights and the lattice of vectors of `D` that it is packed with.
pub(super) struct Group<'a, const N: usize, const D: usize> {
    pub(super) lattice: &'a Lattice<D>,
    pub(super) levels: i32,
    pub(super) sizes: &'a [f32; N],
    pub(super) weights: &'a [f32; N],
    /// Square roots of the weights, by which neighbours are judged.
    pub(super) roots: [f32; N],
}

impl<const N: usize, const D: usize> Group<'_, N, D> {
    /// Rounds one vector to the lattice at a scale; true if rounding alone led to a point.
    #[inline(always)]
    pub(super) fn round(&self, vector: usize, inverse: f32, scale: f32, levels: &mut [u8; N]) -> bool {
        let start = D * vector;
        let rounded: [u8; D] = std::array::from_fn(|k| level(inverse * self.sizes[start + k], self.levels));
        let (point, on_lattice) = match self.lattice.place(&rounded) {
            Place::Point(_) => (&rounded, true),
            Place::Between(near) => (self.lattice.levels(self.nearest_of(near, start, scale)), false),
        };
        levels[start..start + D].copy_from_slice(point);
        on_lattice
    }

    /// The first of the points with the least weighted squared distance at a scale.
    #[inline(always)]
    fn nearest_of(&self, near: &[u16], start: usize, scale: f32) -> usize {
        // Infinite weights give no point a finite distance; ggml aborts there, and here the nearest shell's first wins.
        let (mut best, mut found) = (f32::MAX, near.first().copied().unwrap_or(0));
        for &point in near {
            let levels = self.lattice.levels(usize::from(point));
            let mut distance = 0.0;
            for k in 0..D {
                let off = scale * f32::from(2 * levels[k] + 1) - self.sizes[start + k];
                distance += self.roots[start + k] * off * off;
            }
            if distance < best {
                (best, found) = (distance, point);
            }
        }
        usize::from(found)
    }

    /// The number of the lattice point that a vector of levels is.
    #[inline(always)]
    pub(super) fn point(&self, vector: usize, levels: &[u8; N]) -> usize {
        let vector: [u8; D] = std::array::from_fn(|k| levels[D * vector + k]);
        match self.lattice.place(&vector) {
            Place::Point(point) => point,
            Place::Between(near) => usize::from(near.first().copied().unwrap_or(0)),
        }
    }

    /// Tries scales around the one that maps the largest size to the largest level, keeps the one that explains most,
    /// and rounds the vectors that were off the lattice (or all) once more at the scale that fits best.
    ///
    /// Returns the scale; `max` is the largest size.
    #[inline(always)]
    pub(super) fn search(&self, max: f32, tries: i32, step: f32, again: Again, levels: &mut [u8; N]) -> f32 {
        let top = (2 * self.levels - 1) as f32;
        let mut on_lattice = [again == Again::OffLattice; N];
        let (mut scale, mut best) = (max / top, 0.0);
        *levels = [0; N];
        for attempt in -tries..=tries {
            let inverse = (top + attempt as f32 * step) / max;
            let (mut tried, mut direct) = ([0; N], [true; N]);
            for vector in 0..N / D {
                direct[vector] = self.round(vector, inverse, 1.0 / inverse, &mut tried);
            }
            let (sum_qx, sum_q2) = explained(self.sizes, self.weights, &tried);
            if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
                scale = sum_qx / sum_q2;
                best = scale * sum_qx;
                (*levels, on_lattice) = (tried, direct);
            }
        }
        if on_lattice[..N / D].contains(&false) && scale > 0.0 {
            let inverse = 1.0 / scale;
            for vector in 0..N / D {
                if again == Again::All || !on_lattice[vector] {
                    self.round(vector, inverse, scale, levels);
                }
            }
            let (sum_qx, sum_q2) = explained(self.sizes, self.weights, levels);
            if sum_q2 > 0.0 {
                scale = sum_qx / sum_q2;
            }
        }
        scale
    }
}

/// Which vectors the last step of a search rounds once more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Those that rounding alone did not lead to a point.
    OffLattice,
    /// All, if one of them was off the lattice or no scale was good.
    All,
}
