//! What the client was tried against, beyond the faults of a response. A page, not code: each line is a test.
//!
//! Servers at raw sockets did it, and counted what reached them. What each fault of a response does to each operation is in
//! `FAULTS.md` in the repository.
//!
//! # Time and what has arrived
//!
//! | tried | what comes of it |
//! |---|---|
//! | the response comes in time, and nobody polls the call until the time is up | the response |
//! | `buffer_unordered(4)`, with a consumer slower than the time-out | four secrets of four |
//! | the executor stands still from before the response until after the time-out, as with SIGSTOP | the response |
//! | it stands still once more before the connection has its turn | the response |
//! | time-out or deadline is up before the request is written | `Timeout`, `NotApplied`; it is never written |
//! | 300 deadlines of 0 to 1 ms, while the request is being written | what is said not to be sent never reaches the server |
//! | a body that drips on after the time-out | `Cut`, a tenth of a second later, with what came |
//!
//! # What is believed
//!
//! | tried | what comes of it |
//! |---|---|
//! | delete or revoke, 2xx, with a page, an error, or any other body than none or `{}` | `Malformed`, `Unknown` |
//! | delete or revoke, 2xx, cut or too large | `Cut` or `TooLarge`, `Unknown` |
//! | an update, 2xx, without the key | `Malformed`, `Applied` |
//! | 401, 429 or a failure, and then no token, no connection or no time to send it again | the error of what was sent, the other as its cause |
//! | a `content-length` of 2^47 | memory for what comes alone |
//! | a page of a million bytes of `{}` | memory for a hundred; `Malformed` |
//! | a list, 2xx, with an error or another object without any of its properties | `Malformed` |
//! | a page with more than was asked for | what was asked for, and the rest on the next page |
//! | pages that come again in a circle | `RepeatedPage` |
//! | secrets in the debug data of an HTTP/2 GOAWAY | printed nowhere |
//!
//! # Tokens
//!
//! | tried | what comes of it |
//! |---|---|
//! | a refreshed token is refused | an exchange |
//! | a call that waits for a token and is not polled any more | the others get theirs |
//! | a call that leaves before the exchange ends | the next one finds the token |
//! | a runtime that nobody drives began the exchange | the other runtime makes its own |
//! | the same runtime is driven again two minutes later | another exchange |
//! | a runtime for each call, which ends with it and with the renewal | one renewal, then one after 1, 2, 4 seconds and so on |
//! | a refresh is refused with `Retry-After` | no exchange until then |
//! | a token is refused in passing, and there is no other | it is sent by the next call |
//! | the endpoint is slow or down while the token is live | no call waits or fails until the token expires |
//! | a token that is stale on arrival, 50 callers | one exchange |
//! | `"expires_in": 0` | not set: `expires_at` counts |
//! | `Retry-After: 3600` of the endpoint, 50 calls | one exchange in that hour; each is told what is left of it |
//! | every token is refused, 100 calls | two exchanges, then one after 1, 2, 4 seconds and so on, up to a minute |
//! | the same, and the key is another one by then | it is looked at once a second at most, and exchanged |
//! | the same, with a source that goes to and fro between two keys | three exchanges, then as rarely |
//! | a token that no header can hold | a failed purchase |
//! | an API key or a client secret with the end of a line | refused before it is sent |
//! | 404 in passing from the second generation of routes | the next exchange asks it again |
//!
//! # Waiting
//!
//! | tried | what comes of it |
//! |---|---|
//! | `Retry-After`, in seconds or in any of HTTP's three forms of dates | obeyed, with jitter on top |
