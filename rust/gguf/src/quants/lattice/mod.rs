//! The lattices of the IQ types: their points, and for each place the points nearest to it.

mod points;

use std::sync::LazyLock;

/// The bits of a coordinate and how many values it can take, by dimension: three levels in 8, eight levels in 4.
const fn bits(dimensions: usize) -> usize {
    if dimensions == 8 { 2 } else { 3 }
}

const fn levels(dimensions: usize) -> u8 {
    if dimensions == 8 { 3 } else { 8 }
}

/// Unpacks points into one value a coordinate.
const fn values<const D: usize, const N: usize>(points: &[u16; N], of_level: [u8; 8]) -> [[u8; D]; N] {
    let mut table = [[0; D]; N];
    let mut point = 0;
    while point < N {
        let mut k = 0;
        while k < D {
            let level = (points[point] >> (bits(D) * k)) & ((1 << bits(D)) - 1);
            table[point][k] = of_level[level as usize];
            k += 1;
        }
        point += 1;
    }
    table
}

/// Magnitudes of the 2-bit types, in eighths: 1, 3 and 5 were moved to fit real weights better.
const MAGNITUDES_2: [u8; 8] = [8, 25, 43, 0, 0, 0, 0, 0];
/// Magnitudes of `IQ3_XXS`, in quarters.
const MAGNITUDES_3: [u8; 8] = [4, 12, 20, 28, 36, 44, 52, 62];
/// Odd numbers: magnitudes of `IQ3_S`.
const ODD: [u8; 8] = [1, 3, 5, 7, 9, 11, 13, 15];
/// The ternary values of `IQ1_S` and `IQ1_M`, as two's complement.
const TERNARY: [u8; 8] = [0xff, 0, 1, 0, 0, 0, 0, 0];

pub(super) static IQ2_XXS_VALUES: [[u8; 8]; 256] = values(&points::IQ2_XXS, MAGNITUDES_2);
pub(super) static IQ2_XS_VALUES: [[u8; 8]; 512] = values(&points::IQ2_XS, MAGNITUDES_2);
pub(super) static IQ2_S_VALUES: [[u8; 8]; 1024] = values(&points::IQ2_S, MAGNITUDES_2);
pub(super) static IQ1_VALUES: [[u8; 8]; 2048] = values(&points::IQ1, TERNARY);
pub(super) static IQ3_XXS_VALUES: [[u8; 4]; 256] = values(&points::IQ3_XXS, MAGNITUDES_3);
pub(super) static IQ3_S_VALUES: [[u8; 4]; 512] = values(&points::IQ3_S, ODD);

pub(super) static IQ2_XXS: LazyLock<Lattice<8>> = LazyLock::new(|| Lattice::new(&points::IQ2_XXS, 2));
pub(super) static IQ2_XS: LazyLock<Lattice<8>> = LazyLock::new(|| Lattice::new(&points::IQ2_XS, 2));
pub(super) static IQ2_S: LazyLock<Lattice<8>> = LazyLock::new(|| Lattice::new(&points::IQ2_S, 1));
pub(super) static IQ1: LazyLock<Lattice<8>> = LazyLock::new(|| Lattice::new(&points::IQ1, 3));
pub(super) static IQ3_XXS: LazyLock<Lattice<4>> = LazyLock::new(|| Lattice::new(&points::IQ3_XXS, 2));
pub(super) static IQ3_S: LazyLock<Lattice<4>> = LazyLock::new(|| Lattice::new(&points::IQ3_S, 3));

/// Where a vector of levels lies.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// It is the lattice point of this number.
    Point(usize),
    /// It is no lattice point; these are the points in the nearest shells around it, by distance, then by number.
    Between(&'a [u16]),
}

/// A lattice made ready for quantizing: a vector's place is one look-up.
pub(super) struct Lattice<const D: usize> {
    levels: Vec<[u8; D]>,
    /// For each packed vector: a point's number, or `POINTERS` plus the start of its neighbours (their count first).
    places: Vec<u32>,
    neighbours: Vec<u16>,
}

const POINTERS: u32 = 1 << 31;

impl<const D: usize> Lattice<D> {
    /// `n_shells`: how many different distances count as near.
    fn new(points: &[u16], n_shells: usize) -> Self {
        let unpack = |packed: u16| -> [u8; D] {
            std::array::from_fn(|k| ((packed >> (bits(D) * k)) & ((1 << bits(D)) - 1)) as u8)
        };
        let coordinates: Vec<[u8; D]> = points.iter().map(|&point| unpack(point)).collect();
        let mut places = vec![0; 1 << (bits(D) * D)];
        for (number, &point) in points.iter().enumerate() {
            places[usize::from(point)] = number as u32 + 1;
        }
        let mut neighbours = Vec::new();
        let mut distances: Vec<u32> = Vec::with_capacity(points.len());
        for (packed, place) in places.iter_mut().enumerate() {
            let here = unpack(packed as u16);
            if *place > 0 {
                *place -= 1;
                continue;
            }
            if here.iter().any(|&level| level >= levels(D)) {
                continue; // no quantizer asks for it
            }
            distances.clear();
            distances.extend(coordinates.iter().map(|point| {
                let square = |k: usize| u32::from(point[k].abs_diff(here[k])).pow(2);
                (0..D).map(square).sum::<u32>()
            }));
            let start = neighbours.len();
            *place = POINTERS | start as u32;
            neighbours.push(0);
            let mut inner = 0;
            for _ in 0..n_shells {
                let Some(shell) = distances.iter().copied().filter(|&distance| distance > inner).min() else {
                    break;
                };
                let on_shell = (0..).zip(&distances).filter(|(_, distance)| **distance == shell);
                neighbours.extend(on_shell.map(|(number, _)| number as u16));
                inner = shell;
            }
            neighbours[start] = (neighbours.len() - start - 1) as u16;
        }
        Self { levels: coordinates, places, neighbours }
    }

    /// The levels of a point.
    #[inline(always)]
    pub(super) fn levels(&self, point: usize) -> &[u8; D] {
        &self.levels[point]
    }

    /// The levels of all points.
    #[cfg(test)]
    pub(super) fn points(&self) -> &[[u8; D]] {
        &self.levels
    }

    /// The place of a vector whose levels a quantizer has clamped to the lattice's range.
    #[inline(always)]
    pub(super) fn place(&self, vector: &[u8; D]) -> Place<'_> {
        let packed = (0..D).fold(0, |packed, k| packed | usize::from(vector[k]) << (bits(D) * k));
        let place = self.places[packed & (self.places.len() - 1)];
        if place & POINTERS == 0 {
            return Place::Point(place as usize);
        }
        let start = (place & !POINTERS) as usize;
        let count = usize::from(self.neighbours[start]);
        Place::Between(&self.neighbours[start + 1..=start + count])
    }
}

/// The signs that 7 stored bits stand for: the eighth makes the number of minus signs even.
#[inline(always)]
pub(super) fn even_signs(stored: u32) -> u8 {
    let low = (stored & 127) as u8;
    low | ((low.count_ones() as u8 & 1) << 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_where_they_say() {
        for (number, point) in IQ1.points().iter().enumerate() {
            assert!(matches!(IQ1.place(point), Place::Point(found) if found == number));
        }
        for (number, point) in IQ3_S.points().iter().enumerate() {
            assert!(matches!(IQ3_S.place(point), Place::Point(found) if found == number));
        }
    }

    #[test]
    fn neighbours_of_every_place_between_points_come_by_distance() {
        let mut between = 0;
        for packed in 0..4096_usize {
            let vector: [u8; 4] = std::array::from_fn(|k| (packed >> (3 * k)) as u8 & 7);
            let Place::Between(near) = IQ3_XXS.place(&vector) else { continue };
            between += 1;
            let distance = |point: u16| -> u32 {
                let levels = IQ3_XXS.levels(usize::from(point));
                (0..4).map(|k| u32::from(levels[k].abs_diff(vector[k])).pow(2)).sum()
            };
            let distances: Vec<u32> = near.iter().map(|&point| distance(point)).collect();
            assert!(distances.is_sorted());
            let best = (0..256).map(distance).min().unwrap();
            assert_eq!(distances[0], best);
        }
        assert_eq!(between, 4096 - 256);
    }

    #[test]
    fn signs_are_even() {
        assert!((0..128).all(|stored| even_signs(stored).count_ones().is_multiple_of(2)));
        assert_eq!(even_signs(1), 129);
    }
}
