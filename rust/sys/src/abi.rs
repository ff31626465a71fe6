//! Which build of llama.cpp is this? Struct layouts as data, and the evidence that picks one.

use crate::api::Api;
use crate::block::ParamBlock;
use std::collections::BTreeSet;
use std::fmt::Write as _;

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
    /// Bytes of such a field on every LP64 and LLP64 target.
    pub const fn size(self) -> usize {
        match self {
            Self::Int | Self::Float => 4,
            Self::Bool => 1,
            Self::Word => 8,
        }
    }
}

/// A field of a C struct that crosses by value.
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

/// A field name that a layout does not have, or has with another type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{structure}` of this llama.cpp build has no {kind:?} field `{field}`")]
pub struct UnknownField {
    /// The C struct.
    pub structure: &'static str,
    /// The field asked for.
    pub field: &'static str,
    /// The type asked for.
    pub kind: FieldKind,
}

impl StructLayout {
    fn field(&self, name: &'static str, kind: FieldKind) -> Result<&Field, UnknownField> {
        self.fields.iter().find(|f| f.name == name && f.kind == kind).ok_or(UnknownField {
            structure: self.name,
            field: name,
            kind,
        })
    }

    fn set(
        &self,
        block: &mut ParamBlock,
        name: &'static str,
        kind: FieldKind,
        bytes: &[u8],
    ) -> Result<(), UnknownField> {
        let field = self.field(name, kind)?;
        if block.put(field.offset, bytes) {
            Ok(())
        } else {
            Err(UnknownField { structure: self.name, field: name, kind })
        }
    }

    /// Writes an `int32_t` or enum field.
    ///
    /// # Errors
    /// [`UnknownField`] when this build has no such field.
    pub fn set_int(
        &self,
        block: &mut ParamBlock,
        name: &'static str,
        value: i32,
    ) -> Result<(), UnknownField> {
        self.set(block, name, FieldKind::Int, &value.to_ne_bytes())
    }

    /// Writes a `uint32_t` field.
    ///
    /// # Errors
    /// [`UnknownField`] when this build has no such field.
    pub fn set_uint(
        &self,
        block: &mut ParamBlock,
        name: &'static str,
        value: u32,
    ) -> Result<(), UnknownField> {
        self.set(block, name, FieldKind::Int, &value.to_ne_bytes())
    }

    /// Writes a `float` field.
    ///
    /// # Errors
    /// [`UnknownField`] when this build has no such field.
    pub fn set_float(
        &self,
        block: &mut ParamBlock,
        name: &'static str,
        value: f32,
    ) -> Result<(), UnknownField> {
        self.set(block, name, FieldKind::Float, &value.to_ne_bytes())
    }

    /// Writes a `bool` field.
    ///
    /// # Errors
    /// [`UnknownField`] when this build has no such field.
    pub fn set_bool(
        &self,
        block: &mut ParamBlock,
        name: &'static str,
        value: bool,
    ) -> Result<(), UnknownField> {
        self.set(block, name, FieldKind::Bool, &[u8::from(value)])
    }

    /// Writes a pointer field by its address.
    ///
    /// # Errors
    /// [`UnknownField`] when this build has no such field.
    pub fn set_address(
        &self,
        block: &mut ParamBlock,
        name: &'static str,
        value: usize,
    ) -> Result<(), UnknownField> {
        self.set(block, name, FieldKind::Word, &(value as u64).to_ne_bytes())
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
    /// What `llama_version()` may say.
    pub versions: &'static [&'static str],
    /// Every exported symbol that starts with `llama_`, one a line.
    pub symbols: &'static str,
    /// `struct llama_model_params`
    pub model_params: StructLayout,
    /// `struct llama_context_params`
    pub context_params: StructLayout,
}

/// What a default-params function did to poisoned memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultBytes {
    /// One entry a byte of the observed area: its value if the function wrote it.
    pub bytes: Vec<Option<u8>>,
}

impl DefaultBytes {
    /// Bytes up to the last one written.
    pub fn extent(&self) -> usize {
        self.bytes.iter().rposition(Option::is_some).map_or(0, |i| i + 1)
    }

    fn from_runs(first: &[u8], second: &[u8]) -> Self {
        let bytes = first.iter().zip(second).map(|(a, b)| (a == b).then_some(*a)).collect();
        Self { bytes }
    }

    /// Fields whose observed bytes are not the layout's default, and bytes written past its end.
    fn contradictions(&self, layout: &StructLayout) -> Vec<String> {
        let mut found = Vec::new();
        if self.extent() > layout.size {
            found.push(format!("`{}` has {} bytes, expected {}", layout.name, self.extent(), layout.size));
        }
        for field in layout.fields {
            let expected = &field.default.to_le_bytes()[..field.kind.size()];
            let observed = self.bytes.get(field.offset..field.offset + field.kind.size());
            let same = observed.is_some_and(|o| o.iter().zip(expected).all(|(a, b)| *a == Some(*b)));
            if !same {
                found.push(format!(
                    "`{}.{}` has another default at offset {}",
                    layout.name, field.name, field.offset
                ));
            }
        }
        found
    }
}

/// The version that a library gives itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionEvidence {
    /// Not asked yet: asking means running its code.
    Unread,
    /// It has no `llama_version`.
    Missing,
    /// Its answer.
    Is(String),
}

/// Everything observed of a library before the first call that passes a struct to it.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What `llama_version()` said.
    pub version: VersionEvidence,
    /// Exported symbols that start with `llama_`.
    pub symbols: BTreeSet<String>,
    /// What `llama_model_default_params` wrote; `None` until probed.
    pub model_defaults: Option<DefaultBytes>,
    /// What `llama_context_default_params` wrote; `None` until probed.
    pub context_defaults: Option<DefaultBytes>,
}

/// No known layout fits a library.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown llama.cpp build: expected {expected}; found {found}; evidence: {}", evidence.join("; "))]
pub struct AbiMismatch {
    /// The builds that are supported.
    pub expected: String,
    /// What this library is, as far as it can be told.
    pub found: String,
    /// What speaks against the nearest supported build.
    pub evidence: Vec<String>,
}

/// Picks the one layout that all the evidence agrees with.
///
/// Evidence that was not gathered yet (`Unread`, `None`) is not held against a layout, so that a library can be refused by
/// its version and symbols before any of its functions is called.
///
/// # Errors
/// [`AbiMismatch`] when no layout fits; it lists what contradicts the nearest one.
pub fn identify<'a>(evidence: &Evidence, layouts: &'a [AbiLayout]) -> Result<&'a AbiLayout, AbiMismatch> {
    let mut nearest: Option<Vec<String>> = None;
    for layout in layouts {
        let against = contradictions(evidence, layout);
        if against.is_empty() {
            return Ok(layout);
        }
        if nearest.as_ref().is_none_or(|n| against.len() < n.len()) {
            nearest = Some(against);
        }
    }
    Err(AbiMismatch {
        expected: layouts.iter().map(|l| format!("`{}`", l.name)).collect::<Vec<_>>().join(" or "),
        found: describe(evidence),
        evidence: nearest.unwrap_or_default(),
    })
}

fn describe(evidence: &Evidence) -> String {
    let mut text = match &evidence.version {
        VersionEvidence::Is(version) => format!("version `{version}`"),
        VersionEvidence::Unread => "a build of unknown version".to_owned(),
        VersionEvidence::Missing => "a build without `llama_version`, so from before August 2026".to_owned(),
    };
    let _ = write!(text, " with {} `llama_*` symbols", evidence.symbols.len());
    if let (Some(model), Some(context)) = (&evidence.model_defaults, &evidence.context_defaults) {
        let _ = write!(
            text,
            ", {} bytes of model and {} of context parameters",
            model.extent(),
            context.extent()
        );
    }
    text
}

fn contradictions(evidence: &Evidence, layout: &AbiLayout) -> Vec<String> {
    let mut against = Vec::new();
    match &evidence.version {
        VersionEvidence::Unread => {}
        VersionEvidence::Is(version) if layout.versions.contains(&version.as_str()) => {}
        VersionEvidence::Is(version) => against.push(format!("`llama_version()` is `{version}`")),
        VersionEvidence::Missing => against.push("`llama_version` is missing".to_owned()),
    }
    let known: BTreeSet<&str> = layout.symbols.lines().filter(|l| !l.is_empty()).collect();
    let missing: Vec<_> = known.iter().filter(|s| !evidence.symbols.contains(**s)).collect();
    let surplus: Vec<_> = evidence.symbols.iter().filter(|s| !known.contains(s.as_str())).collect();
    if !missing.is_empty() {
        against.push(format!("{} symbols are missing ({})", missing.len(), shorten(&missing)));
    }
    if !surplus.is_empty() {
        against.push(format!("{} symbols are new ({})", surplus.len(), shorten(&surplus)));
    }
    if let Some(defaults) = &evidence.model_defaults {
        against.extend(defaults.contradictions(&layout.model_params));
    }
    if let Some(defaults) = &evidence.context_defaults {
        against.extend(defaults.contradictions(&layout.context_params));
    }
    against
}

fn shorten<T: AsRef<str>>(names: &[T]) -> String {
    let mut text = names.iter().take(3).map(|n| format!("`{}`", n.as_ref())).collect::<Vec<_>>().join(", ");
    if names.len() > 3 {
        text.push_str(", …");
    }
    text
}

/// Words of the area that a default-params function is watched over; far more than any struct.
const WATCHED_WORDS: usize = 512;

/// Calls both default-params functions over poisoned memory and reports what they wrote.
///
/// A function that returns a large struct gets the address of the result as a hidden first argument on x86-64 (System V and
/// Windows), so it can be called as one that takes a pointer, and every byte it writes be seen. Elsewhere the result
/// comes through [`ParamBlock`], and the extent of the writes is not observable: all its bytes count as written.
///
/// # Safety
/// `api` must come from a libllama whose two functions take no argument and return a struct of more than 16 and at most
/// 4,096 bytes, as every llama.cpp since build 3681 does.
pub unsafe fn probe(api: &Api) -> (DefaultBytes, DefaultBytes) {
    // SAFETY: the caller vouches for the function's signature.
    let model = unsafe { observe(api.llama_model_default_params) };
    // SAFETY: as above.
    let context = unsafe { observe(api.llama_context_default_params) };
    (model, context)
}

type DefaultsFn = unsafe extern "C-unwind" fn() -> ParamBlock;

#[cfg(target_arch = "x86_64")]
unsafe fn observe(function: DefaultsFn) -> DefaultBytes {
    type HiddenPointerFn = unsafe extern "C-unwind" fn(*mut u64) -> *mut u64;
    let run = |poison: u8| -> Vec<u8> {
        let mut area = vec![u64::from_ne_bytes([poison; 8]); WATCHED_WORDS];
        // SAFETY: both are plain function pointers of one size; on x86-64 a function that returns a struct of more than 16
        // bytes takes its address as a hidden first argument and returns it (System V ABI 3.2.3, Microsoft x64 convention).
        let function = unsafe { std::mem::transmute::<DefaultsFn, HiddenPointerFn>(function) };
        // SAFETY: `area` has 4,096 writable bytes, more than the caller's bound on the struct.
        unsafe { function(area.as_mut_ptr()) };
        area.into_iter().flat_map(u64::to_ne_bytes).collect()
    };
    DefaultBytes::from_runs(&run(0xA5), &run(0x5A))
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn observe(function: DefaultsFn) -> DefaultBytes {
    // SAFETY: the caller vouches for the signature; the callee writes at most its own struct, which is smaller.
    let block = unsafe { function() };
    let bytes: Vec<u8> = block.0.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let size = bytes.len().min(WATCHED_WORDS * 8);
    DefaultBytes { bytes: bytes[..size].iter().map(|b| Some(*b)).collect() }
}

#[cfg(test)]
mod tests;
