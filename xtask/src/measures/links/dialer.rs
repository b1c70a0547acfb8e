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
}

impl Dialer {
    /// Makes the node's folder, and for a closed network the authority and the node's certificate.
    pub(crate) fn prepare(folder: &Path, secure: bool, exercise: bool) -> Result<Self> {
        let (node, own) = (folder.join("node"), folder.join("peers"));
        for folder in [&node, &own] {
            fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        fs::write(node.join(meshpool::binary::pool::POOL_FILE), "[]")?;
        let authority = secure.then(|| Authority::create(&folder.join("ca"))).transpose()?;
        if let Some(authority) = &authority {
            let key = NodeKey::load_or_create(&node)?;
            for folder in [&node, &own] {
                fs::write(folder.join(CA), authority.certificate())?;
            }
            fs::write(node.join(NODE_CERTIFICATE), authority.issue(key.node_id(), NODE_VALIDITY)?)?;
        }
        Ok(Self { node, own, authority, exercise })
    }

    /// Returns lines for the node's `.env`.
    pub(crate) fn settings(&self) -> &'static str {
        if self.authority.is_some() { "NETWORK_CA=ca.pem\n" } else { "" }
    }

    /// Starts the node.
    pub(crate) async fn start(&self, binary: &Path, settings: &str) -> Result<Process> {
        let operator = self.authority.as_ref().map(|_| credentials(&self.node)).transpose()?;
        Process::start_as(binary, &self.node, &[], settings, operator).await
    }

    /// Opens a link as a new peer. Returns the time from the connection to the node's HANDSHAKE,
    /// and a future that keeps the link open and returns how it ended.
    pub(crate) async fn link(&self, to: &PeerAddress) -> Result<(Duration, impl Future<Output = String> + use<>)> {
        let (id, credentials) = self.identity()?;
        let opening = async {
            let began = Instant::now();
            let mut socket = open(to, credentials).await?;
            socket.send(Message::text(self.handshake(id)?)).await?;
            // The node answers an exercise peer on the link that it dials itself, so here only the
            // upgrade is measured.
            if !self.exercise {
                wait_for_handshake(&mut socket).await?;
            }
            Ok((began.elapsed(), keep_open(socket)))
        };
        timeout(PATIENCE, opening).await.with_context(|| format!("a link was not open after {PATIENCE:?}"))?
    }

    /// Makes the id of a new peer, and in a closed network its credentials.
    fn identity(&self) -> Result<(NodeId, Option<Credentials>)> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        let Some(authority) = &self.authority else { return Ok((NodeId(secret), None)) };
        // `NodeKey::load_or_create` would wait for the disk, and this key is used once.
        let path = self.own.join(NODE_KEY);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(HEXLOWER.encode(&secret).as_bytes())?;
        let key = NodeKey::load(&self.own)?.context("the key was just written")?;
        let id = key.node_id();
        fs::write(self.own.join(NODE_CERTIFICATE), authority.issue(id, NODE_VALIDITY)?)?;
        Ok((id, Some(credentials(&self.own)?)))
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

async fn open(to: &PeerAddress, credentials: Option<Credentials>) -> Result<Socket> {
    let stream = TcpStream::connect((to.host().as_str(), to.port())).await.context("the node cannot be reached")?;
    stream.set_nodelay(true)?;
    let wire: Box<dyn Wire> = match credentials {
        Some(credentials) => Box::new(credentials.secure(stream).await?.0),
        None => Box::new(stream),
    };
    let config = WebSocketConfig::default().read_buffer_size(4 * 1024);
    let (socket, _) = client_async_with_config(to.to_string().into_client_request()?, wire, Some(config)).await?;
    Ok(socket)
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
async fn keep_open(mut socket: Socket) -> String {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(frame))) => return format!("closed with {frame:?}"),
            Some(Ok(_)) => {}
            Some(Err(error)) => return error.to_string(),
            None => return "closed without a close frame".to_owned(),
        }
    }
}
