//! A node of rust-libp2p's gossipsub, over TCP with noise and yamux.
//!
//! Everything is as the library sets it, but for what the arguments say: `--unsigned` sends
//! messages without author and signature, known again by a hash of their content; and without
//! `--stock` its queues are longer and wait longer than any burst.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use futures_util::StreamExt;
use libp2p::gossipsub::{
    Behaviour, Config, ConfigBuilder, Event, IdentTopic, Message, MessageAuthenticity, MessageId, ValidationMode,
};
use libp2p::identity::Keypair;
use libp2p::multiaddr::{Multiaddr, Protocol};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{PeerId, Swarm, SwarmBuilder, noise, tcp, yamux};
use rivals::{Arguments, ENOUGH, Folder, Intake, Tally, end_with, listen, peer_port};
use tokio::time::{MissedTickBehavior, interval};

/// How long to wait before a node that does not listen yet is dialled again.
const PAUSE: Duration = Duration::from_millis(50);
/// Longer than any run.
const LONG: Duration = Duration::from_secs(3_600);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = Folder::read()?;
    let tally = Tally::new(arguments.delays);
    let topic = IdentTopic::new("transactions");
    let mut swarm = swarm(arguments, &topic)?;
    swarm.listen_on(address(folder.port))?;
    let intake = listen(folder.port, tally.clone()).await?;
    let node = Node { swarm, topic, tally: tally.clone(), peers: Peers::new(&folder) };
    end_with(tally, node.run(intake)).await
}

fn swarm(arguments: Arguments, topic: &IdentTopic) -> Result<Swarm<Behaviour>> {
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let builder = builder.with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?;
    let builder = builder.with_behaviour(|key| {
        let mut behaviour = Behaviour::new(authenticity(arguments, key), config(arguments)?)?;
        behaviour.subscribe(topic)?;
        Ok(behaviour)
    })?;
    Ok(builder.with_swarm_config(|config| config.with_idle_connection_timeout(LONG)).build())
}

fn authenticity(arguments: Arguments, key: &Keypair) -> MessageAuthenticity {
    if arguments.unsigned { MessageAuthenticity::Anonymous } else { MessageAuthenticity::Signed(key.clone()) }
}

fn config(arguments: Arguments) -> Result<Config> {
    let mut config = ConfigBuilder::default();
    if arguments.unsigned {
        config.validation_mode(ValidationMode::Anonymous).message_id_fn(content_id);
    }
    if !arguments.stock {
        config.connection_handler_queue_len(ENOUGH).publish_queue_duration(LONG).forward_queue_duration(LONG);
    }
    config.build().map_err(|error| anyhow!("gossipsub refuses its settings: {error}"))
}

/// A message's identity where it has no author and no number, as in the library's examples.
fn content_id(message: &Message) -> MessageId {
    let mut hasher = DefaultHasher::new();
    message.data.hash(&mut hasher);
    MessageId::from(hasher.finish().to_be_bytes().to_vec())
}

fn address(port: u16) -> Multiaddr {
    Multiaddr::from(Ipv4Addr::LOCALHOST).with(Protocol::Tcp(peer_port(port)))
}

struct Node {
    swarm: Swarm<Behaviour>,
    topic: IdentTopic,
    tally: Tally,
    peers: Peers,
}

impl Node {
    async fn run(mut self, mut intake: Intake) -> Result<()> {
        let mut redial = interval(PAUSE);
        redial.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on(event),
                transaction = intake.recv() => {
                    let transaction = transaction.context("the intake has ended")?;
                    self.tally.pushed(&transaction);
                    // A full queue is a loss, and shows as one.
                    self.swarm.behaviour_mut().publish(self.topic.clone(), transaction).map(drop).unwrap_or_default();
                }
                _ = redial.tick(), if !self.peers.undialled.is_empty() => self.dial(),
            }
        }
    }

    fn dial(&mut self) {
        for port in std::mem::take(&mut self.peers.undialled) {
            let dial = DialOpts::from(address(port));
            self.peers.dialling.insert(dial.connection_id(), port);
            if self.swarm.dial(dial).is_err() {
                self.peers.undialled.push(port);
            }
        }
    }

    fn on(&mut self, event: SwarmEvent<Event>) {
        match event {
            SwarmEvent::Behaviour(Event::Message { message, .. }) => return self.tally.delivered(&message.data),
            SwarmEvent::Behaviour(Event::Subscribed { peer_id, .. }) => {
                self.peers.linked.insert(peer_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, .. } => {
                self.peers.undialled.extend(self.peers.dialling.remove(&connection_id));
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established: 0, cause, .. } => {
                eprintln!("a connection was closed: {cause:?}");
                self.peers.linked.remove(&peer_id);
                self.peers.undialled.extend(self.peers.dialling.remove(&connection_id));
            }
            _ => {}
        }
        self.tally.linked(self.peers.linked.len());
    }
}

/// One connection to every other node: of two, the one with the higher port dials.
struct Peers {
    undialled: Vec<u16>,
    dialling: HashMap<ConnectionId, u16>,
    /// Those that have told us what they are subscribed to.
    linked: HashSet<PeerId>,
}

impl Peers {
    fn new(folder: &Folder) -> Self {
        let lower = folder.others.iter().copied().filter(|other| *other < folder.port);
        Self { undialled: lower.collect(), dialling: HashMap::new(), linked: HashSet::new() }
    }
}
