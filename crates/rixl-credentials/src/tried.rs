//! What the client was tested against, beyond faulty responses. A page, not code: each line is a test.
//!
//! The servers are raw sockets, which count what reaches them. `FAULTS.md` in the repository lists what each faulty
//! response does to each operation.
//!
//! # Timing
//!
//! | case | result |
//! |---|---|
//! | the response arrives in time, but nobody polls the call until the time is up | the response |
//! | `buffer_unordered(4)`, with a consumer slower than the time-out | four secrets of four |
//! | the executor is stopped from before the response until after the time-out, as with SIGSTOP | the response |
//! | it is stopped once more before the connection is polled | the response |
//! | the time-out or deadline passes before the request is written | `Timeout`, `NotApplied`; it is never written |
//! | 300 deadlines of 0 to 1 ms, while the request is being written | what is reported as not sent never reaches the server |
//! | a body that still trickles after the time-out | `Cut`, a tenth of a second later, with what has arrived |
//!
//! # Untrusted responses
//!
//! | case | result |
//! |---|---|
//! | delete or revoke, 2xx, with a page, an error, or any body but an empty one or `{}` | `Malformed`, `Unknown` |
//! | delete or revoke, 2xx, cut or too large | `Cut` or `TooLarge`, `Unknown` |
//! | an update, 2xx, without the key | `Malformed`, `Applied` |
//! | 401, 429 or a failure, and then no token, no connection or no time to send it again | the error of the call that was sent, with the other as its cause |
//! | a `content-length` of 2^47 | memory only for what arrives |
//! | a page of a million bytes of `{}` | memory for a hundred; `Malformed` |
//! | a list, 2xx, with an error or another object without any of its properties | `Malformed` |
//! | a page with more than requested | what was requested, and the rest on the next page |
//! | pages that repeat in a cycle | `RepeatedPage` |
//! | secrets in the debug data of an HTTP/2 GOAWAY | printed nowhere |
//!
//! # Tokens
//!
//! | case | result |
//! |---|---|
//! | a refreshed token is refused | an exchange |
//! | a call that waits for a token is no longer polled | the others get theirs |
//! | a call is dropped before the exchange completes | the next one finds the token |
//! | a runtime that nobody drives began the exchange | the other runtime makes its own |
//! | the same runtime is driven again two minutes later | another exchange |
//! | a runtime per call, which ends the renewal with it | one renewal, then one after 1, 2, 4 seconds and so on |
//! | a refresh is refused with `Retry-After` | no exchange until then |
//! | a token is refused temporarily, and there is no other | it is sent by the next call |
//! | the endpoint is slow or down while the token is live | no call waits or fails until the token expires |
//! | a token that is stale on arrival, 50 callers | one exchange |
//! | `"expires_in": 0` | not set: `expires_at` counts |
//! | `Retry-After: 3600` of the endpoint, 50 calls | one exchange in that hour; each error has the remaining time |
//! | every token is refused, 100 calls | two exchanges, then one after 1, 2, 4 seconds and so on, up to a minute |
//! | the same, and the key is a different one by then | it is read at most once a second, and exchanged |
//! | the same, with a source that alternates between two keys | three exchanges, then as rarely |
//! | a token that can't be a header value | a failed exchange |
//! | an API key or a client secret with a line ending | refused before it is sent |
//! | a transient 404 from the second generation of routes | the next exchange asks it again |
//!
//! # Waiting
//!
//! | case | result |
//! |---|---|
//! | `Retry-After`, in seconds or in any of HTTP's three date formats | obeyed, with jitter on top |
