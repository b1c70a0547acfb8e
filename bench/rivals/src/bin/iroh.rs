//! A node of iroh-gossip: QUIC on loopback, without relay and without discovery; everybody knows
//! everybody's key and address.
//!
//! Its view of neighbours holds all nodes, since the mesh is to be full; stock it holds five.
//! Without `--stock` the subscription, where messages wait for the program, is longer than any
//! burst. The other queues have no setting: the bench builds this program a second time, of a
//! library in which they are longer.
//!
//! Whoever takes messages from the subscription waits for nothing else: what is pushed at this
//! node, and joining those who are missing, are tasks of their own.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use futures_util::StreamExt;
use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::{Endpoint, RelayMode, presets};
use iroh::protocol::Router;
use iroh::{EndpointAddr, EndpointId, SecretKey};
use iroh_gossip::api::{Event, GossipReceiver, GossipSender, JoinOptions};
use iroh_gossip::net::{GOSSIP_ALPN, Gossip};
use iroh_gossip::proto::{HyparviewConfig, TopicId};
use rivals::{Arguments, ENOUGH, Folder, Intake, Tally, end_with, listen, peer_port};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long to wait before those who are missing are asked to join again.
const PAUSE: Duration = Duration::from_millis(500);
/// The one topic.
const TOPIC: TopicId = TopicId::from_bytes([7; 32]);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = Folder::read()?;
    let tally = Tally::new(arguments.delays);
    let intake = listen(folder.port, tally.clone()).await?;
    end_with(tally.clone(), run(arguments, folder, intake, tally)).await
}

async fn run(arguments: Arguments, folder: Folder, intake: Intake, tally: Tally) -> Result<()> {
    let endpoint = Endpoint::builder(presets::Minimal)
        .secret_key(key(folder.port))
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr(address(folder.port))?
        .address_lookup(MemoryLookup::from_endpoint_info(
            folder.others.iter().map(|port| EndpointAddr::new(id(*port)).with_ip_addr(address(*port))),
        ))
        .bind()
        .await?;
    let view = HyparviewConfig { active_view_capacity: folder.others.len().max(5), ..HyparviewConfig::default() };
    let gossip = Gossip::builder().membership_config(view).spawn(endpoint.clone());
    let _router = Router::builder(endpoint).accept(GOSSIP_ALPN, gossip.clone()).spawn();
    let others: HashSet<_> = folder.others.iter().map(|port| id(*port)).collect();
    let mut options = JoinOptions::with_bootstrap(others.iter().copied());
    if !arguments.stock {
        options.subscription_capacity = ENOUGH;
    }
    let (sender, receiver) = gossip.subscribe_with_opts(TOPIC, options).await?.split();
    let missing = Arc::new(Mutex::new(others));
    let mut tasks = JoinSet::new();
    tasks.spawn(push(intake, sender.clone(), tally.clone()));
    tasks.spawn(join(sender, Arc::clone(&missing)));
    tasks.spawn(receive(receiver, missing, tally));
    // The first that ends ends the node: none does while all is well.
    tasks.join_next().await.context("nothing runs")??
}

/// Who is no neighbour now.
type Missing = Arc<Mutex<HashSet<EndpointId>>>;

async fn push(mut intake: Intake, sender: GossipSender, tally: Tally) -> Result<()> {
    while let Some(transaction) = intake.recv().await {
        tally.pushed(&transaction);
        sender.broadcast(transaction).await?;
    }
    Ok(())
}

async fn join(sender: GossipSender, missing: Missing) -> Result<()> {
    loop {
        sleep(PAUSE).await;
        let missing: Vec<_> = lock(&missing).iter().copied().collect();
        if !missing.is_empty() {
            sender.join_peers(missing).await?;
        }
    }
}

async fn receive(mut receiver: GossipReceiver, missing: Missing, tally: Tally) -> Result<()> {
    let mut lagged = false;
    loop {
        match receiver.next().await.context("the subscription has ended")?? {
            Event::Received(message) => {
                tally.delivered(&message.content);
                continue;
            }
            Event::NeighborUp(peer) => drop(lock(&missing).remove(&peer)),
            Event::NeighborDown(peer) => drop(lock(&missing).insert(peer)),
            Event::Lagged => {
                // What is lost is counted by the bench.
                if !std::mem::replace(&mut lagged, true) {
                    eprintln!("the subscription lagged: messages were lost");
                }
            }
        }
        tally.linked(receiver.neighbors().count());
    }
}

/// Nothing panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everybody's key is made of its port, so that everybody knows it.
fn key(port: u16) -> SecretKey {
    let mut seed = [0; 32];
    seed[..2].copy_from_slice(&port.to_be_bytes());
    SecretKey::from_bytes(&seed)
}

fn id(port: u16) -> EndpointId {
    key(port).public()
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, peer_port(port)).into()
}
