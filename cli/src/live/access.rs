//! Which requests are answered, so that other sites cannot read or switch.
//!
//! A name that an attacker's DNS points here has another Host field; a page of
//! another site that posts here has another Origin.

use std::net::{IpAddr, SocketAddr};

use l4sllmd::http::Request;

/// Why a request is refused: the status and the reason.
pub type Refused = (&'static str, &'static str);

const FORBIDDEN: &str = "403 Forbidden";

/// Checks that a request names this server, which it reached at `local`.
pub fn check_host(request: &Request, local: SocketAddr) -> Result<(), Refused> {
    let host = request.field("host");
    match host.is_some_and(|host| names(host, local)) {
        true => Ok(()),
        false => Err((FORBIDDEN, "the Host field does not name this server\n")),
    }
}

/// Checks that a request comes from this server's page, or from a program that is
/// not a browser, and that it reached a loopback address.
pub fn check_switch(request: &Request, local: SocketAddr) -> Result<(), Refused> {
    check_host(request, local)?;
    if !local.ip().is_loopback() {
        return Err((FORBIDDEN, READ_ONLY));
    }
    let own = request.field("host").map(|host| format!("http://{host}"));
    let origin = match request.has("origin") {
        true => request.field("origin").map(str::to_owned) == own,
        false => true,
    };
    let site = match request.has("sec-fetch-site") {
        true => request.field("sec-fetch-site") == Some("same-origin"),
        false => true,
    };
    if !origin || !site {
        return Err((FORBIDDEN, "only this server's page can switch engines\n"));
    }
    // A form of another site cannot have this type.
    match request.field("content-type") {
        Some("application/json") => Ok(()),
        _ => Err(("415 Unsupported Media Type", "expected application/json\n")),
    }
}

/// Why the switch is off on an address that other hosts can reach.
pub const READ_ONLY: &str = "read-only: engines can be switched only through a loopback address\n";

/// Whether `host` is this server: its address, or a name of this host. Tunnels have
/// other ports.
fn names(host: &str, local: SocketAddr) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let address: Option<IpAddr> = address.unwrap_or(name).parse().ok();
    match address {
        Some(address) => {
            address == local.ip() || (address.is_loopback() && local.ip().is_loopback())
        }
        None => name.eq_ignore_ascii_case("localhost") && local.ip().is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &str) -> Request {
        let head = format!("POST /engine HTTP/1.1\r\n{fields}\r\n\r\n");
        Request::parse(head.as_bytes()).expect("a request")
    }

    const TYPE: &str = "Content-Type: application/json";

    #[test]
    fn requests_for_names_of_other_hosts_are_refused() {
        let local: SocketAddr = "127.0.0.1:9595".parse().unwrap();
        let host = |host: &str| check_host(&request(&format!("Host: {host}")), local).is_ok();
        for own in [
            "127.0.0.1:9595",
            "localhost:9595",
            "localhost",
            "localhost:8080",
            "[::1]:9595",
        ] {
            assert!(host(own), "{own}");
        }
        for other in [
            "evil.example:9595",
            "localhost.evil.example",
            "10.0.0.1:9595",
            "",
            "x:y",
        ] {
            assert!(!host(other), "{other}");
        }
        assert!(check_host(&request("X: y"), local).is_err());
        assert!(check_host(&request("Host: localhost\r\nHost: localhost"), local).is_err());
        let other: SocketAddr = "10.0.0.1:9595".parse().unwrap();
        assert!(check_host(&request("Host: 10.0.0.1:9595"), other).is_ok());
        assert!(check_host(&request("Host: localhost:9595"), other).is_err());
    }

    #[test]
    fn other_sites_cannot_switch() {
        let local: SocketAddr = "127.0.0.1:9595".parse().unwrap();
        let switch = |more: &str| {
            let fields = format!("Host: 127.0.0.1:9595\r\n{TYPE}\r\n{more}");
            check_switch(&request(fields.trim_end()), local).map_err(|(status, _)| status)
        };
        assert_eq!(switch(""), Ok(()));
        assert_eq!(switch("Origin: http://127.0.0.1:9595"), Ok(()));
        assert_eq!(switch("Sec-Fetch-Site: same-origin"), Ok(()));
        for foreign in [
            "Origin: http://evil.example",
            "Origin: http://127.0.0.1:3000",
            "Origin: https://127.0.0.1:9595",
            "Origin: null",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ] {
            assert_eq!(switch(foreign), Err(FORBIDDEN), "{foreign}");
        }
        let form = request("Host: localhost:9595\r\nContent-Type: text/plain");
        assert!(check_switch(&form, local).is_err());
    }

    #[test]
    fn the_switch_is_off_on_other_addresses() {
        let local: SocketAddr = "10.0.0.1:9595".parse().unwrap();
        let request = request(&format!("Host: 10.0.0.1:9595\r\n{TYPE}"));
        assert_eq!(check_switch(&request, local), Err((FORBIDDEN, READ_ONLY)));
    }
}
