//! Connections that nobody else can read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::{self, ServerConfig, crypto};

/// The files of a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those that lead to one that clients trust, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// What is wrong with a certificate or its key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, or is no PEM of its kind.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A file of certificates has none.
    #[error("`{0}` has no certificate; give a PEM file that begins with `-----BEGIN CERTIFICATE-----`")]
    NoCertificate(String),
    /// They do not belong together, or are of a kind that is not known.
    #[error("the certificate `{certificate}` and the key `{key}` cannot be used: {source}")]
    Refused {
        /// The file of the certificate.
        certificate: String,
        /// The file of the key.
        key: String,
        /// Why.
        source: rustls::Error,
    },
}

impl TlsFiles {
    /// What takes connections with this certificate: TLS 1.2 and 1.3, HTTP/1.1.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let read = |path: &Path, source| TlsError::Read { path: path.display().to_string(), source };
        let certificates = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|source| read(&self.certificate, source))?;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate(self.certificate.display().to_string()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| read(&self.key, source))?;
        let provider = Arc::new(crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
            .map_err(|source| TlsError::Refused {
                certificate: self.certificate.display().to_string(),
                key: self.key.display().to_string(),
                source,
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
