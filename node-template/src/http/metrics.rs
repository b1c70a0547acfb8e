//! Metrics in the OpenMetrics text format, and health.

use axum::extract::State as FromState;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::driver::open_link::OpenLink;
use crate::http::api::{Shared, State};
use crate::http::problem::Problem;
use crate::images;
use crate::protocol::LinkKind;
use crate::protocol::counters::Counters;
use crate::protocol::wire::Status;

/// Upper ends of the classes of delays, in seconds: from one host to another continent, and what came late.
const DELAYS: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// A clock that is wrong by more than this, or a stamp that is none, says nothing about delays: in seconds.
const BELIEVED: std::ops::Range<f64> = 0.0..60.0;

/// How long what was sent elsewhere took here, as far as the senders' clocks can be believed.
#[derive(Debug)]
pub(crate) struct Delays {
    transactions: Histogram,
    broadcasts: Histogram,
}

impl Default for Delays {
    fn default() -> Self {
        Self { transactions: Histogram::new(DELAYS), broadcasts: Histogram::new(DELAYS) }
    }
}

impl Delays {
    pub(crate) fn transaction(&self, seconds: f64) {
        if BELIEVED.contains(&seconds) {
            self.transactions.observe(seconds);
        }
    }

    pub(crate) fn broadcast(&self, seconds: f64) {
        if BELIEVED.contains(&seconds) {
            self.broadcasts.observe(seconds);
        }
    }
}

/// `GET /metrics`
pub(crate) async fn metrics(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    let (status, links) = (state.node.status().await?, state.node.links().await?);
    let nodes = state.hub.view().await?.network.nodes.len();
    let mut registry = Registry::with_prefix("meshpool");
    gauges(&mut registry, &state, &status, &links, nodes);
    registry.register_with_unit(
        "transaction_delay",
        "From a transaction's timeStamp to its arrival here, of some that came from others",
        Unit::Seconds,
        state.hub.delays.transactions.clone(),
    );
    registry.register_with_unit(
        "broadcast_delay",
        "From a broadcast's time to its arrival here, of those that came from others",
        Unit::Seconds,
        state.hub.delays.broadcasts.clone(),
    );
    let (classes, sum) = state.node.sync_times().buckets();
    let syncs = Syncs { classes: classes.collect(), sum };
    registry.register_collector(Box::new(Counted { counters: status.counters.into_iter().collect(), syncs }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can not be written"))?;
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
    gauge("uptime", "How long this run of the node has lasted", Some(Unit::Seconds), status.uptime as usize);
    gauge("pool_transactions", "Transactions on the disk", None, status.pool.count as usize);
    gauge("pool_writable", "Whether transactions.json takes writes: 1 or 0", None, usize::from(status.writable));
    gauge("peers", "Nodes linked to", None, status.connected.len());
    gauge("addresses_known", "Addresses in the peer table", None, status.known);
    gauge("addresses_attempting", "Addresses being dialled", None, status.attempting.len());
    gauge("network_nodes", "Nodes known to be in the network, this one included", None, nodes);
    let queued: Vec<_> = links.iter().map(|link| link.queued_bytes).collect();
    gauge("queued", "Payload that waits to be sent, of all links", Some(Unit::Bytes), queued.iter().sum());
    gauge(
        "queued_largest",
        "Payload that waits to be sent, of the link with most",
        Some(Unit::Bytes),
        queued.into_iter().max().unwrap_or(0),
    );
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    gauge("tasks", "Tasks of the whole program that have not ended", None, tasks);
    gauge(
        "streams",
        "Listeners to /api/events",
        None,
        crate::http::limits::STREAMS - state.streams.available_permits(),
    );
    let kinds = Family::<Vec<(&str, &str)>, Gauge>::default();
    for (kind, name) in [(LinkKind::Native, "full"), (LinkKind::Exercise, "plain"), (LinkKind::Client, "client")] {
        for (dialled, direction) in [(true, "dialled"), (false, "accepted")] {
            let count = links.iter().filter(|link| link.kind == kind && link.dialled == dialled).count();
            kinds.get_or_create(&vec![("kind", name), ("direction", direction)]).set(count as i64);
        }
    }
    registry.register("links", "Open connections, by what is at the other end and who dialled", kinds);
    let slowest = links.iter().filter_map(|link| link.round_trip).max().unwrap_or_default();
    registry.register_with_unit(
        "link_round_trip_largest",
        "The longest of the latest round trips on links to peers; 0 if none was measured",
        Unit::Seconds,
        ConstGauge::new(slowest.as_secs_f64()),
    );
}

/// What the node counted.
#[derive(Debug)]
struct Counted {
    counters: Vec<(String, u64)>,
    syncs: Syncs,
}

#[derive(Debug)]
struct Syncs {
    classes: Vec<(f64, u64)>,
    sum: f64,
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, help) in Counters::described().chain(images::described()) {
            let Some((_, count)) = self.counters.iter().find(|(counted, _)| counted == name) else { continue };
            let help = help.trim();
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(*count).encode(metric)?;
        }
        let help = "Writing a batch of transactions and waiting for the disk.";
        let mut metric = encoder.encode_descriptor("pool_sync", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        let classes = &self.syncs.classes;
        let count = classes.iter().map(|(_, count)| count).sum();
        metric.encode_histogram::<NoLabelSet>(self.syncs.sum, count, classes, None)
    }
}

/// `GET /healthz`: whether the program lives and the node in it.
pub(crate) async fn alive(FromState(state): FromState<Shared>) -> Response {
    if state.node.has_ended() {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the node has ended").into_response();
    }
    "alive\n".into_response()
}

/// `GET /readyz`: whether the node is linked to others, unless it knows of none, and keeps what it is given.
pub(crate) async fn ready(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    let status = state.node.status().await?;
    if !status.writable {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "transactions.json takes no writes; the node's log says why",
        ));
    }
    if status.connected.is_empty() && status.known > 0 {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no peer is linked yet"));
    }
    Ok("ready\n".into_response())
}
