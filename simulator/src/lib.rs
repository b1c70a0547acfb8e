//! Many nodes in one thread and in virtual time: the real protocol cores, in a model of everything around them.
//!
//! No socket, no file, no clock: an hour of a network takes seconds, and a seed repeats it exactly. Read in this order: [`run`] says what a run is,
//! [`world`] moves it, [`network`] and [`wire`] deliver, [`node`], [`plain`] and [`client`] are who takes part, [`load`] and [`faults`] are what
//! happens to them, [`check`], [`agreement`] and [`deadly`] what must hold, [`trace`] how runs are compared.
//! [`hashes`] and [`trace_hash`] compare a core with a refactored one.
//!
//! [`measure`] uses the same world for figures, of up to many thousand nodes: [`topology`] says who is linked to whom, [`ledger`] follows each
//! transaction, [`texts`] saves the work that would be the same in each node.

pub mod agreement;
pub mod check;
pub mod client;
pub mod clock;
pub mod deadly;
pub mod faults;
pub mod hashes;
pub mod inputs;
pub mod ledger;
pub mod load;
pub mod measure;
pub mod network;
pub mod node;
pub mod overlay;
pub mod plain;
pub mod run;
pub mod table;
pub mod texts;
pub mod topology;
pub mod trace;
pub mod trace_hash;
pub mod wire;
pub mod world;
