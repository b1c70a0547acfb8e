//! Many nodes in one thread and in virtual time: real cores in a model of everything around them.
//!
//! There is no socket, file or clock: an hour of a network takes seconds, and a seed repeats it
//! exactly. Each layer uses the layers below it only:
//!
//! | module | holds |
//! |---|---|
//! | [`experiments`] | what is run: meshes with faults, capped networks, measurements, hashes |
//! | [`world`] | the actors and the network of one run; schedules of faults and transactions |
//! | [`actors`] | native nodes, exercise peers, clients |
//! | [`checks`] | the rules of a single node |
//! | [`net`] | the network between the actors, virtual time, records of the run |

pub mod actors;
pub mod checks;
pub mod experiments;
pub mod net;
pub mod world;
