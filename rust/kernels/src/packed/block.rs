//! A block of a row as ggml stores it, read into digits and scales.

use tabagent_gguf::GgmlType;

use super::form::BLOCK;

/// 32 weights of a row, before they are put into a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    /// Digits, not yet looked up in a table.
    pub(crate) digits: [u8; BLOCK],
    /// Bits of the F16 scale: the block's or the super-block's.
    pub(crate) scale: u16,
    /// Bits of the F16 summand, or of the scale of minima.
    pub(crate) min: u16,
    /// Small scales, for 16 columns each, or the first one for all 32; a byte with or without a sign.
    pub(crate) small_scales: [u8; 2],
    /// Small minima likewise.
    pub(crate) small_mins: [u8; 2],
}

impl Block {
    /// Zeros: a row that fills up a tile.
    pub(crate) const EMPTY: Self =
        Self { digits: [0; BLOCK], scale: 0, min: 0, small_scales: [0; 2], small_mins: [0; 2] };

    /// Reads block `at` of the row that `row` holds as ggml stores it.
    pub(crate) fn read(kind: GgmlType, row: &[u8], at: usize) -> Self {
        let mut block = Self::EMPTY;
        let bytes = kind.block_bytes() as usize;
        let per_stored = kind.block_size() as usize / BLOCK;
        let (stored, part) = (&row[at / per_stored * bytes..][..bytes], at % per_stored);
        match kind {
            GgmlType::Q4_0 | GgmlType::IQ4_NL => block.nibbles(half(stored, 0), 0, &stored[2..]),
            GgmlType::Q4_1 => block.nibbles(half(stored, 0), half(stored, 2), &stored[4..]),
            GgmlType::Q5_0 => {
                block.nibbles(half(stored, 0), 0, &stored[6..]);
                block.fifth_bits(&stored[2..6]);
            }
            GgmlType::Q5_1 => {
                block.nibbles(half(stored, 0), half(stored, 2), &stored[8..]);
                block.fifth_bits(&stored[4..8]);
            }
            GgmlType::Q8_0 => {
                block.scale = half(stored, 0);
                block.set(|at| stored[2 + at] ^ 0x80);
            }
            GgmlType::MXFP4 => {
                block.nibbles(0, 0, &stored[1..]);
                block.small_scales[0] = stored[0];
            }
            GgmlType::IQ4_XS => block.iq4_xs(stored, part),
            GgmlType::Q2_K => block.q2_k(stored, part),
            GgmlType::Q3_K => block.q3_k(stored, part),
            GgmlType::Q4_K => block.q4_k(stored, part),
            GgmlType::Q5_K => block.q5_k(stored, part),
            GgmlType::Q6_K => block.q6_k(stored, part),
            GgmlType::TQ1_0 => block.tq1_0(stored, part),
            GgmlType::TQ2_0 => {
                block.scale = half(stored, 64);
                block.set(|at| (stored[part / 4 * 32 + at] >> (2 * (part % 4))) & 3);
            }
            GgmlType::I2_S => {
                block.scale = 0x3c00; // one; the tensor's scale is the matrix's factor
                // The fourth code counts as zero, as in `rust/gguf/src/quants/decode/ternary.rs`.
                block.set(|at| [0, 1, 2, 1][usize::from((stored[at] >> (6 - 2 * part)) & 3)]);
            }
            _ => unreachable!("`{kind}` has no packed form"),
        }
        block
    }

    fn set(&mut self, digit: impl Fn(usize) -> u8) {
        for (at, digit_at) in self.digits.iter_mut().enumerate() {
            *digit_at = digit(at);
        }
    }

    /// The usual order of half-bytes: the lower ones are the first 16 columns.
    fn nibbles(&mut self, scale: u16, min: u16, stored: &[u8]) {
        (self.scale, self.min) = (scale, min);
        self.halves(stored);
    }

    fn halves(&mut self, stored: &[u8]) {
        let (low, high) = self.digits.split_at_mut(16);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(stored) {
            (*low, *high) = (byte & 15, byte >> 4);
        }
    }

    fn fifth_bits(&mut self, stored: &[u8]) {
        for (at, digit) in self.digits.iter_mut().enumerate() {
            *digit |= ((stored[at / 8] >> (at % 8)) & 1) << 4;
        }
    }

    fn iq4_xs(&mut self, stored: &[u8], part: usize) {
        self.scale = half(stored, 0);
        let low = (stored[4 + part / 2] >> (4 * (part % 2))) & 15;
        let high = (half(stored, 2) >> (2 * part)) as u8 & 3;
        self.small_scales = [(low | (high << 4)).wrapping_sub(32); 2];
        self.halves(&stored[8 + 16 * part..]);
    }

    fn q2_k(&mut self, stored: &[u8], part: usize) {
        (self.scale, self.min) = (half(stored, 80), half(stored, 82));
        let scales = [stored[2 * part], stored[2 * part + 1]];
        (self.small_scales, self.small_mins) = (scales.map(|s| s & 15), scales.map(|s| s >> 4));
        self.set(|at| (stored[16 + part / 4 * 32 + at] >> (2 * (part % 4))) & 3);
    }

    fn q3_k(&mut self, stored: &[u8], part: usize) {
        self.scale = half(stored, 108);
        let scales = &stored[96..108];
        self.small_scales = [2 * part, 2 * part + 1].map(|at| {
            let low = (scales[at % 8] >> (4 * (at / 8))) & 15;
            let high = (scales[8 + at % 4] >> (2 * (at / 4))) & 3;
            (low | (high << 4)).wrapping_sub(32)
        });
        self.set(|at| {
            let low = (stored[32 + part / 4 * 32 + at] >> (2 * (part % 4))) & 3;
            low | (((stored[at] >> part) & 1) << 2)
        });
    }

    /// The small scale and minimum of `Q4_K` and `Q5_K` (`get_scale_min_k4`).
    fn scale_min_k(&mut self, stored: &[u8], part: usize) {
        (self.scale, self.min) = (half(stored, 0), half(stored, 2));
        let packed = &stored[4..16];
        let (scale, min) = if part < 4 {
            (packed[part] & 63, packed[part + 4] & 63)
        } else {
            let (low, high) = (packed[part + 4], 6);
            ((low & 15) | (packed[part - 4] >> high << 4), (low >> 4) | (packed[part] >> high << 4))
        };
        (self.small_scales, self.small_mins) = ([scale; 2], [min; 2]);
    }

    fn q4_k(&mut self, stored: &[u8], part: usize) {
        self.scale_min_k(stored, part);
        self.set(|at| (stored[16 + part / 2 * 32 + at] >> (4 * (part % 2))) & 15);
    }

    fn q5_k(&mut self, stored: &[u8], part: usize) {
        self.scale_min_k(stored, part);
        self.set(|at| {
            let low = (stored[48 + part / 2 * 32 + at] >> (4 * (part % 2))) & 15;
            low | (((stored[16 + at] >> part) & 1) << 4)
        });
    }

    fn q6_k(&mut self, stored: &[u8], part: usize) {
        self.scale = half(stored, 208);
        self.small_scales = [stored[192 + 2 * part], stored[193 + 2 * part]];
        let (half, quarter) = (part / 4, part % 4);
        self.set(|at| {
            let low = (stored[64 * half + 32 * (quarter % 2) + at] >> (4 * (quarter / 2))) & 15;
            low | (((stored[128 + 32 * half + at] >> (2 * quarter)) & 3) << 4)
        });
    }

    /// Five digits in a byte, as a fraction in base 3 (`dequantize_row_tq1_0` in `ggml/src/ggml-quants.c`).
    fn tq1_0(&mut self, stored: &[u8], part: usize) {
        const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
        self.scale = half(stored, 52);
        self.set(|at| {
            let at = part * BLOCK + at;
            let (byte, power) = match at {
                ..160 => (at % 32, at / 32),
                160..240 => (32 + (at - 160) % 16, (at - 160) / 16),
                _ => (48 + (at - 240) % 4, (at - 240) / 4),
            };
            ((u16::from(stored[byte].wrapping_mul(POWERS[power])) * 3) >> 8) as u8
        });
    }
}

/// The bits of the F16 number at `at`.
fn half(stored: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([stored[at], stored[at + 1]])
}
