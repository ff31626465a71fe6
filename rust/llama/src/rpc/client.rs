//! Devices of RPC servers in ggml's registry.

use std::collections::HashSet;
use std::ffi::{CString, c_char};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tabagent_sys::ggml_backend_reg;

use super::address::RpcAddress;
use super::error::RpcError;
use super::greeting::greet;
use crate::library::Library;

/// The version of ggml whose protocol is known, and that protocol (`RPC_PROTO_MAJOR_VERSION` and `RPC_PROTO_MINOR_VERSION` in `ggml/include/ggml-rpc.h`). A client
/// takes servers of its major version whose minor version is not above its own (`negotiate_hello` in `ggml/src/ggml-rpc/ggml-rpc.cpp`).
const PROTOCOL: (&str, (u8, u8)) = ("0.25.3", (7, 0));
/// How long a server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// `ggml_backend_rpc_add_server`
type AddServer = unsafe extern "C-unwind" fn(*const c_char) -> *mut ggml_backend_reg;

/// The endpoints that are in the registry: one that is registered twice is there twice.
static ADDED: Mutex<Option<HashSet<String>>> = Mutex::new(None);

impl Library {
    /// Puts the devices of a server into ggml's registry, for good, where they are devices like others: their description is the server's endpoint. From now on, this process
    /// ends when a connection to a server fails; one whose host is gone is noticed after ten seconds, on Linux also while something is being sent.
    ///
    /// # Errors
    /// [`RpcError`]; the server was spoken to before ggml was, so what is there from the beginning is an error and not the end of the process.
    pub fn add_rpc_server(&self, address: &RpcAddress) -> Result<(), RpcError> {
        let greeting = greet(address, PATIENCE)?;
        let (known, ours) = PROTOCOL;
        let (major, minor, _) = greeting.version;
        if self.info().ggml_version.as_deref() == Some(known) && (major != ours.0 || minor > ours.1) {
            return Err(RpcError::OtherVersion { address: address.clone(), theirs: greeting.version, ours });
        }
        #[cfg(unix)]
        super::sockets::watch();
        let mut added = ADDED.lock().unwrap_or_else(PoisonError::into_inner);
        let added = added.get_or_insert_default();
        let endpoint = address.endpoint();
        if added.contains(&endpoint) {
            return Ok(());
        }
        let add: AddServer = {
            let function = self.rpc_function(c"ggml_backend_rpc_add_server")?;
            // SAFETY: all builds that give a function of this name have it with this signature (`ggml/include/ggml-rpc.h`).
            unsafe { std::mem::transmute::<*mut std::ffi::c_void, AddServer>(function) }
        };
        let register = self
            .api()
            .ggml_backend_register
            .ok_or_else(|| self.lacks("does not export `ggml_backend_register`"))?;
        // An address holds no NUL.
        let text = CString::new(endpoint.clone()).unwrap_or_default();
        // SAFETY: the text is NUL-terminated and copied there.
        let server = unsafe { add(text.as_ptr()) };
        if server.is_null() {
            return Err(RpcError::NoDevice { address: address.clone() });
        }
        // SAFETY: the backend was just made, is never freed, and is not in the registry, as the set above says.
        unsafe { register(server) };
        added.insert(endpoint);
        Ok(())
    }

    /// A function of the RPC backend.
    pub(super) fn rpc_function(&self, name: &std::ffi::CStr) -> Result<*mut std::ffi::c_void, RpcError> {
        let api = self.api();
        let (Some(find), Some(function_of)) =
            (api.ggml_backend_reg_by_name, api.ggml_backend_reg_get_proc_address)
        else {
            return Err(self.lacks("has no registry of backends"));
        };
        // SAFETY: the name is NUL-terminated.
        let backend = unsafe { find(super::BACKEND.as_ptr()) };
        if backend.is_null() {
            return Err(self.lacks("has no RPC backend"));
        }
        // SAFETY: the backend is registered, and registered backends are never freed; the name is NUL-terminated.
        let function = unsafe { function_of(backend, name.as_ptr()) };
        if function.is_null() {
            return Err(self.lacks("has an RPC backend of an older kind"));
        }
        Ok(function)
    }

    fn lacks(&self, lacks: &'static str) -> RpcError {
        RpcError::Unsupported { build: self.info().build.clone(), lacks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_that_of_the_pinned_tree() {
        let Some(tree) = tabagent_material::tree() else { return };
        let header = std::fs::read_to_string(tree.join("ggml/include/ggml-rpc.h")).unwrap();
        let of = |name: &str| -> u8 {
            let line = header.lines().find(|line| line.starts_with(&format!("#define {name} "))).unwrap();
            line.split_whitespace().last().unwrap().parse().unwrap()
        };
        let (_, (major, minor)) = PROTOCOL;
        assert_eq!((of("RPC_PROTO_MAJOR_VERSION"), of("RPC_PROTO_MINOR_VERSION")), (major, minor));
        let project = std::fs::read_to_string(tree.join("ggml/CMakeLists.txt")).unwrap();
        let of = |name: &str| -> String {
            let line = project.lines().find(|line| line.starts_with(&format!("set({name} "))).unwrap();
            line.trim_end_matches(')').split_whitespace().last().unwrap().to_owned()
        };
        let parts = ["GGML_VERSION_MAJOR", "GGML_VERSION_MINOR", "GGML_VERSION_PATCH"].map(of);
        assert_eq!(parts.join("."), PROTOCOL.0);
    }
}
