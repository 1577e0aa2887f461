//! The two generations of routes that RIXL publishes.

/// Which generation an operation without an organization in its path uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Generation {
    #[default]
    First,
    Second,
}
