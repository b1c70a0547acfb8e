//! The HTTP side on real sockets: what it answers, what it refuses, and that a client which does
//! not read keeps no other waiting.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

use common::embedded::Embedded;
use common::raw::Raw;
use common::{eventually, free_port_holder, within};
use meshpool::config::HttpSettings;
use meshpool::http::{Server, ServerError};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A node and its HTTP side, on any free port.
struct Site {
    node: Embedded,
    server: Server,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let of = |line: &'_ str| line.split_once(": ").is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.head.lines().find(|line| of(line)).map(|line| line.split_once(": ").unwrap().1)
    }
}

fn anywhere() -> HttpSettings {
    // The system gives a port, as it does where the default one is taken.
    HttpSettings { port: Some(0), ..HttpSettings::default() }
}

impl Site {
    async fn open() -> Self {
        Self::with(anywhere()).await
    }

    async fn with(settings: HttpSettings) -> Self {
        let node = Embedded::start(|network| network).await;
        let server = Server::start(node.handle(), &settings).await.unwrap();
        Self { node, server }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    async fn raw(&self, text: &str) -> Answer {
        within("an answer", async {
            let mut socket = TcpStream::connect(self.address()).await.unwrap();
            // A request that is refused early may be closed before all is written.
            socket.write_all(text.as_bytes()).await.ok();
            let mut bytes = Vec::new();
            socket.read_to_end(&mut bytes).await.ok();
            let text = String::from_utf8(bytes).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            Answer { status, head: head.to_owned(), body: body.to_owned() }
        })
        .await
    }

    /// A request with these further header lines.
    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let host =
            if headers.to_ascii_lowercase().contains("host:") { String::new() } else { "Host: localhost\r\n".into() };
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        self.raw(&format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}{length}\r\n{body}")).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "").await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, JSON, &body.to_string()).await
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn the_page_and_its_files_come_with_the_browsers_instructions() {
    let site = Site::open().await;
    let index = site.get("/").await;
    assert_eq!(index.status, 200);
    assert_eq!(index.header("content-type"), Some("text/html; charset=utf-8"));
    let mut files = vec!["/".to_owned()];
    // Relative, so that they lead to the node under any path of a proxy.
    for part in index.body.split('"').filter(|part| [".js", ".css", ".svg"].iter().any(|end| part.ends_with(end))) {
        assert!(!part.starts_with('/'), "{part}");
        files.push(format!("/{part}"));
    }
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let answer = site.get(&file).await;
        assert_eq!(answer.status, 200, "{file}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{file}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        let tag = format!("If-None-Match: {}\r\n", answer.header("etag").unwrap());
        assert_eq!(site.ask("GET", &file, &tag, "").await.status, 304, "{file}");
    }
    // No script, style or handler stands in the page itself, and nothing is fetched from elsewhere.
    for foreign in ["<style", " style=", " onclick=", " onload=", "javascript:", "://"] {
        assert!(!index.body.contains(foreign), "{foreign} in {}", index.body);
    }
}

#[tokio::test]
async fn a_transaction_is_added_listed_and_found() {
    let site = Site::open().await;
    let mut ids = Vec::new();
    for amount in 1..=5 {
        let answer = site.post("/api/transactions", &json!({ "toAddress": "Bob", "amount": amount })).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let taken = answer.json();
        assert_eq!((&taken["stored"], &taken["duplicate"], &taken["links"]), (&json!(true), &json!(false), &json!(0)));
        assert_eq!(
            answer.header("location"),
            Some(format!("/api/transactions/{}", taken["id"].as_str().unwrap()).as_str())
        );
        ids.push(taken["id"].as_str().unwrap().to_owned());
    }
    let again = site.post("/api/transactions", &json!({ "toAddress": "Bob", "amount": 3 })).await;
    assert_eq!((again.status, &again.json()["duplicate"]), (200, &json!(true)));

    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site.get(&format!("/api/transactions?limit=2{cursor}")).await.json();
        assert_eq!(page["total"], 5);
        for row in page["transactions"].as_array().unwrap() {
            seen.push((row["id"].as_str().unwrap().to_owned(), row["transaction"]["amount"].as_u64().unwrap()));
        }
        match page["next"].as_u64() {
            Some(next) => cursor = format!("&before={next}"),
            None => break,
        }
    }
    let newest_first: Vec<(String, u64)> = ids.iter().cloned().zip([1, 2, 3, 4, 5]).rev().collect();
    assert_eq!(seen, newest_first);

    let found = site.get("/api/transactions?search=bob").await.json();
    assert_eq!(found["transactions"].as_array().unwrap().len(), 5, "whatever the case");
    let found = site.get(&format!("/api/transactions?search={}", &ids[1][..12])).await.json();
    assert_eq!(found["transactions"][0]["transaction"]["amount"], 2, "by the beginning of an identity");
    assert_eq!(site.get("/api/transactions?search=nobody").await.json()["transactions"], json!([]));
    let one = site.get(&format!("/api/transactions/{}", ids[4])).await;
    assert_eq!(one.json()["transaction"], json!({ "toAddress": "Bob", "amount": 5 }));
    assert_eq!(site.get(&format!("/api/transactions/{}", "0".repeat(64))).await.status, 404);
    assert_eq!(site.get("/api/transactions/five").await.status, 400);
}

#[tokio::test]
async fn a_stamped_transaction_may_be_sent_twice() {
    let site = Site::open().await;
    for _ in 0..2 {
        let answer = site.post("/api/transactions?stamp=true", &json!({ "amount": 1 })).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    let listed = site.get("/api/transactions").await.json();
    let newest = &listed["transactions"][0]["transaction"];
    assert!(newest["id"].is_string() && newest["timeStamp"].is_u64() && newest["hash"].is_string(), "{newest}");
}

#[tokio::test]
async fn what_is_wrong_is_said_as_problem_json() {
    let site = Site::open().await;
    let too_much = format!("{{\"text\":\"{}\"}}", "x".repeat(2 * 1024 * 1024));
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(300 * 1024));
    for (status, method, path, headers, body) in [
        (404, "GET", "/nothing", "", ""),
        (404, "GET", "/api/nothing", "", ""),
        (404, "GET", "/..%2f..%2ftransactions.json", "", ""),
        (404, "GET", "/../../transactions.json", "", ""),
        (404, "GET", "/page/../node.key", "", ""),
        (400, "GET", "/api/transactions?limit=many", "", ""),
        (405, "DELETE", "/api/transactions", JSON, ""),
        (415, "POST", "/api/transactions", "Content-Type: text/plain\r\n", "{}"),
        (415, "POST", "/api/transactions", "Content-Type: application/x-www-form-urlencoded\r\n", "a=1"),
        (415, "POST", "/api/broadcasts", "", "{}"),
        (413, "POST", "/api/transactions", JSON, too_much.as_str()),
        (422, "POST", "/api/transactions", JSON, large.as_str()),
        (422, "POST", "/api/transactions", JSON, "[1]"),
        (422, "POST", "/api/transactions", JSON, "{"),
        (422, "POST", "/api/transactions", JSON, "{\"n\":12345678901234567891}"),
        (422, "POST", "/api/broadcasts", JSON, "{}"),
        (422, "POST", "/api/broadcasts", JSON, "{\"message\":\"\"}"),
    ] {
        let answer = site.ask(method, path, headers, body).await;
        assert_eq!(answer.status, status, "{method} {path} {headers}: {}", answer.body);
        if answer.status != 400 || path.contains("transactions/") {
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}");
            assert_eq!(answer.json()["status"], status);
        }
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {path}");
    }
    assert_eq!(site.get("/api/status").await.json()["pool"]["count"], 0, "nothing of it was taken");
}

#[tokio::test]
async fn whoever_sends_too_much_can_finish_and_reads_the_answer() {
    let site = Site::open().await;
    // Neither has a connection that was reset, which on Windows takes the answer back.
    for framing in ["Content-Length: 4000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n3d0900\r\n"] {
        let mut socket = TcpStream::connect(site.address()).await.unwrap();
        let head =
            format!("POST /api/transactions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{JSON}{framing}");
        let end = if framing.contains("chunked") { "\r\n0\r\n\r\n" } else { "" };
        let text = [head, "x".repeat(4_000_000), end.to_owned()].concat();
        within("all is written", socket.write_all(text.as_bytes())).await.unwrap();
        let mut answer = String::new();
        within("an answer", socket.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    // A client that asks first need not send the body.
    let head = "Content-Length: 4000000\r\nExpect: 100-continue\r\n";
    let asks = format!("POST /api/transactions HTTP/1.1\r\nHost: localhost\r\n{JSON}{head}\r\n");
    assert_eq!(site.raw(&asks).await.status, 413);
}

#[tokio::test]
async fn another_sites_page_is_refused() {
    let site = Site::with(HttpSettings { names: vec!["node.example.org".into()], ..anywhere() }).await;
    let port = site.address().port();
    let own = format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\nSec-Fetch-Site: same-origin\r\n");
    for (status, path, headers) in [
        (200, "/api/status", own.as_str()),
        (200, "/api/status", "Host: 127.0.0.1\r\n"),
        (200, "/api/status", "Host: [::1]:99\r\nSec-Fetch-Site: none\r\n"),
        (200, "/api/status", "Host: LOCALHOST.:99\r\n"),
        (200, "/api/status", "Host: [fe80::1%25eth0]:8001\r\n"),
        (200, "/api/status", "Host: localhost:\r\nOrigin: https://localhost:8443\r\n"),
        (200, "/api/status", "Host: 192.168.1.20\r\nOrigin: https://192.168.1.20:8443\r\n"),
        (200, "/api/status", "Host: node.example.org:443\r\nOrigin: https://Node.example.org\r\n"),
        (200, "/api/status", "Host: localhost:8001\r\nOrigin: https://node.example.org:8443\r\n"),
        (200, "/", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n"),
        (200, "/api", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n"),
        (404, "/images/no.png", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n"),
        (403, "/images/no.png", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n"),
        (403, "/api/status", "Host: node.example.org.evil.example\r\n"),
        (403, "/api/status", "Host: evil.example:8001\r\nOrigin: http://evil.example:8001\r\n"),
        (403, "/api/status", "Origin: https://example.org\r\n"),
        (403, "/api/status", "Origin: http://localhost\r\nOrigin: http://evil.example\r\n"),
        (403, "/api/status", "Origin: http://203.0.113.9\r\n"),
        (403, "/api/status", "Host: evil.example\r\n"),
        (403, "/api/status", "Host: evil.localhost\r\n"),
        (200, "/main.js", "Host: localhost\r\nOrigin: https://unknown.example\r\nSec-Fetch-Site: same-origin\r\n"),
        (403, "/main.js", "Host: localhost\r\nOrigin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n"),
        (403, "/main.js", "Host: evil.example\r\n"),
        (403, "/api/status", "Host: evil-localhost\r\n"),
        (403, "/api/status", "Host: [2001:db8::1%eth0]\r\n"),
        (403, "/", "Host: evil.example\r\n"),
        (403, "/api/status", "Host: localhost.evil.example:1\r\n"),
        (403, "/api/status", "Host: localhost\r\nHost: evil.example\r\n"),
        (403, "/api/status", "Origin: http://evil.example\r\n"),
        (403, "/api/status", "Origin: null\r\n"),
        (403, "/api/status", "Origin: http://localhost:1\r\nSec-Fetch-Site: same-site\r\n"),
        (403, "/api/events", "Sec-Fetch-Site: cross-site\r\n"),
        (403, "/api/status", "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: navigate\r\n"),
        (403, "/metrics", "Host: evil.example\r\n"),
    ] {
        let answer = site.ask("GET", path, headers, "").await;
        assert_eq!(answer.status, status, "{path} {headers}: {}", answer.body);
    }
    let cross = format!("{JSON}Origin: http://evil.example\r\n");
    assert_eq!(site.ask("POST", "/api/transactions", &cross, "{\"a\":1}").await.status, 403);
    assert_eq!(site.ask("GET", "http://evil.example/api/status", "Host: localhost\r\n", "").await.status, 403);
    let nameless = site.raw("GET /api/status HTTP/1.0\r\n\r\n").await;
    assert_eq!(nameless.status, 403, "no name at all");
    assert_eq!(site.get("/api/status").await.json()["pool"]["count"], 0);
    // A preflight gets no permission.
    let preflight = site
        .ask(
            "OPTIONS",
            "/api/transactions",
            "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n",
            "",
        )
        .await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (403, None));
}

#[tokio::test]
async fn a_plain_request_gets_one_line_that_says_where_the_page_is() {
    let node = Embedded::start(|network| network).await;
    let ask = async |request: &str| {
        let mut raw = Raw::connect(node.port()).await;
        raw.write(request.as_bytes()).await;
        String::from_utf8(raw.rest().await).unwrap()
    };
    let browser = "GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nAccept: text/html\r\n\r\n";
    let answer = ask(browser).await;
    let line = "\r\n\r\nthis port is for nodes, which speak WebSocket; this node serves no page\n";
    assert!(answer.ends_with(line), "{answer}");
    let server = Server::start(node.handle(), &anywhere()).await.unwrap();
    let page = format!("the page is at {}/\n", server.url());
    for request in [
        browser,
        "GET /healthz HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    ] {
        let answer = ask(request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n"), "{answer}");
        assert!(body.ends_with(&page) && body.lines().count() == 1, "{answer}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
    }
    let head = ask("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 426 ") && head.ends_with("\r\n\r\n"), "{head}");
    // In two pieces, as over a slow path.
    let mut raw = Raw::connect(node.port()).await;
    raw.write(b"GET / HTTP/1.1\r\nHo").await;
    tokio::task::yield_now().await;
    raw.write(b"st: 192.168.1.20\r\n\r\n").await;
    let answer = String::from_utf8(raw.rest().await).unwrap();
    assert!(answer.contains(&format!("http://localhost:{}/ on that machine\n", server.address().port())), "{answer}");
    drop(server);
    assert!(ask(browser).await.ends_with(line));
    assert_eq!(node.counted("connections_refused").await, 0, "they are no attack");
}

#[tokio::test]
async fn a_token_is_wanted_where_one_is_set() {
    let token = "correct-horse-battery";
    let site = Site::with(HttpSettings { token: Some(token.into()), ..anywhere() }).await;
    let way = format!("/api/transactions/{}/way", "0".repeat(64));
    for path in ["/api/status", "/api/events", "/api/transactions", "/metrics", &way] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")));
        for wrong in ["Bearer wrong", "Basic correct-horse-battery", "Bearer correct-horse-batter"] {
            assert_eq!(site.ask("GET", path, &format!("Authorization: {wrong}\r\n"), "").await.status, 401, "{wrong}");
        }
    }
    for scheme in ["Bearer", "bearer", "BEARER", "Bearer "] {
        let shown = format!("Authorization: {scheme} {token}\r\n");
        assert_eq!(site.ask("GET", "/api/status", &shown, "").await.status, 200, "{scheme}");
    }
    // The page must be there to ask for it; health tells nothing.
    for path in ["/", "/main.js", "/healthz", "/readyz"] {
        assert_eq!(site.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_stream_tells_how_things_stand_and_what_happens() {
    let site = Site::open().await;
    let milliseconds = || UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let began = milliseconds();
    let mut stream = Stream::open(&site).await;
    let hello = stream.next("hello").await;
    let present = hello["status"]["time"].as_u64().unwrap();
    assert!((began..=milliseconds()).contains(&present), "{present} is the present time");
    assert_eq!(hello["status"]["node"], site.node.id().to_string());
    assert_eq!(hello["network"]["nodes"][0]["kind"], "me");
    let hostile = "<img src=x onerror=alert(1)>\u{1b}[31m\r\ndata: x\n\n";
    let id = site.post("/api/transactions", &json!({ "message": hostile })).await.json()["id"].clone();
    let activity = stream.next("activity").await;
    assert_eq!((&activity["transactions"], &activity["samples"][0]["id"]), (&json!(1), &id));
    let told = site.post("/api/broadcasts", &json!({ "message": hostile })).await;
    assert_eq!(told.status, 202, "{}", told.body);
    let activity = stream.next("activity").await;
    assert_eq!(
        activity["lines"][0]["message"], "<img src=x onerror=alert(1)>  data: x  ",
        "text, on one line, without escapes"
    );
    let next = stream.next("status").await;
    assert_eq!(next["pool"]["count"], 1);
    assert!(next["time"].as_u64().unwrap() >= present, "each status has the time");
    // Who comes later is told what was.
    let mut late = Stream::open(&site).await;
    let lines = late.next("hello").await["lines"].as_array().unwrap().len();
    assert!(lines >= 2, "{lines}");
    // It ends with the node.
    let Site { node, server: _server } = site;
    node.stop().await;
    within("the stream's end", stream.read_last()).await;
}

/// A listener.
struct Stream(BufReader<TcpStream>);

impl Stream {
    async fn open(site: &Site) -> Self {
        let mut socket = TcpStream::connect(site.address()).await.unwrap();
        socket.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        Self(BufReader::new(socket))
    }

    /// The next frame of a kind; others are passed over.
    async fn next(&mut self, kind: &str) -> Value {
        within(format!("a frame {kind}"), async {
            let mut line = String::new();
            loop {
                line.clear();
                assert!(self.0.read_line(&mut line).await.unwrap() > 0, "the stream ended before {kind}");
                if line.trim() != format!("event: {kind}") {
                    continue;
                }
                line.clear();
                self.0.read_line(&mut line).await.unwrap();
                return serde_json::from_str(line.trim().strip_prefix("data: ").unwrap()).unwrap();
            }
        })
        .await
    }

    async fn read_last(mut self) {
        let mut rest = Vec::new();
        // However it ends.
        self.0.read_to_end(&mut rest).await.ok();
    }
}

#[tokio::test]
async fn listeners_are_bounded_and_those_who_do_not_read_keep_nobody_waiting() {
    let site = Site::open().await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut stream = Stream::open(&site).await;
        // So that the place is taken before the next asks.
        stream.next("hello").await;
        silent.push(stream);
    }
    let refused = site.get("/api/events").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    for number in 0..300 {
        let submitted = site.node.submit(&json!({ "number": number, "text": "x".repeat(1_000) })).await.unwrap();
        within("the disk", submitted.stored()).await.unwrap();
    }
    assert_eq!(site.get("/api/status").await.json()["pool"]["count"], 300);
    drop(silent);
    eventually("a free place", async || {
        let mut stream = Stream::open(&site).await;
        let mut line = String::new();
        stream.0.read_line(&mut line).await.unwrap();
        if line.contains(" 200 ") { Ok(()) } else { Err(line) }
    })
    .await;
}

/// Sends a request as a proxy does for a client.
async fn ask_for(site: &Site, client: &str, method: &str, path: &str, headers: &str) -> u16 {
    site.ask(method, path, &format!("X-Forwarded-For: {client}\r\n{headers}"), "").await.status
}

/// Asks as fast as it can for clients with these addresses, until it is told to slow down. On a
/// machine so slow that the rate is never reached, each request is answered; the unit tests of
/// `rates` have the numbers.
async fn spam(site: &Site, client: impl Fn(usize) -> String, method: &str, path: &str) {
    for number in 0..1_500 {
        match ask_for(site, &client(number), method, path, "").await {
            429 => return,
            status => assert!([200, 401, 404, 405].contains(&status), "{method} {path}: {status}"),
        }
    }
}

#[tokio::test]
async fn a_stranger_takes_neither_places_nor_answers_from_the_owner() {
    let token = "correct-horse-battery";
    let trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let site = Site::with(HttpSettings { token: Some(token.into()), trusted_proxies, ..anywhere() }).await;
    let owner = format!("Authorization: Bearer {token}\r\n");
    // One who has no token asks as fast as it can, also behind the owner's address.
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/api/status"),
        ("GET", "/"),
        ("GET", "/no-such-page"),
        ("POST", "/"),
        ("PUT", "/x"),
        ("ODD", "/api"),
    ] {
        spam(&site, |_| "203.0.113.9".to_owned(), method, path).await;
    }
    for client in ["203.0.113.9", "203.0.113.10"] {
        for path in ["/api/status", "/metrics"] {
            assert_eq!(ask_for(&site, client, "GET", path, &owner).await, 200, "{client} {path}");
        }
        for path in ["/healthz", "/readyz"] {
            assert_eq!(ask_for(&site, client, "GET", path, "").await, 200, "{client} {path}");
        }
    }
    assert_eq!(ask_for(&site, "203.0.113.10", "GET", "/", "").await, 200);
    assert_eq!((site.get("/").await.status, site.get("/healthz").await.status), (200, 200), "this machine");
    // What the client itself claims does not count, nor what comes from no trusted proxy.
    let claims = |number: usize| format!("10.0.{}.{}, 203.0.113.9", number / 256, number % 256);
    spam(&site, claims, "GET", "/metrics").await;
    assert_eq!(ask_for(&site, "203.0.113.10", "GET", "/", "").await, 200, "what a client claims is not believed");
    let site = Site::with(HttpSettings { token: Some(token.into()), ..anywhere() }).await;
    spam(&site, claims, "GET", "/metrics").await;
    assert_eq!(ask_for(&site, "10.0.0.1", "GET", "/metrics", &owner).await, 200);
}

#[tokio::test]
async fn silent_connections_do_not_keep_the_owner_out() {
    let site = Site::open().await;
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(within("a connection", TcpStream::connect(site.address())).await.unwrap());
    }
    for path in ["/healthz", "/api/status", "/"] {
        assert_eq!(site.get(path).await.status, 200, "{path}");
    }
    // A stream that was open before goes on.
    let mut stream = Stream::open(&site).await;
    stream.next("hello").await;
    for _ in 0..600 {
        silent.push(within("a connection", TcpStream::connect(site.address())).await.unwrap());
    }
    site.post("/api/transactions", &json!({ "amount": 1 })).await;
    stream.next("activity").await;
}

#[tokio::test]
async fn a_path_of_a_proxy_leads_to_the_page_and_the_api() {
    let site = Site::with(HttpSettings { path: "/p2p/node-1".into(), ..anywhere() }).await;
    assert!(site.server.url().ends_with("/p2p/node-1"), "{}", site.server.url());
    for (status, path) in [
        (200, "/p2p/node-1/"),
        (200, "/p2p/node-1/main.js"),
        (200, "/p2p/node-1/api/transactions?limit=1"),
        (200, "/p2p/node-1/metrics"),
        (200, "/p2p/node-1/healthz"),
        (308, "/p2p/node-1"),
        (308, "/p2p/node-1?a=b"),
        (200, "/"),
        (200, "/api/status"),
        (404, "/p2p/node-10/"),
        (404, "/p2p/node-1x"),
        (404, "/p2p/"),
        (404, "/p2p/node-1/p2p/node-1/main.js"),
    ] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        if status == 308 {
            assert_eq!(answer.header("location"), Some("/p2p/node-1/"), "{path}");
        }
    }
    let answer = site.ask("POST", "/p2p/node-1/api/transactions", JSON, "{\"a\":1}").await;
    let location = answer.header("location").unwrap().to_owned();
    assert!(location.starts_with("/p2p/node-1/api/transactions/"), "{location}");
    assert_eq!(site.get(&location).await.status, 200);
}

#[tokio::test]
async fn while_the_node_starts_every_request_is_answered_with_its_progress() {
    let progress = meshpool::StartProgress::default();
    let settings = HttpSettings { token: Some("correct-horse-battery".into()), ..anywhere() };
    let mut server = Server::listen(0, &settings, &progress).await.unwrap();
    let page = server.address();
    let get = async |path: &str| common::http::get(page, path).await;
    for (path, status, ending) in [
        ("/healthz", 200, "\r\n\r\nstarting, 0 %\n"),
        ("/readyz", 503, "\r\n\r\nstarting, 0 %\n"),
        ("/", 503, "\r\n\r\nstarting, 0 %\n"),
        ("/metrics", 401, "}"),
    ] {
        let answer = get(path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with(ending), "{path}: {answer}");
        assert_eq!(answer.to_ascii_lowercase().contains("\r\nretry-after: 1\r\n"), status == 503, "{path}: {answer}");
    }
    // One that keeps its connection is answered by the node once it has started.
    let mut kept = TcpStream::connect(page).await.unwrap();
    let mut ask = async || {
        kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut bytes = [0; 4_096];
        let read = within("an answer", kept.read(&mut bytes)).await.unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    };
    assert!(ask().await.ends_with("starting, 0 %\n"));
    let folder = tempfile::TempDir::new().unwrap();
    let rows: Vec<_> = (0..500).map(|number| json!({ "number": number })).collect();
    std::fs::write(folder.path().join("transactions.json"), json!(rows).to_string()).unwrap();
    let watched = progress.clone();
    let node = Embedded::start_in(folder, |network| network.progress(watched)).await;
    assert!(progress.percent() >= 99, "{progress}");
    server.attach(node.handle());
    assert!(ask().await.ends_with("alive\n"));
    assert!(get("/").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn too_many_requests_are_told_to_slow_down() {
    let site = Site::open().await;
    let mut last = 200;
    for _ in 0..20_000 {
        last = site.get("/healthz").await.status;
        if last != 200 {
            break;
        }
    }
    // On a machine so slow that the rate is never reached, each was answered.
    assert!(last == 429 || last == 200, "{last}");
}

#[tokio::test]
async fn metrics_have_every_counter_and_what_they_count() {
    let site = Site::open().await;
    assert_eq!(site.post("/api/transactions", &json!({ "a": 1 })).await.status, 201);
    let metrics = site.get("/metrics").await;
    assert_eq!(metrics.status, 200, "{}", metrics.body);
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let lines: Vec<_> = metrics.body.lines().collect();
    let status = site.get("/api/status").await.json();
    for name in status["counters"].as_object().unwrap().keys() {
        let named = format!("meshpool_{name}_total ");
        assert!(lines.iter().any(|line| line.starts_with(&named)), "{name} is missing in {}", metrics.body);
    }
    let version = meshpool::version();
    let commit = version.split_once('+').map_or("", |(_, commit)| commit);
    for line in [
        format!("meshpool_build_info{{version=\"{}\",commit=\"{commit}\"}} 1", env!("CARGO_PKG_VERSION")).as_str(),
        "meshpool_transactions_accepted_total 1",
        "meshpool_pool_transactions 1",
        "meshpool_pool_writable 1",
        "meshpool_pool_full 0",
        "meshpool_network_nodes 1",
        "meshpool_pool_sync_seconds_count 1",
        "meshpool_pool_sync_seconds_bucket{le=\"+Inf\"} 1",
        "meshpool_links{kind=\"native\",direction=\"dialled\"} 0",
        "# EOF",
    ] {
        assert!(lines.contains(&line), "{line} is missing in {}", metrics.body);
    }
    let tasks = lines.iter().find_map(|line| line.strip_prefix("meshpool_tasks ")?.parse::<u32>().ok());
    assert!(tasks.is_some_and(|tasks| tasks > 0), "{}", metrics.body);
}

#[tokio::test]
async fn health_and_description() {
    let site = Site::open().await;
    assert_eq!((site.get("/healthz").await.status, site.get("/readyz").await.status), (200, 200));
    let description = site.get("/api").await.json();
    assert_eq!(description["openapi"], "3.1.0");
    for (path, methods) in description["paths"].as_object().unwrap() {
        let path = path.replace("{id}", &"0".repeat(64)).replace("{name}", "000.png");
        let Some(get) = methods.get("get").filter(|_| path != "/api/events") else { continue };
        let status = site.get(&path).await.status;
        // An embedded node has no operator who could look at its bans, or change its log.
        let documented = get["responses"].get(status.to_string()).is_some();
        let without = status == 501 && ["/api/bans", "/api/log"].contains(&&*path);
        let named = path.contains("000") || path.contains('{');
        let expected = status == 200 || status == 404 && named || without;
        assert!(expected && documented, "{path}: {status}");
    }
    // An invite changes no settings, so it needs no operator; here links by node id are off.
    let invite = site.post("/api/invite", &json!({})).await;
    assert!(invite.status == 409 && invite.body.contains("through NATs"), "{}", invite.body);
    // One that knows of a peer and has none is not ready.
    let alone = Embedded::start(|network| network.known_peer("ws://127.0.0.1:9".parse().unwrap())).await;
    let server = Server::start(alone.handle(), &anywhere()).await.unwrap();
    let site = Site { node: alone, server };
    assert_eq!((site.get("/healthz").await.status, site.get("/readyz").await.status), (200, 503));
    let why = site.get("/readyz").await.body;
    assert!(why.contains("no peer is linked since the start, "), "{why}");
    // A full pool refuses.
    let full = Embedded::with(meshpool::Limits { pool_transactions: 1, ..Default::default() }).await;
    full.submit(&json!({ "first": 1 })).await.unwrap().stored().await.unwrap();
    let server = Server::start(full.handle(), &anywhere()).await.unwrap();
    let site = Site { node: full, server };
    let ready = site.get("/readyz").await;
    assert!(ready.status == 503 && ready.body.contains("the pool is full"), "{}", ready.body);
    let metrics = site.get("/metrics").await.body;
    assert!(metrics.lines().any(|line| line == "meshpool_pool_full 1"), "{metrics}");
    assert_eq!(site.get("/api/status").await.json()["poolFull"], true);
}

/// A node whose file lost rows works: it stays ready, and says what is missing.
#[tokio::test]
async fn rows_that_another_program_overwrote_are_counted_until_they_are_back() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("transactions.json");
    std::fs::write(&file, r#"[{"n":1},{"n":2},{"n":3}]"#).unwrap();
    let node = Embedded::start_in(folder, |network| network).await;
    let server = Server::start(node.handle(), &anywhere()).await.unwrap();
    let site = Site { node, server };
    let counts = async || {
        let metrics = site.get("/metrics").await.body;
        ["lost", "returned"].map(|name| {
            let name = format!("meshpool_pool_rows_{name}_total ");
            metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).expect("it is exposed")
        })
    };
    assert_eq!(counts().await, [0, 0]);
    std::fs::write(&file, r#"[{"n":2}]"#).unwrap();
    let are = async |expected| {
        eventually("the counters", async || match counts().await {
            found if found == expected => Ok(()),
            found => Err(format!("{found:?}")),
        })
        .await;
    };
    are([2, 0]).await;
    assert_eq!(site.get("/readyz").await.status, 200);
    site.node.submit(&json!({ "n": 1 })).await.unwrap().stored().await.unwrap();
    are([2, 1]).await;
    std::fs::write(&file, r#"[{"n":2},{"n":"#).unwrap();
    eventually("a repair", async || {
        let metrics = site.get("/metrics").await.body;
        if metrics.lines().any(|line| line == "meshpool_pool_repairs_total 1") { Ok(()) } else { Err(metrics) }
    })
    .await;
}

#[tokio::test]
async fn a_taken_port_is_an_error_if_it_was_asked_for() {
    let node = Embedded::start(|network| network).await;
    let (_holder, port) = free_port_holder();
    let settings =
        HttpSettings { port: Some(port), origin: "HTTP_PORT from the environment".into(), ..HttpSettings::default() };
    let error = Server::start(node.handle(), &settings).await.unwrap_err();
    assert!(matches!(error, ServerError::PortInUse { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(&port.to_string())
            && text.contains("HTTP_PORT from the environment")
            && text.contains("HTTP_PORT=0"),
        "{text}"
    );
}

#[tokio::test]
async fn two_nodes_see_each_other() {
    let first = Site::open().await;
    let address = first.node.address().clone();
    let second = Embedded::start(|network| network.known_peer(address)).await;
    let network = eventually("both nodes", async || {
        let network = first.get("/api/network").await.json();
        if network["nodes"].as_array().unwrap().len() == 2 { Ok(network) } else { Err(network.to_string()) }
    })
    .await;
    assert_eq!((&network["links"], &network["nodes"][1]["id"]), (&json!([[0, 1]]), &json!(second.id().to_string())));
    // Both are of this build.
    let agent = json!(format!("p2p-node/{}", meshpool::version()));
    assert_eq!((&network["nodes"][0]["agent"], &network["nodes"][1]["agent"]), (&agent, &agent));
    let peer = eventually("a round-trip time", async || {
        let peers = first.get("/api/peers").await.json();
        let time = peers["peers"][0]["roundTripSeconds"].as_f64();
        time.map(|_| peers["peers"][0].clone()).ok_or_else(|| peers.to_string())
    })
    .await;
    assert_eq!((&peer["state"], &peer["dialled"]), (&json!("connected"), &json!(false)), "{peer}");
    second.stop().await;
    eventually("one node", async || {
        let network = first.get("/api/network").await.json();
        if network["nodes"].as_array().unwrap().len() == 1 { Ok(()) } else { Err(network.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn topics_are_in_the_status_and_the_metrics_and_without_any_there_is_no_word_of_them() {
    use meshpool::TopicConfig;
    let node = Embedded::start(|network| {
        network.topic("blocks", TopicConfig::on_disk().keep_count(100)).topic("chat", TopicConfig::in_memory())
    })
    .await;
    let server = Server::start(node.handle(), &anywhere()).await.unwrap();
    let site = Site { node, server };
    let blocks = site.node.topic("blocks").unwrap();
    blocks.publish(&json!({ "height": 1, "timeStamp": 1_700_000_000 })).await.unwrap().stored().await.unwrap();
    let topics = site.get("/api/status").await.json()["topics"].take();
    let expected = json!({
        "name": "blocks", "items": 1, "bytes": 35, "end": 1, "members": 0, "reconciled": 0, "writable": true,
        "refused": 0, "ignored": 0, "deferred": 0, "oldest": 1_700_000_000, "newest": 1_700_000_000,
    });
    assert_eq!(topics[0], expected);
    assert_eq!((&topics[1]["name"], &topics[1]["items"], topics[1].get("oldest")), (&json!("chat"), &json!(0), None));
    let metrics = site.get("/metrics").await.body;
    for line in [
        "meshpool_topic_items{topic=\"blocks\"} 1",
        "meshpool_topic_size_bytes{topic=\"blocks\"} 35",
        "meshpool_topic_members{topic=\"chat\"} 0",
        "meshpool_topic_writable{topic=\"chat\"} 1",
        "meshpool_topic_refused_total{topic=\"blocks\"} 0",
        "meshpool_topic_newest_age_seconds{topic=\"chat\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    let without = Site::open().await;
    assert_eq!(without.get("/api/status").await.json().get("topics"), None);
    assert!(!without.get("/metrics").await.body.contains("_topic_"));
}

/// The frames of a link after one with this number.
async fn frames(site: &Site, link: u64, after: u64) -> Value {
    let answer = site.get(&format!("/api/links/{link}/frames?after={after}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn is_frame(frame: &Value, direction: &str, kind: &str) -> bool {
    frame["direction"] == direction && frame["type"] == kind
}

#[tokio::test]
async fn the_frames_of_a_link_are_shown_from_its_handshakes_on_and_as_they_travel() {
    let first = Site::open().await;
    let address = first.node.address().clone();
    let second = Embedded::start(|network| network.known_peer(address.clone())).await;
    let links = eventually("a link", async || {
        let links = first.get("/api/links").await.json();
        if links["links"][0]["kind"] == "native" { Ok(links["links"].clone()) } else { Err(links.to_string()) }
    })
    .await;
    let (link, id) = (&links[0], links[0]["id"].as_u64().unwrap());
    assert_eq!((links.as_array().unwrap().len(), &link["dialled"], &link["proved"]), (1, &json!(false), &json!(true)));
    assert_eq!((&link["peer"], &link["dialledAddress"]), (&json!(second.id().to_string()), &json!(null)));
    assert_eq!((&link["remote"], &link["others"]), (&json!("127.0.0.1"), &json!([])), "{link}");
    let peers = first.get("/api/peers").await.json();
    assert_eq!(peers["peers"][0]["link"], json!(id), "{peers}");

    // Both HANDSHAKEs travelled before anybody asked.
    let shown = frames(&first, id, 0).await;
    let kept = shown["frames"].as_array().unwrap();
    assert!(is_frame(&kept[0], "received", "HANDSHAKE") && is_frame(&kept[1], "sent", "HANDSHAKE"), "{shown}");
    assert_eq!((&kept[0]["number"], &kept[1]["number"], &shown["ended"]), (&json!(1), &json!(2), &Value::Null));
    let text: Value = serde_json::from_str(kept[0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text["data"], json!([second.address().to_string(), address.to_string()]));
    assert_eq!(kept[0]["bytes"], json!(kept[0]["text"].as_str().unwrap().len()));
    let outcomes = |frame: &Value| {
        let all = frame["addresses"].as_array().unwrap().iter();
        all.map(|named| (named["address"].clone(), named["text"].as_str().unwrap().to_owned())).collect::<Vec<_>>()
    };
    let (theirs, ours) = (json!(second.address().to_string()), json!(address.to_string()));
    let [(one, verified), (other, itself)] = &outcomes(&kept[0])[..] else { panic!("{shown}") };
    assert_eq!((one, other, itself.as_str()), (&theirs, &ours, "is this node itself"));
    assert!(["is dialled back, to see whether that node answers there", "is linked already"].contains(&&**verified));
    assert_eq!(outcomes(&kept[1]), [(ours, "is this node's own address: others dial it there".to_owned())]);

    // From then on each frame is there.
    let mut last = shown["last"].as_u64().unwrap();
    second.submit(&json!({ "amount": 5 })).await.unwrap();
    first.node.broadcast("hello").await.unwrap();
    let mut seen = Vec::new();
    eventually("the frames of both", async || {
        let shown = frames(&first, id, last).await;
        last = shown["last"].as_u64().unwrap();
        assert_eq!(shown["missed"], 0, "{shown}");
        seen.extend(shown["frames"].as_array().unwrap().clone());
        let has = |direction, kind| seen.iter().any(|frame| is_frame(frame, direction, kind));
        if has("received", "TRANSACTION") && has("sent", "BROADCAST") { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    let transaction = seen.iter().find(|frame| is_frame(frame, "received", "TRANSACTION")).unwrap();
    assert!(transaction["text"].as_str().unwrap().starts_with(r#"{"type":"TRANSACTION","data":{"amount":5}"#));
    let numbers: Vec<_> = seen.iter().map(|frame| frame["number"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "each once: {numbers:?}");

    // The end of a link is seen by those who watch it.
    second.stop().await;
    let ended = eventually("the end", async || {
        let shown = frames(&first, id, 0).await;
        if shown["ended"].is_null() { Err(shown.to_string()) } else { Ok(shown) }
    })
    .await;
    let frames = ended["frames"].as_array().unwrap();
    assert!(is_frame(&frames[0], "received", "HANDSHAKE"), "{ended}");
    assert!(frames.iter().any(|frame| frame["opcode"] == "close" && frame["direction"] == "received"), "{ended}");
    let gone = first.get(&format!("/api/links/{}/frames", id + 1)).await;
    assert_eq!(gone.status, 404);
    assert!(gone.body.contains("no link 2 is open") && gone.body.contains("/api/links"), "{}", gone.body);
}

#[tokio::test]
async fn the_timeline_tells_how_a_node_found_its_peers_and_got_what_it_lacked() {
    let first = Embedded::start(|network| network).await;
    let address = first.address().clone();
    for number in 0..3 {
        first.submit(&json!({ "number": number })).await.unwrap().stored().await.unwrap();
    }
    let second = Embedded::start(|network| network.known_peer(address.clone())).await;
    second.links_to(&[&first]).await;
    let third = Embedded::start(|network| network.known_peer(address.clone())).await;
    let server = Server::start(third.handle(), &anywhere()).await.unwrap();
    let third = Site { node: third, server };
    let of_kind = |entries: &Value, kind: &str| -> Vec<Value> {
        let entries = entries["entries"].as_array().unwrap();
        entries.iter().filter(|entry| entry["kind"] == kind).cloned().collect()
    };
    let told = eventually("two links, and what was missing", async || {
        let told = third.get("/api/timeline").await.json();
        let brought: usize =
            of_kind(&told, "synced").iter().map(|one| one["transactions"].as_array().unwrap().len()).sum();
        if of_kind(&told, "linked").len() == 2 && brought == 3 { Ok(told) } else { Err(told.to_string()) }
    })
    .await;
    let kinds: Vec<_> =
        told["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[..5], ["dial", "upgrade", "handshake sent", "handshake received", "linked"], "{told}");
    // The first peer names the second, which is dialled for that.
    let (one, other) = (json!(address.to_string()), json!(second.address().to_string()));
    let handshake = &of_kind(&told, "handshake received")[0];
    assert_eq!(handshake["address"], one);
    let named = handshake["addresses"].as_array().unwrap().iter().find(|named| named["address"] == other);
    assert_eq!(named.map(|named| &named["text"]), Some(&json!("is dialled")), "{told}");
    let dials = of_kind(&told, "dial");
    assert_eq!((&dials[0]["address"], &dials[0]["learnedFrom"]), (&one, &Value::Null), "a person named it");
    assert_eq!((&dials[1]["address"], &dials[1]["learnedFrom"]), (&other, &handshake["number"]), "{told}");
    // Each step leads to the frames of its link.
    let links = third.get("/api/links").await.json();
    let is_open = |link: &Value| links["links"].as_array().unwrap().iter().any(|row| row["id"] == *link);
    assert!(of_kind(&told, "linked").iter().all(|entry| is_open(&entry["link"])), "{told} {links}");
    assert!(of_kind(&told, "synced").iter().all(|entry| is_open(&entry["link"])), "{told} {links}");
    let shown = third.get(&format!("/api/links/{}/frames", handshake["link"])).await.json();
    assert!(is_frame(&shown["frames"][0], "sent", "HANDSHAKE"), "{shown}");
}

/// The way of a transaction through a node.
async fn way(site: &Site, id: &str) -> Value {
    let answer = site.get(&format!("/api/transactions/{id}/way")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// What a way says of the link to a node.
fn towards(way: &Value, node: &Embedded) -> Value {
    let links = way["way"]["links"].as_array().unwrap();
    links.iter().find(|link| link["peer"] == json!(node.id().to_string())).unwrap_or(&Value::Null).clone()
}

#[tokio::test]
async fn the_way_of_a_transaction_says_who_brought_it_who_got_it_and_who_not() {
    let site = Site::open().await;
    let address = site.node.address().clone();
    let second = Embedded::start(|network| network.known_peer(address.clone())).await;
    let third = Embedded::start(|network| network.known_peer(address.clone())).await;
    site.node.links_to(&[&second, &third]).await;
    second.links_to(&[&site.node, &third]).await;

    // One of this node's own goes to both.
    let added = json!({ "fromAddress": "ann", "toAddress": "bob", "amount": 5 });
    let added = site.post("/api/transactions?stamp=true", &added).await.json();
    let id = added["id"].as_str().unwrap();
    let shown = way(&site, id).await;
    assert_eq!((&shown["id"], &shown["position"], &shown["note"]), (&json!(id), &json!(0), &Value::Null), "{shown}");
    let arrived = &shown["way"]["arrived"];
    assert_eq!((&arrived["by"], &arrived["link"], &arrived["synced"]), (&json!("self"), &Value::Null, &json!(false)));
    assert!(arrived["text"].as_str().unwrap().starts_with("It entered the network at this node"), "{shown}");
    for node in [&second, &third] {
        let link = towards(&shown, node);
        assert_eq!((&link["outcome"], &link["open"]), (&json!("sent"), &json!(true)), "{shown}");
        assert_eq!(link["address"], json!(node.address().to_string()));
    }
    let (came, stored) = (arrived["time"].as_f64().unwrap(), shown["way"]["stored"].as_f64().unwrap());
    assert!((0.0..60_000.0).contains(&(stored - came)), "{shown}");
    // Its three ids.
    let ids = shown["ids"].as_array().unwrap();
    let names: Vec<_> = ids.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!((names, &ids[0]["value"]), (vec!["identity", "id", "hash"], &json!(id)));
    let body = site.get(&format!("/api/transactions/{id}")).await.json()["transaction"].clone();
    assert_eq!((&ids[1]["value"], &ids[2]["value"]), (&body["id"], &body["hash"]));
    assert!(ids[2]["text"].as_str().unwrap().contains("it is right"), "{shown}");

    // Each of another node comes by its link alone, once the third has pruned this one.
    let mut number = 0;
    let pruned = eventually("a transaction that the third node did not want from here", async || {
        number += 1;
        let id = second.submit(&json!({ "number": number })).await.map_err(|error| error.to_string())?.id;
        let shown = site.get(&format!("/api/transactions/{id}/way")).await;
        if shown.status != 200 {
            return Err(shown.body);
        }
        let shown = shown.json();
        if towards(&shown, &third)["outcome"] == "pruned" { Ok(shown) } else { Err(shown.to_string()) }
    })
    .await;
    let (arrived, origin) = (&pruned["way"]["arrived"], json!(second.id().to_string()));
    assert_eq!((&arrived["by"], &arrived["peer"], &arrived["origin"]), (&json!("node"), &origin, &origin), "{pruned}");
    assert!(arrived["text"].as_str().unwrap().ends_with("It entered the network there."), "{pruned}");
    assert_eq!(towards(&pruned, &second)["outcome"], "brought");
    assert_eq!((&pruned["ids"][1]["value"], &pruned["ids"][2]["value"]), (&Value::Null, &Value::Null));

    // A link that ended since says so.
    let gone = third.id();
    third.stop().await;
    eventually("the end of the link", async || {
        let shown = way(&site, id).await;
        let links = shown["way"]["links"].as_array().unwrap();
        let link = links.iter().find(|link| link["peer"] == json!(gone.to_string())).unwrap();
        if link["open"] == json!(false) { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_way_that_was_not_recorded_says_why_and_what_to_do() {
    let early = Embedded::start(|network| network).await;
    let submitted = early.submit(&json!({ "amount": 5 })).await.unwrap();
    let id = submitted.id.to_string();
    submitted.stored().await.unwrap();
    // It came before anybody looked.
    let server = Server::start(early.handle(), &anywhere()).await.unwrap();
    let site = Site { node: early, server };
    let shown = way(&site, &id).await;
    assert_eq!((&shown["way"], &shown["position"]), (&Value::Null, &json!(0)));
    let note = shown["note"].as_str().unwrap();
    assert!(note.contains("before those, or in a burst") && note.ends_with("its way is recorded."), "{note}");
    let folder = site.node.stop().await;
    let node = Embedded::start_in(folder, |network| network).await;
    let server = Server::start(node.handle(), &anywhere()).await.unwrap();
    let site = Site { node, server };
    let note = way(&site, &id).await["note"].as_str().unwrap().to_owned();
    assert!(note.starts_with("It was in transactions.json already when this node started"), "{note}");
    let unknown = site.get(&format!("/api/transactions/{}/way", "7".repeat(64))).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("/api/transactions lists those"), "{}", unknown.body);
    assert_eq!(site.get("/api/transactions/7/way").await.status, 400);
}
