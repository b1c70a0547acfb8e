//! Signatures of simulated nodes: hashes that no other simulated node makes in their name.

use std::hash::{DefaultHasher, Hash, Hasher};

use meshpool_proto::id::NodeId;
use meshpool_proto::signature::{Purpose, Seal, Signature, Signer};

/// Signs HANDSHAKEs. Other messages are not signed, and are believed, unless it signs everything.
#[derive(Debug)]
pub(super) struct SimulatedKey {
    pub(super) node: NodeId,
    pub(super) signs_all: bool,
}

impl SimulatedKey {
    fn signs(&self, purpose: Purpose) -> bool {
        self.signs_all || purpose == Purpose::Handshake
    }
}

/// The signature of a node.
pub(super) fn signature(node: NodeId, purpose: Purpose, canonical: &str) -> Signature {
    let mut hasher = DefaultHasher::new();
    (node.0, purpose.prefix(), canonical).hash(&mut hasher);
    let mut signature = [0; 64];
    signature[..8].copy_from_slice(&hasher.finish().to_be_bytes());
    Signature(signature)
}

impl Signer for SimulatedKey {
    fn sign(&self, purpose: Purpose, canonical: &str) -> Option<Signature> {
        self.signs(purpose).then(|| signature(self.node, purpose, canonical))
    }

    fn vouches(&self, node: NodeId, purpose: Purpose, seal: Option<&Seal>) -> bool {
        !self.signs(purpose) || seal.is_some_and(|seal| seal.signature == signature(node, purpose, &seal.canonical))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_node_itself_signs_its_handshakes() {
        let key = |id, signs_all| SimulatedKey { node: NodeId([id; 32]), signs_all };
        let [owner, thief] = [1, 2].map(|id| key(id, false));
        let seal = |key: &SimulatedKey| {
            let signature = key.sign(Purpose::Handshake, "{}").expect("it signs");
            Seal { canonical: "{}".to_owned(), signature }
        };
        let vouched = |seal: &Seal| thief.vouches(owner.node, Purpose::Handshake, Some(seal));
        assert!(vouched(&seal(&owner)) && !vouched(&seal(&thief)));
        assert!(!vouched(&Seal { canonical: "[]".to_owned(), ..seal(&owner) }), "another content");
        assert!(!thief.vouches(owner.node, Purpose::Handshake, None), "no signature");
        assert!(owner.sign(Purpose::Announce, "{}").is_none() && thief.vouches(owner.node, Purpose::Announce, None));
        let all = key(2, true);
        assert!(all.sign(Purpose::Announce, "{}").is_some() && !all.vouches(owner.node, Purpose::Announce, None));
    }
}
