//! Requests on their way to the decode thread.

use std::sync::Arc;

use tabagent_llama::TokenId;
use tabagent_runtime::{
    Fork, HookWorker, Owner, Record, Request, ScoreRequest, StreamId, TokenStream, logits_hook,
};
use tabagent_sampling::constraint::Grammar;
use tabagent_sampling::{Draws, Explanation, Sampler};

use crate::changes::Changes;
use crate::error::Error;
use crate::generate::{GenerateOptions, WORTH_CACHING};
use crate::grammar::GrammarRequest;
use crate::model::Model;
use crate::settings::SamplerSettings;

/// What a text goes on from that was begun before.
#[derive(Default)]
pub(crate) struct Begun {
    pub(crate) fork: Option<Fork>,
    pub(crate) owner: Option<Owner>,
    pub(crate) record: Option<Record>,
    /// Where the sampler was.
    pub(crate) draws: Option<Draws>,
}

impl Model {
    /// Compiles a grammar for this model's vocabulary. The first one of a model takes a fraction of a second longer; one that was compiled
    /// before is returned at once.
    ///
    /// # Errors
    /// [`Error::Grammar`], [`Error::Engine`].
    pub fn compile_grammar(&self, request: &GrammarRequest) -> Result<Arc<Grammar>, Error> {
        let open = self.open()?;
        let compiler = open.compiler.get(&open.model, open.end_tokens())?;
        Ok(compiler.compile(&request.source, &request.options)?)
    }

    /// Continues the tokens of a prompt. With `hooked`, the returned [`HookWorker`] changes each row of logits before a token is chosen. Returns
    /// when the request is in the queue.
    ///
    /// # Errors
    /// [`Error::Sampler`], [`Error::Grammar`], [`Error::ForeignGrammar`], [`Error::Adapter`], [`Error::Request`], [`Error::Engine`], [`Error::Vocab`],
    /// [`Error::Context`] for a model without weights.
    pub fn generate(
        &self,
        prompt: Vec<TokenId>,
        options: GenerateOptions,
        grammar: Option<&Arc<Grammar>>,
        hooked: bool,
    ) -> Result<(TokenStream, Option<HookWorker>), Error> {
        self.begin(prompt, options, grammar, hooked, Begun::default())
    }

    /// As [`generate`](Self::generate), but goes on where a running text has come to: after `tokens`, which `of` generated from the same prompt and with the same options, but for
    /// how tokens are chosen. Cells are shared while that one runs.
    ///
    /// # Errors
    /// Those of [`generate`](Self::generate).
    pub fn fork(
        &self,
        prompt: Vec<TokenId>,
        options: GenerateOptions,
        grammar: Option<&Arc<Grammar>>,
        hooked: bool,
        (of, tokens): (StreamId, Vec<TokenId>),
    ) -> Result<(TokenStream, Option<HookWorker>), Error> {
        let fork = Some(Fork { of, tokens });
        self.begin(prompt, options, grammar, hooked, Begun { fork, ..Begun::default() })
    }

    /// As [`generate`](Self::generate), for a text that was begun before.
    pub(crate) fn begin(
        &self,
        prompt: Vec<TokenId>,
        options: GenerateOptions,
        grammar: Option<&Arc<Grammar>>,
        hooked: bool,
        begun: Begun,
    ) -> Result<(TokenStream, Option<HookWorker>), Error> {
        let open = self.open()?;
        let engine = open.engine()?;
        options.changes.check(&open.model)?;
        let mut config = open.sampler_config(options.sampling)?;
        if options.ignore_eos {
            config.logit_bias.extend(open.end_tokens().iter().map(|token| (*token, f32::NEG_INFINITY)));
        }
        let mut sampler = Sampler::new(&config, open.model.vocab().len())?;
        let generated = begun.fork.iter().flat_map(|fork| &fork.tokens);
        for token in prompt.iter().chain(generated) {
            sampler.accept(*token);
        }
        if let Some(draws) = &begun.draws {
            sampler.set_draws(draws);
        }
        let constraint = grammar.map(|grammar| open.constraint(grammar)).transpose()?;
        let thought = options.thought.map(|thought| thought.budget(open.model.vocab())).transpose()?;
        let drafter = options.draft.as_ref().map(|draft| draft.drafter(&open)).transpose()?.flatten();
        let (hook, worker) = hooked.then(logits_hook).unzip();
        let (cache_prompt, least_reuse) = match options.cache_prompt {
            Some(cache) => (cache, 1),
            None if begun.owner.is_some() => (true, 1),
            None => (prompt.len() > WORTH_CACHING, WORTH_CACHING),
        };
        let request = Request {
            max_tokens: options.max_tokens,
            stop: options.stop,
            ban: options.ban,
            stop_tokens: options.stop_tokens,
            ignore_eos: options.ignore_eos,
            logprobs: options.logprobs,
            logprobs_mode: options.logprobs_mode,
            constraint,
            thought,
            hook,
            lookup: options.lookup,
            drafter: drafter.zip(options.draft.map(|draft| draft.limits.sizes())),
            overflow: options.overflow,
            cache_prompt,
            least_reuse,
            owner: begun.owner,
            fork: begun.fork,
            record: begun.record,
            group: options.changes.group(),
            show_special: options.show_special,
            collect: options.collect,
            progress: options.progress,
            priority: options.priority,
            timeout: options.timeout,
            ..Request::new(prompt, Box::new(sampler))
        };
        Ok((engine.submit(request)?, worker))
    }

    /// Scores continuations of a prompt with the model as `changes` make it; see [`Engine::score`].
    ///
    /// # Errors
    /// [`Error::Adapter`], [`Error::Request`], [`Error::Engine`], [`Error::Context`] for a model without weights.
    pub fn score(&self, request: ScoreRequest, changes: &Changes) -> Result<TokenStream, Error> {
        let open = self.open()?;
        let engine = open.engine()?;
        changes.check(&open.model)?;
        Ok(engine.score(ScoreRequest { group: changes.group(), ..request })?)
    }
}

/// The distribution that settings draw the next token from, after the tokens of `history`, and with `explain` what each stage does. Texts among the
/// settings need a model.
///
/// # Errors
/// [`Error::Sampler`], [`Error::Sample`], [`Error::BreakersWithoutModel`], and those of the model.
pub fn distribution(
    settings: SamplerSettings,
    model: Option<&Model>,
    logits: &[f32],
    history: &[TokenId],
    explain: bool,
) -> Result<Explanation, Error> {
    let config = match model {
        Some(model) => model.open()?.sampler_config(settings)?,
        None => settings.without_model()?,
    };
    let mut sampler = Sampler::new(&config, logits.len())?;
    for token in history {
        sampler.accept(*token);
    }
    if explain {
        return Ok(sampler.explain(logits)?);
    }
    Ok(Explanation { stages: Vec::new(), probabilities: sampler.probabilities(logits)? })
}
