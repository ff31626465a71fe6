//! Keeping the numbers of tensors inside of the model while it computes.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::c_void;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use glob::Pattern;
use tabagent_sys::{TensorLayout, UnsupportedSetting, ggml_tensor};

use crate::context::Context;
use crate::context_error::{ContextConfigError, ContextError};
use crate::library::Library;
use crate::tensor::{GraphTensor, Numbers};

/// The numbers of one tensor in a decode.
#[derive(Clone, Debug, PartialEq)]
pub struct Captured {
    /// Its dimensions in the order of numpy, the outermost first; at least two. For what has one row a token: tokens, width.
    pub shape: Vec<usize>,
    /// Its numbers in that order.
    pub values: Vec<f32>,
}

/// Names shown in an error, at most.
const SHOWN: usize = 24;

/// What llama.cpp tells of the tensors of its graphs (`ggml_backend_sched_compute_splits` in `ggml/src/ggml-backend.cpp`): it asks for each
/// tensor, in the order of computation, whether it is wanted, and computes up to the next one that is. So each wanted tensor ends a piece of
/// the graph, for which all threads have to wait.
pub(crate) struct TensorTap {
    library: Library,
    layout: &'static TensorLayout,
    /// Whether the decode should stop.
    stop: AtomicBool,
    state: Mutex<State>,
}

struct State {
    patterns: Vec<Pattern>,
    /// Whether a tensor matched the pattern of that index.
    matched: Vec<bool>,
    /// Whether a completed decode has shown which patterns match.
    is_proven: bool,
    /// Whether the tensor of that name is wanted.
    known: HashMap<String, bool>,
    /// Bytes that the numbers may take.
    limit: usize,
    /// Bytes that they take.
    used: usize,
    /// The first tensor of a graph with those that it is computed from: it comes again when the next micro-batch begins.
    first: Option<Vec<String>>,
    /// How many micro-batches have begun.
    rounds: usize,
    pieces: BTreeMap<String, Vec<Piece>>,
    /// What was captured by the last decode.
    captured: BTreeMap<String, Captured>,
    /// Matrices of adapters that tensors are computed from; kept where that is what the tap is for.
    factors: Option<BTreeSet<String>>,
    failure: Option<ContextError>,
    panic: Option<Box<dyn Any + Send>>,
}

/// The numbers of one micro-batch.
struct Piece {
    round: usize,
    numbers: Numbers,
}

impl TensorTap {
    /// A tap that keeps the tensors whose names match one of `patterns`.
    pub(crate) fn for_tensors(
        library: &Library,
        patterns: &[String],
        limit: usize,
    ) -> Result<Self, ContextError> {
        let patterns = patterns.iter().map(|text| pattern(text)).collect::<Result<Vec<_>, _>>()?;
        Self::new(library, patterns, limit, None)
    }

    /// A tap that notes from which matrices of adapters llama.cpp computes.
    pub(crate) fn for_factors(library: &Library) -> Result<Self, ContextError> {
        Self::new(library, Vec::new(), 0, Some(BTreeSet::new()))
    }

    fn new(
        library: &Library,
        patterns: Vec<Pattern>,
        limit: usize,
        factors: Option<BTreeSet<String>>,
    ) -> Result<Self, ContextError> {
        let layout = &library.layout().tensor;
        // SAFETY: it takes nothing.
        let overhead = unsafe { (library.api().ggml_tensor_overhead)() };
        if !layout.agrees(overhead) {
            return Err(UnsupportedSetting { setting: "captures", build: library.layout().name }.into());
        }
        let state = State {
            matched: vec![false; patterns.len()],
            patterns,
            is_proven: false,
            known: HashMap::new(),
            limit,
            used: 0,
            first: None,
            rounds: 0,
            pieces: BTreeMap::new(),
            captured: BTreeMap::new(),
            factors,
            failure: None,
            panic: None,
        };
        Ok(Self { library: library.clone(), layout, stop: AtomicBool::new(false), state: Mutex::new(state) })
    }

    /// The user data for C; `self` must stay where it is as long as the context lives.
    pub(crate) fn address(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// Whether the running decode should stop.
    pub(crate) fn wants_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Forgets the last decode.
    pub(crate) fn begin(&self) {
        self.stop.store(false, Ordering::Release);
        self.with(|state| {
            state.captured.clear();
            state.forget();
        });
    }

    /// Joins what the micro-batches of a decode gave, or says why it failed. `is_done`: whether the decode was completed.
    pub(crate) fn finish(&self, is_done: bool) -> Result<(), ContextError> {
        let (outcome, panic) = self.with(|state| (state.finish(is_done), state.panic.take()));
        if let Some(panic) = panic {
            std::panic::resume_unwind(panic);
        }
        outcome
    }

    /// What the last decode captured, by name.
    pub(crate) fn captured(&self) -> BTreeMap<String, Captured> {
        self.with(|state| state.captured.clone())
    }

    /// The matrices of adapters that were computed from.
    pub(crate) fn factors(&self) -> BTreeSet<String> {
        self.with(|state| state.factors.clone().unwrap_or_default())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the tensor is wanted (`asks`), or keeps what was computed.
    fn on_tensor(&self, tensor: GraphTensor<'_>, asks: bool) -> bool {
        self.with(|state| {
            if state.failure.is_some() || state.panic.is_some() {
                return !asks;
            }
            let act = AssertUnwindSafe(|| if asks { state.wants(tensor) } else { state.keep(tensor) });
            match std::panic::catch_unwind(act) {
                Ok(wanted) if state.failure.is_none() => wanted,
                Ok(_) => self.fail(asks),
                Err(panic) => {
                    state.panic = Some(panic);
                    self.fail(asks)
                }
            }
        })
    }

    /// Stops the decode through its abort callback. Returning false when a tensor was computed would not: llama.cpp would leave out the rest of
    /// that part of the graph and go on as if nothing had happened.
    fn fail(&self, asks: bool) -> bool {
        self.stop.store(true, Ordering::Release);
        !asks
    }
}

impl State {
    fn forget(&mut self) {
        self.pieces.clear();
        (self.used, self.rounds, self.first, self.failure) = (0, 0, None, None);
    }

    fn wants(&mut self, tensor: GraphTensor<'_>) -> bool {
        let name = tensor.name();
        let may_be_first =
            self.first.as_ref().is_none_or(|first| first.first().is_some_and(|first| *first == *name));
        if may_be_first || self.factors.is_some() {
            self.look_at_sources(&name, tensor);
        }
        if let Some(wanted) = self.known.get(&*name) {
            return *wanted;
        }
        let mut wanted = false;
        for (pattern, matched) in self.patterns.iter().zip(&mut self.matched) {
            if pattern.matches(&name) {
                wanted = true;
                *matched = true;
            }
        }
        self.known.insert(name.into_owned(), wanted);
        wanted
    }

    /// Notes matrices of adapters, and whether a micro-batch begins.
    fn look_at_sources(&mut self, name: &str, tensor: GraphTensor<'_>) {
        let sources = tensor.source_names();
        if let Some(factors) = &mut self.factors {
            let is_factor = |name: &str| name.ends_with(".lora_a") || name.ends_with(".lora_b");
            factors.extend(sources.iter().filter(|name| is_factor(name)).map(ToString::to_string));
        }
        let shown: Vec<String> =
            std::iter::once(name.to_owned()).chain(sources.into_iter().map(Into::into)).collect();
        if *self.first.get_or_insert_with(|| shown.clone()) == shown {
            self.rounds += 1;
        }
    }

    fn keep(&mut self, tensor: GraphTensor<'_>) -> bool {
        let name = tensor.name().into_owned();
        let pieces = self.pieces.entry(name.clone()).or_default();
        // Of several tensors of one name, the last one counts.
        if let Some(earlier) = pieces.pop_if(|piece| piece.round == self.rounds) {
            self.used -= size_of_val(earlier.numbers.values.as_slice());
        }
        let needed = self.used.saturating_add(tensor.f32_bytes());
        if needed > self.limit {
            self.failure = Some(ContextError::CapturesTooLarge { tensor: name, needed, limit: self.limit });
            return false;
        }
        let Some(numbers) = tensor.numbers() else {
            self.failure = Some(ContextError::CaptureOfNoNumbers { tensor: name });
            return false;
        };
        self.used = needed;
        pieces.push(Piece { round: self.rounds, numbers });
        true
    }

    fn finish(&mut self, is_done: bool) -> Result<(), ContextError> {
        let (failure, pieces) = (self.failure.take(), std::mem::take(&mut self.pieces));
        self.forget();
        if let Some(failure) = failure {
            return Err(failure);
        }
        if !is_done {
            return Ok(());
        }
        self.prove()?;
        for (name, pieces) in pieces {
            let captured = join(&name, pieces)?;
            self.captured.insert(name, captured);
        }
        Ok(())
    }

    /// Refuses a pattern that no tensor of the first decode matched.
    fn prove(&mut self) -> Result<(), ContextError> {
        if self.is_proven {
            return Ok(());
        }
        let Some(index) = self.matched.iter().position(|matched| !matched) else {
            self.is_proven = true;
            return Ok(());
        };
        // Views and copies that have no name of their own are called after the tensor that they are of.
        let mut names: Vec<&String> =
            self.known.keys().filter(|name| !name.contains([' ', '(']) && !name.is_empty()).collect();
        names.sort_by_key(|name| (!name.ends_with("-0"), *name));
        let known = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let pattern =
            self.patterns.get(index).map_or_else(String::new, |pattern| pattern.as_str().to_owned());
        Err(ContextError::NoSuchTensor { pattern, known })
    }
}

impl Context {
    /// The tensors that the last decode captured, by name: those that match a pattern of [`ContextConfig::captures`](crate::ContextConfig::captures). Empty after a decode that
    /// failed.
    ///
    /// Of several tensors of one name, it is the one that is computed last. What has one row a token, such as `l_out-3`, the output of layer 3, has
    /// shape tokens, width, with the rows of all micro-batches in order; the last layer computes only tokens whose logits are wanted.
    pub fn captures(&self) -> BTreeMap<String, Captured> {
        self.tap.as_deref().map(TensorTap::captured).unwrap_or_default()
    }

    pub(crate) fn tap(&self) -> Option<&TensorTap> {
        self.tap.as_deref()
    }
}

/// The rows of all micro-batches.
fn join(name: &str, mut pieces: Vec<Piece>) -> Result<Captured, ContextError> {
    let several = |count| ContextError::CaptureInPieces { tensor: name.to_owned(), count };
    let count = pieces.len();
    if count == 1 {
        let numbers = pieces.remove(0).numbers;
        return Ok(Captured { shape: numbers.shape, values: numbers.values });
    }
    let mut captured = Captured { shape: Vec::new(), values: Vec::new() };
    for Piece { numbers, .. } in pieces {
        // With more dimensions, the one that counts the tokens is not the same for all tensors.
        let [rows, width] = numbers.shape[..] else { return Err(several(count)) };
        match captured.shape[..] {
            [] => captured.shape = vec![rows, width],
            [before, same] if same == width => captured.shape = vec![before + rows, width],
            _ => return Err(several(count)),
        }
        captured.values.extend(numbers.values);
    }
    Ok(captured)
}

fn pattern(text: &str) -> Result<Pattern, ContextConfigError> {
    Pattern::new(text)
        .map_err(|error| ContextConfigError::BadPattern { pattern: text.to_owned(), problem: error.msg })
}

/// Checks the patterns of a configuration.
pub(crate) fn check_patterns(patterns: &[String]) -> Result<(), ContextConfigError> {
    patterns.iter().try_for_each(|text| pattern(text).map(drop))
}

/// What C calls for each tensor of a graph (`ggml_backend_sched_eval_callback`), on the thread that decodes. No panic leaves it.
///
/// # Safety
/// `tap` must be the [`TensorTap::address`] of a live tap, and `tensor` a live tensor of its library.
pub(crate) unsafe extern "C-unwind" fn on_tensor(
    tensor: *mut ggml_tensor,
    asks: bool,
    tap: *mut c_void,
) -> bool {
    // SAFETY: the caller's contract.
    let tap = unsafe { &*tap.cast::<TensorTap>() };
    // SAFETY: the caller's contract; the tap has the layout of its library.
    let tensor = unsafe { GraphTensor::new(tensor, tap.library.api(), tap.layout) };
    tap.on_tensor(tensor, asks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(round: usize, shape: &[usize]) -> Piece {
        let values = vec![round as f32; shape.iter().product()];
        Piece { round, numbers: Numbers { shape: shape.to_vec(), values } }
    }

    #[test]
    fn rows_of_micro_batches_are_joined_in_order() {
        let joined = join("x", vec![piece(1, &[2, 3]), piece(2, &[1, 3])]).unwrap();
        assert_eq!(joined.shape, [3, 3]);
        assert_eq!(joined.values, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
        assert_eq!(join("x", vec![piece(1, &[2, 3, 4])]).unwrap().shape, [2, 3, 4]);
    }

    #[test]
    fn what_cannot_be_joined_is_refused() {
        for pieces in
            [vec![piece(1, &[2, 3]), piece(2, &[2, 4])], vec![piece(1, &[2, 3, 4]), piece(2, &[2, 3, 4])]]
        {
            let text = join("kq-0", pieces).unwrap_err().to_string();
            assert!(text.contains("`kq-0` was computed in 2 micro-batches"), "{text}");
        }
    }

    #[test]
    fn patterns_are_checked() {
        assert_eq!(check_patterns(&["l_out-*".to_owned(), "[KV]cur-?".to_owned()]), Ok(()));
        let text = check_patterns(&["a".to_owned(), "l_out-[".to_owned()]).unwrap_err().to_string();
        assert!(text.contains("`l_out-[`"), "{text}");
    }
}
