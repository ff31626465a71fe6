//! Prompts that have a model write what is missing in the middle of a text.
//!
//! The order and the shares are those of llama.cpp's server (`format_prompt_infill` in `tools/server/server-common.cpp`), with the token that begins a text in
//! front of everything. Other files come first, each after its name. Without other files and names there is nothing in front of the prefix: models write worse
//! middles of a file that stands alone in a repository.
//!
//! ```text
//! <repo>myproject\n <file>name\n text … <file>filename\n <prefix>… prompt <suffix>… <middle>
//! ```

use tabagent_llama::{TokenId, Vocab};

use crate::error::Error;
use crate::model::Model;
use crate::value::{Fields, OptionError, Value};

/// What to fill in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InfillRequest {
    /// The text before.
    pub prefix: String,
    /// The text after.
    pub suffix: String,
    /// What the missing text begins with. It counts as prefix that is never cut.
    pub prompt: String,
    /// Other files.
    pub extra: Vec<InfillFile>,
    /// The repository's name, for models with a token for that.
    pub repository: Option<String>,
    /// The name of the file that is written, for models with a token for that.
    pub filename: Option<String>,
    /// Put the suffix first, for models that were trained so.
    pub suffix_first: bool,
    /// How many tokens the missing text may have, for which room is kept.
    pub max_tokens: Option<usize>,
}

/// A file beside the one that is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InfillFile {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The repository's name where none is given.
const REPOSITORY: &str = "myproject";
/// The name of the file where none is given.
const FILENAME: &str = "filename";
/// Between files where the vocabulary has no token for that.
const SNIPPET: &str = "\n\n--- snippet ---\n\n";

/// The tokens of a request's parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Parts {
    front: Vec<TokenId>,
    extra: Vec<TokenId>,
    prefix: Vec<TokenId>,
    prompt: Vec<TokenId>,
    suffix: Vec<TokenId>,
    /// The tokens in front of prefix, suffix and middle.
    markers: [TokenId; 3],
}

/// How many tokens there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    n_batch: usize,
    n_ctx: usize,
    max_tokens: Option<usize>,
}

impl InfillRequest {
    /// Reads a request by the names of its fields; `extra` is a list of lists of a name and a text.
    ///
    /// # Errors
    /// [`OptionError`] names the field that is missing, unknown or of a wrong type.
    pub fn read(request: Value) -> Result<Self, OptionError> {
        const FILES: &str = "lists of a name and a text";
        let mut given = Fields::new(request, "infill")?;
        let file = |value| match value {
            Value::List(items) => match items.as_slice() {
                [Value::Text(name), Value::Text(text)] => {
                    Ok(InfillFile { name: name.clone(), text: text.clone() })
                }
                _ => Err(OptionError::wrong_type("extra", FILES, &Value::List(Vec::new()))),
            },
            other => Err(OptionError::wrong_type("extra", FILES, &other)),
        };
        let extra = given.list("extra")?.unwrap_or_default();
        let read = Self {
            prefix: given.text("prefix")?.unwrap_or_default(),
            suffix: given.text("suffix")?.unwrap_or_default(),
            prompt: given.text("prompt")?.unwrap_or_default(),
            extra: extra.into_iter().map(file).collect::<Result<_, _>>()?,
            repository: given.text("repository")?,
            filename: given.text("filename")?,
            suffix_first: given.flag("suffix_first")?.unwrap_or_default(),
            max_tokens: given.integer("max_tokens", "an integer of at least 0")?,
        };
        given.finish()?;
        Ok(read)
    }
}

impl Model {
    /// The prompt after which the model writes what is missing between two texts. What does not fit is cut: three quarters of a batch are for the end of the
    /// prefix, one for the beginning of the suffix, and what is left of the context, after twice `max_tokens`, for the end of the other files.
    ///
    /// # Errors
    /// [`Error::NoInfill`] if the vocabulary has no tokens for it, [`Error::Vocab`], [`Error::Engine`], [`Error::Context`] for a model without weights.
    pub fn infill_prompt(&self, request: &InfillRequest) -> Result<Vec<TokenId>, Error> {
        let sizes = self.sizes()?;
        let room = Room {
            n_batch: sizes.batch_size as usize,
            n_ctx: sizes.sequence_size as usize,
            max_tokens: request.max_tokens,
        };
        let parts = Parts::of(request, self.open()?.model.vocab())?;
        Ok(parts.prompt(room, request.suffix_first))
    }
}

impl Parts {
    fn of(request: &InfillRequest, vocab: &Vocab) -> Result<Self, Error> {
        let named = [
            ("prefix", vocab.token_fim_pre()),
            ("suffix", vocab.token_fim_suf()),
            ("middle", vocab.token_fim_mid()),
        ];
        let missing: Vec<&str> =
            named.iter().filter(|(_, token)| token.is_none()).map(|(name, _)| *name).collect();
        let [(_, Some(prefix)), (_, Some(suffix)), (_, Some(middle))] = named else {
            return Err(Error::NoInfill { missing: missing.join(", ") });
        };
        let plain = |text: &str| vocab.tokenize(text, false, false);
        let mut extra = Vec::new();
        let of_repository =
            !request.extra.is_empty() || request.repository.is_some() || request.filename.is_some();
        if let Some(token) = vocab.token_fim_rep().filter(|_| of_repository) {
            let name = request.repository.as_deref().unwrap_or(REPOSITORY);
            extra.push(token);
            extra.extend(plain(&format!("{name}\n"))?);
        }
        for file in &request.extra {
            match vocab.token_fim_sep() {
                Some(token) => {
                    extra.push(token);
                    extra.extend(plain(&format!("{}\n", file.name))?);
                }
                None => extra.extend(plain(SNIPPET)?),
            }
            extra.extend(plain(&file.text)?);
        }
        if let Some(token) = vocab.token_fim_sep().filter(|_| of_repository) {
            extra.push(token);
            extra.extend(plain(&format!("{}\n", request.filename.as_deref().unwrap_or(FILENAME)))?);
        }
        Ok(Self {
            front: vocab.additions()?.front.clone(),
            extra,
            prefix: plain(&request.prefix)?,
            prompt: plain(&request.prompt)?,
            suffix: plain(&request.suffix)?,
            markers: [prefix, suffix, middle],
        })
    }

    fn prompt(self, room: Room, suffix_first: bool) -> Vec<TokenId> {
        let Self { front, extra, mut prefix, prompt, mut suffix, markers: [pre, suf, mid] } = self;
        // A small context must hold the answer, too.
        let around = front.len() + 3;
        let kept = room.max_tokens.unwrap_or(room.n_ctx / 4).min(room.n_ctx / 2);
        let batch = room.n_batch.min(room.n_ctx.saturating_sub(kept + around));
        let share = batch / 4;
        prefix.drain(..prefix.len().saturating_sub(3 * share));
        suffix.truncate(share.saturating_sub(2 + prompt.len()));
        let used = around + prefix.len() + prompt.len() + suffix.len();
        let left = room.n_ctx.saturating_sub(used + 2 * room.max_tokens.unwrap_or(kept));
        let extra = &extra[extra.len() - left.min(extra.len())..];
        let before = [&[pre][..], &prefix, &prompt].concat();
        let after = [&[suf][..], &suffix].concat();
        let (first, second) = if suffix_first { (after, before) } else { (before, after) };
        [&front[..], extra, &first, &second, &[mid]].concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parts(extra: usize, prefix: usize, prompt: usize, suffix: usize) -> Parts {
        let numbered = |from: TokenId, n: usize| (from..from + n as TokenId).collect::<Vec<_>>();
        Parts {
            front: vec![1],
            extra: numbered(10_000, extra),
            prefix: numbered(20_000, prefix),
            prompt: numbered(30_000, prompt),
            suffix: numbered(40_000, suffix),
            markers: [2, 3, 4],
        }
    }

    #[test]
    fn parts_come_in_either_order() {
        let room = Room { n_batch: 64, n_ctx: 512, max_tokens: Some(8) };
        let made = parts(2, 2, 1, 2).prompt(room, false);
        assert_eq!(made, [1, 10_000, 10_001, 2, 20_000, 20_001, 30_000, 3, 40_000, 40_001, 4]);
        let made = parts(2, 2, 1, 2).prompt(room, true);
        assert_eq!(made, [1, 10_000, 10_001, 3, 40_000, 40_001, 2, 20_000, 20_001, 30_000, 4]);
    }

    #[test]
    fn what_is_next_to_the_gap_stays() {
        let room = Room { n_batch: 64, n_ctx: 200, max_tokens: Some(20) };
        let made = parts(500, 500, 3, 500).prompt(room, false);
        // The end of the other files and of the prefix, and the beginning of the suffix.
        let mut expected: Vec<TokenId> = vec![1];
        expected.extend(10_406..10_500);
        expected.push(2);
        expected.extend(20_452..20_500);
        expected.extend([30_000, 30_001, 30_002, 3]);
        expected.extend(40_000..40_011);
        expected.push(4);
        assert_eq!(made, expected);
    }

    proptest! {
        #[test]
        fn prompts_leave_room_for_the_answer(
            extra in 0_usize..300, prefix in 0_usize..300, suffix in 0_usize..300,
            n_batch in 16_usize..600, n_ctx in 32_usize..400, max_tokens in proptest::option::of(0_usize..500),
        ) {
            let made = parts(extra, prefix, 0, suffix).prompt(Room { n_batch, n_ctx, max_tokens }, false);
            let kept = max_tokens.unwrap_or(n_ctx / 4).min(n_ctx / 2);
            prop_assert!(made.len() + kept <= n_ctx, "{} tokens", made.len());
        }
    }

    #[test]
    fn requests_are_read_by_name() {
        let read = |json: serde_json::Value| InfillRequest::read(json.into());
        let request =
            read(json!({"prefix": "a", "suffix": "b", "extra": [["c.py", "d"]], "suffix_first": true}))
                .unwrap();
        assert_eq!(
            (request.prefix.as_str(), request.suffix.as_str(), request.suffix_first),
            ("a", "b", true)
        );
        assert_eq!(request.extra, [InfillFile { name: "c.py".into(), text: "d".into() }]);
        let error = read(json!({"extra": [["c.py"]]})).unwrap_err().to_string();
        assert_eq!(error, "`extra` must be lists of a name and a text, got `list`");
    }
}
