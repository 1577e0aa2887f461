//! The example runs, and holds what it says.

use rixl_testing::openbao::shared;

use crate::store::config;

#[path = "../../examples/rotate_and_follow.rs"]
mod rotate_and_follow;

#[tokio::test]
async fn a_key_is_rotated_into_vault_and_followed_from_there() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    rotate_and_follow::run(config(server), &mount).await.unwrap();
}
