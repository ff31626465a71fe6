//! How long the vectors of texts are made.

use std::fmt;

/// What a vector is divided by, numbered as in llama.cpp (`common_embd_normalize` in its common/common.cpp).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorNorm(i32);

impl VectorNorm {
    /// Vectors as they are.
    pub const NONE: Self = Self(-1);
    /// Vectors of Euclidean length 1.
    pub const EUCLIDEAN: Self = Self(2);
    /// Powers above this are not told from the largest number in 32 bits.
    const MOST: i64 = 1024;
    /// What numbers there are, in words.
    pub(crate) const RANGE: &str = "-1 (as they are), 0 (the largest number is 32760), 1 (sum 1), 2 (length 1) or another power up to 1024";
    /// Half the range of 16-bit integers, with some room.
    const INTEGERS: f64 = 32760.0;

    /// By llama.cpp's number: -1 for none, 0 for a largest number of 32760, 1 for a sum of 1, 2 for a Euclidean length of 1, p above 2 for the p-norm. `None` if there is no such one.
    pub fn numbered(number: i64) -> Option<Self> {
        (-1..=Self::MOST).contains(&number).then_some(Self(number as i32))
    }

    /// Scales a vector in place. One of zeros stays.
    pub(crate) fn apply(self, vector: &mut [f32]) {
        let numbers = || vector.iter().map(|number| f64::from(number.abs()));
        let largest = || numbers().fold(0.0, f64::max);
        let length = match self.0 {
            -1 => return,
            0 => largest() / Self::INTEGERS,
            1 => numbers().sum(),
            2 => numbers().map(|number| number * number).sum::<f64>().sqrt(),
            power => {
                // Relative to the largest one, so that no power is too large or too small.
                let unit = largest();
                let sum: f64 = numbers().map(|number| (number / unit).powi(power)).sum();
                unit * sum.powf(1.0 / f64::from(power))
            }
        };
        if length > 0.0 {
            for number in vector.iter_mut() {
                *number = (f64::from(*number) / length) as f32;
            }
        }
    }
}

impl Default for VectorNorm {
    fn default() -> Self {
        Self::EUCLIDEAN
    }
}

impl fmt::Display for VectorNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(number: i64, mut vector: Vec<f32>) -> Vec<f32> {
        VectorNorm::numbered(number).unwrap().apply(&mut vector);
        vector
    }

    #[test]
    fn vectors_get_the_length_that_is_asked_for() {
        let close =
            |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5 * b.abs().max(1.0));
        assert_eq!(scaled(-1, vec![3.0, -4.0]), [3.0, -4.0]);
        assert!(close(&scaled(0, vec![3.0, -4.0]), &[24570.0, -32760.0]));
        assert!(close(&scaled(1, vec![3.0, -4.0, 1.0]), &[0.375, -0.5, 0.125]));
        assert!(close(&scaled(2, vec![3.0, -4.0]), &[0.6, -0.8]));
        let root = (27.0_f32 + 64.0).cbrt();
        assert!(close(&scaled(3, vec![3.0, -4.0]), &[3.0 / root, -4.0 / root]));
        // Powers of such numbers are beyond the range of floating-point numbers.
        assert!(close(&scaled(1000, vec![1e30, -5e29]), &[1.0, -0.5]));
        assert!(close(&scaled(1000, vec![1e-30, 0.0]), &[1.0, 0.0]));
        for number in [-1, 0, 1, 2, 3, 1024] {
            assert_eq!(scaled(number, vec![0.0, 0.0]), [0.0, 0.0], "{number}");
        }
    }

    #[test]
    fn there_are_no_other_lengths() {
        assert!([-2, 1025, i64::MAX].iter().all(|number| VectorNorm::numbered(*number).is_none()));
    }
}
