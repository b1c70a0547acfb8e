//! Access checks of each request: host name, origin, token and rate.
//!
//! A browser may run a foreign page that calls this port. Such a request has a foreign host name
//! (DNS rebinding), or the browser says where it comes from (`Origin`, `Sec-Fetch-Site`).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State as FromState};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::config::HttpSettings;
use crate::http::client::Client;
use crate::http::problem::Problem;
use crate::http::rates::{Kind, Rates};
use crate::http::serve::Sender;
use crate::util::web_host::{Authority, HostName, Origin};

/// Allows this server's files only, and no framing.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

#[derive(Debug)]
pub(crate) struct Guard {
    /// HTTP_NAMES.
    names: Vec<HostName>,
    /// SHA-256 of the token: the time that comparing hashes takes reveals nothing about it.
    token: Option<[u8; 32]>,
    rates: Rates,
}

impl Guard {
    pub(crate) fn new(settings: &HttpSettings) -> Self {
        Self {
            names: settings.names.iter().filter_map(|name| HostName::parse(name)).collect(),
            token: settings.token.as_ref().map(|token| Sha256::digest(token).into()),
            rates: Rates::default(),
        }
    }

    /// Checks a request, and charges it to its client. Returns its kind.
    fn check(&self, request: &Request, client: Client) -> Result<Kind, Problem> {
        let permitted = self.permit(request);
        let kinds: &[Kind] = match permitted {
            Ok(Kind::Change) => &[Kind::Api, Kind::Change],
            Ok(kind) => &[kind],
            Err(_) => &[Kind::Refused],
        };
        if kinds.iter().all(|kind| self.rates.allows(client, *kind)) {
            return permitted;
        }
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many requests; send fewer per second").retry_after(1))
    }

    /// Returns the kind of a request that passes all checks but that of the rate.
    fn permit(&self, request: &Request) -> Result<Kind, Problem> {
        let path = request.uri().path();
        // Monitors may use any host name, and learn nothing but health.
        if matches!(path, "/healthz" | "/readyz") {
            return Ok(Kind::Health);
        }
        let host = self.name(request)?;
        let kind = match path {
            "/metrics" => Kind::Metrics,
            _ if path.starts_with("/api/") || path.starts_with("/images/") => Kind::Api,
            _ => Kind::Page,
        };
        self.origin(request, kind, &host)?;
        if kind != Kind::Page {
            self.token(request.headers())?;
        }
        // Only the API changes anything, and its token was checked. The router refuses other
        // methods elsewhere, with its own reason.
        if kind != Kind::Api || matches!(*request.method(), Method::GET | Method::HEAD) {
            return Ok(kind);
        }
        if !matches!(*request.method(), Method::OPTIONS | Method::TRACE) {
            require_json(request.headers())?;
        }
        Ok(Kind::Change)
    }

    /// Returns the name by which a request calls this node.
    fn name(&self, request: &Request) -> Result<HostName, Problem> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| Authority::parse(host.to_str().ok()?)).map(|host| host.host);
        let named = request.uri().authority().map(|named| Authority::parse(named.as_str()).map(|named| named.host));
        match host {
            Some(host)
                if hosts.next().is_none()
                    && named.is_none_or(|named| named.as_ref() == Some(&host))
                    && self.is_own_name(&host) =>
            {
                Ok(host)
            }
            _ => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "unknown host name; use localhost or the node's IP address, or add the name to HTTP_NAMES",
            )),
        }
    }

    /// A foreign page cannot use an IP address as its own name and lead it here: only names are
    /// resolved.
    fn is_own_name(&self, host: &HostName) -> bool {
        host.is_loopback() || host.ip().is_some() || self.names.contains(host)
    }

    /// Checks where a request comes from. `host`: the name by which it calls this node.
    fn origin(&self, request: &Request, kind: Kind, host: &HostName) -> Result<(), Problem> {
        let headers = request.headers();
        let reads = request.method() == Method::GET || request.method() == Method::HEAD;
        let foreign = || {
            Problem::new(
                StatusCode::FORBIDDEN,
                "pages of other sites may not use this node; open the node's own page, and if a proxy or tunnel leads to it, add its name to HTTP_NAMES",
            )
        };
        let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
        // Browsers send it for scripts too. The page's files hold no secret, and a page that loads
        // can show why its requests are refused.
        let counts = kind != Kind::Page || !reads;
        if counts && !headers.get_all(header::ORIGIN).iter().all(|origin| self.is_own_origin(origin, host)) {
            return Err(foreign());
        }
        // A link on another site may open the page, an image or the description of the API.
        let path = request.uri().path();
        let opened = request.method() == Method::GET
            && text(HeaderName::from_static("sec-fetch-mode")) == Some("navigate")
            && (matches!(path, "/" | "/api") || path.starts_with("/images/"));
        match text(HeaderName::from_static("sec-fetch-site")) {
            None | Some("same-origin" | "none") => Ok(()),
            Some(_) if opened => Ok(()),
            Some(_) => Err(foreign()),
        }
    }

    /// Returns whether an origin is this node's. A proxy or tunnel may have another port, and may
    /// put a Host of its own in place of the browser's. On this machine that is a loopback address.
    fn is_own_origin(&self, origin: &HeaderValue, host: &HostName) -> bool {
        let Some(Origin { host: from, .. }) = origin.to_str().ok().and_then(Origin::parse) else { return false };
        from == *host
            || self.names.contains(&from)
            || host.is_loopback() && (from.is_loopback() || from.ip().is_some_and(is_of_this_machine))
    }

    fn token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = &self.token else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
        // A scheme's name has any case (RFC 9110, section 11.1).
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"));
        let given = given.map(|(_, given)| <[u8; 32]>::from(Sha256::digest(given.trim_start_matches(' '))));
        if given.as_ref() == Some(token) {
            return Ok(());
        }
        Err(Problem::new(StatusCode::UNAUTHORIZED, "send the node's HTTP_TOKEN: Authorization: Bearer <token>"))
    }
}

/// Forms of other sites cannot send this content type.
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send JSON, with Content-Type: application/json"))
}

/// Returns whether an interface of this machine has this address.
fn is_of_this_machine(ip: IpAddr) -> bool {
    if_addrs::get_if_addrs().is_ok_and(|all| all.iter().any(|interface| interface.ip().to_canonical() == ip))
}

/// Checks a request before it is handled, and adds the security headers to every response.
pub(crate) async fn guard(FromState(guard): FromState<Arc<Guard>>, request: Request, next: Next) -> Response {
    let sender = request.extensions().get::<Sender>().cloned();
    let client = sender.as_ref().map_or(Client::Local, |sender| sender.client);
    let mut response = match guard.check(&request, client) {
        Ok(kind) => {
            // Health checks are for anybody, and beside a token so are the page's files.
            let is_members = match kind {
                Kind::Health | Kind::Refused => false,
                Kind::Page => guard.token.is_none(),
                Kind::Metrics | Kind::Api | Kind::Change => true,
            };
            if let Some(sender) = sender.filter(|_| is_members) {
                let path = request.uri().path();
                sender.place.serve(path == "/api/events" || path.starts_with("/images/"));
            }
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    // Images have a stricter policy.
    response.headers_mut().entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(CSP));
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let names = vec!["Node.Example.org".into(), "other.example".into()];
        Guard::new(&HttpSettings { names, ..HttpSettings::default() })
    }

    fn name(guard: &Guard, host: &str) -> Option<HostName> {
        let request = Request::builder().uri("/").header("host", host).body(axum::body::Body::empty());
        guard.name(&request.expect("a request")).ok()
    }

    #[test]
    fn only_own_names_are_accepted() {
        let guard = guard();
        for host in [
            "localhost:8001",
            "LOCALHOST",
            "localhost.",
            "localhost.:8001",
            "localhost:",
            "127.0.0.1:1",
            "127.0.0.1",
            "[::1]:8001",
            "[::1]",
            "[::ffff:192.168.1.20]:80",
            "192.168.1.20:80",
            "node.example.org:443",
            "node.example.org",
            "NODE.example.org.:8443",
        ] {
            assert!(name(&guard, host).is_some(), "{host}");
        }
        for host in [
            "",
            ":80",
            ".",
            "evil.example",
            "localhost.evil.example:8001",
            "evil.example:x",
            "localhost:99999",
            "localhost:+80",
            "127.0.0.1.evil.example",
            "node.example.org.evil.example",
            "localhost@evil.example",
            "::1",
            "[localhost]",
        ] {
            assert!(name(&guard, host).is_none(), "{host}");
        }
    }

    /// A member's connections are kept, and its rates are the owner's.
    #[test]
    fn without_the_token_no_method_on_no_path_is_a_members() {
        let guard =
            Guard::new(&HttpSettings { token: Some("correct-horse-battery".into()), ..HttpSettings::default() });
        let kind = |method: &str, path: &str, headers: &[(&str, &str)]| {
            let request = Request::builder().method(method).uri(path).header("host", "localhost");
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            guard.permit(&request.body(axum::body::Body::empty()).expect("a request"))
        };
        let json = ("content-type", "application/json");
        let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
        let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "ODD"];
        for method in methods {
            for path in ["/", "/main.js", "/no-such-page", "/api", "//api/status", "/%61pi/status", "/a/../api/status"]
            {
                for headers in [&[][..], &[json], &upgrade] {
                    assert_eq!(kind(method, path, headers).ok(), Some(Kind::Page), "{method} {path}");
                }
            }
            for path in ["/healthz", "/readyz"] {
                assert_eq!(kind(method, path, &[json]).ok(), Some(Kind::Health), "{method} {path}");
            }
            for path in ["/metrics", "/api/", "/api/status", "/api/reload", "/images/1.png", "/api/no-such"] {
                assert!(kind(method, path, &[json]).is_err(), "{method} {path}");
            }
        }
        let owner = ("authorization", "Bearer correct-horse-battery");
        assert_eq!(kind("POST", "/api/reload", &[owner, json]).ok(), Some(Kind::Change));
        assert_eq!(kind("POST", "/metrics", &[owner]).ok(), Some(Kind::Metrics), "which changes nothing");
    }

    #[test]
    fn an_origin_is_compared_by_its_name() {
        let guard = guard();
        let own = |host: &str, origin: &'static str| {
            guard.is_own_origin(&HeaderValue::from_static(origin), &HostName::parse(host).expect(host))
        };
        for (host, origin) in [
            ("localhost", "http://localhost:8001"),
            ("localhost", "https://LOCALHOST.:8443"),
            ("localhost", "http://127.0.0.1:9000"),
            ("127.0.0.1", "http://[::1]:9000"),
            ("192.168.1.20", "https://192.168.1.20:8443"),
            ("node.example.org", "https://node.example.org"),
            ("node.example.org", "https://Node.Example.Org:8443"),
            ("node.example.org", "https://other.example:8443"),
            ("localhost", "https://node.example.org:8443"),
            ("192.168.1.20", "https://node.example.org"),
        ] {
            assert!(own(host, origin), "{host} {origin}");
        }
        for (host, origin) in [
            ("localhost", "null"),
            ("localhost", ""),
            ("localhost", "http://evil.example"),
            ("localhost", "http://localhost.evil.example"),
            ("localhost", "http://203.0.113.9:8001"),
            ("192.168.1.20", "http://192.168.1.21:8001"),
            ("192.168.1.20", "http://localhost:8001"),
            ("node.example.org", "http://localhost:8001"),
            ("node.example.org", "https://example.org"),
            ("localhost", "chrome-extension://abc"),
        ] {
            assert!(!own(host, origin), "{host} {origin}");
        }
    }
}
