//! Metrics in the OpenMetrics text format, and health checks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::extract::State as FromState;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::driver::open_link::OpenLink;
use crate::events::text::span;
use crate::http::limits::STREAMS;
use crate::http::problem::Problem;
use crate::http::state::{Shared, State};
use crate::images;
use crate::pool;
use crate::protocol::LinkKind;
use crate::protocol::counters::Counters;
use crate::protocol::wire::{Status, TopicRow};
use crate::relay;
use crate::requests;
use crate::util::time_of_day::time_of_day;
use crate::util::version::{COMMIT, VERSION};

/// Handles `GET /metrics`.
pub(crate) async fn metrics(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    let (status, links) = (state.node.status().await?, state.node.links().await?);
    let nodes = state.hub.view().await?.network.nodes.len();
    let mut registry = Registry::with_prefix("meshpool");
    gauges(&mut registry, &state, &status, &links, nodes);
    let build = vec![("version", VERSION), ("commit", COMMIT)];
    registry.register("build", "The build of this program", Info::new(build));
    let delays = &state.hub.delays;
    for (name, help, histogram) in [
        ("transaction_delay", "From a transaction's timeStamp to its arrival here, of a sample", &delays.transactions),
        ("broadcast_delay", "From a broadcast's time to its arrival here", &delays.broadcasts),
        ("pool_sync", "Writing a batch of transactions and waiting for the disk", state.node.sync_times()),
    ] {
        registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    }
    topics(&mut registry, &status.topics);
    registry.register_collector(Box::new(CounterCollector { counters: status.counters }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).map_err(|_| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics could not be encoded; this is a fault of the program",
        )
    })?;
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn gauges(registry: &mut Registry, state: &State, status: &Status, links: &[OpenLink], nodes: usize) {
    let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: usize| {
        let value = ConstGauge::new(value as i64);
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, value),
            None => registry.register(name, help, value),
        }
    };
    gauge("uptime", "Time since the node's start", Some(Unit::Seconds), status.uptime as usize);
    gauge("pool_transactions", "Transactions on the disk", None, status.pool.count as usize);
    gauge("pool_writable", "Whether transactions.json can be written: 1 or 0", None, usize::from(status.writable));
    gauge(
        "pool_full",
        "Whether the pool has reached a limit, so that it refuses: 1 or 0",
        None,
        usize::from(status.pool_full),
    );
    gauge(
        "alone",
        "For how long no peer has been linked; 0 if one is",
        Some(Unit::Seconds),
        status.alone_seconds.unwrap_or(0) as usize,
    );
    if let Some(begins) = status.certificate_begins {
        gauge(
            "certificate_begins_timestamp",
            "Since when the certificate of this node and its authority's are valid: since 1970",
            Some(Unit::Seconds),
            begins as usize,
        );
    }
    if let Some(expires) = status.certificate_expires {
        gauge(
            "certificate_expires_timestamp",
            "When the certificate of this node, or its authority's, expires: since 1970",
            Some(Unit::Seconds),
            expires as usize,
        );
    }
    gauge("peers", "Nodes that this one is linked to", None, status.connected.len());
    gauge("addresses_known", "Addresses in the address book", None, status.known);
    gauge("addresses_attempting", "Addresses being dialled", None, status.attempting.len());
    let backs = status.dial_backs.as_ref();
    let (reached, failed) = backs.map_or((0, 0), |backs| (backs.reached, backs.failed));
    gauge("dial_backs_reached", "Linked peers that reached this node at its address", None, reached);
    gauge("dial_backs_failed", "Linked peers that could not dial this node at its address", None, failed);
    gauge("network_nodes", "Nodes known to be in the network, this one included", None, nodes);
    let queued: Vec<_> = links.iter().map(|link| link.queued_bytes).collect();
    gauge("queued", "Queued payload of all links", Some(Unit::Bytes), queued.iter().sum());
    gauge(
        "queued_max",
        "Queued payload of the link with the most",
        Some(Unit::Bytes),
        queued.into_iter().max().unwrap_or(0),
    );
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    gauge("tasks", "Running tasks of the whole program", None, tasks);
    gauge("streams", "Open streams of /api/events", None, STREAMS - state.streams.available_permits());
    let kinds = Family::<Vec<(&str, &str)>, Gauge>::default();
    for (kind, name) in [(LinkKind::Native, "native"), (LinkKind::Exercise, "exercise"), (LinkKind::Client, "client")] {
        for (dialled, direction) in [(true, "dialled"), (false, "accepted")] {
            let count = links.iter().filter(|link| link.kind == kind && link.dialled == dialled).count();
            kinds.get_or_create(&vec![("kind", name), ("direction", direction)]).set(count as i64);
        }
    }
    let peers = |reconciled: bool| {
        let native = links.iter().filter(|link| link.kind == LinkKind::Native);
        let counted = native.filter(|link| !reconciled || link.reconciled == Some(true));
        counted.filter_map(|link| link.peer.node).collect::<BTreeSet<_>>().len()
    };
    let gauge = |count: usize| ConstGauge::new(count as i64);
    registry.register("native_peers", "Linked native peers, each once", gauge(peers(false)));
    registry.register(
        "native_peers_reconciled",
        "Those of them whose pool was equal to this node's at the last comparison",
        gauge(peers(true)),
    );
    registry.register("links", "Open connections by kind of the other end and by direction", kinds);
    let slowest = links.iter().filter_map(|link| link.round_trip).max().unwrap_or_default();
    registry.register_with_unit(
        "link_rtt_max",
        "The longest of the latest round-trip times of links to peers; 0 if none was measured",
        Unit::Seconds,
        ConstGauge::new(slowest.as_secs_f64()),
    );
}

/// Exposes the topics besides the default one. The names are this node's own, so there are few.
fn topics(registry: &mut Registry, topics: &[TopicRow]) {
    type Labels = Vec<(&'static str, String)>;
    let labels = |topic: &TopicRow| vec![("topic", topic.name.clone())];
    let now = time_of_day();
    let age = |time: Option<u64>| time.map_or(0, |time| (now - time as f64) as i64);
    let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: &dyn Fn(&TopicRow) -> i64| {
        let family = Family::<Labels, Gauge>::default();
        topics.iter().for_each(|topic| _ = family.get_or_create(&labels(topic)).set(value(topic)));
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, family),
            None => registry.register(name, help, family),
        }
    };
    gauge("topic_items", "Items held", None, &|topic| topic.items as i64);
    gauge("topic_size", "Size of the items held", Some(Unit::Bytes), &|topic| topic.bytes as i64);
    gauge("topic_members", "Linked nodes that have the topic", None, &|topic| topic.members as i64);
    gauge("topic_members_reconciled", "Linked nodes that held the same items at the last comparison", None, &|topic| {
        topic.reconciled as i64
    });
    gauge("topic_writable", "Whether the topic takes items: 1 or 0", None, &|topic| topic.writable.into());
    gauge(
        "topic_newest_age",
        "Since the timeStamp of the newest item; 0 if there is none",
        Some(Unit::Seconds),
        &|topic| age(topic.newest),
    );
    let mut counter = |name: &str, help: &str, value: &dyn Fn(&TopicRow) -> u64| {
        let family = Family::<Labels, Counter>::default();
        topics.iter().for_each(|topic| _ = family.get_or_create(&labels(topic)).inc_by(value(topic)));
        registry.register(name, help, family);
    };
    counter("topic_refused", "Items refused: not valid, or no room", &|topic| topic.refused);
    counter(
        "topic_ignored",
        "Items ignored: too old, too long or without a time for what is kept, or by the application",
        &|topic| topic.ignored,
    );
    counter("topic_deferred", "Items deferred: from the future, or by the application", &|topic| topic.deferred);
}

/// Exposes the counters of the core and of the parts of the node.
#[derive(Debug)]
struct CounterCollector {
    counters: BTreeMap<String, u64>,
}

impl Collector for CounterCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let of_parts = images::described().chain(requests::described()).chain(relay::described());
        for (name, help) in Counters::described().chain(of_parts).chain(pool::described()) {
            let Some(count) = self.counters.get(name) else { continue };
            let metric = encoder.encode_descriptor(name, help.trim(), None, MetricType::Counter)?;
            ConstCounter::new(*count).encode(metric)?;
        }
        Ok(())
    }
}

/// Handles `GET /healthz`: whether the node runs.
pub(crate) async fn alive(FromState(state): FromState<Shared>) -> Response {
    if state.node.has_ended() {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the node has ended; its log says why").into_response();
    }
    "alive\n".into_response()
}

/// Handles `GET /readyz`: whether the node takes transactions, and has a peer unless it knows none.
pub(crate) async fn ready(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    match unready(&state.node.status().await?, time_of_day()) {
        Some(why) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)),
        None => Ok("ready\n".into_response()),
    }
}

/// Returns why a node is not ready. `now`: seconds since 1970.
fn unready(status: &Status, now: f64) -> Option<String> {
    if !status.writable {
        return Some("transactions.json cannot be written; the node's log says why".to_owned());
    }
    if status.pool_full {
        let why = "the pool is full, so new transactions are refused; set a higher limit and start the node again";
        return Some(why.to_owned());
    }
    if status.certificate_begins.is_some_and(|begins| now < begins as f64) {
        let why = "by this machine's clock the certificate of the node or of its authority is not valid yet, so this node refuses others or they refuse it; set the clock";
        return Some(why.to_owned());
    }
    if status.certificate_expires.is_some_and(|expires| expires as f64 <= now) {
        let why = "by this machine's clock the certificate of the node or of its authority has expired, so other nodes refuse it; check the clock, or issue a new one";
        return Some(why.to_owned());
    }
    if status.connected.is_empty() && status.known > 0 {
        let alone = status.alone_seconds.unwrap_or(0);
        let since = if alone + 1 >= status.uptime { "the start" } else { "the last one left" };
        let alone = span(Duration::from_secs(alone));
        return Some(format!(
            "no peer is linked since {since}, {alone} ago; the node keeps dialling; its log says more"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_node_from_being_ready_is_named_with_its_duration() {
        let status = || Status {
            uptime: 20_000,
            connected: vec!["ws://localhost:1".to_owned()],
            known: 1,
            writable: true,
            certificate_begins: Some(999),
            certificate_expires: Some(1_000),
            ..Status::default()
        };
        let begins = |status: Status, begin: &str| {
            let why = unready(&status, 999.0).unwrap_or_default();
            assert!(why.starts_with(begin) && why.is_empty() == begin.is_empty(), "{why}");
        };
        begins(status(), "");
        begins(Status { certificate_begins: None, certificate_expires: None, ..status() }, "");
        begins(Status { connected: Vec::new(), known: 0, alone_seconds: Some(20_000), ..status() }, "");
        begins(Status { writable: false, ..status() }, "transactions.json cannot be written");
        begins(Status { pool_full: true, ..status() }, "the pool is full");
        let later = Status { certificate_begins: Some(1_000), ..status() };
        begins(later, "by this machine's clock the certificate of the node or of its authority is not valid yet");
        begins(Status { certificate_expires: Some(999), ..status() }, "by this machine's clock the certificate");
        let alone = |seconds| Status { connected: Vec::new(), alone_seconds: Some(seconds), ..status() };
        begins(alone(11_100), "no peer is linked since the last one left, 3 h 5 min ago");
        begins(alone(19_999), "no peer is linked since the start, 5 h 33 min ago");
    }
}
