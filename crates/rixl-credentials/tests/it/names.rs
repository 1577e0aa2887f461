//! Names that are contracts: a snapshot for reviewers, since dashboards and alerts break with them.

use std::fmt::Write as _;

use rixl_credentials::{ErrorKind, Operation, Outcome};

use crate::{
    mock::{Mock, key_id},
    tracing_spans::Recorder,
};

#[tokio::test]
async fn telemetry_has_these_names() {
    let recorder = Recorder::default();
    let guard = rixl_testing::listen(recorder.clone());
    let mock = Mock::responding(200, "{}").await;
    mock.client().first_generation().api_keys().delete(&key_id()).await.unwrap();
    drop(guard);
    let mut text = String::new();
    for record in recorder.take().iter().filter(|record| record.target.starts_with("rixl")) {
        writeln!(text, "{} of {}, {}:", record.name, record.target, record.level).unwrap();
        record.declared.iter().for_each(|field| writeln!(text, "  {field}").unwrap());
    }
    let mut list = |what: &str, names: Vec<String>| {
        writeln!(text, "{what}:").unwrap();
        names.iter().for_each(|name| writeln!(text, "  {name}").unwrap());
    };
    list("operations", Operation::ALL.iter().map(|operation| operation.id().to_owned()).collect());
    list("kinds of errors", ErrorKind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect());
    list("outcomes", Outcome::ALL.iter().map(|outcome| outcome.as_str().to_owned()).collect());
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false, snapshot_path => "contracts" }, {
        insta::assert_snapshot!("telemetry_names", text);
    });
}
