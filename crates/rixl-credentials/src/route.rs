//! The two generations of routes that RIXL publishes.

/// Which generation an operation without an organization in its path uses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Generation {
    First,
    Second,
}
