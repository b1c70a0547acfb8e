//! A link that has ended, as it is handed to the other components.

use crate::connections::table::Link;
use crate::dial_reason::DialReason;
use crate::id::LinkId;

/// A link that has ended, and the other links to its node.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) id: LinkId,
    pub(crate) link: Link,
    /// Why its other end was dialled.
    pub(crate) reason: Option<DialReason>,
    /// The other link to the same node, if there is one.
    pub(crate) heir: Option<LinkId>,
    /// If there is none: a link to the same node that was on standby.
    pub(crate) standby: Option<LinkId>,
}
