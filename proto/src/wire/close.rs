//! The close codes that this node sends (RFC 6455, section 7.4.1).

/// The link is not needed.
pub(crate) const NORMAL: u16 = 1000;
/// This node shuts down, or the other end does not answer.
pub(crate) const GOING_AWAY: u16 = 1001;
/// A frame is no JSON object.
pub(crate) const INVALID_DATA: u16 = 1007;
/// The other end broke a rule, or is not admitted.
pub(crate) const POLICY: u16 = 1008;
/// There is no slot now, or this is another network.
pub(crate) const TRY_AGAIN_LATER: u16 = 1013;
