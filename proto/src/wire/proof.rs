//! The member `proof` of a HANDSHAKE, and the statement that it signs: by it a node proves its id
//! on one link.
//!
//! The statement names all that makes the link this one: the role of the signer, the network, id,
//! session and nonce of both ends, and where the dialler connected. So a proof is of no use on
//! another link, in the other role, or to somebody who stands between the two ends.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::PeerAddress;
use crate::id::{InvalidId, NodeId, Nonce, Session};
use crate::json::{Parser, Value};
use crate::signature::{Purpose, Seal, Signature, Signer};

/// The member `proof` of a HANDSHAKE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// That of the end that dialled.
    Dialler {
        /// Its nonce.
        nonce: Nonce,
        /// The address that it dialled.
        address: PeerAddress,
        /// The IP address that it connected to.
        ip: IpAddr,
        /// Its signature of the [`Statement`].
        signature: Signature,
    },
    /// That of the end that accepted; its nonce was in the answer to the upgrade.
    Acceptor {
        /// Whether the address that was dialled is its own: nobody stands between the two.
        direct: bool,
        /// Its signature of the [`Statement`].
        signature: Signature,
    },
}

/// One end of a link in a [`Statement`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// Its id.
    pub id: NodeId,
    /// Its session.
    pub session: Session,
    /// Its nonce for this link.
    pub nonce: Nonce,
}

/// What both ends of a link sign, each in its role.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    /// The name of their network.
    pub network: &'a str,
    /// The end that dialled.
    pub dialler: Party,
    /// The end that accepted.
    pub acceptor: Party,
    /// The address that was dialled.
    pub address: &'a PeerAddress,
    /// The IP address that was connected to.
    pub ip: IpAddr,
    /// Whether the address is the acceptor's own: signed by the acceptor only. `None` is the
    /// statement of the dialler.
    pub direct: Option<bool>,
}

#[derive(Serialize)]
struct PartyOnWire {
    id: String,
    nonce: String,
    session: String,
}

#[derive(Serialize)]
struct StatementOnWire<'a> {
    acceptor: PartyOnWire,
    address: String,
    dialler: PartyOnWire,
    #[serde(skip_serializing_if = "Option::is_none")]
    direct: Option<bool>,
    ip: String,
    network: &'a str,
    role: &'static str,
}

impl Party {
    fn on_wire(&self) -> PartyOnWire {
        PartyOnWire { id: self.id.to_string(), nonce: self.nonce.to_string(), session: self.session.to_string() }
    }
}

impl Statement<'_> {
    /// Returns the canonical JSON that is signed; `None` if the network's name has no canonical
    /// form.
    pub fn canonical(&self) -> Option<String> {
        let statement = StatementOnWire {
            acceptor: self.acceptor.on_wire(),
            address: self.address.to_string(),
            dialler: self.dialler.on_wire(),
            direct: self.direct,
            ip: self.ip.to_string(),
            network: self.network,
            role: if self.direct.is_some() { "acceptor" } else { "dialler" },
        };
        let text = serde_json::to_string(&statement).ok()?;
        let mut parser = Parser::new();
        let normal = parser.parse(&text).and_then(Value::normal).ok()?;
        Some(normal.canonical().to_owned())
    }

    /// Signs the statement for one kind of connection; returns `None` if this node signs nothing.
    pub fn sign(&self, signer: &dyn Signer, purpose: Purpose) -> Option<Signature> {
        signer.sign(purpose, &self.canonical()?)
    }

    /// Returns whether the node whose statement it is signed it, for this kind of connection.
    pub fn is_signed(&self, signer: &dyn Signer, purpose: Purpose, signature: Signature) -> bool {
        let node = if self.direct.is_some() { self.acceptor.id } else { self.dialler.id };
        let seal = self.canonical().map(|canonical| Seal { canonical, signature });
        seal.is_some_and(|seal| signer.vouches(node, purpose, Some(&seal)))
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ProofOnWire<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    nonce: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    address: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    ip: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    direct: Option<bool>,
    #[serde(borrow)]
    signature: Cow<'a, str>,
}

impl ProofOnWire<'_> {
    pub(super) fn read(self) -> Result<Proof, String> {
        let spelled = |error: InvalidId| format!("proof: {error}");
        let signature = self.signature.parse().map_err(spelled)?;
        match (self.nonce, self.address, self.ip, self.direct) {
            (Some(nonce), Some(address), Some(ip), None) => Ok(Proof::Dialler {
                nonce: nonce.parse().map_err(spelled)?,
                address: address.parse().map_err(|error| format!("proof: {error}"))?,
                ip: ip.parse().map_err(|_| "proof: ip is no IP address".to_owned())?,
                signature,
            }),
            (None, None, None, Some(direct)) => Ok(Proof::Acceptor { direct, signature }),
            _ => Err("proof: it has nonce, address and ip, or direct".to_owned()),
        }
    }
}

impl Proof {
    pub(super) fn on_wire(&self) -> ProofOnWire<'_> {
        match self {
            Self::Dialler { nonce, address, ip, signature } => ProofOnWire {
                nonce: Some(nonce.to_string().into()),
                address: Some(address.to_string().into()),
                ip: Some(ip.to_string().into()),
                direct: None,
                signature: signature.to_string().into(),
            },
            Self::Acceptor { direct, signature } => ProofOnWire {
                nonce: None,
                address: None,
                ip: None,
                direct: Some(*direct),
                signature: signature.to_string().into(),
            },
        }
    }
}
