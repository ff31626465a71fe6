//! Offering this machine's devices to others.

use std::ffi::{CString, c_char, c_void};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use tabagent_sys::ggml_backend_device;

use super::error::RpcError;
use super::sockets;
use crate::device::{Device, DeviceKind};
use crate::library::Library;

/// `ggml_backend_rpc_start_server`: endpoint, folder of the cache, threads, number of devices, devices. The first builds that took several devices took two arrays more,
/// the free and the whole memory of each; a function that has fewer parameters than it is called with does not see the rest, so all get them.
type StartServer = unsafe extern "C-unwind" fn(
    *const c_char,
    *const c_char,
    usize,
    usize,
    *mut *mut ggml_backend_device,
    *mut usize,
    *mut usize,
);

/// How often it looks whether the server listens.
const TICK: Duration = Duration::from_millis(10);

/// What an RPC server offers, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcServerConfig {
    /// The address to listen at.
    pub host: Ipv4Addr,
    /// The port; 0 for any that is free.
    pub port: u16,
    /// The devices, as [`Device::is_called`] knows them; none for all GPUs, or the CPU where there is none.
    pub devices: Vec<String>,
    /// Threads that the CPU computes with.
    pub threads: usize,
    /// A folder that keeps tensors of more than 10 MiB, so that a model which comes again is not sent again.
    pub cache: Option<PathBuf>,
}

impl Library {
    /// The devices that a server of this configuration offers.
    ///
    /// # Errors
    /// [`RpcError::UnknownDevice`].
    pub fn rpc_devices(&self, config: &RpcServerConfig) -> Result<Vec<Device>, RpcError> {
        let all = self.devices();
        if config.devices.is_empty() {
            let (gpus, others): (Vec<_>, Vec<_>) = all.into_iter().partition(Device::is_gpu);
            let cpu = || others.into_iter().filter(|device| device.kind == DeviceKind::Cpu).take(1).collect();
            return Ok(if gpus.is_empty() { cpu() } else { gpus });
        }
        let mut chosen: Vec<Device> = Vec::new();
        for name in &config.devices {
            let found: Vec<_> = all.iter().filter(|device| device.is_called(name)).collect();
            if found.is_empty() {
                let known = all.iter().map(|device| format!("`{}`", device.user_name())).collect();
                return Err(RpcError::UnknownDevice { name: name.clone(), known });
            }
            for device in found {
                if chosen.iter().all(|before| before.name != device.name) {
                    chosen.push(device.clone());
                }
            }
        }
        Ok(chosen)
    }

    /// Serves one client after another until the process ends. `listens` is called, on another thread, when it does, with the address.
    ///
    /// ggml trusts its clients: some of what they may send ends the process, so it should be one that may end.
    ///
    /// # Errors
    /// [`RpcError::Listen`] where the port is taken; [`RpcError::Unsupported`]; [`RpcError::UnknownDevice`]; [`RpcError::Ended`].
    pub fn serve_rpc(
        &self,
        config: &RpcServerConfig,
        listens: impl FnOnce(SocketAddr) + Send + 'static,
    ) -> Result<std::convert::Infallible, RpcError> {
        let start: StartServer = {
            // Only builds that take several devices have it.
            self.rpc_function(c"ggml_backend_rpc_add_server")?;
            let function = self.rpc_function(c"ggml_backend_rpc_start_server")?;
            // SAFETY: builds that have the function above have this one with the first five of these parameters, or with all.
            unsafe { std::mem::transmute::<*mut c_void, StartServer>(function) }
        };
        let chosen = self.rpc_devices(config)?;
        let names: Vec<_> = chosen.iter().map(|device| device.name.as_str()).collect();
        let mut devices = self.device_pointers(&names);
        let mut free: Vec<usize> = chosen.iter().map(|device| device.memory_free as usize).collect();
        let mut total: Vec<usize> = chosen.iter().map(|device| device.memory_total as usize).collect();
        let (host, port) = (config.host.to_string(), config.port);
        // ggml would not say why it cannot listen.
        TcpListener::bind((config.host, port)).map_err(|source| RpcError::Listen {
            host: host.clone(),
            port,
            source,
        })?;
        sockets::watch();
        let tell = move || {
            loop {
                if let Some(address) = sockets::listening() {
                    return listens(address);
                }
                std::thread::sleep(TICK);
            }
        };
        drop(std::thread::Builder::new().name("listening".to_owned()).spawn(tell));
        let endpoint = CString::new(format!("{host}:{port}")).unwrap_or_default();
        let cache = config.cache.as_ref().and_then(|path| crate::strings::of_path(path));
        let cache = cache.as_ref().map_or(std::ptr::null(), |path| path.as_ptr());
        // SAFETY: the texts are NUL-terminated, the arrays have an element for each device, and all outlive the call; the devices are registered, so they are never
        // freed.
        unsafe {
            start(
                endpoint.as_ptr(),
                cache,
                config.threads,
                devices.len(),
                devices.as_mut_ptr(),
                free.as_mut_ptr(),
                total.as_mut_ptr(),
            );
        }
        Err(RpcError::Ended)
    }
}
