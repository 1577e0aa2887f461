//! Tests of the contracts of [`Store`](crate::store::Store) and [`Journal`](crate::journal::Journal), to run on your own.

#![allow(clippy::future_not_send, reason = "a test awaits them where it stands, with whatever opens its store")]

mod journal;
mod store;

pub use journal::check_journal;
pub use store::{check_store, check_store_without_race};
