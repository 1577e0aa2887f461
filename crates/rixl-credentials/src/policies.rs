//! Policies: what keys and credentials may do.

use std::sync::Arc;

use jiff::Timestamp;
use rixl_api::{types, wire::Time};
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Listing, Operation, OrganizationId, Page, PageRequest, PolicyId, sender::Sender};

/// The policies of an organization. They exist only in the second generation of routes: see
/// [`Organization::policies`](crate::Organization::policies).
///
/// RIXL's own clients name the permissions that a rotator needs `credentials:apikeys:read` and
/// `credentials:apikeys:write`.
#[derive(Clone, Debug)]
pub struct Policies {
    sender: Arc<Sender>,
    organization: OrganizationId,
}

/// Permissions for whoever it is attached to. It can be saved and shown as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Policy {
    /// Its id, as [`ApiKey::policy_ids`](crate::ApiKey::policy_ids) has it.
    pub id: PolicyId,
    /// The name that its creator gave it.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The permissions that it gives, such as `credentials:apikeys:write`.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// The organization that it is of.
    pub organization_id: Option<OrganizationId>,
    /// Who created it.
    pub created_by: Option<String>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// When it was last changed.
    pub updated_at: Option<Timestamp>,
}

/// Whom a policy is attached to. It can be saved and shown as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PolicyAttachment {
    /// Its id.
    pub id: Option<String>,
    /// The policy.
    pub policy_id: Option<PolicyId>,
    /// What it is attached to.
    pub identity_type: Option<IdentityType>,
    /// The id of the user, of the key or of the credential.
    pub identity_id: Option<String>,
    /// When it was attached.
    pub created_at: Option<Timestamp>,
}

/// What a policy can be attached to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdentityType {
    /// A user.
    User,
    /// An API key.
    ApiKey,
    /// A client credential.
    ClientCredential,
    /// The server gave none.
    Unspecified,
    /// One that is newer than this library. Match it by [`as_str`](Self::as_str), whose name is stable when a later
    /// version adds a variant for it.
    #[non_exhaustive]
    Other(OtherIdentityType),
}

/// A type that this version of the library has no variant for: see [`IdentityType::as_str`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OtherIdentityType(String);

crate::names_as_text! { IdentityType, OtherIdentityType, "POLICY_IDENTITY_TYPE_",
    /// Its name, in lower case and without the prefix of the published form: `api_key` for
    /// `POLICY_IDENTITY_TYPE_API_KEY`.
    {
        User => "user",
        ApiKey => "api_key",
        ClientCredential => "clientauth_credential",
        Unspecified => "unspecified",
    }
}

impl Policies {
    pub(crate) fn new(sender: Arc<Sender>, organization: OrganizationId) -> Self {
        Self { sender, organization }
    }

    /// All policies of the organization. RIXL publishes no pages for them.
    ///
    /// # Errors
    ///
    /// As for [every read](Error#every-read).
    pub async fn list(&self) -> Result<Vec<Policy>, Error> {
        let send = |low: rixl_api::Client| async move { low.list_policies(self.organization.wire()).await };
        let reply = self.sender.call(Operation::ListPolicies, send).await?;
        let read = |list: types::PolicyList| {
            list.policies.into_iter().map(Policy::read).collect::<Option<_>>().ok_or(ErrorKind::Malformed)
        };
        reply.read_list(&["policies"], read, Vec::is_empty)
    }

    /// One policy, with the permissions that it gives.
    ///
    /// ```
    /// # async fn example(policies: rixl_credentials::Policies) -> Result<(), rixl_credentials::Error> {
    /// let policy = policies.get(&"P0l1cyExmp".parse()?).await?;
    /// let may_rotate = policy.permissions.iter().any(|name| name == "credentials:apikeys:write");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongId`] when the response is another policy; else as for [every read](Error#every-read).
    pub async fn get(&self, id: &PolicyId) -> Result<Policy, Error> {
        let send = |low: rixl_api::Client| async move { low.get_policy(self.organization.wire(), id.wire()).await };
        let reply = self.sender.call(Operation::GetPolicy, send).await?;
        reply.read(|policy| {
            let policy = Policy::read(policy).ok_or(ErrorKind::Malformed)?;
            if policy.id == *id { Ok(policy) } else { Err(ErrorKind::WrongId) }
        })
    }

    /// Whom the policy is attached to. RIXL publishes no pages for that.
    ///
    /// # Errors
    ///
    /// As for [every read](Error#every-read).
    pub async fn attachments(&self, id: &PolicyId) -> Result<Vec<PolicyAttachment>, Error> {
        let send = |low: rixl_api::Client| async move {
            low.list_policy_attachments(self.organization.wire(), id.wire()).await
        };
        let reply = self.sender.call(Operation::ListPolicyAttachments, send).await?;
        let read =
            |list: types::PolicyAttachmentList| Ok(list.attachments.into_iter().map(PolicyAttachment::read).collect());
        reply.read_list(&["attachments"], read, Vec::is_empty)
    }

    /// The names of all existing permissions, fetched page by page as the stream is read.
    #[must_use]
    pub fn permissions(&self) -> Listing<String> {
        let fetch = |policies: Self, request| async move { policies.permissions_page(request).await };
        Listing::new(self.clone(), Operation::ListPermissions, |name| name.as_str(), fetch)
    }

    /// One page of the names of permissions.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a limit outside 1 to 100, which are the bounds of other lists; else as for
    /// [every read](Error#every-read).
    pub async fn permissions_page(&self, request: PageRequest) -> Result<Page<String>, Error> {
        let operation = Operation::ListPermissions;
        let (limit, offset) = request.checked(operation)?;
        let send =
            |low: rixl_api::Client| async move { low.list_permissions(self.organization.wire(), limit, offset).await };
        let reply = self.sender.call(operation, send).await?;
        reply.read_page(request, "permissions", |page| {
            (page.permissions.into_iter().map(|permission| permission.name).collect(), page.total)
        })
    }
}

impl Policy {
    /// `None` when it has no id that could be used.
    fn read(policy: types::Policy) -> Option<Self> {
        Some(Self {
            id: PolicyId::from_response(policy.id)?,
            name: policy.name,
            description: policy.description,
            permissions: policy.permissions,
            organization_id: OrganizationId::from_response(policy.org_id),
            created_by: policy.created_by,
            created_at: policy.created_at.and_then(Time::timestamp),
            updated_at: policy.updated_at.and_then(Time::timestamp),
        })
    }
}

impl PolicyAttachment {
    fn read(attachment: types::PolicyAttachment) -> Self {
        Self {
            id: attachment.id,
            policy_id: PolicyId::from_response(attachment.policy_id),
            identity_type: attachment.identity_type.as_deref().map(IdentityType::read),
            identity_id: attachment.identity_id,
            created_at: attachment.created_at.and_then(Time::timestamp),
        }
    }
}
