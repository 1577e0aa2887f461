//! Why a call failed, and whether it took effect anyway.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use rixl_api::{Body, CapturedResponse, types};

use crate::{RawResponse, headers, transport::Opaque};

type Source = Box<dyn StdError + Send + Sync>;

/// A failed call. It answers four questions: which operation failed ([`operation`](Self::operation)), what went wrong
/// ([`kind`](Self::kind)), what the server said ([`status`](Self::status), [`request_id`](Self::request_id),
/// [`code`](Self::code), [`message`](Self::message)), and whether it took effect ([`outcome`](Self::outcome)).
///
/// `Display` is one sentence that says so and names the next step. Neither it nor `Debug` shows a secret, a URL, or
/// anything of the response body; causes are in [`source`](StdError::source).
///
/// ```
/// use rixl_credentials::{Error, Outcome};
///
/// fn may_repeat(error: &Error) -> bool {
///     // A rotate that may have happened must not be sent again blindly.
///     error.outcome() == Outcome::NotApplied
/// }
/// ```
///
/// # Every call
///
/// Every call can fail with each [`ErrorKind`], except for `InvalidInput`, which is documented on the calls that have
/// it; `Configuration`, which is for building a client, and for using one [without a runtime](crate::Client#runtimes);
/// and `Token`, which calls that need no bearer token (exchange, refresh, mint) do not have. [`kind`](Self::kind) says
/// what to do, [`outcome`](Self::outcome) whether it happened.
///
/// # Every read
///
/// As for every call. A read changes nothing: its outcome is always [`Outcome::NotApplied`], and transient failures
/// have already been retried, under the client's [`RetryPolicy`](crate::RetryPolicy).
///
/// # Every change
///
/// As for every call, and [`outcome`](Self::outcome) decides what to do next: after [`Outcome::NotApplied`] it may be
/// repeated; after [`Outcome::Unknown`] first check whether it happened; after [`Outcome::Applied`] save
/// [`take_raw_response`](Self::take_raw_response), since the content of the response is nowhere else. Only what did not
/// happen has been retried.
pub struct Error(Box<Parts>);

struct Parts {
    kind: ErrorKind,
    operation: Operation,
    outcome: Outcome,
    detail: Option<String>,
    status: Option<u16>,
    request_id: Option<String>,
    code: Option<String>,
    message: Option<String>,
    retry_after: Option<Duration>,
    /// Of a source of tokens: that it may have one later.
    is_transient: bool,
    raw: Option<RawResponse>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// Gives each variant its name, which is a contract, optionally its wording, and a list of all variants, complete by
/// construction.
macro_rules! names {
    ($type:ident, $(#[$doc:meta])* $function:ident { $($variant:ident => $name:literal, $words:literal;)* }) => {
        names! { $type, $(#[$doc])* $function { $($variant => $name;)* } }

        impl $type {
            fn words(self) -> &'static str {
                match self {
                    $(Self::$variant => $words,)*
                }
            }
        }
    };
    ($type:ident, $(#[$doc:meta])* $function:ident { $($variant:ident => $name:literal;)* }) => {
        impl $type {
            #[doc(hidden)]
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            $(#[$doc])*
            pub const fn $function(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

/// What went wrong. Each line says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value was refused before anything was sent. Fix it.
    InvalidInput,
    /// The client could not be built from these settings, or was used where there is no Tokio runtime with timers and
    /// I/O. Fix it.
    Configuration,
    /// No bearer token could be obtained; the call itself was never sent. See [`token_error`](Error::token_error).
    Token,
    /// The connection was refused, timed out or never opened (name resolution and TLS included). Nothing was sent: safe
    /// to repeat.
    Connect,
    /// Time ran out, or the server returned 408, or a gateway 460 or 499. Check before repeating; only the outcome
    /// `NotApplied` means that no byte of a change was sent.
    Timeout,
    /// The connection broke before a response arrived. Check before repeating.
    Interrupted,
    /// The server responded with a redirect. It is not followed: the request, token and all, would be sent once more,
    /// to where the server says. Check the base URL; check before repeating.
    Redirect,
    /// 401: the token, API key, refresh token or client secret was refused. Nothing was done. Get a new one.
    Unauthorized,
    /// 403: the credential does not allow this. Nothing was done. Use another.
    Forbidden,
    /// 404: there is no such key, credential or organization, or the server does not have this route. Nothing was done.
    NotFound,
    /// 429: too many requests. Nothing was done. Wait, then repeat.
    RateLimited,
    /// Another 4xx: the server refused the request. Nothing was done. Read [`message`](Error::message).
    Rejected,
    /// 5xx: the server failed, or a gateway that can't know what the server did. Check before repeating.
    Server,
    /// A 2xx whose body was cut off. It was done, unless [`outcome`](Error::outcome) says `Unknown`, as of a delete;
    /// save [`take_raw_response`](Error::take_raw_response).
    Cut,
    /// A 2xx whose body is longer than allowed. It was done, unless [`outcome`](Error::outcome) says `Unknown`, as of a
    /// delete; save [`take_raw_response`](Error::take_raw_response).
    TooLarge,
    /// A 2xx whose body is not what the contract says. It was done, unless [`outcome`](Error::outcome) says `Unknown`,
    /// as of a delete: an error page may come with a 2xx. Save [`take_raw_response`](Error::take_raw_response).
    Malformed,
    /// A 2xx without the secret that was to be issued. It was done; rotate the key again, or repeat the create or mint.
    SecretMissing,
    /// A 2xx about another key, policy or webhook endpoint than the one asked for. If it was a change, something was done;
    /// save [`take_raw_response`](Error::take_raw_response) and look at both.
    WrongId,
    /// The server repeats a page of a list. Nothing was changed; the list is incomplete.
    RepeatedPage,
    /// The server says that there are more items than it sent, or never comes to an end. Nothing was changed; the list is
    /// incomplete.
    IncompleteList,
}

/// Whether a state-changing call took effect. Reads change nothing: theirs is always `NotApplied`.
///
/// No other value is possible, and none will be added: it happened, it did not, or it is unknown. So, unlike the other
/// enums here, it is exhaustive, and the compiler checks that a match handles all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did not happen. A rotate may be repeated; the old secret is unchanged.
    NotApplied,
    /// It may have happened. The old secret may be dead. Check before repeating.
    Unknown,
    /// It happened, and what the response held is lost. The old secret is probably dead; the new one can't be fetched.
    Applied,
}

/// The operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// A value was checked before any call.
    CheckInput,
    /// The client was being built.
    Configure,
    /// A [`TokenSource`](crate::TokenSource) was asked for a token.
    ObtainToken,
    /// `list` of API keys.
    ListApiKeys,
    /// `create` of an API key.
    CreateApiKey,
    /// `update` of an API key.
    UpdateApiKey,
    /// `delete` of an API key.
    DeleteApiKey,
    /// `rotate` of an API key.
    RotateApiKey,
    /// `exchange` of an API key for a token.
    ExchangeApiKey,
    /// `refresh` of a token.
    RefreshToken,
    /// `list` of client credentials.
    ListClientCredentials,
    /// `create` of a client credential.
    CreateClientCredential,
    /// `revoke` of a client credential.
    RevokeClientCredential,
    /// `mint` of a client token.
    MintClientToken,
    /// `list` of webhook endpoints.
    ListWebhookEndpoints,
    /// `get` of a webhook endpoint.
    GetWebhookEndpoint,
    /// `create` of a webhook endpoint.
    CreateWebhookEndpoint,
    /// `update` of a webhook endpoint.
    UpdateWebhookEndpoint,
    /// `delete` of a webhook endpoint.
    DeleteWebhookEndpoint,
    /// `rotate_secret` of a webhook endpoint.
    RotateWebhookSecret,
    /// `send_test` to a webhook endpoint.
    TestWebhookEndpoint,
    /// `attempts` of a webhook endpoint.
    ListWebhookAttempts,
    /// `list` of policies.
    ListPolicies,
    /// `get` of a policy.
    GetPolicy,
    /// `attachments` of a policy.
    ListPolicyAttachments,
    /// `permissions` that there are.
    ListPermissions,
}

names! { ErrorKind,
    /// Its name in logs and telemetry, as in `error.type`; it is stable.
    #[must_use]
    as_str {
        InvalidInput => "invalid_input", "a value is not valid";
        Configuration => "configuration", "the settings are not valid";
        Token => "token", "no bearer token could be obtained";
        Connect => "connect", "no connection to the server could be opened";
        Timeout => "timeout", "no complete response arrived in time";
        Interrupted => "interrupted", "the connection broke before a response arrived";
        Redirect => "redirect", "the server responded with a redirect, which is not followed";
        Unauthorized => "unauthorized", "the server refused the credential";
        Forbidden => "forbidden", "the credential does not allow this";
        NotFound => "not_found", "the server has no such resource";
        RateLimited => "rate_limited", "there were too many requests";
        Rejected => "rejected", "the server refused the request";
        Server => "server", "the server, or a gateway before it, failed";
        Cut => "cut", "the response was cut off";
        TooLarge => "too_large", "the response is too large";
        Malformed => "malformed", "the response could not be read";
        SecretMissing => "secret_missing", "the response has no secret in it";
        WrongId => "wrong_id", "the response is about another id than the one requested";
        RepeatedPage => "repeated_page", "the server repeats a page";
        IncompleteList => "incomplete_list", "the server sent fewer items than it says there are";
    }
}

names! { Outcome,
    /// Its name in logs and telemetry, as in `rixl.outcome`; it is stable.
    #[must_use]
    as_str {
        NotApplied => "not_applied";
        Unknown => "unknown";
        Applied => "applied";
    }
}

names! { Operation,
    /// Its name in logs and telemetry, as in `rixl.operation`: it is stable. `Display` is prose.
    ///
    /// ```
    /// use rixl_credentials::Operation;
    ///
    /// assert_eq!(Operation::RotateApiKey.id(), "api_keys.rotate");
    /// assert_eq!(Operation::RotateApiKey.to_string(), "rotate API key");
    /// ```
    #[must_use]
    id {
        CheckInput => "input.check", "check the input";
        Configure => "client.configure", "configure the client";
        ObtainToken => "tokens.obtain", "obtain a token";
        ListApiKeys => "api_keys.list", "list API keys";
        CreateApiKey => "api_keys.create", "create API key";
        UpdateApiKey => "api_keys.update", "update API key";
        DeleteApiKey => "api_keys.delete", "delete API key";
        RotateApiKey => "api_keys.rotate", "rotate API key";
        ExchangeApiKey => "tokens.exchange", "exchange API key";
        RefreshToken => "tokens.refresh", "refresh token";
        ListClientCredentials => "client_credentials.list", "list client credentials";
        CreateClientCredential => "client_credentials.create", "create client credential";
        RevokeClientCredential => "client_credentials.revoke", "revoke client credential";
        MintClientToken => "client_credentials.mint", "mint client token";
        ListWebhookEndpoints => "webhooks.list", "list webhook endpoints";
        GetWebhookEndpoint => "webhooks.get", "get webhook endpoint";
        CreateWebhookEndpoint => "webhooks.create", "create webhook endpoint";
        UpdateWebhookEndpoint => "webhooks.update", "update webhook endpoint";
        DeleteWebhookEndpoint => "webhooks.delete", "delete webhook endpoint";
        RotateWebhookSecret => "webhooks.rotate_secret", "rotate webhook secret";
        TestWebhookEndpoint => "webhooks.send_test", "test webhook endpoint";
        ListWebhookAttempts => "webhooks.attempts", "list webhook attempts";
        ListPolicies => "policies.list", "list policies";
        GetPolicy => "policies.get", "get policy";
        ListPolicyAttachments => "policies.attachments", "list policy attachments";
        ListPermissions => "policies.permissions", "list permissions";
    }
}

impl Operation {
    /// Whether it changes something at the server.
    pub fn changes_state(self) -> bool {
        match self {
            Self::CheckInput | Self::Configure | Self::ObtainToken => false,
            Self::ListApiKeys | Self::ListClientCredentials => false,
            Self::ListWebhookEndpoints | Self::GetWebhookEndpoint | Self::ListWebhookAttempts => false,
            Self::ListPolicies | Self::GetPolicy | Self::ListPolicyAttachments | Self::ListPermissions => false,
            Self::CreateApiKey | Self::UpdateApiKey | Self::DeleteApiKey | Self::RotateApiKey => true,
            Self::ExchangeApiKey | Self::RefreshToken => true,
            Self::CreateClientCredential | Self::RevokeClientCredential | Self::MintClientToken => true,
            Self::CreateWebhookEndpoint | Self::UpdateWebhookEndpoint | Self::DeleteWebhookEndpoint => true,
            Self::RotateWebhookSecret | Self::TestWebhookEndpoint => true,
        }
    }

    /// Whether its path depends on the generation of routes.
    fn has_generations(self) -> bool {
        use Operation::{
            CreateApiKey, CreateClientCredential, DeleteApiKey, ExchangeApiKey, ListApiKeys, ListClientCredentials,
            MintClientToken, RefreshToken, RevokeClientCredential, RotateApiKey, UpdateApiKey,
        };
        let is_of_keys = matches!(self, ListApiKeys | CreateApiKey | UpdateApiKey | DeleteApiKey | RotateApiKey);
        let is_of_credentials = matches!(self, ListClientCredentials | CreateClientCredential | RevokeClientCredential);
        is_of_keys || is_of_credentials || matches!(self, ExchangeApiKey | RefreshToken | MintClientToken)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

#[cfg(feature = "test-util")]
impl Error {
    /// A failure that a call might have had, for tests of code that branches on it. With the feature `test-util`.
    ///
    /// ```
    /// use rixl_credentials::{Error, ErrorKind, Operation, Outcome};
    ///
    /// let error = Error::from_parts(ErrorKind::Interrupted, Operation::RotateApiKey, Outcome::Unknown);
    /// assert_eq!(error.outcome(), Outcome::Unknown);
    /// ```
    #[must_use]
    pub fn from_parts(kind: ErrorKind, operation: Operation, outcome: Outcome) -> Self {
        let mut error = Self::new(kind, operation);
        error.0.outcome = outcome;
        error
    }
}

impl Error {
    /// A [`TokenSource`](crate::TokenSource) reports with this that it has no token.
    ///
    /// The cause becomes [`source`](StdError::source); it must not hold a secret.
    ///
    /// ```
    /// use std::time::Duration;
    /// use rixl_credentials::Error;
    ///
    /// let refused = Error::no_token("the vault refuses this machine");
    /// let sealed = Error::no_token("the vault is sealed").transient();
    /// let busy = Error::no_token("the vault is busy").with_retry_after(Duration::from_secs(2));
    /// ```
    pub fn no_token(cause: impl Into<Source>) -> Self {
        Self::new(ErrorKind::Token, Operation::ObtainToken).with_source(cause.into())
    }

    /// The failure of a [`TokenSource`](crate::TokenSource) may pass: it is asked again under the call's
    /// [`RetryPolicy`](crate::RetryPolicy). That is harmless for any call, since the call was not sent.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.0.is_transient = true;
        self
    }

    /// The failure of a [`TokenSource`](crate::TokenSource) may pass, but not before this time is over.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self.transient()
    }

    /// What is left of the time that was asked for.
    pub(crate) fn with_time_left(mut self, left: Duration) -> Self {
        self.0.retry_after = Some(left);
        self
    }

    /// Why there is no token, when that is why the call failed ([`ErrorKind::Token`]), or was not sent again after it was
    /// refused: the failed exchange, or what the [`TokenSource`](crate::TokenSource) reports. [`is_unauthorized`](Self::is_unauthorized),
    /// [`status`](Self::status), [`request_id`](Self::request_id), [`code`](Self::code), [`message`](Self::message) and
    /// [`retry_after`](Self::retry_after) of the call's own error give what this one says.
    ///
    /// ```
    /// use rixl_credentials::{Error, ErrorKind};
    ///
    /// fn is_key_dead(error: &Error) -> bool {
    ///     error.token_error().is_some_and(|error| error.kind() == ErrorKind::Unauthorized)
    /// }
    /// ```
    pub fn token_error(&self) -> Option<&Error> {
        let cause: &Error = self.0.source.as_deref()?.downcast_ref()?;
        match (self.0.kind, cause.0.kind) {
            (ErrorKind::Token, _) => Some(cause),
            // What was refused was not sent again for want of a token.
            (_, ErrorKind::Token) => cause.token_error(),
            _ => None,
        }
    }

    /// Whether asking for a token again is harmless.
    pub(crate) fn is_transient(&self) -> bool {
        self.0.is_transient
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed.
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// Whether it took effect.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The HTTP status, when a response came.
    pub fn status(&self) -> Option<u16> {
        self.0.status.or_else(|| self.token_error()?.status())
    }

    /// The server's id of the request, from `x-request-id`, `request-id`, `x-correlation-id` or `traceparent`.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref().or_else(|| self.token_error()?.request_id())
    }

    /// The server's word for what went wrong: an OAuth code (`invalid_grant`), a slug (`not_found`), else its number.
    ///
    /// This is the server's text. It is not in `Display` or `Debug`: a server can quote a secret.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref().or_else(|| self.token_error()?.code())
    }

    /// The server's explanation, cut to 1,000 characters, without control characters.
    ///
    /// This is the server's text. It is not in `Display` or `Debug`: a server can quote a secret.
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref().or_else(|| self.token_error()?.message())
    }

    /// How long the server asks to wait, from `Retry-After`, or the [`TokenSource`](crate::TokenSource).
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after.or_else(|| self.token_error()?.retry_after())
    }

    /// Takes the body of a 2xx response that could not be used, as far as it came: the new secret may be in it.
    ///
    /// It can be taken once. It is present whenever [`is_unusable_response`](Self::is_unusable_response) is true.
    ///
    /// ```
    /// # fn example(mut error: rixl_credentials::Error) -> std::io::Result<()> {
    /// if let Some(response) = error.take_raw_response() {
    ///     // To a file that nobody else can read, for a person to look at.
    ///     std::fs::write("/run/secrets/rixl-response", response.expose_secret())?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn take_raw_response(&mut self) -> Option<RawResponse> {
        self.0.raw.take()
    }

    /// Whether the credential was refused (401): the token, or the one that it was to be obtained with.
    pub fn is_unauthorized(&self) -> bool {
        self.kind() == ErrorKind::Unauthorized || self.token_error().is_some_and(Self::is_unauthorized)
    }

    /// Whether only another credential helps: RIXL refused this one or its permissions, or there is none. A token
    /// source that failed otherwise may succeed later.
    ///
    /// ```
    /// use rixl_credentials::Error;
    ///
    /// assert!(Error::no_token("the vault refuses this machine").is_authentication());
    /// assert!(!Error::no_token("the vault is sealed").transient().is_authentication());
    /// ```
    pub fn is_authentication(&self) -> bool {
        use ErrorKind::{Forbidden, InvalidInput, Rejected, Token, Unauthorized};
        match (self.kind(), self.token_error()) {
            (Unauthorized | Forbidden, _) => true,
            (Token, _) if self.0.is_transient => false,
            // OAuth refuses with a 400.
            (Token, Some(cause)) => matches!(cause.kind(), InvalidInput | Rejected) || cause.is_authentication(),
            (Token, None) => true,
            _ => false,
        }
    }

    /// Whether the resource does not exist (404).
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// Whether a 2xx came that could not be used. It was done, or, of a delete or a revoke, may have been.
    pub fn is_unusable_response(&self) -> bool {
        use ErrorKind::{Cut, Malformed, SecretMissing, TooLarge, WrongId};
        matches!(self.kind(), Cut | Malformed | SecretMissing | TooLarge | WrongId)
    }

    /// The same error for another caller who waited for the same thing; the raw response stays with the first.
    pub(crate) fn share(&self) -> Self {
        let Parts { kind, operation, outcome, status, retry_after, is_transient, .. } = *self.0;
        let Parts { detail, request_id, code, message, source, .. } = &*self.0;
        Self(Box::new(Parts {
            kind,
            operation,
            outcome,
            detail: detail.clone(),
            status,
            request_id: request_id.clone(),
            code: code.clone(),
            message: message.clone(),
            retry_after,
            is_transient,
            raw: None,
            source: source.clone(),
        }))
    }

    /// An error from before anything was sent.
    pub(crate) fn new(kind: ErrorKind, operation: Operation) -> Self {
        Self(Box::new(Parts {
            kind,
            operation,
            outcome: Outcome::NotApplied,
            detail: None,
            status: None,
            request_id: None,
            code: None,
            message: None,
            retry_after: None,
            is_transient: false,
            raw: None,
            source: None,
        }))
    }

    pub(crate) fn invalid(operation: Operation, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, operation).with_detail(detail)
    }

    /// A success whose response was read and is not what was asked for.
    pub(crate) fn unusable(kind: ErrorKind, operation: Operation) -> Self {
        let mut error = Self::new(kind, operation);
        error.0.outcome = error.if_changing(Outcome::Applied);
        error
    }

    /// An error about this response.
    pub(crate) fn from_response(
        kind: ErrorKind,
        outcome: Outcome,
        operation: Operation,
        response: CapturedResponse,
    ) -> Self {
        let mut error = Self::new(kind, operation);
        error.0.outcome = error.if_changing(outcome);
        error.0.status = Some(response.status);
        error.0.request_id = headers::request_id(&response);
        if (200..=299).contains(&response.status) {
            error.0.raw = Some(RawResponse::new(response.body, error.0.request_id.clone()));
        } else if let Body::Whole(body) = &response.body {
            (error.0.code, error.0.message) = server_words(body);
        }
        error
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    /// Reads progenitor's error, which can print bodies and headers and so must not leave this function.
    ///
    /// The status decides first: a 401 whose body breaks off is still a 401.
    pub(crate) fn from_call(
        operation: Operation,
        response: Option<CapturedResponse>,
        is_late: bool,
        low: rixl_api::Error<()>,
        now: Timestamp,
    ) -> Self {
        let Some(response) = response else { return Self::without_response(operation, is_late, low) };
        let (kind, outcome) = match response.status {
            200..=299 => (unusable_body(&response.body), Outcome::Applied),
            300..=399 => (ErrorKind::Redirect, Outcome::Unknown),
            401 => (ErrorKind::Unauthorized, Outcome::NotApplied),
            403 => (ErrorKind::Forbidden, Outcome::NotApplied),
            404 => (ErrorKind::NotFound, Outcome::NotApplied),
            // 460 and 499 are a gateway's own: it gave up on the connection, and the server may have gone on.
            408 | 460 | 499 => (ErrorKind::Timeout, Outcome::Unknown),
            429 => (ErrorKind::RateLimited, Outcome::NotApplied),
            400..=499 => (ErrorKind::Rejected, Outcome::NotApplied),
            _ => (ErrorKind::Server, Outcome::Unknown),
        };
        // By the server's own clock, where it tells: this machine's may be off.
        let now = headers::date(&response.headers).unwrap_or(now);
        let retry_after = headers::retry_after(&response.headers, now);
        let mut error = Self::from_response(kind, outcome, operation, response);
        error.0.retry_after = retry_after;
        error
    }

    fn without_response(operation: Operation, is_late: bool, low: rixl_api::Error<()>) -> Self {
        if is_late {
            let mut error = Self::new(ErrorKind::Timeout, operation);
            error.0.outcome = error.if_changing(Outcome::Unknown);
            return error;
        }
        let cause = match low {
            rixl_api::Error::CommunicationError(cause) | rixl_api::Error::ResponseBodyError(cause) => cause,
            // The request could not be put together; nothing was sent.
            _ => return Self::invalid(operation, "the request could not be built"),
        };
        let (kind, outcome) = if cause.is_builder() {
            (ErrorKind::InvalidInput, Outcome::NotApplied)
        } else if cause.is_connect() {
            (ErrorKind::Connect, Outcome::NotApplied)
        } else if cause.is_timeout() {
            (ErrorKind::Timeout, Outcome::Unknown)
        } else {
            (ErrorKind::Interrupted, Outcome::Unknown)
        };
        let mut error = Self::new(kind, operation);
        error.0.outcome = error.if_changing(outcome);
        error.with_source(Opaque::from(cause))
    }

    fn if_changing(&self, outcome: Outcome) -> Outcome {
        use Operation::{DeleteApiKey, DeleteWebhookEndpoint, RevokeClientCredential};
        match (self.0.operation, outcome) {
            (operation, _) if !operation.changes_state() => Outcome::NotApplied,
            // Nothing else in their response says that it was done: it may be anyone's.
            (DeleteApiKey | RevokeClientCredential | DeleteWebhookEndpoint, Outcome::Applied) => Outcome::Unknown,
            _ => outcome,
        }
    }

    fn next_step(&self) -> &'static str {
        use ErrorKind as Kind;
        let issues = matches!(
            self.0.operation,
            Operation::CreateApiKey
                | Operation::RotateApiKey
                | Operation::CreateClientCredential
                | Operation::CreateWebhookEndpoint
                | Operation::RotateWebhookSecret
        );
        match (self.0.outcome, self.0.kind) {
            (_, Kind::InvalidInput | Kind::Configuration) => "nothing was sent",
            (_, Kind::Token) if self.0.source.is_some() => "the call was not sent; see the cause",
            (_, Kind::Token) => "the call was not sent",
            (_, Kind::RepeatedPage | Kind::IncompleteList) => "the list is incomplete",
            (Outcome::Applied, _) if issues => match self.0.operation {
                Operation::CreateWebhookEndpoint | Operation::RotateWebhookSecret => {
                    "it took effect, so save the raw response, which may hold the secret, or rotate the endpoint's \
                         secret again"
                }
                Operation::CreateClientCredential => {
                    "it took effect, so save the raw response, which may hold the secret, or revoke the credential \
                         and create another"
                }
                _ => "it took effect, so save the raw response, which may hold the secret, or rotate the key again",
            },
            (Outcome::Applied, _) => "it took effect; what the response held may be in the raw response",
            (Outcome::Unknown, _) => "it may have taken effect, so check before you repeat it",
            (_, Kind::Connect) => "nothing was sent, so it is safe to repeat",
            (_, Kind::Unauthorized) => "nothing was done; get a new credential",
            (_, Kind::Forbidden) => match self.0.operation {
                // As RIXL's own clients name them.
                Operation::ListApiKeys => {
                    "nothing was done; use a credential that may do this (credentials:apikeys:read)"
                }
                Operation::CreateApiKey
                | Operation::UpdateApiKey
                | Operation::DeleteApiKey
                | Operation::RotateApiKey => {
                    "nothing was done; use a credential that may do this (credentials:apikeys:write)"
                }
                _ => "nothing was done; use a credential that may do this",
            },
            (_, Kind::NotFound) if self.0.operation.has_generations() => {
                "nothing was done; check the id and the generation of routes"
            }
            (_, Kind::NotFound) => "nothing was done; check the ids",
            (_, Kind::RateLimited) => "nothing was done; wait, then repeat it",
            (Outcome::NotApplied, _) => "nothing was changed",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { kind, operation, detail, status, request_id, .. } = &*self.0;
        let what = detail.as_deref().unwrap_or(kind.words());
        write!(f, "{operation}: {what}")?;
        if let Some(status) = status {
            write!(f, " (HTTP {status})")?;
        }
        write!(f, "; {}", self.next_step())?;
        if let Some(id) = request_id {
            write!(f, " (request id {id})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the server's words: they can quote a secret.
        let Parts { kind, operation, outcome, detail, status, request_id, raw, source, .. } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("operation", operation)
            .field("outcome", outcome)
            .field("detail", detail)
            .field("status", status)
            .field("request_id", request_id)
            .field("raw", raw)
            .field("source", source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

pub(crate) fn unusable_body(body: &Body) -> ErrorKind {
    match body {
        Body::Whole(_) => ErrorKind::Malformed,
        Body::Cut(_) => ErrorKind::Cut,
        Body::TooLarge(_) => ErrorKind::TooLarge,
    }
}

/// The code and the message of an error body: the documented form, the gateway's, OAuth's, or none of them.
fn server_words(body: &[u8]) -> (Option<String>, Option<String>) {
    let Ok(error) = serde_json::from_slice::<types::Error>(body) else { return (None, None) };
    let is_slug = |text: &String| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let slug = error.error.clone().filter(is_slug);
    let number = error.code.as_ref().map(|code| code.as_str().map_or_else(|| code.to_string(), str::to_owned));
    let prose = error.error.filter(|text| !is_slug(text));
    let details = error.details.and_then(|details| details.as_str().map(str::to_owned));
    let message = error.error_description.or(error.message).or(prose).or(details);
    (slug.or(number).map(printable), message.map(printable))
}

fn printable(text: String) -> String {
    text.chars().filter(|character| !character.is_control()).take(1_000).collect()
}
