//! Where the server is, and how to reach it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tonic::transport::Uri;

/// Options of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub url: String,
    /// Name of the server's model.
    pub model: String,
    /// File with the certificates that sign the server's, PEM; for `https` only.
    pub ca_file: Option<PathBuf>,
    /// File with a bearer token. It is read before each connection.
    pub token_file: Option<PathBuf>,
    /// Pause before the first attempt to reconnect, and maximum pause.
    pub retry: (Duration, Duration),
    /// Time for a connection with its metadata, usually [`CONNECT`].
    pub connect: Duration,
}

/// Time for a connection: long enough for the handshakes of a busy server, shorter than
/// the longest pause.
pub const CONNECT: Duration = Duration::from_secs(5);

/// Options that do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Not a URL of a server.
    #[error("{0:?}: expected http://HOST:PORT or https://HOST:PORT")]
    Url(String),
    /// Certificates are checked against a file only.
    #[error("{0}: https needs a CA file")]
    NoCa(String),
    /// A CA file has no effect.
    #[error("{0}: a CA file is only for https")]
    Ca(String),
    /// A token would be readable on the network.
    #[error("{0}: a token is sent only with https, or to a loopback address")]
    Token(String),
}

impl ClientOptions {
    /// Checks that the options belong together.
    ///
    /// # Errors
    /// The URL is invalid, or does not fit the files.
    pub fn check(&self) -> Result<(), OptionError> {
        let url = || self.url.clone();
        let uri: Uri = self.url.parse().map_err(|_| OptionError::Url(url()))?;
        let host = uri.host().ok_or_else(|| OptionError::Url(url()))?;
        if uri.port_u16().is_none() || !["", "/"].contains(&uri.path()) {
            return Err(OptionError::Url(url()));
        }
        match (uri.scheme_str(), &self.ca_file) {
            (Some("https"), Some(_)) | (Some("http"), None) => {}
            (Some("https"), None) => return Err(OptionError::NoCa(url())),
            (Some("http"), Some(_)) => return Err(OptionError::Ca(url())),
            _ => return Err(OptionError::Url(url())),
        }
        let encrypted = uri.scheme_str() == Some("https");
        if self.token_file.is_some() && !encrypted && !is_loopback(host) {
            return Err(OptionError::Token(url()));
        }
        Ok(())
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_do_not_belong_together_are_refused() {
        let check = |url: &str, ca: bool, token: bool| {
            let options = ClientOptions {
                url: url.into(),
                model: "m".into(),
                ca_file: ca.then(|| "ca.pem".into()),
                token_file: token.then(|| "token".into()),
                retry: (Duration::from_millis(100), Duration::from_secs(10)),
                connect: CONNECT,
            };
            options.check().map_err(|error| error.to_string())
        };
        for (url, ca, token) in [
            ("http://127.0.0.1:8001", false, true),
            ("http://[::1]:8001", false, true),
            ("http://gpu.example:8001", false, false),
            ("https://gpu.example:8001/", true, true),
        ] {
            assert_eq!(check(url, ca, token), Ok(()), "{url}");
        }
        for (url, ca, token, words) in [
            ("127.0.0.1:8001", false, false, "expected http://HOST:PORT"),
            ("http://gpu", false, false, "expected http://HOST:PORT"),
            ("ftp://gpu:1", false, false, "expected http://HOST:PORT"),
            ("http://gpu:1/v2", false, false, "expected http://HOST:PORT"),
            ("https://gpu:1", false, false, "needs a CA file"),
            ("http://gpu:1", true, false, "only for https"),
            ("http://gpu:1", false, true, "only with https"),
        ] {
            let error = check(url, ca, token).expect_err(url);
            assert!(error.contains(words), "{error}");
        }
    }
}
