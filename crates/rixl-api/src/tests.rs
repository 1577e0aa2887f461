use std::{sync::atomic::Ordering, time::Duration};

use crate::hooks::{Exchange, Limit};

/// A blocked thread: nothing has driven the timer since.
#[tokio::test]
async fn the_time_is_over_by_the_clock_before_the_timer_knows() {
    for is_written in [true, false] {
        let exchange = Exchange::default();
        exchange.is_written.store(is_written, Ordering::Relaxed);
        let mut limit = Limit::new(Some(Duration::from_millis(5)), &exchange);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(limit.apply(async { "looked at" }).await.is_some(), is_written);
    }
}

#[tokio::test]
async fn what_is_not_written_when_the_time_is_over_is_not_looked_at() {
    for is_written in [true, false] {
        let exchange = Exchange::default();
        exchange.is_written.store(is_written, Ordering::Relaxed);
        let mut limit = Limit::new(Some(Duration::ZERO), &exchange);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(limit.apply(async { "looked at" }).await.is_some(), is_written);
        assert_eq!(exchange.is_late.into_inner(), !is_written);
    }
}
