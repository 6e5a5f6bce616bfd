//! Rules held to account: what each did over all routes of its resource, and what is wrong with that.

use std::collections::BTreeMap;

use super::RuleRecord;
use crate::compare::EQUAL_INSTANTS;

/// Fewer comparisons of a route say nothing about a rule.
const ENOUGH: u64 = 20;

/// What one rule did, over all routes of its resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleAccount {
    /// Its resource.
    pub resource: String,
    /// The rule ([`crate::compare::Rules::names`]).
    pub rule: String,
    /// Comparisons in which it was in force.
    pub compared: u64,
    /// Places that it located.
    pub located: u64,
    /// Differences that it hid.
    pub hidden: u64,
    /// Values that it took out of the comparison, if it is an ignore rule.
    pub covered: u64,
    /// Values in all those answers, where there are ignore rules.
    pub values: u64,
    routes: BTreeMap<String, OnRoute>,
}

/// What one rule did on one route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct OnRoute {
    compared: u64,
    covered: u64,
    values: u64,
}

/// What can be wrong with a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleFault {
    /// Its path leads nowhere.
    #[error("it never located anything: correct its path, or take it out")]
    NeverMatched,
    /// It takes more out of the comparison than it leaves in.
    #[error(
        "it takes more than half of all values of a route out of the comparison: name the fields that may differ"
    )]
    HidesTooMuch,
}

impl RuleAccount {
    /// An account for each rule of each resource.
    #[must_use]
    pub fn all(records: &[RuleRecord]) -> Vec<Self> {
        let mut accounts: BTreeMap<(&str, &str), Self> = BTreeMap::new();
        for one in records {
            let account =
                accounts.entry((&one.resource, &one.rule)).or_insert_with(|| Self::new(one));
            account.compared += one.compared;
            account.located += one.located;
            account.hidden += one.hidden;
            account.covered += one.covered;
            account.values += one.values;
            let route = account.routes.entry(one.route.clone()).or_default();
            route.compared += one.compared;
            route.covered += one.covered;
            route.values += one.values;
        }
        accounts.into_values().collect()
    }

    fn new(record: &RuleRecord) -> Self {
        Self {
            resource: record.resource.clone(),
            rule: record.rule.clone(),
            compared: 0,
            located: 0,
            hidden: 0,
            covered: 0,
            values: 0,
            routes: BTreeMap::new(),
        }
    }

    /// What is wrong with the rule, as far as enough was compared to tell. That it never matched is told once
    /// enough was compared of each of these routes, for a path may be meant for one route only; that it hides too
    /// much, if it does on any route.
    #[must_use]
    pub fn fault(&self, routes: &[&str]) -> Option<RuleFault> {
        let told = |route: &&str| self.routes.get(*route).is_some_and(OnRoute::is_enough);
        if self.located == 0 && self.rule != EQUAL_INSTANTS && routes.iter().all(told) {
            Some(RuleFault::NeverMatched)
        } else if self.routes.values().any(|route| route.is_enough() && route.hides_too_much()) {
            Some(RuleFault::HidesTooMuch)
        } else {
            None
        }
    }
}

impl OnRoute {
    const fn is_enough(&self) -> bool {
        self.compared >= ENOUGH
    }

    const fn hides_too_much(&self) -> bool {
        self.covered > self.values / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: [&str; 2] = ["GET /users", "GET /users/{id}"];

    fn record(route: usize, compared: u64, located: u64, covered: u64) -> RuleRecord {
        RuleRecord {
            resource: "users".to_owned(),
            route: ROUTES[route].to_owned(),
            rule: "$.data".to_owned(),
            compared,
            located,
            covered,
            values: 100,
            ..RuleRecord::default()
        }
    }

    fn fault(records: &[RuleRecord]) -> Option<RuleFault> {
        let accounts = RuleAccount::all(records);
        assert_eq!(accounts.len(), 1);
        accounts[0].fault(&ROUTES)
    }

    #[test]
    fn a_rule_that_never_matched_is_told_once_each_route_was_compared() {
        let never = Some(RuleFault::NeverMatched);
        assert_eq!(fault(&[record(0, 20, 0, 0), record(1, 20, 0, 0)]), never);
        assert_eq!(fault(&[record(0, 500, 0, 0), record(1, 19, 0, 0)]), None);
        assert_eq!(fault(&[record(0, 500, 0, 0)]), None);
        assert_eq!(fault(&[record(0, 20, 0, 0), record(1, 20, 1, 1)]), None);
    }

    #[test]
    fn a_rule_that_hides_more_than_half_is_told() {
        let too_much = Some(RuleFault::HidesTooMuch);
        assert_eq!(fault(&[record(0, 20, 20, 51)]), too_much);
        assert_eq!(fault(&[record(0, 20, 20, 50)]), None);
        assert_eq!(fault(&[record(0, 19, 19, 99)]), None);
        assert_eq!(fault(&[record(0, 20, 20, 51), record(1, 500, 20, 5)]), too_much);
    }

    #[test]
    fn what_needs_no_rule_is_no_rule_at_fault() {
        let mut records = [record(0, 20, 0, 0), record(1, 20, 0, 0)];
        records.iter_mut().for_each(|one| one.rule = EQUAL_INSTANTS.to_owned());
        assert_eq!(fault(&records), None);
    }
}
