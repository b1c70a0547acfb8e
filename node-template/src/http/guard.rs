//! Access checks of each request: host name, origin, token and rate.
//!
//! A browser may run a foreign page that calls this port. Such a request has a foreign host name
//! (DNS rebinding), or the browser says where it comes from (`Origin`, `Sec-Fetch-Site`).

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Request, State as FromState};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use meshpool_proto::util::rate_limit::RateLimit;
use sha2::{Digest, Sha256};

use crate::config::HttpSettings;
use crate::http::limits::{CHANGES, REQUESTS};
use crate::http::problem::Problem;

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
    names: Vec<String>,
    /// SHA-256 of the token: the time that comparing hashes takes reveals nothing about it.
    token: Option<[u8; 32]>,
    requests: Bucket,
    changes: Bucket,
}

impl Guard {
    pub(crate) fn new(settings: &HttpSettings) -> Self {
        Self {
            names: settings.names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            token: settings.token.as_ref().map(|token| Sha256::digest(token).into()),
            requests: Bucket::new(REQUESTS),
            changes: Bucket::new(CHANGES),
        }
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let path = request.uri().path();
        // Monitors may use any host name, and learn nothing but health.
        if matches!(path, "/healthz" | "/readyz") {
            return self.requests.take();
        }
        self.name(request)?;
        self.origin(request)?;
        self.requests.take()?;
        if path == "/metrics" || path.starts_with("/api/") || path.starts_with("/images/") {
            self.token(request.headers())?;
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            self.changes.take()?;
            require_json(request.headers())?;
        }
        Ok(())
    }

    fn name(&self, request: &Request) -> Result<(), Problem> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
        if hosts.next().is_none()
            && request.uri().authority().is_none_or(|named| named.as_str() == host)
            && self.is_own_name(host)
        {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "unknown host name; use localhost or the node's IP address, or add the name to HTTP_NAMES",
        ))
    }

    fn is_own_name(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        let name = name.to_ascii_lowercase();
        let ip = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || ip.parse::<IpAddr>().is_ok() || self.names.contains(&name)
    }

    fn origin(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        let foreign = || {
            Problem::new(StatusCode::FORBIDDEN, "pages of other sites may not use this node; open the node's own page")
        };
        let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
        if let Some(origin) = text(header::ORIGIN) {
            let host = text(header::HOST).unwrap_or_default();
            let ours = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if ours.is_none_or(|ours| !ours.eq_ignore_ascii_case(host)) {
                return Err(foreign());
            }
        }
        // A link on another site may open the page itself.
        let opened = request.method() == Method::GET
            && text(HeaderName::from_static("sec-fetch-mode")) == Some("navigate")
            && request.uri().path() == "/";
        match text(HeaderName::from_static("sec-fetch-site")) {
            None | Some("same-origin" | "none") => Ok(()),
            Some(_) if opened => Ok(()),
            Some(_) => Err(foreign()),
        }
    }

    fn token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(token) = &self.token else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given =
            given.and_then(|value| value.strip_prefix("Bearer ")).map(|given| <[u8; 32]>::from(Sha256::digest(given)));
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

/// Returns the name in a Host header.
fn without_port(host: &str) -> Option<&str> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, "0"),
    };
    (!name.is_empty() && port.parse::<u16>().is_ok()).then_some(name)
}

/// Checks a request before it is handled, and adds the security headers to every response.
pub(crate) async fn guard(FromState(guard): FromState<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match guard.check(&request) {
        Ok(()) => next.run(request).await,
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

/// The rate limit of all clients together.
#[derive(Debug)]
struct Bucket {
    interval: Duration,
    burst: u32,
    limit: Mutex<RateLimit>,
}

impl Bucket {
    fn new((per_second, burst): (u32, u32)) -> Self {
        Self { interval: Duration::from_secs(1) / per_second, burst, limit: Mutex::default() }
    }

    fn take(&self) -> Result<(), Problem> {
        let mut limit = self.limit.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        limit.spend(Instant::now(), self.interval, self.interval * self.burst).map_err(|_| {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many requests; send fewer per second").retry_after(1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_are_accepted() {
        let guard = Guard::new(&HttpSettings { names: vec!["Node.Example.org".into()], ..HttpSettings::default() });
        for host in [
            "localhost:8001",
            "LOCALHOST",
            "127.0.0.1:1",
            "[::1]:8001",
            "[::1]",
            "192.168.1.20:80",
            "node.example.org:443",
        ] {
            assert!(guard.is_own_name(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example:8001",
            "evil.example:x",
            "localhost:99999",
            "127.0.0.1.evil.example",
        ] {
            assert!(!guard.is_own_name(host), "{host}");
        }
    }
}
