//! Whom a toggle reaches, as its document says: evaluating it for some users would show that those are in, not that all are.

use unleash_types::client_features::{ClientFeature, Strategy};

/// Whom a toggle is on for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Every signed-in user.
    Everybody,
    /// Not everybody, or it cannot be told. The text says why, for people.
    Some(String),
}

impl Reach {
    /// Whom a feature reaches.
    pub(super) fn of(feature: &ClientFeature) -> Self {
        if !feature.enabled {
            return Self::Some("it is off".to_owned());
        }
        if feature.dependencies.as_ref().is_some_and(|parents| !parents.is_empty()) {
            return Self::Some("it depends on another toggle".to_owned());
        }
        let strategies = feature.strategies.as_deref().unwrap_or_default();
        if strategies.is_empty() || strategies.iter().any(|one| narrows(one).is_none()) {
            return Self::Everybody;
        }
        Self::Some(strategies.iter().filter_map(narrows).collect::<Vec<_>>().join("; "))
    }
}

/// What leaves users out; `None`: nothing does.
fn narrows(strategy: &Strategy) -> Option<String> {
    if strategy.constraints.as_ref().is_some_and(|all| !all.is_empty()) {
        return Some("a strategy has constraints".to_owned());
    }
    if strategy.segments.as_ref().is_some_and(|all| !all.is_empty()) {
        return Some("a strategy has segments".to_owned());
    }
    let parameter = |name: &str| strategy.parameters.as_ref()?.get(name).map(String::as_str);
    match strategy.name.as_str() {
        "default" => None,
        "flexibleRollout" => {
            let sticky = parameter("stickiness").unwrap_or("default");
            // Without such a property a user is out, at 100 % too.
            if !matches!(sticky, "default" | "userId" | "random" | "") {
                return Some(format!("its rollout is by `{sticky}`, which not every user has"));
            }
            let rollout = parameter("rollout").unwrap_or("0");
            (rollout != "100").then(|| format!("its rollout is {rollout} %"))
        }
        "gradualRolloutUserId" | "gradualRolloutRandom" => {
            let percentage = parameter("percentage").unwrap_or("0");
            (percentage != "100").then(|| format!("its rollout is {percentage} %"))
        }
        other => Some(format!("of the strategy `{other}` it is not known whom it leaves out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(feature: serde_json::Value) -> Reach {
        Reach::of(&serde_json::from_value(feature).unwrap())
    }

    fn with(strategies: serde_json::Value) -> serde_json::Value {
        serde_json::json!({ "name": "crossfade.users.cohort", "enabled": true, "strategies": strategies })
    }

    fn rollout(percent: &str, stickiness: &str) -> serde_json::Value {
        serde_json::json!({
            "name": "flexibleRollout",
            "parameters": { "rollout": percent, "stickiness": stickiness, "groupId": "g" },
        })
    }

    #[test]
    fn a_whole_rollout_without_conditions_reaches_everybody() {
        for strategies in [
            serde_json::json!([]),
            serde_json::json!([{ "name": "default" }]),
            serde_json::json!([rollout("100", "userId")]),
            serde_json::json!([rollout("5", "userId"), rollout("100", "default")]),
            serde_json::json!([{ "name": "gradualRolloutUserId", "parameters": { "percentage": "100" } }]),
        ] {
            assert_eq!(reach(with(strategies.clone())), Reach::Everybody, "{strategies}");
        }
    }

    #[test]
    fn what_leaves_users_out_is_told() {
        let text = |feature| match reach(feature) {
            Reach::Some(text) => text,
            Reach::Everybody => panic!("reaches everybody"),
        };
        assert_eq!(text(with(serde_json::json!([rollout("99", "userId")]))), "its rollout is 99 %");
        assert!(text(with(serde_json::json!([rollout("100", "orgId")]))).contains("`orgId`"));
        assert!(
            text(with(
                serde_json::json!([{ "name": "userWithId", "parameters": { "userIds": "a" } }])
            ))
            .contains("userWithId")
        );
        let constrained = serde_json::json!([{
            "name": "default",
            "constraints": [{ "contextName": "orgId", "operator": "IN", "values": ["o_1"] }],
        }]);
        assert!(text(with(constrained)).contains("constraints"));
        let segmented = serde_json::json!([{ "name": "default", "segments": [1] }]);
        assert!(text(with(segmented)).contains("segments"));
        assert_eq!(
            text(serde_json::json!({ "name": "c", "enabled": false, "strategies": [] })),
            "it is off"
        );
        let child = serde_json::json!({
            "name": "c", "enabled": true, "strategies": [], "dependencies": [{ "feature": "parent" }],
        });
        assert!(text(child).contains("depends"));
    }
}
