//! Functions whose signature changed over time, each with today's meaning: the handles of vocabulary and memory, clearing the memory, and setting adapters.

#![allow(clippy::wildcard_imports)]

use crate::api::Api;
use crate::family::{AdapterFamily, Family, MemoryFamily, VocabularyFamily};
use crate::types::*;
use std::ffi::c_void;

type VocabularyOf = unsafe extern "C-unwind" fn(*const llama_model) -> *const llama_vocab;
type MemoryOf = unsafe extern "C-unwind" fn(*const llama_context) -> *mut llama_memory;
type ClearMemory = unsafe extern "C-unwind" fn(*mut llama_memory, bool);
type ClearContext = unsafe extern "C-unwind" fn(*mut llama_context);
type SetAdapters =
    unsafe extern "C-unwind" fn(*mut llama_context, *mut *mut llama_adapter_lora, usize, *mut f32) -> i32;
type SetAdapter = unsafe extern "C-unwind" fn(*mut llama_context, *mut llama_adapter_lora, f32) -> i32;

/// How a library gives the memory of a context, and clears it.
#[derive(Clone, Copy)]
enum Memory {
    /// The context itself stands for its memory. Clearing always clears the data, too.
    OfContext {
        /// `llama_kv_self_clear` or `llama_kv_cache_clear`
        clear: ClearContext,
    },
    /// A memory of its own.
    Own {
        /// `llama_get_memory`
        of: MemoryOf,
        /// `llama_memory_clear`
        clear: ClearMemory,
    },
}

/// How a library sets the adapters of a context.
#[derive(Clone, Copy)]
enum Adapters {
    /// One after another.
    One {
        /// `llama_clear_adapter_lora` or `llama_lora_adapter_clear`
        clear: ClearContext,
        /// `llama_set_adapter_lora` or `llama_lora_adapter_set`
        set: SetAdapter,
    },
    /// All at once: `llama_set_adapters_lora`.
    Many(SetAdapters),
}

/// The functions of one library. Their types differ between families, so they are reached through the methods of [`Api`] alone.
#[derive(Clone, Copy)]
pub(crate) struct Handles {
    /// `llama_model_get_vocab`; `None` where the functions about tokens take the model.
    vocabulary_of: Option<VocabularyOf>,
    memory: Memory,
    adapters: Adapters,
}

/// The symbols that a library of a family has for these functions.
pub(crate) fn names(family: Family) -> impl Iterator<Item = &'static str> {
    let vocabulary: &[_] = match family.vocabulary {
        VocabularyFamily::OfModel => &[],
        VocabularyFamily::Own => &["llama_model_get_vocab"],
    };
    let memory: &[_] = match family.memory {
        MemoryFamily::KvCache => &["llama_kv_cache_clear"],
        MemoryFamily::KvSelf => &["llama_kv_self_clear"],
        MemoryFamily::Memory => &["llama_get_memory", "llama_memory_clear"],
    };
    let adapters: &[_] = match family.adapters {
        AdapterFamily::Lora => &["llama_lora_adapter_clear", "llama_lora_adapter_set"],
        AdapterFamily::One => &["llama_clear_adapter_lora", "llama_set_adapter_lora"],
        AdapterFamily::Many => &["llama_set_adapters_lora"],
    };
    vocabulary.iter().chain(memory).chain(adapters).copied()
}

/// A function pointer of type `F` from an address.
///
/// # Safety
/// `address` is that of a function of this type.
unsafe fn function<F: Copy>(address: *mut c_void) -> F {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>(), "a function pointer") };
    // SAFETY: the caller's contract; both have one size.
    unsafe { std::mem::transmute_copy(&address) }
}

impl Handles {
    /// # Safety
    /// As for [`Api::resolve_with`], and no symbol of [`names`] resolves to null.
    pub(crate) unsafe fn resolve_with(
        family: Family,
        resolve: &mut impl FnMut(&'static str) -> *mut c_void,
    ) -> Self {
        let vocabulary_of = match family.vocabulary {
            VocabularyFamily::OfModel => None,
            // SAFETY: the caller vouches for the signature that the family has under this name, here and below.
            VocabularyFamily::Own => Some(unsafe { function(resolve("llama_model_get_vocab")) }),
        };
        let memory = match family.memory {
            MemoryFamily::KvCache => {
                // SAFETY: as above.
                Memory::OfContext { clear: unsafe { function(resolve("llama_kv_cache_clear")) } }
            }
            MemoryFamily::KvSelf => {
                // SAFETY: as above.
                Memory::OfContext { clear: unsafe { function(resolve("llama_kv_self_clear")) } }
            }
            MemoryFamily::Memory => Memory::Own {
                // SAFETY: as above.
                of: unsafe { function(resolve("llama_get_memory")) },
                // SAFETY: as above.
                clear: unsafe { function(resolve("llama_memory_clear")) },
            },
        };
        let mut one = |clear, set| Adapters::One {
            // SAFETY: as above.
            clear: unsafe { function(resolve(clear)) },
            // SAFETY: as above.
            set: unsafe { function(resolve(set)) },
        };
        let adapters = match family.adapters {
            AdapterFamily::Lora => one("llama_lora_adapter_clear", "llama_lora_adapter_set"),
            AdapterFamily::One => one("llama_clear_adapter_lora", "llama_set_adapter_lora"),
            // SAFETY: as above.
            AdapterFamily::Many => Adapters::Many(unsafe { function(resolve("llama_set_adapters_lora")) }),
        };
        Self { vocabulary_of, memory, adapters }
    }
}

impl Api {
    /// What the functions about tokens take: the vocabulary of a model, or in builds before 4463 the model itself under that type.
    ///
    /// # Safety
    /// `model` is a live model of this library.
    pub unsafe fn vocabulary(&self, model: *const llama_model) -> *const llama_vocab {
        match self.handles.vocabulary_of {
            // SAFETY: the caller's contract.
            Some(of) => unsafe { of(model) },
            None => model.cast(),
        }
    }

    /// What the functions about the memory take: the memory of a context, null for none, or in builds before 5596 the context itself under that type.
    ///
    /// # Safety
    /// `context` is a live context of this library.
    pub unsafe fn memory(&self, context: *mut llama_context) -> *mut llama_memory {
        match self.handles.memory {
            // SAFETY: the caller's contract.
            Memory::Own { of, .. } => unsafe { of(context) },
            Memory::OfContext { .. } => context.cast(),
        }
    }

    /// Forgets all that a memory holds; `data` also clears its buffers, which older builds always do.
    ///
    /// # Safety
    /// `memory` came from [`Api::memory`] of this table, and its context is live.
    pub unsafe fn clear_memory(&self, memory: *mut llama_memory, data: bool) {
        match self.handles.memory {
            // SAFETY: the caller's contract.
            Memory::Own { clear, .. } => unsafe { clear(memory, data) },
            // SAFETY: as above: in this family the pointer is that of the context.
            Memory::OfContext { clear } => unsafe { clear(memory.cast()) },
        }
    }

    /// Sets the adapters of a context in place of those that it has. Returns 0, or another number where the library refuses one.
    ///
    /// # Safety
    /// The context and the adapters are live, and the adapters are of its model.
    pub unsafe fn set_adapters(
        &self,
        context: *mut llama_context,
        adapters: &mut [(*mut llama_adapter_lora, f32)],
    ) -> i32 {
        match self.handles.adapters {
            Adapters::Many(set) => {
                let (mut pointers, mut scales): (Vec<_>, Vec<_>) = adapters.iter().copied().unzip();
                // SAFETY: the caller's contract; both arrays have as many entries.
                unsafe { set(context, pointers.as_mut_ptr(), pointers.len(), scales.as_mut_ptr()) }
            }
            Adapters::One { clear, set } => {
                // SAFETY: the caller's contract.
                unsafe { clear(context) };
                // SAFETY: as above.
                let codes = adapters.iter().map(|(adapter, scale)| unsafe { set(context, *adapter, *scale) });
                codes.fold(0, |worst, code| if worst == 0 { code } else { worst })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

    fn see(text: String) {
        SEEN.lock().unwrap().push(text);
    }

    extern "C-unwind" fn clear_context(context: *mut llama_context) {
        see(format!("clear {}", context.addr()));
    }
    extern "C-unwind" fn clear_memory(memory: *mut llama_memory, data: bool) {
        see(format!("clear {} {data}", memory.addr()));
    }
    extern "C-unwind" fn set_one(
        context: *mut llama_context,
        adapter: *mut llama_adapter_lora,
        scale: f32,
    ) -> i32 {
        see(format!("set {} {} {scale}", context.addr(), adapter.addr()));
        if adapter.addr() == 13 { -1 } else { 0 }
    }
    extern "C-unwind" fn get(context: *const llama_context) -> usize {
        context.addr() + 1
    }

    fn address(name: &'static str) -> *mut c_void {
        let function = match name {
            "llama_kv_cache_clear" | "llama_kv_self_clear" | "llama_lora_adapter_clear" => {
                clear_context as *const ()
            }
            "llama_memory_clear" => clear_memory as *const (),
            "llama_lora_adapter_set" => set_one as *const (),
            _ => get as *const (),
        };
        function.cast_mut().cast()
    }

    fn api(memory: MemoryFamily, vocabulary: VocabularyFamily) -> Api {
        let family = Family { vocabulary, memory, adapters: AdapterFamily::Lora };
        // SAFETY: those that this module calls have the signatures of their family; the others are never called.
        unsafe { Api::resolve_with(family, address) }.unwrap()
    }

    fn seen() -> Vec<String> {
        std::mem::take(&mut SEEN.lock().unwrap())
    }

    #[test]
    fn handles_and_calls_have_the_meaning_of_today_in_every_family() {
        let (model, context) = (std::ptr::without_provenance(8), std::ptr::without_provenance_mut(16));
        for (memory, handle, calls) in [
            (MemoryFamily::KvCache, 16, ["clear 16", "clear 16"]),
            (MemoryFamily::KvSelf, 16, ["clear 16", "clear 16"]),
            (MemoryFamily::Memory, 17, ["clear 17 true", "clear 17 false"]),
        ] {
            let api = api(memory, VocabularyFamily::OfModel);
            // SAFETY: the functions only look at the number of the pointer, here and below.
            let place = unsafe { api.memory(context) };
            assert_eq!(place.addr(), handle);
            for data in [true, false] {
                // SAFETY: as above.
                unsafe { api.clear_memory(place, data) };
            }
            assert_eq!(seen(), calls);
            // SAFETY: as above.
            assert_eq!(unsafe { api.vocabulary(model) }.addr(), 8);
        }
        let api = api(MemoryFamily::Memory, VocabularyFamily::Own);
        // SAFETY: as above.
        assert_eq!(unsafe { api.vocabulary(model) }.addr(), 9);
        let mut adapters = [5, 13, 6].map(|place| (std::ptr::without_provenance_mut(place), 0.5));
        // SAFETY: as above.
        assert_eq!(unsafe { api.set_adapters(context, &mut adapters) }, -1);
        assert_eq!(seen(), ["clear 16", "set 16 5 0.5", "set 16 13 0.5", "set 16 6 0.5"]);
    }
}
