//! Observes what the default-params functions write, without trusting any layout.

use crate::api::Api;
use crate::block::ParamBlock;
use crate::evidence::DefaultBytes;

/// Size in words of the area in which writes of a default-params function are observed; far larger than any struct.
const WATCHED_WORDS: usize = 512;

/// Calls both default-params functions over poisoned memory and reports what they wrote.
///
/// The caller of a function that returns a large struct passes the address for it: in the first argument on x86-64 (System V ABI 3.2.3,
/// Microsoft x64 convention), in the register `x8` on AArch64 (AAPCS64 6.9). So every byte that the function writes can be seen. On other
/// processors none can be seen, and the result fits no layout.
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

/// # Safety
/// As for [`probe`].
unsafe fn observe(function: DefaultsFn) -> DefaultBytes {
    let run = |poison: u8| -> Vec<u8> {
        let mut area = vec![u64::from_ne_bytes([poison; 8]); WATCHED_WORDS];
        // SAFETY: `area` has 4,096 writable bytes, more than the caller's bound on the struct.
        unsafe { call_into(function, area.as_mut_ptr()) };
        area.into_iter().flat_map(u64::to_ne_bytes).collect()
    };
    DefaultBytes::from_runs(&run(0xA5), &run(0x5A))
}

/// Calls `function` so that its result is written to `place`.
///
/// # Safety
/// `place` has room for the result.
#[cfg(target_arch = "x86_64")]
unsafe fn call_into(function: DefaultsFn, place: *mut u64) {
    type HiddenPointerFn = unsafe extern "C-unwind" fn(*mut u64) -> *mut u64;
    // SAFETY: both are plain function pointers of one size; the hidden first argument is an argument like others.
    let function = unsafe { std::mem::transmute::<DefaultsFn, HiddenPointerFn>(function) };
    // SAFETY: the caller's contract.
    unsafe { function(place) };
}

/// Calls `function` so that its result is written to `place`.
///
/// # Safety
/// `place` has room for the result.
#[cfg(target_arch = "aarch64")]
unsafe fn call_into(function: DefaultsFn, place: *mut u64) {
    // SAFETY: a call by the C convention, which may change all registers that `clobber_abi` names; `x8` holds the address of the result,
    // which has room there by the caller's contract. The functions fill a struct with constants and throw nothing.
    unsafe {
        std::arch::asm!("blr {function}", function = in(reg) function, inout("x8") place => _, clobber_abi("C"));
    }
}

/// Leaves the memory as it is, so that nothing counts as written.
///
/// # Safety
/// None is needed.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn call_into(_function: DefaultsFn, _place: *mut u64) {}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;

    #[test]
    fn observe_sees_exactly_the_bytes_a_function_writes() {
        #[repr(C)]
        struct Small {
            words: [u64; 5],
        }
        extern "C-unwind" fn defaults() -> Small {
            Small { words: [1, 2, 3, 4, 0x0506_0708_090A_0B0C] }
        }
        let function = defaults as extern "C-unwind" fn() -> Small;
        // SAFETY: both are function pointers; `observe` undoes the difference in the result type.
        let function =
            unsafe { std::mem::transmute::<extern "C-unwind" fn() -> Small, DefaultsFn>(function) };
        // SAFETY: `defaults` takes nothing and returns 40 bytes.
        let seen = unsafe { observe(function) };
        assert_eq!(seen.extent(), 40);
        assert_eq!(seen.bytes[32], Some(0x0C));
        assert_eq!(seen.bytes[40], None);
    }
}
