//! Signatures of simulated nodes: hashes that no other simulated node makes in their name.

use std::hash::{DefaultHasher, Hash, Hasher};

use meshpool_proto::id::NodeId;
use meshpool_proto::signature::{Purpose, Seal, Signature, Signer};

/// Signs HANDSHAKEs. Other messages are not signed, and are believed.
#[derive(Debug)]
pub(super) struct SimulatedKey {
    pub(super) node: NodeId,
}

fn signature(node: NodeId, purpose: Purpose, canonical: &str) -> Signature {
    let mut hasher = DefaultHasher::new();
    (node.0, purpose.prefix(), canonical).hash(&mut hasher);
    let mut signature = [0; 64];
    signature[..8].copy_from_slice(&hasher.finish().to_be_bytes());
    Signature(signature)
}

impl Signer for SimulatedKey {
    fn sign(&self, purpose: Purpose, canonical: &str) -> Option<Signature> {
        (purpose == Purpose::Handshake).then(|| signature(self.node, purpose, canonical))
    }

    fn vouches(&self, node: NodeId, purpose: Purpose, seal: Option<&Seal>) -> bool {
        purpose != Purpose::Handshake
            || seal.is_some_and(|seal| seal.signature == signature(node, purpose, &seal.canonical))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_node_itself_signs_its_handshakes() {
        let [owner, thief] = [1, 2].map(|id| SimulatedKey { node: NodeId([id; 32]) });
        let seal = |key: &SimulatedKey| {
            let signature = key.sign(Purpose::Handshake, "{}").expect("it signs");
            Seal { canonical: "{}".to_owned(), signature }
        };
        let vouched = |seal: &Seal| thief.vouches(owner.node, Purpose::Handshake, Some(seal));
        assert!(vouched(&seal(&owner)) && !vouched(&seal(&thief)));
        assert!(!vouched(&Seal { canonical: "[]".to_owned(), ..seal(&owner) }), "another content");
        assert!(!thief.vouches(owner.node, Purpose::Handshake, None), "no signature");
        assert!(owner.sign(Purpose::Announce, "{}").is_none() && thief.vouches(owner.node, Purpose::Announce, None));
    }
}
