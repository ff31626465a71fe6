//! The layouts of parameter structs and the names of functions in one family of builds, as data.

use crate::block::ParamBlock;
use crate::types::ggml_tensor;

/// How a field of a parameter struct is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// `int32_t`, `uint32_t` or an enum.
    Int,
    /// `float`
    Float,
    /// `bool`
    Bool,
    /// A pointer or `size_t`.
    Word,
}

impl FieldKind {
    /// Size in bytes of such a field on every LP64 and LLP64 target.
    pub const fn size(self) -> usize {
        match self {
            Self::Int | Self::Float => 4,
            Self::Bool => 1,
            Self::Word => 8,
        }
    }
}

/// A field of a C struct that is passed by value.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its C name.
    pub name: &'static str,
    /// Its offset in bytes.
    pub offset: usize,
    /// Its type.
    pub kind: FieldKind,
    /// The bits that the library's default-params function gives it, in the low bytes.
    pub default: u64,
}

/// The layout of one C struct in one family of builds.
#[derive(Clone, Copy, Debug)]
pub struct StructLayout {
    /// The C name, without `struct`.
    pub name: &'static str,
    /// `sizeof` in bytes.
    pub size: usize,
    /// Every field, by offset.
    pub fields: &'static [Field],
}

impl StructLayout {
    /// The field of that name, if this build has one of that type.
    pub(crate) fn field(&self, name: &str, kind: FieldKind) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name && field.kind == kind)
    }

    /// A block that holds this struct's defaults, for tests and fake libraries.
    pub fn default_block(&self) -> ParamBlock {
        let mut block = ParamBlock::filled(0);
        for field in self.fields {
            block.put(field.offset, &field.default.to_le_bytes()[..field.kind.size()]);
        }
        block
    }
}

/// Where `struct ggml_tensor` has the fields that are read, as offsets in bytes.
#[derive(Clone, Copy, Debug)]
pub struct TensorLayout {
    /// `sizeof` in bytes.
    pub size: usize,
    /// `type`, an `enum ggml_type`.
    pub kind: usize,
    /// `ne`: four `int64_t`.
    pub counts: usize,
    /// `nb`: four `size_t`.
    pub strides: usize,
    /// `src`: ten pointers to tensors.
    pub sources: usize,
}

/// `GGML_MAX_SRC` in `ggml/include/ggml.h`.
const SOURCES: usize = 10;
/// Size of `struct ggml_object` in `ggml/src/ggml.c`, which stands in front of every tensor.
const OBJECT: usize = 32;

impl TensorLayout {
    /// Whether `overhead`, which `ggml_tensor_overhead` returned, agrees with the size: the one sign of this struct that a library gives.
    pub const fn agrees(&self, overhead: usize) -> bool {
        overhead == OBJECT + self.size
    }

    /// Type, dimensions and strides of a tensor.
    ///
    /// # Safety
    /// `tensor` is a live tensor of a library with this layout.
    pub unsafe fn read(&self, tensor: *const ggml_tensor) -> TensorFields {
        // SAFETY: the caller's contract: an `int32_t` lies there, says the compiler.
        let kind = unsafe { field(tensor, self.kind) };
        // SAFETY: as above, for four `int64_t`.
        let counts = unsafe { field(tensor, self.counts) };
        // SAFETY: as above, for four `size_t`.
        let strides = unsafe { field(tensor, self.strides) };
        TensorFields { kind, counts, strides }
    }

    /// The tensors that a tensor is computed from; null where there are fewer.
    ///
    /// # Safety
    /// `tensor` is a live tensor of a library with this layout.
    pub unsafe fn read_sources(&self, tensor: *const ggml_tensor) -> [*const ggml_tensor; SOURCES] {
        // SAFETY: as for `read`, for ten pointers.
        unsafe { field(tensor, self.sources) }
    }
}

/// The field of type `T` that lies `offset` bytes behind the beginning of a tensor.
///
/// # Safety
/// The tensor is live, and a field of that type lies there.
unsafe fn field<T: Copy>(tensor: *const ggml_tensor, offset: usize) -> T {
    // SAFETY: the caller's contract: the place lies in the tensor.
    let place = unsafe { tensor.byte_add(offset) };
    // SAFETY: the caller's contract.
    unsafe { place.cast::<T>().read_unaligned() }
}

/// What was read of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorFields {
    /// The `enum ggml_type`.
    pub kind: i32,
    /// Numbers along each dimension.
    pub counts: [i64; 4],
    /// Bytes from one to the next along each dimension.
    pub strides: [usize; 4],
}

/// The ABI of one family of builds.
#[derive(Clone, Copy, Debug)]
pub struct AbiLayout {
    /// The first build that is known to have it: the name of its file and of its column in `layouts/symbols.txt`.
    pub stem: &'static str,
    /// The builds in words, as shown to users.
    pub name: &'static str,
    /// The lowest and the highest version that `llama_version()` may return; `None` for builds without that function.
    pub versions: Option<(&'static str, &'static str)>,
    /// `struct llama_model_params`
    pub model_params: StructLayout,
    /// `struct llama_context_params`
    pub context_params: StructLayout,
    /// `struct ggml_tensor`
    pub tensor: TensorLayout,
}
