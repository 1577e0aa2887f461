//! The protocol as a value: what was decided, how far it came, what was seen, and what follows from that. No clock, disk or
//! network in it: a live run, its recovery and a dry run are one function, driven from outside, and it is what the tests
//! explore.

pub(crate) mod intent;
pub(crate) mod next;
pub(crate) mod progress;
pub(crate) mod seen;

#[cfg(test)]
mod explore;
#[cfg(test)]
mod tests;
