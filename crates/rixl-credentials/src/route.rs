//! The two generations of routes that RIXL publishes.

use crate::OrganizationId;

/// Which generation an operation without an organization in its path uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Generation {
    #[default]
    First,
    Second,
}

/// The first generation of routes: the organization is the bearer token's own.
#[derive(Clone, Copy, Debug)]
pub struct OwnOrganization;

/// The second generation of routes: the organization is named.
#[derive(Clone, Debug)]
pub struct NamedOrganization(pub(crate) OrganizationId);

/// A generation of routes, by type: what only one of them has, only its type offers.
///
/// Implemented by [`OwnOrganization`] and [`NamedOrganization`], and by nothing else.
pub trait Route: sealed::Sealed + Clone + Send + Sync + 'static {
    /// The organization in the path, if there is one.
    #[doc(hidden)]
    fn organization(&self) -> Option<&OrganizationId>;
}

impl Route for OwnOrganization {
    fn organization(&self) -> Option<&OrganizationId> {
        None
    }
}

impl Route for NamedOrganization {
    fn organization(&self) -> Option<&OrganizationId> {
        Some(&self.0)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::OwnOrganization {}
    impl Sealed for super::NamedOrganization {}
}
