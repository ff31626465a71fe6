//! A llama.cpp made of Rust functions: it records what it is called with and answers what a test tells it to.
//!
//! The table needs plain functions, so the record is a static; tests that use it take [`Fake::begin`]'s lock for their time.

// `&self` proves that the caller holds the lock.
#![allow(clippy::unused_self)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tabagent_gguf::{GgmlType, GgufWriter, OwnedArray, OwnedValue};
use tabagent_llama::{Library, Model, ModelConfig, ModelError};
use tabagent_sys::{
    AbiLayout, Api, Family, ParamBlock, StructLayout, ggml_log_callback, ggml_log_level, llama_batch,
    llama_context, llama_model, llama_progress_callback, llama_vocab, llama_vocab_type,
};

/// What a `llama_batch` held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeenBatch {
    pub(crate) tokens: Vec<i32>,
    pub(crate) positions: Vec<i32>,
    pub(crate) sequences: Vec<Vec<i32>>,
    pub(crate) outputs: Vec<bool>,
}

/// What the library does and what it has seen.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) calls: Vec<&'static str>,
    pub(crate) model_params: Option<ParamBlock>,
    pub(crate) context_params: Option<ParamBlock>,
    pub(crate) batches: Vec<SeenBatch>,
    pub(crate) progress_said: Vec<bool>,
    /// Lines logged as errors by loads, new contexts and decodes.
    pub(crate) says: Vec<&'static str>,
    pub(crate) decode_code: i32,
    /// Numbers of threads that were set, for generation and prompts.
    pub(crate) threads: Vec<(i32, i32)>,
    pub(crate) no_model: bool,
    pub(crate) no_context: bool,
    /// Progress values reported by a load.
    pub(crate) progress: Vec<f32>,
    /// Answers of the text functions, in order; the last one stays.
    pub(crate) text_answers: Vec<i32>,
    /// Room that each call of a text function was given.
    pub(crate) rooms: Vec<i32>,
    log: ggml_log_callback,
}

// SAFETY: the only member that is not `Send` on its own is a function pointer.
unsafe impl Send for State {}

static STATE: Mutex<Option<State>> = Mutex::new(None);
static TURN: Mutex<()> = Mutex::new(());

/// The right to use the fake, for one test at a time.
pub(crate) struct Fake {
    _turn: MutexGuard<'static, ()>,
    file: tempfile::NamedTempFile,
}

pub(crate) const VOCAB_SIZE: i32 = 259;
const MODEL: usize = 0x1000;
const VOCAB: usize = 0x2000;
const CONTEXT: usize = 0x3000;
const MEMORY: usize = 0x4000;

impl Fake {
    /// A fresh record.
    pub(crate) fn begin() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        *STATE.lock().unwrap_or_else(PoisonError::into_inner) = Some(State::default());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), image()).unwrap();
        Self { _turn: turn, file }
    }

    /// Reads or sets the record.
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        with(use_it)
    }

    pub(crate) fn library(&self) -> Library {
        // SAFETY: `address` gives functions of the signatures in the table, and one that only aborts for those never called.
        let api = unsafe { Api::resolve_with(Family::NEWEST, address) }.unwrap();
        // SAFETY: the table is that of this module.
        unsafe { Library::from_api(api, layout(), Path::new("/fake")) }
    }

    pub(crate) fn config(&self) -> ModelConfig {
        ModelConfig::new(self.file.path()).unwrap()
    }

    pub(crate) fn load(&self) -> Result<Model, ModelError> {
        Model::load(&self.library(), self.config())
    }
}

/// The build that the fake takes after: the pinned one.
pub(crate) fn layout() -> &'static AbiLayout {
    AbiLayout::named("llama.cpp 0.5.0").unwrap()
}

fn with<T>(use_it: impl FnOnce(&mut State) -> T) -> T {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    use_it(state.as_mut().unwrap())
}

fn record(call: &'static str) {
    with(|state| state.calls.push(call));
}

/// An integer field of a received struct.
pub(crate) fn int_field(layout: &StructLayout, block: &ParamBlock, name: &str) -> i32 {
    let field = layout.fields.iter().find(|f| f.name == name).unwrap();
    i32::from_ne_bytes(block.get::<4>(field.offset).unwrap())
}

/// A pointer field of a received struct.
pub(crate) fn word_field(layout: &StructLayout, block: &ParamBlock, name: &str) -> usize {
    let field = layout.fields.iter().find(|f| f.name == name).unwrap();
    u64::from_ne_bytes(block.get::<8>(field.offset).unwrap()) as usize
}

/// A file that passes the checks in front of the library.
fn image() -> Vec<u8> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255_u8).map(|byte| format!("<0x{byte:02X}>")));
    let mut types = vec![2, 3, 3];
    types.resize(tokens.len(), 6);
    let mut writer =
        GgufWriter::new().add("general.architecture", "llama").add("tokenizer.ggml.model", "llama");
    for (key, value) in [
        ("context_length", 64_u32),
        ("embedding_length", 32),
        ("block_count", 1),
        ("feed_forward_length", 32),
        ("attention.head_count", 4),
    ] {
        writer = writer.add(&format!("llama.{key}"), value);
    }
    writer = writer.add("tokenizer.ggml.tokens", tokens);
    writer = writer.add("tokenizer.ggml.token_type", OwnedValue::Array(OwnedArray::I32(types)));
    let data = vec![0; 32 * VOCAB_SIZE as usize * 4];
    writer.add_tensor("token_embd.weight", GgmlType::F32, &[32, VOCAB_SIZE as u64], data).to_bytes().unwrap()
}

fn address(name: &'static str) -> *mut c_void {
    macro_rules! table {
        ($($known:ident)*) => {
            match name {
                $(stringify!($known) => $known as *const () as *mut c_void,)*
                "ggml_commit" | "ggml_version" | "llama_version" | "llama_print_system_info" => std::ptr::null_mut(),
                "llama_model_n_layer" | "llama_model_n_head" | "llama_model_n_head_kv" => one as *const () as *mut c_void,
                "llama_model_n_embd" | "llama_model_n_ctx_train" => sixty_four as *const () as *mut c_void,
                "llama_n_ctx" | "llama_n_batch" | "llama_n_ubatch" => sixty_four as *const () as *mut c_void,
                "llama_vocab_type" => byte_pairs as *const () as *mut c_void,
                "llama_n_seq_max" => four as *const () as *mut c_void,
                "llama_model_has_decoder" => yes as *const () as *mut c_void,
                // Everything else answers 0, false or null, which is right for what the tests do with it.
                _ => nothing as *const () as *mut c_void,
            }
        };
    }
    table! {
        ggml_log_set llama_decode llama_detokenize llama_free llama_get_memory llama_init_from_model llama_log_set
        llama_memory_seq_pos_max llama_model_default_params llama_context_default_params llama_model_free llama_model_get_vocab
        llama_model_load_from_file llama_token_to_piece llama_tokenize llama_vocab_n_tokens
        llama_set_abort_callback ggml_backend_reg_by_name ggml_backend_reg_get_proc_address llama_attach_threadpool
        llama_set_n_threads
    }
}

extern "C-unwind" fn nothing() -> u64 {
    0
}
extern "C-unwind" fn one() -> i32 {
    1
}
extern "C-unwind" fn four() -> i32 {
    4
}
extern "C-unwind" fn sixty_four() -> i32 {
    64
}
extern "C-unwind" fn yes() -> bool {
    true
}
extern "C-unwind" fn byte_pairs() -> llama_vocab_type {
    llama_vocab_type::BPE
}

extern "C-unwind" fn ggml_log_set(callback: ggml_log_callback, _user: *mut c_void) {
    with(|state| state.log = callback);
}
extern "C-unwind" fn llama_log_set(callback: ggml_log_callback, _user: *mut c_void) {
    with(|state| state.log = callback);
}

/// Logs what the test wants said, as errors.
fn say() {
    let (callback, lines) = with(|state| (state.log, state.says.clone()));
    for line in lines {
        let text = CString::new(format!("{line}\n")).unwrap();
        // SAFETY: the callback was installed by the crate under test, and the text is NUL-terminated.
        unsafe { callback.unwrap()(ggml_log_level::ERROR, text.as_ptr(), std::ptr::null_mut()) };
    }
}

extern "C-unwind" fn llama_model_default_params() -> ParamBlock {
    layout().model_params.default_block()
}
extern "C-unwind" fn llama_context_default_params() -> ParamBlock {
    layout().context_params.default_block()
}

unsafe extern "C-unwind" fn llama_model_load_from_file(
    path: *const c_char,
    params: ParamBlock,
) -> *mut llama_model {
    // SAFETY: the crate under test passes a NUL-terminated path.
    assert!(!unsafe { CStr::from_ptr(path) }.is_empty());
    record("load");
    say();
    let (parts, refuse) = with(|state| {
        state.model_params = Some(params);
        (state.progress.clone(), state.no_model)
    });
    let layout = &layout().model_params;
    let callback = word_field(layout, &params, "progress_callback");
    let user = word_field(layout, &params, "progress_callback_user_data") as *mut c_void;
    for part in parts {
        // SAFETY: the field holds the callback that the crate under test has put there, or null.
        let callback = unsafe { std::mem::transmute::<usize, Option<llama_progress_callback>>(callback) };
        // SAFETY: called as llama.cpp does: from the loading thread, with the user data given.
        let go_on = unsafe { callback.unwrap()(part, user) };
        with(|state| state.progress_said.push(go_on));
        if !go_on {
            return std::ptr::null_mut();
        }
    }
    if refuse { std::ptr::null_mut() } else { MODEL as *mut llama_model }
}

extern "C-unwind" fn llama_model_free(model: *mut llama_model) {
    assert_eq!(model as usize, MODEL);
    record("model_free");
}
extern "C-unwind" fn llama_model_get_vocab(_model: *const llama_model) -> *const llama_vocab {
    VOCAB as *const llama_vocab
}
extern "C-unwind" fn llama_vocab_n_tokens(_vocab: *const llama_vocab) -> i32 {
    VOCAB_SIZE
}

extern "C-unwind" fn llama_init_from_model(
    _model: *mut llama_model,
    params: ParamBlock,
) -> *mut llama_context {
    record("init");
    say();
    with(|state| {
        state.context_params = Some(params);
        if state.no_context { std::ptr::null_mut() } else { CONTEXT as *mut llama_context }
    })
}
extern "C-unwind" fn llama_free(context: *mut llama_context) {
    assert_eq!(context as usize, CONTEXT);
    record("free");
}
extern "C-unwind" fn llama_get_memory(_context: *const llama_context) -> *mut c_void {
    MEMORY as *mut c_void
}
extern "C-unwind" fn llama_memory_seq_pos_max(_memory: *mut c_void, _sequence: i32) -> i32 {
    -1
}
extern "C-unwind" fn llama_set_abort_callback(
    _context: *mut llama_context,
    _callback: usize,
    _data: *mut c_void,
) {
}
extern "C-unwind" fn llama_attach_threadpool(
    _context: *mut llama_context,
    _pool: *mut c_void,
    _batch: *mut c_void,
) {
    record("attach");
}

extern "C-unwind" fn llama_set_n_threads(_context: *mut llama_context, generation: i32, prompt: i32) {
    with(|state| state.threads.push((generation, prompt)));
}

extern "C-unwind" fn ggml_backend_reg_by_name(_name: *const c_char) -> *mut c_void {
    std::ptr::dangling_mut::<c_void>()
}
unsafe extern "C-unwind" fn ggml_backend_reg_get_proc_address(
    _reg: *mut c_void,
    name: *const c_char,
) -> *mut c_void {
    // SAFETY: the crate under test passes a NUL-terminated name.
    match unsafe { CStr::from_ptr(name) }.to_str().unwrap() {
        "ggml_threadpool_new" => pool_new as *const () as *mut c_void,
        "ggml_threadpool_free" => pool_free as *const () as *mut c_void,
        _ => std::ptr::null_mut(),
    }
}
extern "C-unwind" fn pool_new(_params: *mut c_void) -> *mut c_void {
    std::ptr::dangling_mut::<c_void>()
}
extern "C-unwind" fn pool_free(_pool: *mut c_void) {
    record("pool_free");
}

unsafe extern "C-unwind" fn llama_decode(_context: *mut llama_context, batch: llama_batch) -> i32 {
    record("decode");
    say();
    let n = batch.n_tokens as usize;
    assert!(batch.embd.is_null());
    // SAFETY: the arrays have `n_tokens` entries, as `llama_decode` demands; here and below.
    let tokens = unsafe { std::slice::from_raw_parts(batch.token, n) }.to_vec();
    // SAFETY: as above.
    let positions = unsafe { std::slice::from_raw_parts(batch.pos, n) }.to_vec();
    // SAFETY: as above.
    let counts = unsafe { std::slice::from_raw_parts(batch.n_seq_id, n) };
    // SAFETY: as above.
    let rows = unsafe { std::slice::from_raw_parts(batch.seq_id, n) };
    // SAFETY: as above.
    let outputs = unsafe { std::slice::from_raw_parts(batch.logits, n) }.iter().map(|o| *o != 0).collect();
    let row = |(row, count): (&*mut i32, &i32)| {
        // SAFETY: row `i` has `n_seq_id[i]` entries.
        unsafe { std::slice::from_raw_parts(*row, *count as usize) }.to_vec()
    };
    let sequences = rows.iter().zip(counts).map(row).collect();
    with(|state| {
        state.batches.push(SeenBatch { tokens, positions, sequences, outputs });
        state.decode_code
    })
}

/// The next answer of a text function that was given `room` entries at `out`; fills nothing but what it claims to have written.
///
/// # Safety
/// `out` has `room` writable entries.
unsafe fn answer<T: Copy>(out: *mut T, room: i32, value: T) -> i32 {
    let answer = with(|state| {
        state.rooms.push(room);
        if state.text_answers.len() > 1 { state.text_answers.remove(0) } else { state.text_answers[0] }
    });
    // SAFETY: the caller's contract.
    let out = unsafe { std::slice::from_raw_parts_mut(out, room as usize) };
    out[..answer.clamp(0, room) as usize].fill(value);
    answer
}

unsafe extern "C-unwind" fn llama_tokenize(
    _vocab: *const llama_vocab,
    _text: *const c_char,
    _length: i32,
    out: *mut i32,
    room: i32,
    _add: bool,
    _parse: bool,
) -> i32 {
    // SAFETY: the caller gives `room` entries.
    unsafe { answer(out, room, 7) }
}
unsafe extern "C-unwind" fn llama_detokenize(
    _vocab: *const llama_vocab,
    _tokens: *const i32,
    _count: i32,
    out: *mut c_char,
    room: i32,
    _remove: bool,
    _unparse: bool,
) -> i32 {
    // SAFETY: the caller gives `room` entries.
    unsafe { answer(out, room, b'x' as c_char) }
}
unsafe extern "C-unwind" fn llama_token_to_piece(
    _vocab: *const llama_vocab,
    _token: i32,
    out: *mut c_char,
    room: i32,
    _strip: i32,
    _special: bool,
) -> i32 {
    // SAFETY: the caller gives `room` entries.
    unsafe { answer(out, room, b'y' as c_char) }
}
