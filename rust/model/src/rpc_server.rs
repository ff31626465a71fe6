//! Offers devices to other machines, in a child process: ggml trusts its clients, and ends the process where one sends what it does not expect.

use std::ffi::OsStr;
use std::process::ExitCode;

#[cfg(not(unix))]
pub(crate) fn serve(_: &OsStr) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "offering devices to other machines is not supported on this system");
    ExitCode::from(2)
}

/// Serves until standard input ends: the options are a line of JSON there, and a line of JSON on standard output, behind [`SIGN`](child::SIGN), says where it listens, or why it does not.
#[cfg(unix)]
pub(crate) fn serve(library: &OsStr) -> ExitCode {
    child::serve(library)
}

#[cfg(unix)]
mod child {
    use std::ffi::OsStr;
    use std::io::{self, BufRead as _, Read as _, Write as _};
    use std::process::ExitCode;

    use serde_json::{Value as Json, json};
    use tabagent_llama::{
        AtWork, RPC_PORT, RpcError, RpcServerConfig, die_by_signals, echo_log, leave_at_once, leave_no_core,
    };
    use tabagent_variants::{Hardware, default_threads};

    use crate::error::Error;
    use crate::failure::Failure as _;
    use crate::library::OpenRequest;
    use crate::value::{Fields, OptionError, text};

    /// What the line for the parent begins with; ggml writes lines of its own.
    pub(super) const SIGN: &str = "tabagent rpc-server: ";

    pub(super) fn serve(library: &OsStr) -> ExitCode {
        leave_no_core();
        die_by_signals();
        echo_log();
        let _at_work = AtWork::begin();
        let mut request = String::new();
        if io::stdin().lock().read_line(&mut request).is_err() {
            return ExitCode::from(2);
        }
        let Ok(request) = serde_json::from_str(&request) else { return ExitCode::from(2) };
        drop(std::thread::Builder::new().name("parent".to_owned()).spawn(|| {
            let _ = io::stdin().lock().read_to_end(&mut Vec::new());
            leave_at_once(0);
        }));
        let Err(error) = listen(library, request);
        tell(&json!({"kind": error.kind().name(), "error": error.to_string()}));
        leave_at_once(1);
    }

    fn listen(library: &OsStr, mut request: Json) -> Result<std::convert::Infallible, Error> {
        let library = OpenRequest::read(&request).open(library.as_ref())?;
        let config = read(request["server"].take())?;
        let devices = library.rpc_devices(&config)?;
        let devices: Vec<Json> = devices
            .iter()
            .map(|device| {
                json!({
                    "id": device.user_name(),
                    "description": device.description,
                    "memory_free": device.memory_free,
                    "memory_total": device.memory_total,
                })
            })
            .collect();
        let threads = config.threads;
        let listens = move |address: std::net::SocketAddr| {
            tell(
                &json!({"host": address.ip().to_string(), "port": address.port(), "threads": threads, "devices": devices}),
            );
        };
        Ok(library.serve_rpc(&config, listens)?)
    }

    /// Reads `host`, `port`, `devices`, `threads` and `cache` by their names.
    fn read(given: Json) -> Result<RpcServerConfig, Error> {
        let mut given = Fields::new(given.into(), "server")?;
        let host = given.take("host").map(|host| text("host", host)).transpose()?;
        let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
        let is_ipv4 = |_| {
            OptionError::out_of_range("host", "an IPv4 address of this machine, or 0.0.0.0 for all", &host)
        };
        let config = RpcServerConfig {
            host: host.parse().map_err(is_ipv4)?,
            port: given.integer("port", "a port: 0 to 65535")?.unwrap_or(RPC_PORT),
            devices: given.texts("devices")?.unwrap_or_default(),
            threads: given
                .integer("threads", "a number of threads")?
                .unwrap_or_else(|| default_threads(&Hardware::probe())),
            cache: given.take("cache").map(|path| text("cache", path)).transpose()?.map(Into::into),
        };
        given.finish()?;
        if let Some(folder) = &config.cache {
            std::fs::create_dir_all(folder)
                .map_err(|source| RpcError::Cache { folder: folder.clone(), source })?;
        }
        Ok(config)
    }

    fn tell(line: &Json) {
        // A parent that is no more does not want to know.
        let _ = writeln!(io::stdout(), "{SIGN}{line}");
    }
}
