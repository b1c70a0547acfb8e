//! The HTTP API against its description: each route of the server stands in `openapi.json`, each
//! operation of `openapi.json` is called, and each answer has a status and a body that it allows.
//!
//! Inputs are made from the description too: bodies with members that are missing or of another
//! type, parameters of any form. So an answer that nobody described is found, whatever the input.

#![cfg(all(feature = "cli", feature = "web"))]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::BTreeSet;

use common::node::{Node, free_port};
use common::within;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The server's routes, as its source names them.
const SOURCE: &str = include_str!("../src/http/api.rs");
const DESCRIPTION: &str = include_str!("../src/http/openapi.json");
const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

/// Path and method of each operation.
type Operations = BTreeSet<(String, String)>;

fn description() -> Value {
    serde_json::from_str(DESCRIPTION).unwrap()
}

fn described() -> Operations {
    let paths = description()["paths"].as_object().unwrap().clone();
    let methods = |(path, methods): (String, Value)| {
        methods.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())).collect::<Vec<_>>()
    };
    paths.into_iter().flat_map(methods).collect()
}

/// The routes of the source: `.route("/path", get(…).post(…))`.
fn served() -> Operations {
    let mut found = Operations::new();
    let of_node = SOURCE.split("    router\n").nth(1).unwrap();
    for route in of_node.split(".route(").skip(1) {
        let path = route.split('"').nth(1).unwrap().to_owned();
        let handlers = route.split('\n').next().unwrap();
        for method in METHODS.iter().filter(|method| handlers.contains(&format!("{method}("))) {
            found.insert((path.clone(), (*method).to_owned()));
        }
    }
    found
}

#[test]
fn each_route_is_described_and_nothing_else() {
    let (served, described) = (served(), described());
    assert!(served.len() > 20, "{served:?}");
    assert_eq!(served, described);
}

/// Fails unless a value is what a schema allows. A keyword that is not known here fails too.
fn validate(schema: &Value, value: &Value, at: &str) {
    let root = description();
    let schema = match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).expect(reference).clone(),
        None => schema.clone(),
    };
    for (keyword, wanted) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "type" => {
                let types = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                assert!(types.iter().any(|one| is_of(one.as_str().unwrap(), value)), "{at}: {value} is no {wanted}");
            }
            "enum" => assert!(wanted.as_array().unwrap().contains(value), "{at}: {value} is none of {wanted}"),
            "required" if value.is_object() => {
                for name in wanted.as_array().unwrap() {
                    assert!(value.get(name.as_str().unwrap()).is_some(), "{at}: {name} is missing in {value}");
                }
            }
            "properties" if value.is_object() => {
                for (name, member) in value.as_object().unwrap() {
                    match wanted.get(name) {
                        Some(schema) => validate(schema, member, &format!("{at}.{name}")),
                        // What nobody described is found.
                        None => assert!(schema.get("additionalProperties").is_some(), "{at}: {name} is not described"),
                    }
                }
            }
            "additionalProperties" if wanted.is_object() => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, member) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| !known.contains_key(name)) {
                        validate(wanted, member, &format!("{at}.{name}"));
                    }
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(wanted, item, &format!("{at}[{index}]"));
                }
            }
            "prefixItems" => {
                for (item, schema) in value.as_array().into_iter().flatten().zip(wanted.as_array().unwrap()) {
                    validate(schema, item, at);
                }
            }
            "minItems" => {
                assert!(value.as_array().is_none_or(|all| all.len() as u64 >= wanted.as_u64().unwrap()), "{at}")
            }
            "maxItems" => {
                assert!(value.as_array().is_none_or(|all| all.len() as u64 <= wanted.as_u64().unwrap()), "{at}")
            }
            "required" | "properties" | "additionalProperties" | "description" | "default" | "examples" => {}
            other => panic!("{at}: this test does not know the keyword {other}"),
        }
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other} is no type"),
    }
}

#[test]
#[should_panic(expected = "is not described")]
fn a_member_that_is_not_described_is_found() {
    validate(&json!({ "$ref": "#/components/schemas/LogLevel" }), &json!({ "level": "info", "more": 1 }), "here");
}

#[test]
#[should_panic(expected = "is no \"integer\"")]
fn a_member_of_another_type_is_found() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });
    validate(&schema, &json!({ "a": 1.5 }), "here");
}

/// A node with its API, and the operations that were called.
struct Site {
    node: Node,
    port: u16,
    called: Operations,
}

struct Answer {
    status: u16,
    kind: String,
    body: String,
}

impl Site {
    async fn open(settings: &str) -> Self {
        let node = Node::ours_with(free_port(), &[], settings);
        // Its page is announced once it serves.
        common::eventually("the page", async || {
            let said = node.said();
            let page = said.iter().find_map(|line| line.split("the page is at http://localhost:").nth(1));
            page.map(|_| ()).ok_or_else(|| said.join("\n"))
        })
        .await;
        let page = node.said().iter().find_map(|line| line.split("http://localhost:").nth(1).map(str::to_owned));
        Self { port: page.unwrap().trim().parse().unwrap(), node, called: Operations::new() }
    }

    /// Sends a request. `template`: the path in the description.
    async fn call(&mut self, method: &str, template: &str, path: &str, kind: &str, body: &str) -> Answer {
        self.called.insert((template.to_owned(), method.to_owned()));
        let host = if kind.contains("Host:") { "" } else { "Host: localhost\r\n" };
        let request = format!(
            "{} {path} HTTP/1.1\r\n{host}Connection: close\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            method.to_uppercase(),
            body.len()
        );
        let answer = within(format!("an answer to {method} {path}"), async {
            let mut socket = TcpStream::connect(("localhost", self.port)).await.unwrap();
            // A request that is refused early may be closed before all is written.
            socket.write_all(request.as_bytes()).await.ok();
            let (mut head, mut reader) = (String::new(), BufReader::new(socket));
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).await.unwrap() > 0, "{method} {path}: no answer: {head}");
            }
            let header = |name: &str| {
                let lines = head.lines().filter_map(|line| line.split_once(": "));
                lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
            };
            let kind = header("content-type").unwrap_or_default();
            let kind = kind.split(';').next().unwrap().to_owned();
            let mut body = Vec::new();
            // A stream has no end.
            if kind != "text/event-stream" {
                reader.read_to_end(&mut body).await.unwrap();
            }
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            Answer { status, kind, body: String::from_utf8_lossy(&body).into_owned() }
        })
        .await;
        self.judge(method, template, path, body, &answer);
        answer
    }

    /// Fails unless the description allows the answer.
    fn judge(&self, method: &str, template: &str, path: &str, body: &str, answer: &Answer) {
        let Answer { status, kind, body: text } = answer;
        let shown: String = body.chars().take(100).collect();
        let at = format!("{method} {path} {shown:?} → {status} {kind}");
        let description = description();
        let response = &description["paths"][template][method]["responses"][status.to_string()];
        assert!(response.is_object(), "{at}: this status is not described: {text}");
        let Some(content) = response["content"].as_object() else { return };
        let found = content.get(kind).or_else(|| content.get("image/*").filter(|_| kind.starts_with("image/")));
        let content = found.unwrap_or_else(|| panic!("{at}: this type is not described: {text}"));
        if kind.ends_with("json")
            && let Some(schema) = content.get("schema")
        {
            let value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{at}: {error}: {text}"));
            validate(schema, &value, &at);
        }
    }

    async fn get(&mut self, template: &str, path: &str) -> Answer {
        self.call("get", template, path, "", "").await
    }

    async fn send(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let template = path.split('?').next().unwrap().to_owned();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.call(method, &template, path, JSON, &body).await
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn each_operation_answers_as_it_is_described() {
    let mut site = Site::open("LOG=info").await;
    let folder = site.node.folder().to_owned();
    std::fs::create_dir(folder.join("images")).unwrap();
    std::fs::write(folder.join("images/dot.png"), b"not empty").unwrap();
    for (template, path) in [
        ("/", "/"),
        ("/{file}", "/style.css"),
        ("/api", "/api"),
        ("/api/openapi.json", "/api/openapi.json"),
        ("/api/status", "/api/status"),
        ("/api/peers", "/api/peers"),
        ("/api/links", "/api/links"),
        ("/api/timeline", "/api/timeline"),
        ("/api/nodes", "/api/nodes"),
        ("/api/network", "/api/network"),
        ("/api/transactions", "/api/transactions"),
        ("/api/bans", "/api/bans"),
        ("/api/log", "/api/log"),
        ("/api/images", "/api/images"),
        ("/api/events", "/api/events"),
        ("/images/{name}", "/images/dot.png"),
        ("/metrics", "/metrics"),
        ("/healthz", "/healthz"),
        ("/readyz", "/readyz"),
    ] {
        assert_eq!(site.get(template, path).await.status, 200, "{path}");
    }
    assert_eq!(site.get("/{file}", "/nothing.css").await.status, 404);
    let taken = site.send("post", "/api/transactions", &json!({ "amount": 5 })).await;
    assert_eq!(taken.status, 201);
    let id = serde_json::from_str::<Value>(&taken.body).unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(site.send("post", "/api/transactions", &json!({ "amount": 5 })).await.status, 200);
    assert_eq!(site.get("/api/transactions/{id}", &format!("/api/transactions/{id}")).await.status, 200);
    assert_eq!(site.get("/api/transactions/{id}", &format!("/api/transactions/{}", "0".repeat(64))).await.status, 404);
    let way = "/api/transactions/{id}/way";
    assert_eq!(site.get(way, &way.replace("{id}", &id)).await.status, 200);
    assert_eq!(site.get(way, &way.replace("{id}", &"0".repeat(64))).await.status, 404);
    assert_eq!(site.get("/api/transactions", "/api/transactions?search=amount&limit=1").await.status, 200);
    assert_eq!(site.send("post", "/api/broadcasts", &json!({ "message": "hello" })).await.status, 202);

    // Known peers are kept in the file, and the node dials them.
    let other = Node::ours(free_port(), &[]);
    let peer = json!({ "address": other.address() });
    for (wrong, part) in [(" x iroh:a", "\" x iroh:a\" is"), ("localhost:1#net", "it is an invite")] {
        let refused = site.send("post", "/api/peers", &json!({ "address": wrong })).await;
        assert!(refused.status == 422 && refused.body.contains(&part.replace('"', "\\\"")), "{}", refused.body);
    }
    assert_eq!(site.send("post", "/api/peers", &peer).await.status, 201);
    assert_eq!(site.send("post", "/api/peers", &peer).await.status, 200);
    site.node.linked_to([other.address()]).await;
    let known = || std::fs::read_to_string(folder.join("known-peers.json")).unwrap();
    assert!(known().contains(&other.address()), "{}", known());
    for path in ["/api/status", "/api/peers", "/api/network", "/api/nodes", "/api/timeline"] {
        assert_eq!(site.get(path, path).await.status, 200);
    }
    // Rows are up to a second old.
    let link = common::eventually("a row of the link", async || {
        let body = site.get("/api/links", "/api/links").await.body;
        let links: Value = serde_json::from_str(&body).unwrap();
        links["links"][0]["id"].as_u64().ok_or(body)
    })
    .await;
    let path = format!("/api/links/{link}/frames");
    let frames: Value = serde_json::from_str(&site.get("/api/links/{id}/frames", &path).await.body).unwrap();
    assert_eq!(frames["frames"][0]["type"], "HANDSHAKE", "{frames}");
    let removal = format!("/api/peers?address={}", other.address());
    assert_eq!(site.send("delete", &removal, &Value::Null).await.status, 200);
    assert_eq!(site.send("delete", &removal, &Value::Null).await.status, 404);
    assert!(!known().contains(&other.address()), "{}", known());
    site.node.linked_to([other.address()]).await;

    // A ban closes links, and is kept in the file.
    let id = other.status().await.unwrap()["node"].as_str().unwrap().to_owned();
    let rule = json!({ "rule": id });
    assert_eq!(site.send("post", "/api/bans", &rule).await.status, 201);
    assert_eq!(site.send("post", "/api/bans", &rule).await.status, 200);
    site.node.linked_to([]).await;
    assert_eq!(std::fs::read_to_string(folder.join("denied.txt")).unwrap(), format!("{id}\n"));
    let bans: Value = serde_json::from_str(&site.get("/api/bans", "/api/bans").await.body).unwrap();
    assert_eq!(bans["denied"], json!([id]));
    assert_eq!(site.send("delete", &format!("/api/bans?rule={id}"), &Value::Null).await.status, 200);
    assert_eq!(site.send("delete", &format!("/api/bans?rule={id}"), &Value::Null).await.status, 404);
    assert_eq!(std::fs::read_to_string(folder.join("denied.txt")).unwrap(), "");

    // The log has more lines from then on.
    assert!(!site.node.said().iter().any(|line| line.contains(" DEBUG ")));
    let level = site.send("put", "/api/log", &json!({ "level": "debug" })).await;
    assert_eq!((level.status, level.body.as_str()), (200, r#"{"level":"debug"}"#));
    assert_eq!(site.get("/api/log", "/api/log").await.body, r#"{"level":"debug"}"#);
    common::eventually("a line at debug", async || {
        // Each request for a stream of a client that leaves at once is worth one.
        let socket = TcpStream::connect(("localhost", site.node.port)).await.unwrap();
        drop(socket);
        let said = site.node.said();
        said.iter().any(|line| line.contains(" DEBUG ")).then_some(()).ok_or_else(|| said.join("\n"))
    })
    .await;

    // A reload takes what it can and says what it cannot.
    std::fs::write(folder.join(".env"), format!("PORT={}\nLOG=warn\nMAX_PEERS=3\n", site.node.port)).unwrap();
    let reloaded = site.send("post", "/api/reload", &Value::Null).await;
    let reloaded: Value = serde_json::from_str(&reloaded.body).unwrap();
    assert_eq!(reloaded["needsStart"], json!(["MAX_PEERS"]));
    assert_eq!(site.get("/api/log", "/api/log").await.body, r#"{"level":"warn"}"#);
    std::fs::write(folder.join(".env"), "PORT=none").unwrap();
    assert_eq!(site.send("post", "/api/reload", &Value::Null).await.status, 422);

    // Nobody told this node of a relay.
    assert_eq!(site.send("post", "/api/invite", &json!({})).await.status, 409);

    let missing: Vec<_> = described().difference(&site.called).cloned().collect();
    assert!(missing.is_empty(), "not called: {missing:?}");
}

#[cfg(feature = "wan")]
#[tokio::test]
async fn an_invite_and_the_path_of_a_link_are_as_they_are_described() {
    let port = free_port();
    let mut relay = Node::ours_with(port, &[], &format!("ADDRESS=ws://127.0.0.1:{port}\nRELAY=on"));
    let mut site = Site::open(&format!("WAN=on\nRELAYS=127.0.0.1:{port}")).await;
    let answer = site.send("post", "/api/invite", &json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    let address = answer["invite"].as_str().unwrap().strip_suffix("#p2p-node").unwrap();
    assert!(answer["qr"].as_str().unwrap().starts_with("<svg "), "{answer}");
    let status: Value = serde_json::from_str(&site.get("/api/status", "/api/status").await.body).unwrap();
    assert_eq!(status["byId"], address);

    let mut guest = Node::ours_with(free_port(), &[], &format!("PEERS={address}"));
    common::eventually("the path of the link, in each answer that has it", async || {
        let read = async |site: &mut Site, path: &str| -> Value {
            serde_json::from_str(&site.get(path, path).await.body).unwrap()
        };
        let links = read(&mut site, "/api/links").await;
        let peers = read(&mut site, "/api/peers").await;
        let status = read(&mut site, "/api/status").await;
        let paths = [&links["links"][0]["path"], &peers["peers"][0]["path"], &status["paths"][0]["path"]];
        let times = [&links["links"][0]["roundTripSeconds"], &status["paths"][0]["roundTripMicros"]];
        let are_paths = paths.iter().all(|path| {
            path.as_str().is_some_and(|path| path.starts_with("direct to ") || path.starts_with("over relay "))
        });
        assert!(status["paths"].is_null() || status["paths"][0]["peer"] == status["connected"][0], "{status}");
        match are_paths && times.iter().all(|time| time.is_number()) {
            true => Ok(()),
            false => Err(format!("{links} {peers} {status}")),
        }
    })
    .await;
    site.get("/api/network", "/api/network").await;
    relay.assert_alive();
    guest.assert_alive();
}

/// Values of each type, the usual and the odd.
fn values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(""),
        json!("x"),
        json!("\u{0}\n\u{202e}"),
        json!("é".repeat(2_000)),
        json!([]),
        json!([[1]]),
        json!({}),
        json!({ "a": {} }),
    ]
}

/// Bodies for an operation, from its schema: members that are missing, of any type, or not asked
/// for; and texts that are no JSON.
fn bodies(schema: &Value) -> Vec<String> {
    let root = description();
    let schema = schema["$ref"]
        .as_str()
        .map_or(schema.clone(), |reference| root.pointer(reference.trim_start_matches('#')).expect(reference).clone());
    let names: Vec<String> =
        schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let mut bodies: Vec<String> = values().iter().map(Value::to_string).collect();
    for name in &names {
        bodies.extend(values().into_iter().map(|value| json!({ name: value, "another": 1 }).to_string()));
    }
    bodies.extend(["", "{", "{\"a\":1}{}", "nul", "\u{feff}{}", "{\"a\":1e999}"].map(str::to_owned));
    bodies
}

#[tokio::test]
async fn no_input_gets_an_answer_that_is_not_described() {
    let mut site = Site::open("LOG=info").await;
    let description = description();
    let odd = ["", "0", "-1", "x", "1.5", "99999999999999999999", "%00", "%FF", "a%2Fb", "%2e%2e", "é", "null"];
    for (template, method) in described() {
        let operation = &description["paths"][&template][&method];
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let mut paths = vec![template.clone()];
        for parameter in &parameters {
            let name = parameter["name"].as_str().unwrap();
            let fill = |value: &str| match parameter["in"].as_str().unwrap() {
                "path" => Some(template.replace(&format!("{{{name}}}"), value)),
                "query" => Some(format!("{template}?{name}={value}")),
                _ => None,
            };
            paths.extend(odd.iter().chain(&[&*"y".repeat(5_000)]).filter_map(|value| fill(value)));
            paths.extend(fill("1").map(|path| format!("{path}&{name}=2")).filter(|path| path.contains('?')));
        }
        // A parameter that the path lacks leads elsewhere.
        let is_whole = |path: &String| !path.contains('{') && !path.ends_with('/') && !path.contains("//");
        let paths: Vec<String> = paths.into_iter().filter(|path| is_whole(path) || path == "/").collect();
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        for path in &paths {
            // Streams are many, but not endless.
            site.call(&method, &template, &path.replace('é', "%C3%A9"), if method == "get" { "" } else { JSON }, "")
                .await;
        }
        if schema.is_object() {
            for body in bodies(schema) {
                site.call(&method, &template, &template, JSON, &body).await;
            }
            for kind in ["", "Content-Type: text/plain\r\n", "Content-Type: application/json; charset=utf-8\r\n"] {
                site.call(&method, &template, &template, kind, "{}").await;
            }
        }
    }
    site.node.assert_alive();
}

#[tokio::test]
async fn no_operation_of_the_api_is_open_to_strangers_or_other_sites() {
    let mut site = Site::open("HTTP_TOKEN=0123456789abcdef").await;
    let guarded = |path: &str| path.starts_with("/api/") || path.starts_with("/images/") || path == "/metrics";
    let mut operations = 0;
    for (template, method) in described() {
        let path = template.replace("{id}", "0").replace("{name}", "x").replace("{file}", "style.css");
        let foreign = format!("{JSON}Authorization: Bearer 0123456789abcdef\r\nOrigin: https://example.org\r\n");
        let rebound = format!("{JSON}Authorization: Bearer 0123456789abcdef\r\nHost: example.org\r\n");
        if guarded(&template) {
            operations += 1;
            assert_eq!(site.call(&method, &template, &path, JSON, "{}").await.status, 401, "{method} {path}");
            let wrong = format!("{JSON}Authorization: Bearer 0123456789abcdee\r\n");
            assert_eq!(site.call(&method, &template, &path, &wrong, "{}").await.status, 401, "{method} {path}");
            assert_eq!(site.call(&method, &template, &path, &foreign, "{}").await.status, 403, "{method} {path}");
        }
        if !matches!(template.as_str(), "/healthz" | "/readyz") {
            assert_eq!(site.call(&method, &template, &path, &rebound, "{}").await.status, 403, "{method} {path}");
        }
    }
    assert!(operations > 15, "{operations}");
    assert!(!site.node.folder().join("denied.txt").exists());
}
