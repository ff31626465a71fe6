//! Splits a model's name into organization, family, size, version and fine-tuning, by the convention of `get_model_id_components` in
//! `gguf-py/gguf/metadata.py`.

/// The parts of a name such as `mistralai/Mistral-7B-Instruct-v0.3`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ModelName {
    pub(super) name: Option<String>,
    pub(super) organization: Option<String>,
    pub(super) basename: Option<String>,
    pub(super) finetune: Option<String>,
    pub(super) version: Option<String>,
    pub(super) size_label: Option<String>,
}

/// What a part between hyphens is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Basename,
    Size,
    Finetune,
    Version,
    Type,
}

impl ModelName {
    /// Splits `id` into its parts; `n_params`, 0 if unknown, serves to tell sizes from context lengths.
    pub(super) fn parse(id: &str, n_params: u64) -> Self {
        if id.contains(' ') {
            return Self { name: Some(id.to_owned()), ..Self::default() };
        }
        let (organization, full) = match id.split_once('/') {
            Some((organization, name)) => (Some(organization), name),
            None => (None, id),
        };
        let mut parts: Vec<(String, Vec<Part>)> = full
            .split('-')
            .filter(|part| !part.is_empty())
            .enumerate()
            .map(|(index, part)| classify(index, part, n_params))
            .collect();
        drop_words_beside_numbers(&mut parts);
        mark_basename(&mut parts);
        let joined = |keep: &dyn Fn(&[Part]) -> bool, unique: bool| {
            let mut texts: Vec<&str> = Vec::new();
            for (text, kinds) in &parts {
                if keep(kinds) && !(unique && texts.contains(&text.as_str())) {
                    texts.push(text);
                }
            }
            (!texts.is_empty()).then(|| texts.join("-"))
        };
        let size_label = joined(&|kinds| kinds.contains(&Part::Size), true);
        let finetune = joined(&|kinds| kinds.contains(&Part::Finetune), false);
        let version =
            joined(&|kinds| kinds.contains(&Part::Version) && !kinds.contains(&Part::Basename), false);
        let is_clear = size_label.is_some() || finetune.is_some() || version.is_some();
        let basename = joined(&|kinds| kinds.contains(&Part::Basename), false).filter(|_| is_clear);
        Self {
            name: Some(full.to_owned()),
            organization: organization.filter(|name| !name.starts_with('.')).map(str::to_owned),
            basename,
            finetune,
            version,
            size_label,
        }
    }
}

fn classify(index: usize, part: &str, n_params: u64) -> (String, Vec<Part>) {
    let lower = part.to_ascii_lowercase();
    if is_version(&lower) {
        return (part.to_owned(), vec![Part::Version]);
    }
    if is_type(&lower) {
        return (part.to_ascii_uppercase(), vec![Part::Type]);
    }
    if index > 0 && is_size(&lower) {
        let mut text = part.replace('_', ".");
        let last = text.pop().unwrap_or_default();
        if last.is_ascii_digit() {
            // `7b1` is 7.1b.
            let unit = text.pop().unwrap_or_default();
            text = format!("{text}.{last}{unit}");
        } else {
            text.push(last);
        }
        let unit = text.pop().unwrap_or_default();
        let is_number = text.ends_with(|c: char| c.is_ascii_digit());
        text.push(if is_number { unit.to_ascii_uppercase() } else { unit });
        if n_params > 0
            && is_number
            && let Some(stated) = stated_size(&text)
            && (stated - n_params as f64).abs() > (7 * n_params / 8) as f64
        {
            // A number far from the model's size is a context length.
            return (text.to_ascii_lowercase_last(), vec![Part::Finetune]);
        }
        return (text, vec![Part::Size]);
    }
    let is_finetune = index > 0 && matches!(lower.as_str(), "chat" | "instruct" | "vision" | "lora");
    (part.to_owned(), if is_finetune { vec![Part::Finetune] } else { Vec::new() })
}

/// Lower case for the last character only.
trait LowercaseLast {
    fn to_ascii_lowercase_last(&self) -> String;
}

impl LowercaseLast for String {
    fn to_ascii_lowercase_last(&self) -> String {
        let mut text = self.clone();
        if let Some(last) = text.pop() {
            text.push(last.to_ascii_lowercase());
        }
        text
    }
}

/// The number of parameters that `7B` stands for.
fn stated_size(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let power = "KMBT".find(unit)? as i32 + 1;
    Some(number.parse::<f64>().ok()? * 1000_f64.powi(power))
}

/// Digits with points between: `1`, `0.3`, `1.5.2`.
fn is_dotted_number(text: &str) -> bool {
    text.split('.').all(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()))
}

/// `v0.3`, `iter1` or `2`.
fn is_version(lower: &str) -> bool {
    let number = lower.strip_prefix("iter").or_else(|| lower.strip_prefix('v')).unwrap_or(lower);
    is_dotted_number(number)
}

/// `q4_k_m`, `iq2`, `bf16`, `fp16`, `f32` or `b16`.
fn is_type(lower: &str) -> bool {
    let number = lower.strip_prefix('b').unwrap_or(lower);
    let number = number.strip_prefix('f').map_or(number, |rest| rest.strip_prefix('p').unwrap_or(rest));
    if number != lower && matches!(number, "16" | "32") && lower.contains('f') {
        return true;
    }
    let Some(rest) = lower.strip_prefix('i').unwrap_or(lower).strip_prefix('q') else { return false };
    let mut parts = rest.split('_');
    let is_digit = |text: &str| text.len() == 1 && text.bytes().all(|digit| digit.is_ascii_digit());
    parts.next().is_some_and(is_digit)
        && parts.all(|part| part.len() == 1 && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// `7b`, `1.7B`, `8x7B`, `A3B`, `7b1`, or a word for a size.
fn is_size(lower: &str) -> bool {
    if matches!(lower, "small" | "mini" | "medium" | "large" | "xl" | "xxl") {
        return true;
    }
    let text = lower.strip_prefix('a').unwrap_or(lower);
    let text = match text.split_once('x') {
        Some((count, rest)) if !count.is_empty() && count.bytes().all(|digit| digit.is_ascii_digit()) => rest,
        Some(_) => return false,
        None => text,
    };
    let text = match text.as_bytes() {
        [.., unit, digit] if digit.is_ascii_digit() && b"kmbt".contains(unit) => &text[..text.len() - 1],
        _ => text,
    };
    let Some(number) = text.strip_suffix(['k', 'm', 'b', 't']) else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    match number.split_once(['.', '_']) {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(number),
    }
}

/// Where a number states the size, words do not count as sizes.
fn drop_words_beside_numbers(parts: &mut [(String, Vec<Part>)]) {
    let has_digit = |text: &str| text.chars().any(char::is_numeric);
    if parts.iter().any(|(text, kinds)| kinds.contains(&Part::Size) && has_digit(text)) {
        for (text, kinds) in parts {
            if text.chars().all(char::is_alphabetic) {
                kinds.retain(|kind| *kind != Part::Size);
            }
        }
    }
}

/// Marks the first parts as the family's name, without a version at its end, and later parts with no known meaning as the fine-tuning.
fn mark_basename(parts: &mut [(String, Vec<Part>)]) {
    let mut at_start = true;
    for (text, kinds) in parts.iter_mut() {
        let starts_word = text.starts_with(char::is_alphabetic);
        if at_start && ((kinds.is_empty() && starts_word) || kinds.contains(&Part::Version)) {
            kinds.push(Part::Basename);
        } else {
            at_start = false;
            if kinds.is_empty() {
                kinds.push(Part::Finetune);
            }
        }
    }
    for (_, kinds) in parts.iter_mut().rev() {
        if kinds.len() < 2 || !kinds.contains(&Part::Basename) {
            break;
        }
        kinds.retain(|kind| *kind != Part::Basename);
    }
}

/// A name for people: words in lower case get a capital letter, hyphens become spaces.
pub(super) fn title(name: &str) -> String {
    let words = name.trim().replace('-', " ");
    let words: Vec<String> = words.split_whitespace().map(title_word).collect();
    words.join(" ")
}

fn title_word(word: &str) -> String {
    let is_lower = word.chars().any(char::is_lowercase) && !word.chars().any(char::is_uppercase);
    let is_version = word.strip_prefix('v').is_some_and(is_dotted_number);
    if !is_lower || is_version || word.starts_with(|c: char| c.is_ascii_digit()) {
        return word.to_owned();
    }
    let mut after_letter = false;
    word.chars()
        .map(|letter| {
            let titled = if after_letter { letter } else { letter.to_ascii_uppercase() };
            after_letter = letter.is_alphabetic();
            titled
        })
        .collect()
}

/// A number of parameters as in `1.7B`, with at least two digits (`model_weight_count_rounded_notation` in
/// `gguf-py/gguf/utility.py`).
pub(super) fn size_label(n_params: u64) -> String {
    let n_params = n_params as f64;
    let (scaled, unit) = match n_params {
        n if n > 1e12 => (n * 1e-12, 'T'),
        n if n > 1e9 => (n * 1e-9, 'B'),
        n if n > 1e6 => (n * 1e-6, 'M'),
        n => (n * 1e-3, 'K'),
    };
    let whole = format!("{:.0}", scaled.round_ties_even());
    let digits = whole.trim_start_matches('0').len();
    format!("{scaled:.*}{unit}", 2_usize.saturating_sub(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(id: &str, n_params: u64) -> [Option<String>; 5] {
        let name = ModelName::parse(id, n_params);
        [name.organization, name.basename, name.size_label, name.finetune, name.version]
    }

    #[test]
    fn names_are_taken_apart() {
        let some = |text: &str| (text != "-").then(|| text.to_owned());
        // What `get_model_id_components` of the pinned tree answers.
        for (id, n_params, expected) in [
            ("mistralai/Mistral-7B-Instruct-v0.3", 0, ["mistralai", "Mistral", "7B", "Instruct", "v0.3"]),
            (
                "HuggingFaceTB/SmolLM2-135M-Instruct",
                134_515_008,
                ["HuggingFaceTB", "SmolLM2", "135M", "Instruct", "-"],
            ),
            ("Qwen/Qwen2.5-0.5B", 0, ["Qwen", "Qwen2.5", "0.5B", "-", "-"]),
            ("google/gemma-3-270m-it", 0, ["google", "gemma-3", "270M", "it", "-"]),
            ("Phi-3-mini-128k-instruct", 3_821_079_552, ["-", "Phi-3", "mini", "128k-instruct", "-"]),
            ("all-MiniLM-L6-v2", 0, ["-", "all-MiniLM-L6", "-", "-", "v2"]),
            ("model", 0, ["-", "-", "-", "-", "-"]),
            ("bloom-7b1", 0, ["-", "bloom", "7.1B", "-", "-"]),
            ("Llama-3.2-1B", 1_235_814_400, ["-", "Llama-3.2", "1B", "-", "-"]),
            ("DeepSeek-R1-Distill-Qwen-1.5B", 0, ["-", "DeepSeek-R1-Distill-Qwen", "1.5B", "-", "-"]),
            ("x-8x7B-a3b-q4_k", 0, ["-", "x", "8x7B-a3B", "-", "-"]),
        ] {
            assert_eq!(parts(id, n_params), expected.map(some), "{id}");
        }
    }

    #[test]
    fn titles_and_sizes_are_for_people() {
        assert_eq!(title("smollm2-135M-instruct-v0.2"), "Smollm2 135M Instruct v0.2");
        assert_eq!(title("all-MiniLM-L6-v2"), "All MiniLM L6 v2");
        // What `model_weight_count_rounded_notation` answers.
        for (n_params, expected) in [
            (134_515_008, "135M"),
            (22_565_376, "23M"),
            (1_711_376_384, "1.7B"),
            (950, "1.0K"),
            (400, "0.40K"),
            (24_000, "24K"),
            (1_000_000, "1000K"),
            (9_950_000, "10M"),
        ] {
            assert_eq!(size_label(n_params), expected);
        }
    }
}
