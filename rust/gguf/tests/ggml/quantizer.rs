//! The pinned llama.cpp's quantizer, called through its C interface in a child process, because it may abort.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

use libloading::{Library, Symbol};
use tabagent_gguf::{GgmlType, OwnedValue, QuantizeOptions, Target};

/// `llama_model_quantize_params` of the pinned `include/llama.h`.
#[repr(C)]
struct Params {
    threads: i32,
    file_type: c_int,
    output_type: c_int,
    embedding_type: c_int,
    allow_requantize: bool,
    quantize_output: bool,
    only_copy: bool,
    pure: bool,
    keep_split: bool,
    dry_run: bool,
    imatrix: *const ImatrixData,
    overrides: *const KvOverride,
    tensor_types: *const TensorOverride,
    prune_layers: *const i32,
    max_buffer_bytes: usize,
}

#[repr(C)]
struct ImatrixData {
    name: *const c_char,
    data: *const f32,
    size: usize,
}

#[repr(C)]
struct TensorOverride {
    pattern: *const c_char,
    kind: c_int,
}

#[repr(C)]
struct KvOverride {
    tag: c_int,
    key: [u8; 128],
    value: KvValue,
}

#[repr(C)]
union KvValue {
    int: i64,
    float: f64,
    flag: bool,
    text: [u8; 128],
}

/// `GGML_TYPE_COUNT` of the pinned `ggml/include/ggml.h`: no type.
const NO_TYPE: c_int = 43;

type LogCallback = unsafe extern "C" fn(c_int, *const c_char, *mut c_void);

/// The pinned library.
pub(crate) struct Oracle {
    library: Library,
}

pub(crate) use tabagent_material::library as library_folder;

/// Runs the test `name` of this program in a process of its own with `variable` set, and fails with what it printed if it fails.
#[track_caller]
pub(crate) fn in_child(name: &str, variable: &str, value: &Path) {
    let output = tabagent_material::this_program()
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(variable, value)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.get(text.len().saturating_sub(4000)..).unwrap_or(&text).to_owned()
    };
    assert!(output.status.success(), "{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
}

impl Oracle {
    pub(crate) fn open(folder: &Path) -> Self {
        let path = folder.join(libloading::library_filename("llama"));
        let oracle = Self { library: crate::ggml::load(&path) };
        let start: Symbol<'_, unsafe extern "C" fn()> = oracle.symbol("llama_backend_init");
        // SAFETY: it takes nothing and is called once.
        unsafe { start() };
        oracle
    }

    fn symbol<T>(&self, name: &str) -> Symbol<'_, T> {
        // SAFETY: every caller names a function of the pinned header and gives it that function's type.
        unsafe { self.library.get(name.as_bytes()) }.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Quantizes; what it logs, or with a last line `failed`.
    pub(crate) fn quantize(
        &self,
        source: &Path,
        out: &Path,
        options: &QuantizeOptions,
        dry_run: bool,
    ) -> String {
        let (file_type, only_copy) = match options.target {
            Target::FileType(kind) => (kind.id() as c_int, false),
            _ => (0, true),
        };
        let kind = |kind: Option<GgmlType>| kind.map_or(NO_TYPE, |kind| kind.id() as c_int);
        let held = Held::new(options);
        let params = Params {
            threads: options.threads.map_or(1, |threads| threads.get() as i32),
            file_type,
            output_type: kind(options.output_type),
            embedding_type: kind(options.embedding_type),
            allow_requantize: options.allows_requantizing,
            quantize_output: !options.leaves_output,
            only_copy,
            pure: options.is_pure,
            keep_split: options.keeps_split,
            dry_run,
            imatrix: held.imatrix.as_ref().map_or(std::ptr::null(), Vec::as_ptr),
            overrides: held.overrides.as_ref().map_or(std::ptr::null(), Vec::as_ptr),
            tensor_types: held.tensor_types.as_ref().map_or(std::ptr::null(), Vec::as_ptr),
            prune_layers: held.prune_layers.as_ref().map_or(std::ptr::null(), Vec::as_ptr),
            max_buffer_bytes: 0,
        };
        let mut log = String::new();
        let set_log: Symbol<'_, unsafe extern "C" fn(LogCallback, *mut c_void)> =
            self.symbol("llama_log_set");
        // SAFETY: `log` outlives the calls of the callback, all of which happen in the call below on this thread.
        unsafe { set_log(collect, (&raw mut log).cast()) };
        let run: Symbol<'_, unsafe extern "C" fn(*const c_char, *const c_char, *const Params) -> u32> =
            self.symbol("llama_model_quantize");
        let (source, out) = (c_path(source), c_path(out));
        // SAFETY: all pointers in `params` lead into `held`, which lives on, and its lists end as the header says.
        let failed = unsafe { run(source.as_ptr(), out.as_ptr(), &raw const params) };
        if failed != 0 {
            log.push_str("\nfailed\n");
        }
        log
    }
}

unsafe extern "C" fn collect(_level: c_int, text: *const c_char, log: *mut c_void) {
    // SAFETY: `Oracle::quantize` gave a `String` that lives on.
    let log = unsafe { &mut *log.cast::<String>() };
    // SAFETY: the library gives strings that end in a zero.
    let text = unsafe { CStr::from_ptr(text) };
    log.push_str(&text.to_string_lossy());
}

fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

/// What the parameters point to.
struct Held {
    _names: Vec<CString>,
    imatrix: Option<Vec<ImatrixData>>,
    overrides: Option<Vec<KvOverride>>,
    tensor_types: Option<Vec<TensorOverride>>,
    prune_layers: Option<Vec<i32>>,
}

impl Held {
    fn new(options: &QuantizeOptions) -> Self {
        let mut names = Vec::new();
        let mut hold = |text: &str| {
            let text = CString::new(text).unwrap();
            // The text stays where it is when the `CString` moves.
            let start = text.as_ptr();
            names.push(text);
            start
        };
        let imatrix = options.imatrix.as_ref().map(|known| {
            let mut data: Vec<ImatrixData> = known
                .iter()
                .map(|(name, values)| ImatrixData {
                    name: hold(name),
                    data: values.as_ptr(),
                    size: values.len(),
                })
                .collect();
            data.push(ImatrixData { name: std::ptr::null(), data: std::ptr::null(), size: 0 });
            data
        });
        let tensor_types = (!options.rules.is_empty()).then(|| {
            let mut types: Vec<TensorOverride> = options
                .rules
                .iter()
                .map(|rule| TensorOverride {
                    pattern: hold(&rule.pattern().to_lowercase()),
                    kind: rule.ggml_type().id() as c_int,
                })
                .collect();
            types.push(TensorOverride { pattern: std::ptr::null(), kind: NO_TYPE });
            types
        });
        let prune_layers = (!options.pruned_layers.is_empty()).then(|| {
            let layers = options.pruned_layers.iter().map(|layer| *layer as i32);
            layers.chain([-1]).collect()
        });
        Self { imatrix, overrides: overrides(options), tensor_types, prune_layers, _names: names }
    }
}

/// The user's overrides, and what the tool adds of the importance matrix.
fn overrides(options: &QuantizeOptions) -> Option<Vec<KvOverride>> {
    let mut all: Vec<(String, OwnedValue)> = options.overrides.clone();
    if let Some(known) = &options.imatrix {
        all.push(("quantize.imatrix.file".to_owned(), options.imatrix_file.as_str().into()));
        if let Some(dataset) = known.datasets().first() {
            all.push(("quantize.imatrix.dataset".to_owned(), dataset.as_str().into()));
        }
        let counts = [("entries", known.n_entries() as i64), ("chunks", i64::from(known.n_chunks()))];
        all.extend(counts.map(|(what, n)| (format!("quantize.imatrix.{what}_count"), OwnedValue::I64(n))));
    }
    if all.is_empty() {
        return None;
    }
    let mut list: Vec<KvOverride> = all
        .into_iter()
        .map(|(key, value)| {
            let (tag, value) = match value {
                OwnedValue::I64(int) => (0, KvValue { int }),
                OwnedValue::F64(float) => (1, KvValue { float }),
                OwnedValue::Bool(flag) => (2, KvValue { flag }),
                OwnedValue::String(text) => (3, KvValue { text: padded(&text) }),
                other => panic!("{other:?}"),
            };
            KvOverride { tag, key: padded(key.as_bytes()), value }
        })
        .collect();
    list.push(KvOverride { tag: 0, key: [0; 128], value: KvValue { int: 0 } });
    Some(list)
}

fn padded(text: &[u8]) -> [u8; 128] {
    let mut bytes = [0; 128];
    bytes[..text.len()].copy_from_slice(text);
    bytes
}

/// Name and new type of every tensor in the log of a dry run; `None` if it failed.
pub(crate) fn chosen(log: &str) -> Option<Vec<(String, GgmlType)>> {
    if log.ends_with("failed\n") {
        return None;
    }
    let lines = log.lines().filter(|line| line.starts_with('[') && line.contains(" type = "));
    Some(
        lines
            .map(|line| {
                let (_, rest) = line.split_once("] ").unwrap();
                let name = rest.split_whitespace().next().unwrap().to_owned();
                let old = rest.split_once("type = ").unwrap().1.split_once(',').unwrap().0.trim();
                let new = line.split_once(" MiB (").map_or(old, |(_, new)| new.trim_end_matches(')'));
                let kind = GgmlType::ALL.iter().find(|kind| kind.name().eq_ignore_ascii_case(new));
                (name, *kind.unwrap_or_else(|| panic!("{line}")))
            })
            .collect(),
    )
}
