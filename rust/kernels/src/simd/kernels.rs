//! The products of a tile, once for all instruction sets: each brings its vectors and gets its copy.

/// Makes `quants` and `floats` for the instructions of the module that calls it.
///
/// The module has `PARTS`, in how many vectors the 16 rows of a tile lie, `MOST`, how many tokens a block's digits are used for while they are in
/// registers (a power of two), and the small functions that are called here.
macro_rules! kernels {
    ($(#[$features:meta])*) => {
        /// Blocks that are done for one part of a tile before the next part: they stay in the nearest cache.
        const RUN: usize = 16;

        /// Vector `j` of a block's digits.
        #[inline]
        $(#[$features])*
        fn unpack_one<F: Form>(lines: &[Line], part: usize, j: usize) -> Ints {
            let low = match F::BITS {
                Bits::Two | Bits::Three => bits(line(&lines[j / 4], part), 2 * (j % 4), 3),
                Bits::Four | Bits::Five | Bits::Six => bits(line(&lines[j % 4], part), j / 4 * 4, 15),
                Bits::Eight => line(&lines[j], part),
            };
            let digit = match F::BITS {
                Bits::Three => or(low, place(line(&lines[2], part), j, 2, 4)),
                Bits::Five => or(low, place(line(&lines[4], part), j, 4, 16)),
                Bits::Six => or(low, place(line(&lines[4 + j / 4], part), 2 * (j % 4), 4, 48)),
                Bits::Two | Bits::Four | Bits::Eight => low,
            };
            let digit = match &F::TABLE {
                Some(table) => look_up(table, digit),
                None => digit,
            };
            prepare::<F>(digit)
        }

        /// The bits of `mask` after those that begin at bit `from` of each byte were moved to bit `to`.
        #[inline]
        $(#[$features])*
        fn place(ints: Ints, from: usize, to: usize, mask: u8) -> Ints {
            if from >= to { bits(ints, from - to, mask) } else { bits_up(ints, to - from, mask) }
        }

        /// The digits of a block, vector by vector.
        #[inline]
        $(#[$features])*
        fn unpack<F: Form>(lines: &[Line], part: usize) -> [Ints; 8] {
            let one = |j: usize| unpack_one::<F>(lines, part, j);
            [one(0), one(1), one(2), one(3), one(4), one(5), one(6), one(7)]
        }

        /// The scales and the summands of block `at`, for 16 columns each.
        #[inline]
        $(#[$features])*
        fn scales<F: Form>(halves: &[Half], at: usize, part: usize) -> ([Floats; 2], [Floats; 2]) {
            let (group, in_group) = (at / SUPER, at % SUPER);
            let none = splat(0.0);
            match F::SCALES {
                Scales::Half => ([half(&halves[at], part); 2], [none; 2]),
                Scales::HalfMin => ([half(&halves[2 * at], part); 2], [half(&halves[2 * at + 1], part); 2]),
                Scales::Exponent => ([exponents(&halves[at / 2], at % 2, part); 2], [none; 2]),
                Scales::Bytes => {
                    let base = &halves[5 * group..][..5];
                    let small = signed_bytes(&base[1 + in_group / 2], in_group % 2, part);
                    ([mul(half(&base[0], part), small); 2], [none; 2])
                }
                Scales::BytesMin => {
                    let base = &halves[10 * group..][..10];
                    let (scale, min) = (half(&base[0], part), half(&base[1], part));
                    let small = &base[2 + in_group];
                    let min = mul(sub(none, min), bytes(small, 1, part));
                    ([mul(scale, bytes(small, 0, part)); 2], [min; 2])
                }
                Scales::Bytes16 => {
                    let base = &halves[9 * group..][..9];
                    let (scale, small) = (half(&base[0], part), &base[1 + in_group]);
                    let scales = [mul(scale, signed_bytes(small, 0, part)), mul(scale, signed_bytes(small, 1, part))];
                    (scales, [none; 2])
                }
                Scales::Nibbles16 => {
                    let base = &halves[10 * group..][..10];
                    let (scale, min) = (half(&base[0], part), sub(none, half(&base[1], part)));
                    let small = &base[2 + in_group];
                    let scales = [mul(scale, low_nibbles(small, 0, part)), mul(scale, low_nibbles(small, 1, part))];
                    (scales, [mul(min, high_nibbles(small, 0, part)), mul(min, high_nibbles(small, 1, part))])
                }
                Scales::Super => ([half(&halves[group], part); 2], [none; 2]),
            }
        }

        /// A tile times `T` tokens of a group of `width`, the first of them number `first`.
        #[inline]
        $(#[$features])*
        fn tile<F: Form, const T: usize>(
            lines: &[Line],
            halves: &[Half],
            entries: &[Entry],
            width: usize,
            first: usize,
        ) -> [[Floats; PARTS]; T] {
            let mut sums = [[splat(0.0); PARTS]; T];
            let n_lines = F::BITS as usize;
            let runs = lines.chunks(RUN * n_lines).zip(entries.chunks(RUN * width));
            for (run, (lines, entries)) in runs.enumerate() {
                for part in 0..PARTS {
                    let mut sum = [splat(0.0); T];
                    for t in 0..T {
                        sum[t] = sums[t][part];
                    }
                    let blocks = lines.chunks_exact(n_lines).zip(entries.chunks_exact(width));
                    for (block, (lines, entries)) in blocks.enumerate() {
                        let digits = unpack::<F>(lines, part);
                        let (scale, min) = scales::<F>(halves, run * RUN + block, part);
                        let entries = &entries[first..][..T];
                        for t in 0..T {
                            let entry = &entries[t];
                            let size = splat(entry.scale);
                            if F::SCALES.is_16() {
                                let one = dot::<F, 0, 4>(&digits, &entry.wholes, start::<F>(entry.less16[0]));
                                let two = dot::<F, 4, 8>(&digits, &entry.wholes, start::<F>(entry.less16[1]));
                                sum[t] = fma(mul(scale[0], size), to_floats(one), sum[t]);
                                sum[t] = fma(mul(scale[1], size), to_floats(two), sum[t]);
                                if F::SCALES.has_min() {
                                    sum[t] = fma(min[0], splat(entry.sums[0]), sum[t]);
                                    sum[t] = fma(min[1], splat(entry.sums[1]), sum[t]);
                                }
                            } else {
                                let all = dot::<F, 0, 8>(&digits, &entry.wholes, start::<F>(entry.less));
                                sum[t] = fma(mul(scale[0], size), to_floats(all), sum[t]);
                                if F::SCALES.has_min() {
                                    sum[t] = fma(min[0], splat(entry.sum), sum[t]);
                                }
                            }
                        }
                    }
                    for t in 0..T {
                        sums[t][part] = sum[t];
                    }
                }
            }
            sums
        }

        /// Multiplies a tile with `T` tokens of a group and stores the results.
        #[inline]
        $(#[$features])*
        fn strip<F: Form, const T: usize>(
            weights: &Quants,
            tile_at: usize,
            input: &Quantized,
            group: usize,
            first: usize,
            window: &mut Window<'_, f32>,
        ) {
            let (entries, width) = input.group(group);
            let (lines, halves) = (weights.tile_lines(tile_at), weights.tile_halves(tile_at));
            let sums = tile::<F, T>(lines, halves, entries, width, first);
            let factor = splat(weights.factor);
            let col = tile_at * TILE - window.cols().start;
            for (t, sums) in sums.into_iter().enumerate() {
                let out = &mut window.row_mut(group * GROUP + first + t)[col..];
                store(sums.map(|sum| mul(sum, factor)), out);
            }
        }

        /// Multiplies the tiles of a window with the tokens of a window; it begins with whole tiles and groups.
        $(#[$features])*
        pub(in crate::simd) fn quants<F: Form>(weights: &Quants, input: &Quantized, window: &mut Window<'_, f32>) {
            for tile_at in window.cols().start / TILE..window.cols().end.div_ceil(TILE) {
                for group in window.rows().start / GROUP..window.rows().end.div_ceil(GROUP) {
                    let (_, width) = input.group(group);
                    let mut first = 0;
                    while first < width {
                        match (width - first).min(MOST) {
                            8.. => strip::<F, 8>(weights, tile_at, input, group, first, window),
                            4.. => strip::<F, 4>(weights, tile_at, input, group, first, window),
                            2.. => strip::<F, 2>(weights, tile_at, input, group, first, window),
                            _ => strip::<F, 1>(weights, tile_at, input, group, first, window),
                        }
                        first += 1 << (width - first).min(MOST).ilog2();
                    }
                }
            }
        }

        /// The weights of a tile in column `col` of a line.
        #[inline]
        $(#[$features])*
        fn column<F: FloatForm>(line: &Line, col: usize, part: usize) -> Floats {
            match F::NAME {
                FloatName::F32 => singles(line, part),
                FloatName::F16 => halves(line, col, part),
                FloatName::BF16 => brains(line, col, part),
            }
        }

        /// A tile of floats times `T` tokens of a group of `width`, the first of them number `first`, in `C` sums for each.
        #[inline]
        $(#[$features])*
        fn float_tile<F: FloatForm, const T: usize, const C: usize>(
            lines: &[Line],
            values: &[f32],
            width: usize,
            first: usize,
        ) -> [[Floats; PARTS]; T] {
            let mut sums = [[[splat(0.0); C]; PARTS]; T];
            let per_line = F::NAME.per_line();
            let runs = lines.chunks(4 * RUN).zip(values.chunks(4 * RUN * per_line * width));
            for (lines, values) in runs {
                for part in 0..PARTS {
                    let mut sum = [[splat(0.0); C]; T];
                    for t in 0..T {
                        sum[t] = sums[t][part];
                    }
                    for (lines, values) in lines.chunks(C).zip(values.chunks(C * per_line * width)) {
                        if lines.len() == C {
                            for c in 0..C {
                                for col in 0..per_line {
                                    let weights = column::<F>(&lines[c], col, part);
                                    let values = &values[(c * per_line + col) * width + first..][..T];
                                    for t in 0..T {
                                        sum[t][c] = fma(weights, splat(values[t]), sum[t][c]);
                                    }
                                }
                            }
                        } else {
                            for (c, line) in lines.iter().enumerate() {
                                for col in 0..per_line {
                                    let weights = column::<F>(line, col, part);
                                    let values = &values[(c * per_line + col) * width + first..][..T];
                                    for t in 0..T {
                                        sum[t][0] = fma(weights, splat(values[t]), sum[t][0]);
                                    }
                                }
                            }
                        }
                    }
                    for t in 0..T {
                        sums[t][part] = sum[t];
                    }
                }
            }
            let mut totals = [[splat(0.0); PARTS]; T];
            for t in 0..T {
                for part in 0..PARTS {
                    let mut total = sums[t][part][0];
                    for c in 1..C {
                        total = add(total, sums[t][part][c]);
                    }
                    totals[t][part] = total;
                }
            }
            totals
        }

        /// Multiplies a tile of floats with `T` tokens of a group and stores the results.
        #[inline]
        $(#[$features])*
        fn float_strip<F: FloatForm, const T: usize, const C: usize>(
            weights: &FloatWeights,
            tile_at: usize,
            input: &singles::Singles,
            group: usize,
            first: usize,
            window: &mut Window<'_, f32>,
        ) {
            let (values, width) = input.group(group);
            let sums = float_tile::<F, T, C>(weights.tile_lines(tile_at), values, width, first);
            let col = tile_at * TILE - window.cols().start;
            for (t, sums) in sums.into_iter().enumerate() {
                store(sums, &mut window.row_mut(group * GROUP + first + t)[col..]);
            }
        }

        /// As [`quants`], for floats.
        $(#[$features])*
        pub(in crate::simd) fn floats<F: FloatForm>(
            weights: &FloatWeights,
            input: &singles::Singles,
            window: &mut Window<'_, f32>,
        ) {
            for tile_at in window.cols().start / TILE..window.cols().end.div_ceil(TILE) {
                for group in window.rows().start / GROUP..window.rows().end.div_ceil(GROUP) {
                    let (_, width) = input.group(group);
                    let mut first = 0;
                    while first < width {
                        match width - first {
                            8.. => float_strip::<F, 8, 1>(weights, tile_at, input, group, first, window),
                            4.. => float_strip::<F, 4, 2>(weights, tile_at, input, group, first, window),
                            2.. => float_strip::<F, 2, 4>(weights, tile_at, input, group, first, window),
                            _ => float_strip::<F, 1, 8>(weights, tile_at, input, group, first, window),
                        }
                        first += 1 << (width - first).min(GROUP).ilog2();
                    }
                }
            }
        }
    };
}

pub(super) use kernels;
