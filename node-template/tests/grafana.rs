//! The dashboard in `docs/grafana.json` asks for nothing that a node does not expose.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::BTreeSet;

use common::embedded::Embedded;
use common::http::get;
use common::within;
use meshpool::config::HttpSettings;
use meshpool::http::Server;
use serde_json::Value;

/// What Prometheus says of every target by itself.
const ITS_OWN: &str = "up";

/// All expressions and queries in a dashboard, wherever they stand.
fn expressions(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(members) => (members.iter())
            .flat_map(|(name, value)| match value {
                Value::String(text) if name == "expr" || name == "query" => vec![text.as_str()],
                value => expressions(value),
            })
            .collect(),
        Value::Array(values) => values.iter().flat_map(expressions).collect(),
        _ => Vec::new(),
    }
}

/// The metrics that an expression names: words before which a selection in braces, or a label's
/// name in label_values, stands.
fn metrics(expression: &str) -> impl Iterator<Item = &str> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == ':';
    let words = expression.split(move |character: char| !is_part(character)).filter(|word| !word.is_empty());
    words.filter(move |word| {
        let at = word.as_ptr() as usize - expression.as_ptr() as usize;
        word.starts_with("meshpool") || expression[at + word.len()..].starts_with('{')
    })
}

#[test]
fn names_are_found_in_expressions() {
    let found = |expression| metrics(expression).collect::<Vec<_>>();
    assert_eq!(found(r#"max(a_b{job="$job"}) / sum by (le) (rate(c_total{job="x"}[5m]))"#), ["a_b", "c_total"]);
    assert_eq!(found("label_values(meshpool_peers, job)"), ["meshpool_peers"]);
    assert!(found("prometheus").is_empty());
}

#[tokio::test]
async fn every_metric_of_the_dashboard_is_exposed() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/grafana.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let wanted: BTreeSet<_> = expressions(&dashboard).into_iter().flat_map(metrics).collect();
    assert!(wanted.len() > 10 && wanted.contains(ITS_OWN), "too few are found: {wanted:?}");

    let node = Embedded::start(|network| network).await;
    let anywhere = HttpSettings { port: Some(0), ..HttpSettings::default() };
    let server = Server::start(node.handle(), &anywhere).await.unwrap();
    let exposed = within("the metrics", get(server.address(), "/metrics")).await;
    let exposed: BTreeSet<_> = exposed.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    let missing: Vec<_> = wanted.iter().filter(|name| **name != ITS_OWN && !exposed.contains(*name)).collect();
    assert!(missing.is_empty(), "no node exposes {missing:?}, which {file} asks for; there is {exposed:#?}");
}
