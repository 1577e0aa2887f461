//! The protocol as a value: what was decided, how far it came, what was seen, and what follows from that. No clock, disk or
//! network in it: a live run, its recovery and a dry run are one function, driven from outside, and it is what the tests
//! explore.

mod intent;
mod next;
mod progress;
mod seen;

#[cfg(test)]
mod explore;
#[cfg(test)]
mod tests;
