//! How a server listens, and what it allows.

use std::path::PathBuf;
use std::time::Duration;

use tabagent_model::{Fields, OptionError, TextPooling, Value};

use crate::access_log::AccessLogTarget;
use crate::tls::TlsFiles;
use crate::vector_norm::VectorNorm;
use crate::vertex::VertexRoutes;

/// This machine alone.
const HOST: &str = "127.0.0.1";
const PORT: u16 = 8080;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host name or address, and a port; port 0 is any free one.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket in the file system. One that was left behind is replaced.
    Unix(PathBuf),
}

/// How a server listens, and what it allows.
///
/// ```
/// use tabagent_server::{Address, Settings};
///
/// let settings = Settings::default();
/// assert_eq!(settings.addresses, [Address::Tcp { host: "127.0.0.1".to_owned(), port: 8080 }]);
/// assert!(settings.origins.is_empty() && !settings.metrics && !settings.slots);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens: at least one place.
    pub addresses: Vec<Address>,
    /// Take the sockets that a service manager opened (`LISTEN_FDS`) in place of `addresses`.
    pub inherit_sockets: bool,
    /// What stands before every path, such as `/llm`; empty for nothing.
    pub prefix: String,
    /// Keys, one of which every request must have; none for open access.
    pub keys: Vec<String>,
    /// Host names under which it may be asked, besides `localhost` and addresses. Checked where it listens on this machine alone and has no keys, against
    /// pages whose own name leads to it.
    pub hosts: Vec<String>,
    /// Origins of web pages that may ask, such as `https://example.org`; `*` for any.
    pub origins: Vec<String>,
    /// Threads that serve HTTP.
    pub threads: usize,
    /// Connections at the same time.
    pub max_connections: usize,
    /// Size of a body, in bytes.
    pub max_body_bytes: usize,
    /// How long a client may take to send the head of a request.
    pub head_timeout: Duration,
    /// How long a client may stop in the middle of sending a body or of reading a response.
    pub timeout: Duration,
    /// How long running requests may take to end once the server stops; they end with an error then.
    pub drain_timeout: Duration,
    /// How often a silent stream of events says that it is there; `None` for never.
    pub ping: Option<Duration>,
    /// Texts, choices and prompts of one request together.
    pub max_choices: usize,
    /// Where a line for each request goes.
    pub access_log: Option<AccessLogTarget>,
    /// The files of a certificate, where connections are encrypted.
    pub tls: Option<TlsFiles>,
    /// There is a web page at `/`.
    pub page: bool,
    /// `/metrics` is there.
    pub metrics: bool,
    /// Answers to conversations tell what the prompt was and how the text was made, where a request does not say.
    pub verbose: bool,
    /// `/slots` is there.
    pub slots: bool,
    /// Where slots are saved; `None` for nowhere.
    pub slot_save_path: Option<PathBuf>,
    /// `/props` may be changed.
    pub props: bool,
    /// Embeddings are there.
    pub embeddings: bool,
    /// Ranking is there.
    pub reranking: bool,
    /// The last message of the assistant is continued.
    pub prefill: bool,
    /// Conversations may have tools.
    pub tools: bool,
    /// What templates that can be told are told about thinking, where a request does not say.
    pub thinking: Option<bool>,
    /// What a model thinks stays in the content, where a request does not say.
    pub reasoning_in_content: bool,
    /// Where Vertex AI asks; `None` where it does not.
    pub vertex: Option<VertexRoutes>,
    /// How the vectors of a text's tokens become one; `None` for the model's own way.
    pub pooling: Option<TextPooling>,
    /// Texts have a vector for each of their tokens, as it is, in place of one.
    pub token_vectors: bool,
    /// How long vectors are where a request does not say.
    pub vector_norm: VectorNorm,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            addresses: vec![Address::Tcp { host: HOST.to_owned(), port: PORT }],
            inherit_sockets: false,
            prefix: String::new(),
            keys: Vec::new(),
            hosts: Vec::new(),
            origins: Vec::new(),
            threads: 2,
            max_connections: 4096,
            max_body_bytes: 64 << 20,
            head_timeout: Duration::from_secs(30),
            timeout: Duration::from_hours(1),
            drain_timeout: Duration::from_secs(30),
            ping: Some(Duration::from_secs(30)),
            max_choices: 256,
            access_log: None,
            tls: None,
            page: true,
            metrics: false,
            verbose: false,
            slots: false,
            slot_save_path: None,
            props: false,
            embeddings: true,
            reranking: true,
            prefill: true,
            tools: true,
            thinking: None,
            reasoning_in_content: false,
            vertex: None,
            pooling: None,
            token_vectors: false,
            vector_norm: VectorNorm::default(),
        }
    }
}

impl Settings {
    /// Reads settings by their names; missing ones have their defaults. The addresses are those of `listen_hosts`, all with `port`, or `unix_path`; a `ping` of 0 is none.
    ///
    /// # Errors
    /// [`OptionError`] names the setting that is unknown, or has a wrong type or value.
    pub fn read(settings: Value) -> Result<Self, OptionError> {
        const COUNT: &str = "an integer of at least 1";
        const PORT_RANGE: &str = "an integer between 0 and 65535";
        let mut given = Fields::new(settings, "settings")?;
        let default = Self::default();
        let (hosts, port) = (given.texts("listen_hosts")?, given.integer("port", PORT_RANGE)?);
        let hosts = hosts.filter(|hosts| !hosts.is_empty()).unwrap_or_else(|| vec![HOST.to_owned()]);
        let port = port.unwrap_or(PORT);
        let addresses = match given.text("unix_path")? {
            Some(path) => vec![Address::Unix(path.into())],
            None => hosts.into_iter().map(|host| Address::Tcp { host, port }).collect(),
        };
        let ping = given.seconds("ping")?.map_or(default.ping, Some).filter(|interval| !interval.is_zero());
        let read = Self {
            addresses,
            inherit_sockets: given.flag("inherit_sockets")?.unwrap_or(default.inherit_sockets),
            prefix: given.text("prefix")?.unwrap_or(default.prefix),
            keys: given.texts("keys")?.unwrap_or_default(),
            hosts: given.texts("hosts")?.unwrap_or_default(),
            origins: given.texts("origins")?.unwrap_or_default(),
            threads: given.integer("threads", COUNT)?.unwrap_or(default.threads),
            max_connections: given.integer("max_connections", COUNT)?.unwrap_or(default.max_connections),
            max_body_bytes: given.integer("max_body_bytes", COUNT)?.unwrap_or(default.max_body_bytes),
            head_timeout: given.seconds("head_timeout")?.unwrap_or(default.head_timeout),
            timeout: given.seconds("timeout")?.unwrap_or(default.timeout),
            drain_timeout: given.seconds("drain_timeout")?.unwrap_or(default.drain_timeout),
            ping,
            max_choices: given.integer("max_choices", COUNT)?.unwrap_or(default.max_choices),
            access_log: given.text("access_log")?.as_deref().map(AccessLogTarget::from),
            tls: read_tls(&mut given)?,
            page: given.flag("page")?.unwrap_or(default.page),
            verbose: given.flag("verbose")?.unwrap_or(default.verbose),
            metrics: given.flag("metrics")?.unwrap_or(default.metrics),
            slots: given.flag("slots")?.unwrap_or(default.slots),
            slot_save_path: given.text("slot_save_path")?.map(PathBuf::from),
            props: given.flag("props")?.unwrap_or(default.props),
            embeddings: given.flag("embeddings")?.unwrap_or(default.embeddings),
            reranking: given.flag("reranking")?.unwrap_or(default.reranking),
            prefill: given.flag("prefill")?.unwrap_or(default.prefill),
            tools: given.flag("tools")?.unwrap_or(default.tools),
            thinking: given.flag("thinking")?,
            reasoning_in_content: given.flag("reasoning_in_content")?.unwrap_or(default.reasoning_in_content),
            vertex: read_vertex(&mut given)?,
            pooling: given.named("pooling", &TextPooling::NAMES)?,
            token_vectors: given.flag("token_vectors")?.unwrap_or(default.token_vectors),
            vector_norm: read_norm(&mut given)?.unwrap_or(default.vector_norm),
        };
        given.finish()?;
        for (name, value) in [
            ("threads", read.threads),
            ("max_connections", read.max_connections),
            ("max_choices", read.max_choices),
        ] {
            if value == 0 {
                return Err(OptionError::OutOfRange {
                    name: name.to_owned(),
                    range: COUNT.to_owned(),
                    got: "0".to_owned(),
                });
            }
        }
        Ok(read)
    }
}

fn read_norm(given: &mut Fields) -> Result<Option<VectorNorm>, OptionError> {
    const NAME: &str = "vector_norm";
    let Some(number) = given.integer::<i64>(NAME, VectorNorm::RANGE)? else { return Ok(None) };
    let norm = VectorNorm::numbered(number);
    norm.map(Some).ok_or_else(|| OptionError::OutOfRange {
        name: NAME.to_owned(),
        range: VectorNorm::RANGE.to_owned(),
        got: number.to_string(),
    })
}

fn read_vertex(given: &mut Fields) -> Result<Option<VertexRoutes>, OptionError> {
    match (given.text("predict_route")?, given.text("health_route")?) {
        (Some(predict), health) => Ok(Some(VertexRoutes { predict, health })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(OptionError::OutOfRange {
            name: "predict_route".to_owned(),
            range: "given together with `health_route`".to_owned(),
            got: "nothing".to_owned(),
        }),
    }
}

fn read_tls(given: &mut Fields) -> Result<Option<TlsFiles>, OptionError> {
    match (given.text("ssl_cert_file")?, given.text("ssl_key_file")?) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            Ok(Some(TlsFiles { certificate: certificate.into(), key: key.into() }))
        }
        (found, _) => {
            let (one, other) = if found.is_some() {
                ("ssl_cert_file", "ssl_key_file")
            } else {
                ("ssl_key_file", "ssl_cert_file")
            };
            Err(OptionError::OutOfRange {
                name: other.to_owned(),
                range: format!("given together with `{one}`"),
                got: "nothing".to_owned(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_read_by_name() {
        assert_eq!(Settings::read(json!({}).into()), Ok(Settings::default()));
        let read =
            Settings::read(json!({"port": 0, "keys": ["k"], "ping": 0, "timeout": 1.5}).into()).unwrap();
        assert_eq!(read.addresses, [Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 }]);
        assert_eq!(
            (read.keys, read.ping, read.timeout),
            (vec!["k".to_owned()], None, Duration::from_millis(1500))
        );
        let read = Settings::read(json!({"unix_path": "/tmp/s"}).into()).unwrap();
        assert_eq!(read.addresses, [Address::Unix("/tmp/s".into())]);
        let read = Settings::read(json!({"listen_hosts": ["127.0.0.1", "::1"], "port": 1}).into()).unwrap();
        let hosts: Vec<String> = read.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["http://127.0.0.1:1", "http://[::1]:1"]);
        for (wrong, text) in [
            (json!({"port": 65536}), "`port` must be an integer between 0 and 65535, got `65536`"),
            (json!({"threads": 0}), "`threads` must be an integer of at least 1, got `0`"),
            (json!({"prot": 1}), "unknown option `prot`"),
        ] {
            assert!(Settings::read(wrong.into()).unwrap_err().to_string().starts_with(text));
        }
    }
}
