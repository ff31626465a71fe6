//! A matrix of quantized weights in tiles.

use half::f16;
use tabagent_gguf::GgmlType;

use super::block::Block;
use super::form::{BLOCK, Bits, Form, FormName, Half, Line, SUPER, Scales, TILE};

/// Quantized weights: tile after tile the lines of all blocks, and, elsewhere, the scales.
#[derive(Debug, Clone)]
pub(crate) struct Quants {
    pub(crate) form: FormName,
    pub(crate) n_blocks: usize,
    pub(crate) lines: Vec<Line>,
    pub(crate) halves: Vec<Half>,
    /// What all results are multiplied with: the scale of an `I2_S` tensor, or one.
    pub(crate) factor: f32,
}

impl Quants {
    /// Packs rows of `n_blocks` blocks; `bytes` have been checked to hold `n_rows` of them.
    pub(crate) fn pack(form: FormName, kind: GgmlType, n_blocks: usize, n_rows: usize, bytes: &[u8]) -> Self {
        let n_tiles = n_rows.div_ceil(TILE);
        let row_bytes = n_blocks * BLOCK / kind.block_size() as usize * kind.block_bytes() as usize;
        let mut lines = vec![Line([0; 64]); n_tiles * n_blocks * form.bits() as usize];
        let mut halves = vec![Half([0; 32]); n_tiles * form.scales().n_halves(n_blocks)];
        if n_rows > 0 {
            let tiles = lines.chunks_exact_mut(n_blocks * form.bits() as usize);
            let tiles = tiles.zip(halves.chunks_exact_mut(form.scales().n_halves(n_blocks)));
            for ((lines, halves), rows) in tiles.zip(bytes.chunks(TILE * row_bytes)) {
                for (at, lines) in lines.chunks_exact_mut(form.bits() as usize).enumerate() {
                    // Rows that fill up the last tile are zeros; nobody reads their results.
                    for (row, bytes) in rows.chunks_exact(row_bytes).take(TILE).enumerate() {
                        let block = Block::read(kind, bytes, at);
                        put_digits(form.bits(), lines, row, &block.digits);
                        put_scales(form.scales(), halves, at, row, &block);
                    }
                }
            }
        }
        let trailer = bytes.get(n_rows * row_bytes..).and_then(|rest| rest.first_chunk::<4>());
        let factor = match trailer {
            Some(scale) if kind == GgmlType::I2_S => f32::from_le_bytes(*scale),
            _ => 1.0,
        };
        Self { form, n_blocks, lines, halves, factor }
    }

    /// Lines of a tile.
    pub(crate) fn tile_lines(&self, tile: usize) -> &[Line] {
        let len = self.n_blocks * self.form.bits() as usize;
        &self.lines[tile * len..][..len]
    }

    /// Scales of a tile.
    pub(crate) fn tile_halves(&self, tile: usize) -> &[Half] {
        let len = self.form.scales().n_halves(self.n_blocks);
        &self.halves[tile * len..][..len]
    }

    /// Bytes of memory.
    pub(crate) fn n_bytes(&self) -> usize {
        size_of_val(&*self.lines) + size_of_val(&*self.halves)
    }

    /// Bytes of a tile.
    pub(crate) fn tile_bytes(&self) -> usize {
        64 * self.n_blocks * self.form.bits() as usize + 32 * self.form.scales().n_halves(self.n_blocks)
    }

    /// Decodes a row.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        let (tile, row) = (row / TILE, row % TILE);
        let blocks = self.tile_lines(tile).chunks_exact(self.form.bits() as usize);
        let (table, offset) = (self.form.table(), self.form.offset());
        for (at, (lines, out)) in blocks.zip(out.as_chunks_mut::<BLOCK>().0).enumerate() {
            let (scales, mins) = row_scales(self.form.scales(), self.tile_halves(tile), at, row);
            for (col, out) in out.iter_mut().enumerate() {
                let digit = digit(self.form.bits(), lines, row, col);
                let digit = table.map_or(digit, |table| table[usize::from(digit)]);
                let weight = scales[col / 16] * (i32::from(digit) - offset) as f32 + mins[col / 16];
                *out = weight * self.factor;
            }
        }
    }
}

/// Puts a row's digits into the planes of a block, four of them at a time as the bytes of a number.
fn put_digits(bits: Bits, lines: &mut [Line], row: usize, digits: &[u8; BLOCK]) {
    let mut words = [0u32; BLOCK / 4];
    for (word, four) in words.iter_mut().zip(digits.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*four);
    }
    let mut put = |line: usize, word: u32| {
        lines[line].0.as_chunks_mut::<4>().0[row] = word.to_le_bytes();
    };
    // The bits from `from` of four vectors, two bits of each.
    let pairs = |line: usize, from: usize| {
        (0..4).fold(0, |sum, k| sum | (((words[4 * line + k] >> from) & 0x0303_0303) << (2 * k)))
    };
    // Bit `from` of all vectors.
    let singles = |from: usize| (0..8).fold(0, |sum, j| sum | (((words[j] >> from) & 0x0101_0101) << j));
    match bits {
        Bits::Two | Bits::Three => (0..2).for_each(|line| put(line, pairs(line, 0))),
        Bits::Four | Bits::Five | Bits::Six => (0..4).for_each(|line| {
            put(line, (words[line] & 0x0f0f_0f0f) | ((words[line + 4] & 0x0f0f_0f0f) << 4));
        }),
        Bits::Eight => (0..8).for_each(|line| put(line, words[line])),
    }
    match bits {
        Bits::Three => put(2, singles(2)),
        Bits::Five => put(4, singles(4)),
        Bits::Six => (0..2).for_each(|line| put(4 + line, pairs(line, 4))),
        Bits::Two | Bits::Four | Bits::Eight => {}
    }
}

/// The digit of a row's column in a block, not yet looked up in a table.
fn digit(bits: Bits, lines: &[Line], row: usize, col: usize) -> u8 {
    let (j, byte) = (col / 4, 4 * row + col % 4);
    let get = |line: usize, shift: usize, mask: u8| (lines[line].0[byte] >> shift) & mask;
    let low = match bits {
        Bits::Two | Bits::Three => get(j / 4, 2 * (j % 4), 3),
        Bits::Four | Bits::Five | Bits::Six => get(j % 4, j / 4 * 4, 15),
        Bits::Eight => get(j, 0, 255),
    };
    let high = match bits {
        Bits::Three => get(2, j, 1) << 2,
        Bits::Five => get(4, j, 1) << 4,
        Bits::Six => get(4 + j / 4, 2 * (j % 4), 3) << 4,
        Bits::Two | Bits::Four | Bits::Eight => 0,
    };
    low | high
}

/// Vector `j` of a block: four digits of each row, looked up in the table.
pub(crate) fn lanes<F: Form>(lines: &[Line], j: usize) -> [u8; 64] {
    let low = |line: &Line, shift: usize, mask: u8| line.0.map(|byte| (byte >> shift) & mask);
    let mut digits = match F::BITS {
        Bits::Two | Bits::Three => low(&lines[j / 4], 2 * (j % 4), 3),
        Bits::Four | Bits::Five | Bits::Six => low(&lines[j % 4], j / 4 * 4, 15),
        Bits::Eight => lines[j].0,
    };
    let mut high = |line: &Line, shift: usize, mask: u8, to: usize| {
        digits.iter_mut().zip(line.0).for_each(|(digit, byte)| *digit |= ((byte >> shift) & mask) << to);
    };
    match F::BITS {
        Bits::Three => high(&lines[2], j, 1, 2),
        Bits::Five => high(&lines[4], j, 1, 4),
        Bits::Six => high(&lines[4 + j / 4], 2 * (j % 4), 3, 4),
        Bits::Two | Bits::Four | Bits::Eight => {}
    }
    match F::TABLE {
        Some(table) => digits.map(|digit| table[usize::from(digit)]),
        None => digits,
    }
}

/// Puts the scales of a row's block into those of the tile.
fn put_scales(scales: Scales, halves: &mut [Half], at: usize, row: usize, block: &Block) {
    let (group, part) = (at / SUPER, at % SUPER);
    let mut half =
        |unit: usize, bits: u16| halves[unit].0[2 * row..][..2].copy_from_slice(&bits.to_le_bytes());
    match scales {
        Scales::Half => half(at, block.scale),
        Scales::HalfMin => {
            half(2 * at, block.scale);
            half(2 * at + 1, block.min);
        }
        Scales::Exponent => {}
        Scales::Bytes => half(5 * group, block.scale),
        Scales::BytesMin | Scales::Nibbles16 => {
            half(10 * group, block.scale);
            half(10 * group + 1, block.min);
        }
        Scales::Bytes16 => half(9 * group, block.scale),
        Scales::Super => half(group, block.scale),
    }
    let mut byte = |unit: usize, side: usize, value: u8| halves[unit].0[16 * side + row] = value;
    match scales {
        Scales::Half | Scales::HalfMin | Scales::Super => {}
        Scales::Exponent => byte(at / 2, at % 2, block.small_scales[0]),
        Scales::Bytes => byte(5 * group + 1 + part / 2, part % 2, block.small_scales[0]),
        Scales::BytesMin => {
            byte(10 * group + 2 + part, 0, block.small_scales[0]);
            byte(10 * group + 2 + part, 1, block.small_mins[0]);
        }
        Scales::Bytes16 => {
            byte(9 * group + 1 + part, 0, block.small_scales[0]);
            byte(9 * group + 1 + part, 1, block.small_scales[1]);
        }
        Scales::Nibbles16 => {
            for side in 0..2 {
                byte(10 * group + 2 + part, side, block.small_scales[side] | (block.small_mins[side] << 4));
            }
        }
    }
}

/// The scales and summands of a row's block, for 16 columns each.
pub(crate) fn row_scales(scales: Scales, halves: &[Half], at: usize, row: usize) -> ([f32; 2], [f32; 2]) {
    let (group, part) = (at / SUPER, at % SUPER);
    let half = |unit: usize| {
        let bytes = &halves[unit].0;
        f16::from_bits(u16::from_le_bytes([bytes[2 * row], bytes[2 * row + 1]])).to_f32()
    };
    let byte = |unit: usize, side: usize| halves[unit].0[16 * side + row];
    let signed = |unit: usize, side: usize| f32::from(byte(unit, side).cast_signed());
    match scales {
        Scales::Half => ([half(at); 2], [0.0; 2]),
        Scales::HalfMin => ([half(2 * at); 2], [half(2 * at + 1); 2]),
        Scales::Exponent => ([power_of_two(byte(at / 2, at % 2)); 2], [0.0; 2]),
        Scales::Bytes => {
            let small = signed(5 * group + 1 + part / 2, part % 2);
            ([half(5 * group) * small; 2], [0.0; 2])
        }
        Scales::BytesMin => {
            let small = [0, 1].map(|side| f32::from(byte(10 * group + 2 + part, side)));
            ([half(10 * group) * small[0]; 2], [-half(10 * group + 1) * small[1]; 2])
        }
        Scales::Bytes16 => {
            ([0, 1].map(|side| half(9 * group) * signed(9 * group + 1 + part, side)), [0.0; 2])
        }
        Scales::Nibbles16 => {
            let small = [0, 1].map(|side| byte(10 * group + 2 + part, side));
            let scales = small.map(|small| half(10 * group) * f32::from(small & 15));
            (scales, small.map(|small| -half(10 * group + 1) * f32::from(small >> 4)))
        }
        Scales::Super => ([half(group); 2], [0.0; 2]),
    }
}

/// `2^(e - 128)`: the scale of `MXFP4` for twice its numbers. Those below `2^-126` are taken for zero.
fn power_of_two(e: u8) -> f32 {
    f32::from_bits(u32::from(e.max(1) - 1) << 23)
}
