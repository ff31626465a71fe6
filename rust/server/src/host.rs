//! Names of hosts and origins of web pages.

use std::net::IpAddr;

/// The host in `host:port` or `[address]:port`, without its port.
fn without_port(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether a host is this machine by its name: `localhost` or a loopback address.
pub(crate) fn is_local(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether the value of a `Host` header is a name that no other's domain can have: an address, `localhost`, or one of `names`. A page whose domain was made to lead to
/// this machine (DNS rebinding) asks with its own name.
pub(crate) fn is_trusted(authority: &str, names: &[String]) -> bool {
    let host = without_port(authority);
    is_local(host)
        || host.parse::<IpAddr>().is_ok()
        || names.iter().any(|name| name.eq_ignore_ascii_case(host) || name == "*")
}

/// What the origin of a page may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It may ask and read the answers.
    Allowed,
    /// Another site's page.
    Foreign,
}

/// Whether a page of `origin` may use the server that it knows as `host`. Pages of this machine and of the server itself may, and what is no web page: apps and
/// browser extensions have schemes of their own, which a page cannot take.
pub(crate) fn judge(origin: &str, host: Option<&str>, allowed: &[String]) -> Origin {
    if allowed.iter().any(|known| known == "*" || known.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
        return Origin::Allowed;
    }
    let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    match page {
        None if origin == "null" => Origin::Foreign,
        None => Origin::Allowed,
        Some(page)
            if is_local(without_port(page)) || host.is_some_and(|host| host.eq_ignore_ascii_case(page)) =>
        {
            Origin::Allowed
        }
        Some(_) => Origin::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_stranger_can_own_is_not_trusted() {
        for host in [
            "localhost",
            "LOCALHOST:80",
            "a.localhost",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "192.168.1.2:1",
            "my.box:8080",
        ] {
            assert!(is_trusted(host, &["my.box".to_owned()]), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "", "my.box.evil:1"]
        {
            assert!(!is_trusted(host, &["my.box".to_owned()]), "{host}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_foreign() {
        let judged = |origin| judge(origin, Some("10.0.0.1:8080"), &["https://chat.example".to_owned()]);
        for origin in [
            "http://localhost:3000",
            "http://127.0.0.1",
            "https://chat.example",
            "http://10.0.0.1:8080",
            "chrome-extension://abc",
        ] {
            assert_eq!(judged(origin), Origin::Allowed, "{origin}");
        }
        for origin in [
            "https://evil.example",
            "null",
            "http://chat.example",
            "http://localhost.evil.example",
            "http://10.0.0.1:1",
        ] {
            assert_eq!(judged(origin), Origin::Foreign, "{origin}");
        }
        assert_eq!(judge("https://evil.example", None, &["*".to_owned()]), Origin::Allowed);
    }
}
