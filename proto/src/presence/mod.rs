//! Who is in the network: each node announces itself, and each keeps a table of all.
//!
//! `announcer.rs` sends our announcements, takes in and passes on those of others, and answers a
//! neighbor that asks for all. `table.rs` holds the newest announcement of each node, and decides
//! which nodes have expired. The list for people is made in `status/network.rs`: nothing in the
//! protocol depends on the table but how far a search for images has to go.

pub(crate) mod announcer;
mod table;
