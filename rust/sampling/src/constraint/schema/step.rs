//! Steps of numbers (`multipleOf`).

use llguidance::derivre::RegexAst;

use super::decimal::Decimal;

/// The largest product of steps in one range: the engine keeps a state for each remainder.
pub(super) const MAX_REMAINDERS: u64 = 100_000;

/// `coefficient` · 10^(`zeros` − `decimals`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) coefficient: u32,
    decimals: u32,
    zeros: u32,
}

impl Step {
    /// `None` for a step whose remainders the engine cannot count.
    pub(super) fn new(step: &Decimal) -> Option<Self> {
        let (whole, decimals) = (step.whole(), step.fraction().len() as u32);
        let digits = format!("{whole}{}", step.fraction());
        let kept = if decimals == 0 { digits.trim_end_matches('0') } else { &digits };
        let zeros = (digits.len() - kept.len()) as u32;
        let coefficient: u32 = kept.parse().ok().filter(|n| *n > 0)?;
        let countable = 10u64.checked_pow(decimals)?.checked_mul(9)? + u64::from(coefficient) * 10;
        let is_countable = u32::try_from(countable).is_ok() && u64::from(coefficient) <= MAX_REMAINDERS;
        is_countable.then_some(Self { coefficient, decimals, zeros })
    }

    pub(super) fn divides(self, value: &Decimal) -> bool {
        let missing = (self.decimals as usize).checked_sub(value.fraction().len());
        let Some(missing) = missing else { return false };
        let mut digits = format!("{}{}{}", value.whole(), value.fraction(), "0".repeat(missing));
        if value.is_zero() {
            return true;
        }
        for _ in 0..self.zeros {
            if digits.pop() != Some('0') {
                return false;
            }
        }
        digits
            .bytes()
            .fold(0, |rest, digit| (rest * 10 + u64::from(digit - b'0')) % u64::from(self.coefficient))
            == 0
    }

    /// The plain texts of its multiples, without a sign.
    pub(super) fn ast(self) -> RegexAst {
        let zeros = RegexAst::Literal("0".repeat(self.zeros as usize));
        let whole = |coefficient| RegexAst::Concat(vec![RegexAst::MultipleOf(coefficient, 0), zeros.clone()]);
        let mut ways = vec![RegexAst::Literal("0".to_owned())];
        for decimals in 0..=self.decimals {
            // With so many decimals, the digits without the point are such multiples.
            let scale = 10u32.pow(self.decimals - decimals);
            let coefficient = self.coefficient / gcd(self.coefficient, scale);
            if decimals == 0 {
                ways.push(whole(coefficient));
            } else {
                let shape = RegexAst::Regex(format!(r"[0-9]+\.[0-9]{{{decimals}}}"));
                ways.push(RegexAst::And(vec![RegexAst::MultipleOf(coefficient, decimals), shape]));
            }
        }
        RegexAst::Or(ways)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
