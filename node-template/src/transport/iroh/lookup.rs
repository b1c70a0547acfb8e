//! Finds nodes by their id alone, in a mainline DHT (BEP 5): each node publishes the relays that it
//! is reached over as a mutable item (BEP 44), signed by its key. Off unless the user wants it,
//! since the DHT is run by others.
//!
//! The salt of an item is a digest of the network's name, so a node is found by those alone who
//! know its id and its network.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mainline::async_dht::AsyncDht;
use mainline::{
    Config, DEFAULT_BOOTSTRAP_NODES, Dht, MutableItem, RequestFilter, RequestSpecific, ServerSettings, SigningKey,
};
use meshpool_proto::address::{PeerAddress, RelayHint, Scope};
use meshpool_proto::id::NodeId;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, watch};

use crate::transport::iroh::identity::WanIdentity;

/// How often what is published is published again: the nodes of a DHT keep an item for two hours
/// (BEP 44).
const PUBLISH_EVERY: Duration = Duration::from_secs(60 * 60);
/// The pause before what could not be published is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// The shortest time between two versions of what is published.
const PUBLISH_PAUSE: Duration = Duration::from_secs(10);
/// How long one question to the DHT may take. Over the internet it takes seconds.
const WITHIN: Duration = Duration::from_secs(30);
/// How long an answer is kept.
const FOUND_FOR: Duration = Duration::from_secs(5 * 60);
/// How long it is kept that nothing was found: dials are repeated sooner.
const NOT_FOUND_FOR: Duration = Duration::from_secs(15);
/// How many nodes that the user named are looked up at a time, and how many that peers named.
/// Others are not looked up now; who dials them tries again.
const AT_A_TIME: usize = 4;
/// How many answers are kept.
const KEPT: usize = 256;

/// Relays of a node; `None` while they are looked up.
type Answer = watch::Receiver<Option<Vec<RelayHint>>>;

/// Looks nodes up, and publishes this one.
#[derive(Debug)]
pub(crate) struct Lookup {
    key: SigningKey,
    salt: [u8; 32],
    /// The names of the DHT's nodes to begin with.
    bootstrap: Vec<String>,
    client: Mutex<Client>,
    asked: Mutex<HashMap<NodeId, (Instant, Answer)>>,
    for_user: Arc<Semaphore>,
    for_peers: Arc<Semaphore>,
}

/// The client of the DHT, a thread with a socket.
#[derive(Debug)]
enum Client {
    /// It starts when it is first needed.
    NotYet,
    Running(AsyncDht),
    Ended,
}

/// A node of the DHT that answers nobody: this one only asks.
#[derive(Debug, Clone)]
struct AnswersNobody;

impl RequestFilter for AnswersNobody {
    fn allow_request(&self, _: &RequestSpecific, _: SocketAddrV4) -> bool {
        false
    }
}

impl Lookup {
    /// `bootstrap`: nodes of the DHT, `host:port`; if it is empty, those of the public one.
    pub(crate) fn new(identity: &WanIdentity, network: &str, bootstrap: &[String]) -> Self {
        let bootstrap = match bootstrap {
            [] => DEFAULT_BOOTSTRAP_NODES.map(str::to_owned).to_vec(),
            named => named.to_vec(),
        };
        Self {
            key: SigningKey::from_bytes(&identity.seed),
            salt: Sha256::new().chain_update("p2p-node lookup\0").chain_update(network).finalize().into(),
            bootstrap,
            client: Mutex::new(Client::NotYet),
            asked: Mutex::default(),
            for_user: Arc::new(Semaphore::new(AT_A_TIME)),
            for_peers: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    fn client(&self) -> MutexGuard<'_, Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<NodeId, (Instant, Answer)>> {
        // Each change leaves it in order.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the relays that a node has published. The list is empty if there is no record of it,
    /// if the DHT does not answer, or if too many nodes are looked up now. A question that nobody
    /// waits for any more goes on, so that the next dial has its answer. `by_user`: the user named
    /// the node.
    pub(crate) async fn find(self: &Arc<Self>, node: NodeId, by_user: bool) -> Vec<RelayHint> {
        let Some(mut answer) = self.ask(node, by_user, Instant::now()) else { return Vec::new() };
        let found = answer.wait_for(Option::is_some).await;
        found.ok().and_then(|found| found.clone()).unwrap_or_default()
    }

    fn ask(self: &Arc<Self>, node: NodeId, by_user: bool, now: Instant) -> Option<Answer> {
        let mut asked = self.asked();
        asked.retain(|_, (since, answer)| {
            let kept = match answer.borrow().as_deref() {
                // It answers in any case, unless its task panicked.
                None => return answer.has_changed().is_ok(),
                Some([]) => NOT_FOUND_FOR,
                Some(_) => FOUND_FOR,
            };
            now.saturating_duration_since(*since) < kept
        });
        if let Some((_, answer)) = asked.get(&node) {
            return Some(answer.clone());
        }
        let places = if by_user { &self.for_user } else { &self.for_peers };
        let place = Arc::clone(places).try_acquire_owned().ok()?;
        if asked.len() >= KEPT
            && let Some(oldest) = asked.iter().min_by_key(|(_, (since, _))| *since).map(|(node, _)| *node)
        {
            asked.remove(&oldest);
        }
        let (sender, answer) = watch::channel(None);
        asked.insert(node, (now, answer.clone()));
        let lookup = Arc::clone(self);
        tokio::spawn(async move {
            let _place = place;
            let found = lookup.query(node).await.unwrap_or_else(|error| {
                tracing::debug!("the node {node} was not looked up: {error}");
                Vec::new()
            });
            sender.send_replace(Some(found));
        });
        Some(answer)
    }

    async fn query(&self, node: NodeId) -> io::Result<Vec<RelayHint>> {
        let dht = self.dht().await?;
        let latest = dht.get_mutable_most_recent(&node.0, Some(&self.salt));
        let latest = tokio::time::timeout(WITHIN, latest).await?;
        Ok(latest.map(|item| read(node, item.value())).unwrap_or_default())
    }

    /// Publishes this node's relays for as long as it is polled.
    pub(crate) async fn publish_all(&self, mut address: watch::Receiver<Option<PeerAddress>>) {
        // What is said once.
        let mut failed = false;
        let mut published = String::new();
        loop {
            let relays = address.borrow_and_update().as_ref().map(written);
            let again = match relays {
                // It has none at the moment; what was published leads to where it was last.
                None => None,
                Some(relays) if relays.is_empty() => {
                    if published != relays {
                        tracing::info!("this node is not published in the DHT: none of its relays is on the internet");
                    }
                    published = relays;
                    None
                }
                Some(relays) => match self.publish(&relays).await {
                    Ok(()) => {
                        if published != relays {
                            tracing::info!("this node is found by its id in the DHT, over {relays}");
                        }
                        (failed, published) = (false, relays);
                        Some(PUBLISH_EVERY)
                    }
                    Err(error) => {
                        if !failed {
                            tracing::warn!(
                                "this node could not be published in the DHT: {error}; it is tried again each minute"
                            );
                        }
                        failed = true;
                        Some(RETRY_AFTER)
                    }
                },
            };
            let changed = async {
                if again.is_some() {
                    tokio::time::sleep(PUBLISH_PAUSE).await;
                }
                address.changed().await
            };
            let later = async {
                match again {
                    Some(again) => tokio::time::sleep(again).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changed => if changed.is_err() { return },
                () = later => {}
            }
        }
    }

    async fn publish(&self, relays: &str) -> io::Result<()> {
        let dht = self.dht().await?;
        let put = async {
            let key = self.key.verifying_key().to_bytes();
            let latest = dht.get_mutable_most_recent(&key, Some(&self.salt)).await;
            // The clock alone would not do: it may have been wrong.
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs().cast_signed());
            let number = latest.map_or(now, |item| now.max(item.seq().saturating_add(1)));
            let item = MutableItem::new(self.key.clone(), relays.as_bytes(), number, Some(&self.salt));
            dht.put_mutable(item, None).await.map_err(io::Error::other)
        };
        tokio::time::timeout(WITHIN, put).await?.map(|_| ())
    }

    async fn dht(&self) -> io::Result<AsyncDht> {
        if let Some(dht) = self.running()? {
            return Ok(dht);
        }
        let started = start(&self.bootstrap).await?;
        // Another question may have started one meanwhile.
        if let Some(dht) = self.running()? {
            return Ok(dht);
        }
        *self.client() = Client::Running(started.clone());
        Ok(started)
    }

    /// Returns the client; `None` if it has not started.
    fn running(&self) -> io::Result<Option<AsyncDht>> {
        match &*self.client() {
            Client::NotYet => Ok(None),
            Client::Running(dht) => Ok(Some(dht.clone())),
            Client::Ended => Err(io::Error::new(io::ErrorKind::NotConnected, "the node has ended")),
        }
    }

    /// Ends the client, once the questions that are asked now have their answers.
    pub(crate) fn close(&self) {
        *self.client() = Client::Ended;
    }
}

async fn start(bootstrap: &[String]) -> io::Result<AsyncDht> {
    let mut found = Vec::new();
    for name in bootstrap {
        match tokio::net::lookup_host(name.as_str()).await {
            // The DHT is one of IPv4.
            Ok(addresses) => found.extend(addresses.filter_map(|address| match address {
                SocketAddr::V4(address) => Some(address),
                SocketAddr::V6(_) => None,
            })),
            Err(error) => tracing::debug!("the DHT's node {name} is not used: {error}"),
        }
    }
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("the names of its nodes lead nowhere ({}); name others in LOOKUP_BOOTSTRAP", bootstrap.join(", ")),
        ));
    }
    let server_settings = ServerSettings { filter: Box::new(AnswersNobody), ..ServerSettings::default() };
    Ok(Dht::new(Config { bootstrap: Some(found), server_settings, ..Config::default() })?.as_async())
}

/// Returns what is published of a node: those of its relays that are on the internet.
fn written(address: &PeerAddress) -> String {
    let public = address.relays().iter().filter(|relay| relay.scope() == Scope::Public);
    public.map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Reads what a node has published.
fn read(node: NodeId, value: &[u8]) -> Vec<RelayHint> {
    let text = String::from_utf8_lossy(value);
    let address = format!("iroh:{node}@{text}").parse::<PeerAddress>();
    address.map(|address| address.relays().to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use mainline::Testnet;

    use super::*;
    use crate::folder::node_key::NodeKey;

    fn identity(seed: u8) -> WanIdentity {
        WanIdentity { node: NodeKey::from_bytes(&[seed; 32]).node_id(), seed: [seed; 32] }
    }

    fn lookup(dht: &Testnet, seed: u8, network: &str) -> Arc<Lookup> {
        Arc::new(Lookup::new(&identity(seed), network, &dht.bootstrap))
    }

    async fn dht() -> Testnet {
        let start = || Testnet::builder(4).build();
        tokio::task::spawn_blocking(start).await.expect("ran").expect("a DHT on loopback")
    }

    fn shown(relays: &[RelayHint]) -> String {
        relays.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_is_found_by_its_id_and_the_name_of_its_network() {
        let dht = dht().await;
        let publisher = lookup(&dht, 1, "net");
        publisher.publish("198.51.100.1:4001,relay.example:4002").await.expect("published");
        let node = identity(1).node;
        let finder = lookup(&dht, 2, "net");
        assert_eq!(shown(&finder.find(node, true).await), "198.51.100.1:4001,relay.example:4002");
        assert_eq!(shown(&lookup(&dht, 2, "another").find(node, true).await), "", "of another network");
        assert_eq!(shown(&finder.find(identity(3).node, true).await), "", "it has published nothing");
        publisher.publish("198.51.100.2:1").await.expect("its second version, in the same second");
        assert_eq!(shown(&lookup(&dht, 2, "net").find(node, true).await), "198.51.100.2:1");
        assert_eq!(shown(&finder.find(node, true).await), "198.51.100.1:4001,relay.example:4002", "an answer is kept");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_record_with_a_number_of_the_future_is_replaced() {
        let dht = dht().await;
        let publisher = lookup(&dht, 1, "net");
        // The clock was ahead by thirty years.
        let future = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + 1_000_000_000;
        let ahead = i64::try_from(future).expect("it fits");
        let old = MutableItem::new(publisher.key.clone(), b"198.51.100.1:1", ahead, Some(&publisher.salt));
        publisher.dht().await.expect("it runs").put_mutable(old, None).await.expect("published");
        let find = async || shown(&lookup(&dht, 2, "net").find(identity(1).node, true).await);
        assert_eq!(find().await, "198.51.100.1:1");
        publisher.publish("198.51.100.2:1").await.expect("published");
        assert_eq!(find().await, "198.51.100.2:1");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn relays_are_published_when_they_are_known_and_when_they_change() {
        let dht = dht().await;
        let node = identity(1).node;
        let address = |relays: &str| format!("iroh:{node}@{relays}").parse::<PeerAddress>().expect("an address");
        let (sender, receiver) = watch::channel(None);
        let publisher = lookup(&dht, 1, "net");
        let running = tokio::spawn({
            let publisher = Arc::clone(&publisher);
            async move { publisher.publish_all(receiver).await }
        });
        sender.send_replace(Some(address("10.0.0.1:1,198.51.100.1:1")));
        let found = async {
            loop {
                let found = lookup(&dht, 2, "net").find(node, true).await;
                if !found.is_empty() {
                    return shown(&found);
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), found).await.expect("published");
        assert_eq!(found, "198.51.100.1:1", "the local network is nobody's business");
        drop(sender);
        running.await.expect("it ends with the endpoint");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lookup_that_was_closed_asks_nobody() {
        let dht = dht().await;
        let closed = lookup(&dht, 1, "net");
        closed.publish("198.51.100.1:1").await.expect("published");
        closed.close();
        assert!(closed.publish("198.51.100.1:1").await.is_err());
        assert!(closed.find(identity(1).node, true).await.is_empty());
    }

    #[tokio::test]
    async fn nodes_that_peers_name_take_no_place_of_those_that_the_user_names() {
        let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let silent = silent.local_addr().expect("an address").to_string();
        let (lookup, now) = (Arc::new(Lookup::new(&identity(1), "net", &[silent])), Instant::now());
        let ask = |seed, by_user| lookup.ask(identity(seed).node, by_user, now);
        for seed in 10..14 {
            assert!(ask(seed, false).is_some());
        }
        assert!(ask(14, false).is_none(), "a fifth one is not looked up");
        assert!(ask(10, false).is_some(), "the first one is already");
        assert!(ask(20, true).is_some(), "that of the user is");
        assert_eq!(lookup.asked().len(), 5, "nothing waits");
    }

    #[tokio::test]
    async fn a_dht_that_is_not_there_is_named() {
        let lookup = Lookup::new(&identity(1), "net", &["nobody.invalid:1".to_owned()]);
        let error = lookup.publish("198.51.100.1:1").await.expect_err("nothing to begin with").to_string();
        assert!(error.contains("nobody.invalid:1") && error.contains("LOOKUP_BOOTSTRAP"), "{error}");
        assert!(Arc::new(lookup).find(identity(2).node, true).await.is_empty());
    }

    #[test]
    fn what_is_published_is_read_as_an_address_is() {
        let node = identity(1).node;
        assert_eq!(shown(&read(node, b"a.example:1,b.example:2")), "a.example:1,b.example:2");
        for bad in [&b""[..], b"no port", b"a.example:1#net", &[0xff; 9], b"a.example:1\n", b"x@y:1", &[b'a'; 999]] {
            assert_eq!(shown(&read(node, bad)), "", "{}", String::from_utf8_lossy(bad));
        }
    }
}
