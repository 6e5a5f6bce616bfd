//! Rules held to account by `crossfade check`, from what was recorded.

use axum::response::Response;

use super::world::{World, answer, page, row, set_rules};

fn steady(_: &str, target: &str, _: &str) -> Response {
    let row = row("u1", "Ada");
    if target.starts_with("/users/") { answer(200, &row) } else { answer(200, &page(&[row])) }
}

#[tokio::test]
async fn check_fails_for_a_rule_that_never_matched_and_one_that_hides_too_much() {
    let world = World::start(steady, |config| {
        set_rules(
            config,
            "ignore = ['$.data[*].nick', '$..updatedAt', '$.data[*]']
             arrays = [{ path = '$.data', by = 'id' }]
             strings = [{ path = '$..title', as = ['trim'] }]",
        );
    })
    .await;
    let told = async || {
        let output = world.run(&["check"]).await;
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = told().await;
    assert_eq!(code, Some(0), "nothing was compared yet: {text}");
    for _ in 0..20 {
        world.get("/users").await;
        world.get("/users/u1").await;
    }
    let comparisons = world.compared(40).await;
    let rules = comparisons["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 5, "{comparisons}");
    let arrays = rules.iter().find(|rule| rule["rule"] == "arrays $.data").unwrap();
    assert_eq!((arrays["compared"].as_u64(), arrays["located"].as_u64()), (Some(40), Some(40)));
    let (code, text) = told().await;
    assert_eq!(code, Some(1), "{text}");
    for (rule, fault) in [
        ("`$.data[*].nick`", Some("never located anything")),
        ("`strings $..title`", Some("never located anything")),
        ("`$.data[*]`", Some("takes more than half of all values of a route")),
        ("updatedAt", None),
        ("arrays", None),
    ] {
        let mut of_rules = text.lines().filter(|line| line.contains("as recorded"));
        let line = of_rules.find(|line| line.contains(rule));
        let expected = fault.is_none_or(|fault| line.is_some_and(|line| line.contains(fault)));
        assert!(expected && (fault.is_some() || line.is_none()), "{rule}: {text}");
    }
    world.stop().await;
}
