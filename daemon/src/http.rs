//! HTTP/1.1 for local endpoints: one request per connection.

use std::fmt::Write;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Maximum size of a request's head, bytes, and its maximum number of fields.
const MAX_HEAD: usize = 8192;
const MAX_FIELDS: usize = 64;

/// Maximum size of a request's body, bytes.
const MAX_BODY: usize = 4096;

/// A request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The method, as in `GET`.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    fields: Vec<(String, String)>,
    /// The body; empty without a Content-Length.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads a request; `None` if it is not HTTP/1.1, or too long.
    ///
    /// # Errors
    /// The connection fails.
    pub async fn read(stream: &mut TcpStream) -> io::Result<Option<Request>> {
        let mut bytes = Vec::new();
        let mut part = [0; 1024];
        loop {
            if let Some(length) = head_length(&bytes) {
                let Some(mut request) = Request::parse(&bytes[..length]) else {
                    return Ok(None);
                };
                let Some(body) = request.body_length() else {
                    return Ok(None);
                };
                if bytes.len() >= length + body {
                    request.body = bytes[length..length + body].to_vec();
                    return Ok(Some(request));
                }
            } else if bytes.len() >= MAX_HEAD {
                return Ok(None);
            }
            let got = stream.read(&mut part).await?;
            if got == 0 {
                return Ok(None);
            }
            bytes.extend_from_slice(&part[..got]);
        }
    }

    /// Parses a head, with the empty line at its end.
    pub fn parse(head: &[u8]) -> Option<Request> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let Ok(httparse::Status::Complete(_)) = request.parse(head) else {
            return None;
        };
        let path = request.path?.split('?').next()?;
        let field = |field: &httparse::Header<'_>| {
            let value = String::from_utf8_lossy(field.value).into_owned();
            (field.name.to_ascii_lowercase(), value)
        };
        Some(Request {
            method: request.method?.to_owned(),
            path: path.to_owned(),
            fields: request.headers.iter().map(field).collect(),
            body: Vec::new(),
        })
    }

    /// The value of a field, given in lower case; `None` if it is missing or there
    /// is more than one.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(known, _)| known == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// Whether a field, given in lower case, is present.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known == name)
    }

    fn body_length(&self) -> Option<usize> {
        if self.has("transfer-encoding") {
            return None;
        }
        match self.field("content-length") {
            Some(length) => length.parse().ok().filter(|length| *length <= MAX_BODY),
            None if self.has("content-length") => None,
            None => Some(0),
        }
    }
}

/// Length of a complete head.
fn head_length(bytes: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let at = bytes.windows(END.len()).position(|end| end == END)?;
    Some(at + END.len())
}

/// A response with a body.
pub fn response(status: &str, fields: &[(&str, &str)], body: &str) -> String {
    let length = body.len().to_string();
    let fields = [fields, &[("Content-Length", &length)]].concat();
    head(status, &fields) + body
}

/// The head of a response, with the empty line at its end.
pub fn head(status: &str, fields: &[(&str, &str)]) -> String {
    let mut out = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in fields {
        let _ = write!(out, "{name}: {value}\r\n");
    }
    out + "Connection: close\r\n\r\n"
}

/// Sends a whole response and ends the connection.
///
/// # Errors
/// The connection fails.
pub async fn send(mut stream: TcpStream, response: &str) -> io::Result<()> {
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_parsed() {
        let head = b"POST /engine?x=1 HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 2\r\n\r\n";
        assert_eq!(head_length(head), Some(head.len()));
        let request = Request::parse(head).expect("a request");
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("POST", "/engine")
        );
        assert_eq!(request.field("host"), Some("a"));
        // A field that is repeated has no value.
        assert!(request.has("x") && request.field("x").is_none());
        assert_eq!(request.body_length(), Some(0));
        for wrong in [
            &b"nonsense\r\n\r\n"[..],
            &[0xff; 100],
            b"GET / HTTP/1.1\r\n",
        ] {
            assert_eq!(Request::parse(wrong), None);
        }
    }

    #[test]
    fn bodies_that_are_too_long_or_chunked_are_refused() {
        let of = |fields: &str| {
            let head = format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
            Request::parse(head.as_bytes())
                .expect("a request")
                .body_length()
        };
        assert_eq!(of("Content-Length: 7"), Some(7));
        assert_eq!(of("Content-Length: 4097"), None);
        assert_eq!(of("Content-Length: 7\r\nContent-Length: 8"), None);
        assert_eq!(of("Transfer-Encoding: chunked"), None);
    }

    #[test]
    fn a_response_has_a_length() {
        let text = response("200 OK", &[("Content-Type", "text/plain")], "abc");
        let wanted = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\
                      Connection: close\r\n\r\nabc";
        assert_eq!(text, wanted);
    }
}
