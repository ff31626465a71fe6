//! The pinned ggml's own number formats, called through its C interface, and data to try them on.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;

use libloading::{Library, Symbol};
use tabagent_gguf::GgmlType;

type ToFloat = unsafe extern "C" fn(*const c_void, *mut f32, i64);
type FromFloat = unsafe extern "C" fn(*const f32, *mut c_void, i64);
type QuantizeChunk = unsafe extern "C" fn(c_int, *const f32, *mut c_void, i64, i64, i64, *const f32) -> usize;
type ValidateRowData = unsafe extern "C" fn(c_int, *const c_void, usize) -> bool;

/// `struct ggml_type_traits` of the pinned `ggml/include/ggml.h`.
#[repr(C)]
pub(crate) struct Traits {
    name: *const c_char,
    pub(crate) block_size: i64,
    interleave: i64,
    pub(crate) block_bytes: usize,
    is_quantized: bool,
    to_float: Option<ToFloat>,
    from_float_ref: Option<FromFloat>,
}

/// Loads a library of the project's own build, with what lies beside it.
pub(crate) fn load(path: &Path) -> Library {
    // SAFETY: its initializers only set up tables and a terminate handler.
    #[cfg(not(windows))]
    let library = unsafe { Library::new(path) };
    // SAFETY: as above.
    #[cfg(windows)]
    let library = unsafe {
        libloading::os::windows::Library::load_with_flags(
            path,
            libloading::os::windows::LOAD_WITH_ALTERED_SEARCH_PATH,
        )
    }
    .map(Library::from);
    library.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pinned `libggml-base`.
pub(crate) struct Ggml {
    library: Library,
}

impl Ggml {
    /// The library that `make test` provides, or a note that it is missing (which CI may not be without).
    pub(crate) fn open() -> Option<Self> {
        let path = tabagent_material::library()?.join(libloading::library_filename("ggml-base"));
        Some(Self { library: load(&path) })
    }

    fn symbol<T>(&self, name: &str) -> Symbol<'_, T> {
        // SAFETY: every caller names a function of the pinned headers and gives it that function's type.
        unsafe { self.library.get(name.as_bytes()) }.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn traits(&self, ty: GgmlType) -> &Traits {
        let get: Symbol<'_, unsafe extern "C" fn(c_int) -> *const Traits> =
            self.symbol("ggml_get_type_traits");
        // SAFETY: the number is one of `enum ggml_type`, below `GGML_TYPE_COUNT`.
        let traits = unsafe { get(ty.id() as c_int) };
        // SAFETY: it points into a constant table of the library, which `self` keeps loaded.
        unsafe { &*traits }
    }

    /// Decodes blocks; `None` if ggml has no function for the type.
    pub(crate) fn dequantize(&self, ty: GgmlType, bytes: &[u8]) -> Option<Vec<f32>> {
        let n_weights = bytes.len() / ty.block_bytes() as usize * ty.block_size() as usize;
        let mut out = vec![0.0; n_weights];
        self.dequantize_into(ty, bytes, &mut out).then_some(out)
    }

    /// As [`Self::dequantize`] into a buffer that holds the weights; false if ggml has no function.
    pub(crate) fn dequantize_into(&self, ty: GgmlType, bytes: &[u8], out: &mut [f32]) -> bool {
        let decode = match ty {
            GgmlType::Q8_K => Some(*self.symbol::<ToFloat>("dequantize_row_q8_K")),
            _ => self.traits(ty).to_float,
        };
        let Some(decode) = decode else { return false };
        assert_eq!(ty.n_bytes(out.len() as u64), Some(bytes.len() as u64));
        // SAFETY: the lengths agree, see above; a `Vec`'s alignment is enough for every block type.
        unsafe { decode(bytes.as_ptr().cast(), out.as_mut_ptr(), out.len() as i64) };
        true
    }

    /// Encodes rows as `ggml_quantize_chunk` does, or for the types of dot products as `from_float_ref` does.
    pub(crate) fn quantize(
        &self,
        ty: GgmlType,
        values: &[f32],
        row_length: usize,
        imatrix: Option<&[f32]>,
    ) -> Vec<u8> {
        let mut out = vec![0; ty.n_bytes(values.len() as u64).unwrap() as usize];
        self.quantize_into(ty, values, row_length, imatrix, &mut out);
        out
    }

    pub(crate) fn quantize_into(
        &self,
        ty: GgmlType,
        values: &[f32],
        row_length: usize,
        imatrix: Option<&[f32]>,
        out: &mut [u8],
    ) {
        assert_eq!(ty.n_bytes(values.len() as u64), Some(out.len() as u64));
        assert!(values.len().is_multiple_of(row_length));
        if matches!(ty, GgmlType::Q8_1 | GgmlType::Q8_K) {
            let encode = match ty {
                GgmlType::Q8_1 => self.symbol::<FromFloat>("quantize_row_q8_1_ref"),
                _ => self.symbol::<FromFloat>("quantize_row_q8_K_ref"),
            };
            // SAFETY: `out` has the bytes of `values`, see above.
            unsafe { encode(values.as_ptr(), out.as_mut_ptr().cast(), values.len() as i64) };
            return;
        }
        let encode: Symbol<'_, QuantizeChunk> = self.symbol("ggml_quantize_chunk");
        let importances = imatrix.map_or(std::ptr::null(), |imatrix| {
            assert_eq!(imatrix.len(), row_length);
            imatrix.as_ptr()
        });
        let rows = (values.len() / row_length) as i64;
        // SAFETY: `out` has the bytes of `values` and the importances are one row, see above.
        unsafe {
            encode(
                ty.id() as c_int,
                values.as_ptr(),
                out.as_mut_ptr().cast(),
                0,
                rows,
                row_length as i64,
                importances,
            )
        };
    }

    /// True if ggml finds nothing wrong with the blocks.
    pub(crate) fn is_valid(&self, ty: GgmlType, bytes: &[u8]) -> bool {
        let validate: Symbol<'_, ValidateRowData> = self.symbol("ggml_validate_row_data");
        // SAFETY: it reads `bytes.len()` bytes from the pointer.
        unsafe { validate(ty.id() as c_int, bytes.as_ptr().cast(), bytes.len()) }
    }
}

/// Splitmix64: the same numbers on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In [0, 1), in steps of 2^-24.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 16_777_216.0
    }

    /// About normal with variance 1 (the sum of twelve): only exact operations and roundings, no library functions.
    pub(crate) fn normal(&mut self) -> f32 {
        (0..12).fold(-6.0, |sum, _| sum + self.unit())
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        for chunk in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
        bytes
    }
}

/// Weights in a row of [`normal_rows`].
pub(crate) const ROW: usize = 512;

/// Rows like those of a trained model.
pub(crate) fn normal_rows(seed: u64, n_rows: usize) -> Vec<f32> {
    let mut random = Random(seed);
    (0..n_rows * ROW).map(|_| random.normal() * 0.1).collect()
}

/// Importances for one row of [`normal_rows`].
pub(crate) fn importances() -> Vec<f32> {
    let mut random = Random(99);
    (0..ROW).map(|_| random.unit() * 4.0 + 0.01).collect()
}
