//! A smaller model that guesses what another one will say.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tabagent_llama::{Batch, Context, ContextConfig, ContextError, TokenId, Vocab};
use tabagent_runtime::{Drafter, Lookup};
use tabagent_sampling::log_sum_exp;

use crate::error::Error;
use crate::model::Model;
use crate::open::Open;
use crate::value::{Fields, OptionError, Value};

/// A model that drafts for a request of another one, and how.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The model. Its vocabulary must be the other model's.
    pub model: Model,
    /// How many tokens at a time, and which.
    pub limits: DraftLimits,
}

/// How many tokens a model drafts in a step, and which.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DraftLimits {
    /// Maximum number of tokens; at least 1.
    pub max_draft: usize,
    /// So many tokens are drafted, however improbable, or none where there is no room for them.
    pub min_draft: usize,
    /// A token is not drafted that, together with those before it, is less probable than this in the draft model. The first one, and `min_draft` of them, are drafted in any case.
    pub min_probability: f64,
}

impl Default for DraftLimits {
    fn default() -> Self {
        Self { max_draft: 8, min_draft: 0, min_probability: 0.3 }
    }
}

impl DraftLimits {
    /// Reads limits by their names; missing ones have their defaults.
    ///
    /// # Errors
    /// [`OptionError`] names the limit that is unknown, or has a wrong type or value.
    pub fn read(limits: Value) -> Result<Self, OptionError> {
        let mut given = Fields::new(limits, "draft")?;
        let default = Self::default();
        let most = Lookup::MOST;
        let read = Self {
            max_draft: given.integer("max_draft", "an integer of at least 1")?.unwrap_or(default.max_draft),
            min_draft: given.integer("min_draft", "an integer of at least 0")?.unwrap_or(default.min_draft),
            min_probability: given.number("min_probability")?.map_or(default.min_probability, f64::from),
        };
        given.finish()?;
        if !(1..=most).contains(&read.max_draft) {
            return Err(OptionError::out_of_range(
                "max_draft",
                format!("between 1 and {most}"),
                &read.max_draft,
            ));
        }
        if read.min_draft > read.max_draft {
            let range = format!("at most `max_draft`, which is {}", read.max_draft);
            return Err(OptionError::out_of_range("min_draft", range, &read.min_draft));
        }
        if !(0.0..=1.0).contains(&read.min_probability) {
            return Err(OptionError::out_of_range(
                "min_probability",
                "between 0 and 1",
                &read.min_probability,
            ));
        }
        Ok(read)
    }

    /// How many tokens are drafted in a step.
    pub(crate) fn sizes(&self) -> RangeInclusive<usize> {
        self.min_draft..=self.max_draft
    }
}

impl PartialEq for Draft {
    fn eq(&self, other: &Self) -> bool {
        self.limits == other.limits && self.model.is_same(&other.model)
    }
}

/// Why a model cannot draft for another one.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// The tokens are others.
    #[error(
        "the draft model has another vocabulary than this one: {difference}; take a smaller model of the same family"
    )]
    Vocabulary {
        /// The first difference.
        difference: String,
    },
    /// It cannot take guesses back.
    #[error(
        "the draft model's memory is a state that cannot lose tokens again; take a draft model with attention alone"
    )]
    Recurrent,
}

/// Requests that one model drafts for at a time; others go on without drafts.
const MOST: usize = 4;
/// So many tokens that a draft model has not seen are decoded between two steps of the others.
const SLICE: usize = 256;
/// By how much the numbers of tokens may differ: files of one family are filled up to other multiples.
const FILLED: usize = 256;

/// The contexts in which a model drafts for others.
#[derive(Default)]
pub(crate) struct Drafts(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    idle: Vec<Context>,
    /// Those in use, and those that are idle.
    n_made: usize,
    closed: bool,
    /// Numbers of models whose vocabulary was compared and is the same.
    known: HashSet<u64>,
}

impl Drafts {
    pub(crate) fn close(&self) {
        let mut state = lock(&self.0);
        state.closed = true;
        state.idle.clear();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Draft {
    /// What drafts for one request of `target`; `None` if it is busy with others.
    pub(crate) fn drafter(&self, target: &Open) -> Result<Option<Box<dyn Drafter>>, Error> {
        let open = self.model.open()?;
        open.engine()?;
        let facts = open.model.facts();
        if facts.recurrent || facts.hybrid {
            return Err(DraftError::Recurrent.into());
        }
        let (ours, theirs) = (target.model.vocab(), open.model.vocab());
        let shared = &open.drafts.0;
        if !lock(shared).known.contains(&target.number) {
            if let Some(difference) = difference(ours, theirs) {
                return Err(DraftError::Vocabulary { difference }.into());
            }
            lock(shared).known.insert(target.number);
        }
        let mut state = lock(shared);
        let context = match state.idle.pop() {
            Some(context) => context,
            None if state.n_made >= MOST => return Ok(None),
            None => {
                state.n_made += 1;
                drop(state);
                open.draft_context(target).inspect_err(|_| lock(shared).n_made -= 1)?
            }
        };
        let n_vocab = ours.len();
        let shared = Arc::clone(shared);
        Ok(Some(Box::new(LlamaDrafter {
            context: Some(context),
            shared,
            tokens: Vec::new(),
            n_vocab,
            limits: self.limits,
            batch: Batch::new(),
        })))
    }
}

impl Open {
    /// A context to draft in, with the sizes and types that this model was loaded with.
    fn draft_context(&self, target: &Self) -> Result<Context, Error> {
        let (keys, values) = self.kv_types();
        let config = ContextConfig {
            context_size: Some(self.sizes().sequence_size),
            kv_type: keys,
            value_type: Some(values),
            threads: Some(target.sizes().threads).filter(|count| *count > 0),
            // Guesses are taken back.
            full_sliding_window: true,
            ..ContextConfig::default()
        };
        Ok(self.model.create_context_with(&config)?)
    }
}

/// The first difference of two vocabularies that matters to drafts.
fn difference(ours: &Vocab, theirs: &Vocab) -> Option<String> {
    let (n_ours, n_theirs) = (ours.len(), theirs.len());
    if n_ours.abs_diff(n_theirs) > FILLED {
        return Some(format!("it has {n_theirs} tokens where this one has {n_ours}"));
    }
    let text = |vocab: &Vocab, token| vocab.token_text(token).unwrap_or_default();
    let other =
        (0..n_ours.min(n_theirs) as TokenId).find(|&token| text(ours, token) != text(theirs, token))?;
    Some(format!("token {other} is `{}` where this one has `{}`", text(theirs, other), text(ours, other)))
}

/// Guesses by always taking the draft model's most probable token.
struct LlamaDrafter {
    /// `None` once it has failed.
    context: Option<Context>,
    shared: Arc<Mutex<State>>,
    /// What is in the context.
    tokens: Vec<TokenId>,
    /// Tokens of the other model.
    n_vocab: usize,
    limits: DraftLimits,
    batch: Batch,
}

impl Drafter for LlamaDrafter {
    fn draft(&mut self, tokens: &[TokenId], n: usize, out: &mut Vec<TokenId>) {
        if self.guess(tokens, n, out).is_err() {
            // The text goes on without guesses.
            self.context = None;
            lock(&self.shared).n_made -= 1;
        }
    }
}

impl LlamaDrafter {
    fn guess(&mut self, tokens: &[TokenId], n: usize, out: &mut Vec<TokenId>) -> Result<(), ContextError> {
        let Some(context) = &mut self.context else { return Ok(()) };
        if tokens.is_empty() || tokens.len() + n > context.sequence_size() as usize {
            return Ok(());
        }
        let same = self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        // The last one is decoded for its logits.
        let keep = same.min(tokens.len() - 1);
        if keep < self.tokens.len() {
            if context.truncate_sequence(0, keep as u32)? {
                self.tokens.truncate(keep);
            } else {
                context.remove_sequence(0)?;
                self.tokens.clear();
            }
        }
        let slice = SLICE.min(context.batch_size() as usize);
        let end = tokens.len().min(self.tokens.len() + slice);
        let is_all = end == tokens.len();
        self.batch.clear();
        for (place, token) in tokens.iter().enumerate().take(end).skip(self.tokens.len()) {
            self.batch.push(*token, place as u32, &[0], is_all && place + 1 == end);
        }
        let mut row = self.batch.len() - 1;
        context.decode_unless(&self.batch, &|| false)?;
        self.tokens.extend_from_slice(&tokens[self.tokens.len()..end]);
        if !is_all {
            return Ok(());
        }
        let mut likely = 1.0;
        for count in 1..=n {
            let (token, share) = best(context.logits(row)?);
            likely *= share;
            let is_known = usize::try_from(token).is_ok_and(|token| token < self.n_vocab);
            // The first guess is made in any case, so that it shows how good guesses are.
            let is_sure = count <= self.limits.min_draft.max(1) || likely >= self.limits.min_probability;
            if !is_known || !is_sure {
                break;
            }
            out.push(token);
            if count == n {
                break;
            }
            self.batch.clear();
            self.batch.push(token, self.tokens.len() as u32, &[0], true);
            context.decode_unless(&self.batch, &|| false)?;
            self.tokens.push(token);
            row = 0;
        }
        Ok(())
    }
}

/// The most probable token, and its probability.
fn best(logits: &[f32]) -> (TokenId, f64) {
    let top =
        logits.iter().enumerate().filter(|(_, logit)| !logit.is_nan()).max_by(|a, b| a.1.total_cmp(b.1));
    let Some((token, logit)) = top else { return (-1, 0.0) };
    (token as TokenId, (f64::from(*logit) - log_sum_exp(logits)).exp())
}

impl Drop for LlamaDrafter {
    fn drop(&mut self) {
        let Some(mut context) = self.context.take() else { return };
        context.reset();
        let mut state = lock(&self.shared);
        if state.closed {
            state.n_made -= 1;
        } else {
            state.idle.push(context);
        }
    }
}
