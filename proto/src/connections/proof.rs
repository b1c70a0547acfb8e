//! Proofs of identity: which links lead to the node that their other end names.
//!
//! In an open network an id in a HANDSHAKE or an upgrade identity is a claim. Both ends of a link
//! therefore sign a [`Statement`], which covers a nonce of either end. The acceptor's nonce comes
//! with the answer to the upgrade and the dialler's with its HANDSHAKE, so it costs no round trip.
//!
//! Somebody who answers at an address of its own could still pass everything on to the node that
//! it names, and would own the link between the two. So the dialler signs where it connected, and
//! the acceptor says whether that is its own address. Only then the link is **proved**.
//!
//! The shell draws the nonces ([`Challenge`]); `handshake` asks for proofs and has them judged.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::address::{PeerAddress, Scope};
use crate::connections::table::Link;
use crate::context::Context;
use crate::id::{LinkId, NodeId, Nonce, Session, UpgradeIdentity};
use crate::io::Challenge;
use crate::ip_prefix::IpPrefix;
use crate::signature::Purpose;
use crate::util::generations::Generations;
use crate::util::rate_limit::RateLimit;
use crate::wire::{NodeInfo, Party, Proof, Statement};

/// An address group may have this many proofs verified at once: more than the nodes behind one
/// address that start together …
const BURST: Duration = Duration::from_secs(12);
/// … that is 240, and then one in each of these intervals. A verification takes some 50 µs.
const VERIFY_EVERY: Duration = Duration::from_millis(50);
/// How many address groups are counted, twice at most.
const GROUPS: usize = 4_096;

/// What the two ends of a link have shown each other.
#[derive(Debug)]
struct Exchange {
    challenge: Challenge,
    /// What the dialler has shown, and whether the acceptor knows the address as its own.
    shown: Option<Shown>,
    /// The node and its session that have signed.
    signed: Option<UpgradeIdentity>,
}

/// The dialler's part of a statement.
#[derive(Debug, Clone)]
struct Shown {
    nonce: Nonce,
    address: PeerAddress,
    ip: IpAddr,
    direct: bool,
}

/// Why a proof is refused, for the close reason.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is wrong or missing.
    False(&'static str),
    /// The address group had too many verified.
    TooMany,
}

/// The proofs of all open links.
#[derive(Debug)]
pub(crate) struct Proofs {
    exchanges: BTreeMap<LinkId, Exchange>,
    verified: Generations<IpPrefix, RateLimit>,
}

impl Default for Proofs {
    fn default() -> Self {
        Self { exchanges: BTreeMap::new(), verified: Generations::new(GROUPS) }
    }
}

impl Proofs {
    /// Notes the nonces of a link that opens next.
    pub(super) fn expect(&mut self, link: LinkId, challenge: Challenge) {
        self.exchanges.insert(link, Exchange { challenge, shown: None, signed: None });
    }

    pub(super) fn on_closed(&mut self, link: LinkId) {
        self.exchanges.remove(&link);
    }

    /// Returns whether the node that answered a dial announced that it proves its id.
    pub(super) fn is_announced(&self, link: LinkId) -> bool {
        let challenge = self.exchanges.get(&link).map(|exchange| &exchange.challenge);
        matches!(challenge, Some(Challenge::Dialled { answered: Some(_), .. }))
    }

    /// Returns whether this node, in this session, has proved itself on a link to which there is
    /// no other way than the direct one.
    pub(crate) fn is_proved(&self, link: LinkId, node: NodeId, session: Session) -> bool {
        let exchange = self.exchanges.get(&link).filter(|exchange| exchange.signed.is_some());
        exchange.is_some_and(|exchange| {
            exchange.signed == Some(UpgradeIdentity { node, session })
                && exchange.shown.as_ref().is_some_and(|shown| shown.direct)
        })
    }

    /// Returns the proof for our HANDSHAKE on a link; `None` if the other end cannot read one, or
    /// has it already.
    pub(super) fn own(&mut self, cx: &Context, link: LinkId, open: &Link) -> Option<Proof> {
        let exchange = self.exchanges.get_mut(&link)?;
        match (&exchange.challenge, &exchange.shown, &open.dialled) {
            (Challenge::Dialled { nonce, answered: Some(theirs), ip }, None, Some(address)) => {
                // A link on which only addresses are requested needs no proof.
                let (node, session) = open.run()?;
                let address = address.clone().without_zone();
                let shown = Shown { nonce: *nonce, address, ip: *ip, direct: false };
                let acceptor = Party { id: node, session, nonce: *theirs };
                let signature = statement(cx, own_party(cx, *nonce), acceptor, &shown, None)
                    .sign(&*cx.config.signer, Purpose::Handshake)?;
                exchange.shown = Some(shown.clone());
                let Shown { nonce, address, ip, .. } = shown;
                Some(Proof::Dialler { nonce, address, ip, signature })
            }
            (Challenge::Accepted { nonce, .. }, Some(shown), None) => {
                let identity = exchange.signed?;
                let dialler = Party { id: identity.node, session: identity.session, nonce: shown.nonce };
                let statement = statement(cx, dialler, own_party(cx, *nonce), shown, Some(shown.direct));
                Some(Proof::Acceptor {
                    direct: shown.direct,
                    signature: statement.sign(&*cx.config.signer, Purpose::Handshake)?,
                })
            }
            _ => None,
        }
    }

    /// Judges the proof in the first HANDSHAKE of a native peer on a link. A peer without a proof
    /// that announced none is of an earlier release: it is welcome, and stays unproved.
    pub(super) fn judge(&mut self, cx: &Context, link: LinkId, open: &Link, node: &NodeInfo) -> Result<(), Refused> {
        let Some(exchange) = self.exchanges.get_mut(&link).filter(|exchange| exchange.signed.is_none()) else {
            return Ok(());
        };
        let identity = UpgradeIdentity { node: node.id, session: node.session };
        match (&exchange.challenge, node.proof.as_deref()) {
            (Challenge::Accepted { .. }, None) => Ok(()),
            (Challenge::Dialled { answered: None, .. }, _) => Ok(()),
            // We signed nothing, so there is nothing to answer.
            (Challenge::Dialled { .. }, None) if exchange.shown.is_none() => Ok(()),
            (Challenge::Accepted { nonce, local }, Some(Proof::Dialler { nonce: theirs, address, ip, signature })) => {
                if let Some(group) = open.address_group
                    && self.verified.entry(cx.now, &group).spend(cx.now, VERIFY_EVERY, BURST).is_err()
                {
                    return Err(Refused::TooMany);
                }
                let ours = address.scope() != Scope::Loopback && *address == cx.config.address;
                let here = ip.to_canonical() == local.ip().to_canonical() && address.port() == local.port();
                let shown = Shown { nonce: *theirs, address: address.clone(), ip: *ip, direct: ours || here };
                let dialler = Party { id: node.id, session: node.session, nonce: *theirs };
                let statement = statement(cx, dialler, own_party(cx, *nonce), &shown, None);
                if !statement.is_signed(&*cx.config.signer, Purpose::Handshake, *signature) {
                    return Err(Refused::False("your proof is not signed by the node that you name, for this link"));
                }
                (exchange.shown, exchange.signed) = (Some(shown), Some(identity));
                Ok(())
            }
            (Challenge::Dialled { nonce, answered: Some(theirs), .. }, Some(Proof::Acceptor { direct, signature })) => {
                let Some(shown) = &mut exchange.shown else { return Ok(()) };
                let acceptor = Party { id: node.id, session: node.session, nonce: *theirs };
                let statement = statement(cx, own_party(cx, *nonce), acceptor, shown, Some(*direct));
                if !statement.is_signed(&*cx.config.signer, Purpose::Handshake, *signature) {
                    return Err(Refused::False("your proof is not signed by the node that you name, for this link"));
                }
                shown.direct = *direct;
                exchange.signed = Some(identity);
                Ok(())
            }
            (Challenge::Dialled { .. }, None) => {
                Err(Refused::False("your answer to the upgrade announced a proof, and your HANDSHAKE has none"))
            }
            _ => Err(Refused::False("your proof is one of the other end of a link")),
        }
    }
}

fn own_party(cx: &Context, nonce: Nonce) -> Party {
    Party { id: cx.config.node, session: cx.config.session, nonce }
}

fn statement<'a>(
    cx: &'a Context,
    dialler: Party,
    acceptor: Party,
    shown: &'a Shown,
    direct: Option<bool>,
) -> Statement<'a> {
    let Shown { address, ip, .. } = shown;
    Statement { network: &cx.config.network, dialler, acceptor, address, ip: *ip, direct }
}

#[cfg(test)]
mod tests;
