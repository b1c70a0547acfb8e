//! The other ends of the links: peers that send a HANDSHAKE and answer pings, nothing else.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use futures_util::{SinkExt, StreamExt};
use iroh::Endpoint;
use meshpool::NodeKey;
use meshpool::binary::NODE_KEY;
use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::id::{NodeId, Session};
use meshpool::protocol::wire::{Handshake, NodeInfo, PROTOCOL};
use meshpool::tls::{Authority, Credentials, Files, NODE_CERTIFICATE, NODE_VALIDITY};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::measures::links::network::Network;
use crate::measures::links::over_iroh;
use crate::support::process::Process;

/// The time in which a link must open.
const PATIENCE: Duration = Duration::from_secs(30);
/// The name of the network of a node that is configured with no other.
const NETWORK: &str = "p2p-node";
/// The authority's certificate in a node's folder.
const CA: &str = "ca.pem";

/// A stream that can carry a WebSocket.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

type Socket = WebSocketStream<Box<dyn Wire>>;

/// Opens links to the node that is measured.
pub(crate) struct Dialer {
    /// The node's folder.
    node: PathBuf,
    /// The folder for the key and the certificate of the peer that dials next.
    own: PathBuf,
    authority: Option<Authority>,
    exercise: bool,
    /// The node's id, if it is dialled over iroh, …
    by_id: Option<NodeId>,
    /// … and its UDP ports, once it is started.
    ports: Vec<u16>,
}

/// What a new peer connects with.
enum Identity {
    Plain(NodeId),
    Certified(NodeId, Credentials),
    OverIroh(NodeId, Endpoint),
}

impl Identity {
    fn id(&self) -> NodeId {
        match self {
            Self::Plain(id) | Self::Certified(id, _) | Self::OverIroh(id, _) => *id,
        }
    }
}

impl Dialer {
    /// Makes the node's folder, and for a closed network the authority and the node's certificate.
    pub(crate) fn prepare(folder: &Path, network: Network, exercise: bool) -> Result<Self> {
        let (node, own) = (folder.join("node"), folder.join("peers"));
        for folder in [&node, &own] {
            fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        fs::write(node.join(meshpool::binary::pool::POOL_FILE), "[]")?;
        let authority = (network == Network::Closed).then(|| Authority::create(&folder.join("ca"))).transpose()?;
        if let Some(authority) = &authority {
            let key = NodeKey::load_or_create(&node)?;
            for folder in [&node, &own] {
                fs::write(folder.join(CA), authority.certificate())?;
            }
            fs::write(node.join(NODE_CERTIFICATE), authority.issue(key.node_id(), NODE_VALIDITY)?)?;
        }
        let by_id = (network == Network::OverIroh).then(|| NodeKey::load_or_create(&node)).transpose()?;
        Ok(Self { node, own, authority, exercise, by_id: by_id.map(|key| key.node_id()), ports: Vec::new() })
    }

    /// Returns lines for the node's `.env`.
    pub(crate) fn settings(&self) -> &'static str {
        match (&self.authority, self.by_id) {
            (Some(_), _) => "NETWORK_CA=ca.pem\n",
            (None, Some(_)) => "WAN=on\n",
            (None, None) => "",
        }
    }

    /// Starts the node.
    pub(crate) async fn start(&mut self, binary: &Path, settings: &str) -> Result<Process> {
        let operator = self.authority.as_ref().map(|_| credentials(&self.node)).transpose()?;
        let node = Process::start_as(binary, &self.node, &[], settings, operator).await?;
        if self.by_id.is_some() {
            self.ports = node.udp_ports().await?;
        }
        Ok(node)
    }

    /// Opens a link as a new peer. Returns the time from the connection to the node's HANDSHAKE,
    /// and a future that keeps the link open and returns how it ended.
    pub(crate) async fn link(&self, to: &PeerAddress) -> Result<(Duration, impl Future<Output = String> + use<>)> {
        let identity = self.identity().await?;
        let handshake = self.handshake(identity.id())?;
        let opening = async {
            let began = Instant::now();
            let (mut socket, open) = self.open(to, identity).await?;
            socket.send(Message::text(handshake)).await?;
            // The node answers an exercise peer on the link that it dials itself, so here only the
            // upgrade is measured.
            if !self.exercise {
                wait_for_handshake(&mut socket).await?;
            }
            Ok((began.elapsed(), keep_open(socket, open)))
        };
        timeout(PATIENCE, opening).await.with_context(|| format!("a link was not open after {PATIENCE:?}"))?
    }

    /// Makes the id of a new peer, in a closed network its credentials, and its endpoint over iroh.
    async fn identity(&self) -> Result<Identity> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        if self.by_id.is_some() {
            let (id, endpoint) = over_iroh::endpoint(secret).await?;
            return Ok(Identity::OverIroh(id, endpoint));
        }
        let Some(authority) = &self.authority else { return Ok(Identity::Plain(NodeId(secret))) };
        // `NodeKey::load_or_create` would wait for the disk, and this key is used once.
        let path = self.own.join(NODE_KEY);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(HEXLOWER.encode(&secret).as_bytes())?;
        let key = NodeKey::load(&self.own)?.context("the key was just written")?;
        let id = key.node_id();
        fs::write(self.own.join(NODE_CERTIFICATE), authority.issue(id, NODE_VALIDITY)?)?;
        Ok(Identity::Certified(id, credentials(&self.own)?))
    }

    fn handshake(&self, id: NodeId) -> Result<String> {
        let mut session = [0; 16];
        getrandom::fill(&mut session)?;
        let node = NodeInfo {
            id,
            session: Session::from_random(session),
            agent: "xtask links".into(),
            protocol: PROTOCOL,
            network: NETWORK.into(),
            address: None,
            max_peers: None,
            topics: Vec::new(),
            calls_back: false,
            relays: false,
            proof: None,
        };
        let node = (!self.exercise).then_some(node);
        Ok(Handshake { addresses: Vec::new(), dropped: 0, node }.to_frame().as_str().to_owned())
    }

    /// Opens a WebSocket, and returns what keeps it open.
    async fn open(&self, to: &PeerAddress, identity: Identity) -> Result<(Socket, Option<over_iroh::Open>)> {
        let (wire, open): (Box<dyn Wire>, _) = match (identity, self.by_id) {
            (Identity::OverIroh(_, endpoint), Some(node)) => {
                let (stream, open) = over_iroh::connect(endpoint, node, &self.ports).await?;
                (Box::new(stream), Some(open))
            }
            (Identity::Certified(_, credentials), _) => (Box::new(credentials.secure(tcp(to).await?).await?.0), None),
            (Identity::Plain(_) | Identity::OverIroh(..), _) => (Box::new(tcp(to).await?), None),
        };
        let config = WebSocketConfig::default().read_buffer_size(4 * 1024);
        let (socket, _) = client_async_with_config(to.to_string().into_client_request()?, wire, Some(config)).await?;
        Ok((socket, open))
    }

    /// Ends the node.
    pub(crate) async fn stop(self, node: Process) -> Result<()> {
        node.stop().await.map(drop)
    }
}

fn credentials(folder: &Path) -> Result<Credentials> {
    let key = NodeKey::load(folder)?.with_context(|| format!("{} has no {NODE_KEY}", folder.display()))?;
    let files = Files { ca: CA.into(), certificate: NODE_CERTIFICATE.into() };
    Ok(Credentials::load(folder, &files, Arc::new(key))?)
}

async fn tcp(to: &PeerAddress) -> Result<TcpStream> {
    let stream = TcpStream::connect((to.host().as_str(), to.port())).await.context("the node cannot be reached")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Waits for the node's HANDSHAKE.
async fn wait_for_handshake(socket: &mut Socket) -> Result<()> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) if text.contains("HANDSHAKE") => return Ok(()),
            Some(Ok(Message::Close(frame))) => bail!("the node closed a new link: {frame:?}"),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error).context("a new link broke"),
            None => bail!("the node closed a new link without a close frame"),
        }
    }
}

/// Reads until the link ends; reading answers pings.
async fn keep_open(mut socket: Socket, _open: Option<over_iroh::Open>) -> String {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(frame))) => return format!("closed with {frame:?}"),
            Some(Ok(_)) => {}
            Some(Err(error)) => return error.to_string(),
            None => return "closed without a close frame".to_owned(),
        }
    }
}
