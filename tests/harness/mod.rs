//! What the tests stand on: bundles, containers, the runtime's command line, and the process around each test.

pub mod bundle;
pub mod call;
pub mod container;
pub mod exchange;
pub mod launch;
pub mod leftovers;
pub mod peer;
pub mod poll;
pub mod probe;
pub mod reaper;
pub mod runner;
pub mod runtime;
pub mod scratch;
pub mod sockets;
pub mod terminal;
pub mod view;

pub use bundle::Bundle;
pub use call::{Call, Output};
pub use container::Container;
pub use poll::wait_until;
pub use runtime::{differs_on, needs, ours_only};
