//! The layouts of parameter structs and the names of functions in one family of builds, as data.

use crate::api::Api;
use crate::block::ParamBlock;

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

/// The ABI of one family of builds.
#[derive(Clone, Copy, Debug)]
pub struct AbiLayout {
    /// The build in words, as shown to users.
    pub name: &'static str,
    /// The versions that `llama_version()` may return.
    pub versions: &'static [&'static str],
    /// Every exported symbol that starts with `llama_`, one a line.
    pub symbols: &'static str,
    /// Functions whose name in this build differs from the one in the function table: the table's name, then the build's.
    pub renamed: &'static [(&'static str, &'static str)],
    /// `struct llama_model_params`
    pub model_params: StructLayout,
    /// `struct llama_context_params`
    pub context_params: StructLayout,
}

impl AbiLayout {
    /// The symbol under which this build exports a function of the table.
    pub fn symbol_of(&self, function: &'static str) -> &'static str {
        self.renamed.iter().find(|(ours, _)| *ours == function).map_or(function, |(_, theirs)| theirs)
    }

    /// The symbols that a library of this build must export.
    pub fn required_symbols(&self) -> impl Iterator<Item = &'static str> {
        Api::REQUIRED.iter().map(|function| self.symbol_of(function))
    }
}
