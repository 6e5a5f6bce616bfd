//! `crossfade check`: the configuration, what it names, and what the recordings say of its rules.

use std::collections::HashMap;

use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::compare::Rules;
use crate::config::{Config, FlagSource};
use crate::legacy::{Credentials, LegacyClient, LegacyRequest, LegacySettings, Purpose};
use crate::migration::ResourceName;
use crate::record::{RecordError, Recording};
use crate::resource::{FollowSpec, Resource, RowCells};

/// Rows that are looked at for whether the newest come first.
const NEWEST: usize = 20;

/// One thing that was looked at.
struct Finding {
    what: String,
    outcome: Result<String, String>,
    /// What it means for the process's exit code if it is wrong.
    weight: ExitCode,
}

impl Finding {
    fn new(what: impl Into<String>, weight: ExitCode, outcome: Result<String, String>) -> Self {
        Self { what: what.into(), outcome, weight }
    }
}

/// Exit code 0 if all is well, 2 if the configuration is wrong, 1 if the recordings show that a rule of a comparison
/// is, 3 if the legacy API gives no answer; the first of these that is.
pub(super) async fn run(args: &ConfigArgs) -> Result<ExitCode, CliError> {
    let config = Config::load(&args.config)?;
    let resources = Ok(format!("{} resources", config.resources.len()));
    let mut findings = vec![
        Finding::new("configuration", ExitCode::Usage, resources),
        Finding::new("secrets", ExitCode::Usage, secrets(&config)),
    ];
    let compiled = crate::serve::compile_rules(&config.resources);
    let told = compiled.as_ref().map(|rules| format!("{} sets", rules.len()));
    let told = told.map_err(ToString::to_string);
    findings.push(Finding::new("comparison rules", ExitCode::Usage, told));
    if let Ok(compiled) = &compiled {
        findings.extend(accounts(&config, compiled).await);
    }
    for resource in &config.resources {
        let what = format!("legacy list of `{}`", resource.name);
        findings.push(Finding::new(what, ExitCode::Dependency, list(&config, resource).await));
        if let Some(follow) = resource.tail.as_ref().and_then(|spec| spec.follow.as_ref()) {
            let what = format!("newest rows of `{}`", resource.name);
            let outcome = newest(&config, resource, follow).await;
            findings.push(Finding::new(what, ExitCode::Dependency, outcome));
        }
        let what = format!("rampdown of `{}`", resource.name);
        findings.push(Finding::new(what, ExitCode::Done, Ok(rampdown(resource))));
    }
    tell(&findings, args.format);
    let failed = |code: &ExitCode| {
        findings.iter().any(|finding| finding.outcome.is_err() && finding.weight == *code)
    };
    let worst = [ExitCode::Usage, ExitCode::Failed, ExitCode::Dependency];
    Ok(worst.into_iter().find(failed).unwrap_or(ExitCode::Done))
}

fn tell(findings: &[Finding], format: Format) {
    match format {
        Format::Text => {
            for Finding { what, outcome, .. } in findings {
                match outcome {
                    Ok(text) => print(&format!("ok      {what}: {text}")),
                    Err(text) => print(&format!("FAILED  {what}: {text}")),
                }
            }
        }
        Format::Json => {
            let list: Vec<_> = findings
                .iter()
                .map(|f| {
                    serde_json::json!({"what": f.what, "ok": f.outcome.is_ok(),
                    "text": f.outcome.as_ref().unwrap_or_else(|e| e)})
                })
                .collect();
            print(&serde_json::json!({ "findings": list }).to_string());
        }
    }
}

/// What the recordings say of the rules that are configured; nothing if there is no recording yet.
async fn accounts(config: &Config, compiled: &HashMap<ResourceName, Rules>) -> Vec<Finding> {
    let finding =
        |outcome| Finding::new("comparison rules, as recorded", ExitCode::Failed, outcome);
    let recording = match Recording::open_read(&config.storage.recordings).await {
        Ok(recording) => recording,
        Err(RecordError::Missing(_)) => return Vec::new(),
        Err(error) => return vec![finding(Err(error.to_string()))],
    };
    let accounts = match recording.rules().await {
        Ok(accounts) => accounts,
        Err(error) => return vec![finding(Err(error.to_string()))],
    };
    let mut looked_at = 0_usize;
    let mut faults = Vec::new();
    for resource in &config.resources {
        let routes =
            [resource.routes.list.template.as_str(), resource.routes.get.template.as_str()];
        let configured: Vec<_> =
            compiled.get(&resource.name).into_iter().flat_map(Rules::names).collect();
        let known = accounts.iter().filter(|account| {
            account.resource == resource.name.as_str()
                && configured.contains(&account.rule.as_str())
        });
        for account in known {
            looked_at += 1;
            if let Some(fault) = account.fault(&routes) {
                let text = format!("`{}` of `{}`: {fault}", account.rule, resource.name);
                faults.push(finding(Err(text)));
            }
        }
    }
    if faults.is_empty() {
        faults.push(finding(Ok(format!("{looked_at} rules, none at fault"))));
    }
    faults
}

fn secrets(config: &Config) -> Result<String, String> {
    let mut secrets = vec![&config.admin.token, &config.legacy.service_token];
    if let FlagSource::Unleash(unleash) = &config.flags.source {
        secrets.push(&unleash.token);
    }
    for secret in &secrets {
        secret.resolve().map_err(|e| e.to_string())?;
    }
    Ok(format!("{} can be read", secrets.len()))
}

/// What the configuration lacks for stage `rampdown`: nothing is wrong with it before.
fn rampdown(resource: &crate::resource::Resource) -> String {
    let lacks = resource.lacks_for_rampdown();
    if lacks.is_empty() {
        return "all is told that the store has to know".to_owned();
    }
    let lacks: Vec<_> = lacks.iter().map(ToString::to_string).collect();
    format!("not before this is told: {}", lacks.join("; "))
}

/// Asks legacy for one page, and reads its rows as a backfill would.
async fn list(config: &Config, resource: &Resource) -> Result<String, String> {
    let rows = page(config, resource, resource.page_url(0)).await?;
    Ok(format!("{} rows on the first page fit [resource.cells]", rows.len()))
}

/// Asks legacy for what has changed last, as a tail would.
async fn newest(
    config: &Config,
    resource: &Resource,
    follow: &FollowSpec,
) -> Result<String, String> {
    let rows = page(config, resource, resource.changes_url(follow, None, 0, NEWEST)).await?;
    let versions: Vec<_> = rows.iter().filter_map(|row| follow.version(row)).collect();
    if follow.sorted && !follow.is_newest_first(&versions, rows.len()) {
        return Err(format!(
            "they do not come sorted by `{}`, the newest first, or have no time or number in it: correct query.sort, or take `by` out of [resource.tail]",
            follow.by
        ));
    }
    Ok(format!("{} rows have `{}`", versions.len(), follow.by))
}

/// The rows of a page of legacy's.
async fn page(config: &Config, resource: &Resource, url: String) -> Result<Vec<RowCells>, String> {
    let client = LegacyClient::new(LegacySettings {
        base_url: config.legacy.url.as_str().trim_end_matches('/').to_owned(),
        connect_timeout: config.legacy.connect_timeout,
        timeout: config.compare.timeout,
        compare_timeout: config.compare.timeout,
        service_token: Some(config.legacy.service_token.resolve().map_err(|e| e.to_string())?),
        max_body_bytes: config.compare.max_body_bytes,
    })
    .map_err(|e| e.to_string())?;
    let request = LegacyRequest {
        method: http::Method::GET,
        path_and_query: url,
        body: None,
        purpose: Purpose::Reread,
        credentials: Credentials::Service,
        idempotency_key: None,
    };
    let answer = client.ask(request).await.outcome.map_err(|e| format!("legacy {e}"))?;
    if !answer.status.is_success() {
        return Err(format!("answered {}: does it accept [legacy] service_token?", answer.status));
    }
    let crate::migration::Body::Whole(body) = answer.body else {
        return Err("a page is longer than [compare] max_body_bytes".to_owned());
    };
    let body: serde_json::Value = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
    let rows = resource
        .envelope
        .rows(&body)
        .ok_or("the answer has not the shape of [resource.envelope]")?;
    let cells = |row| resource.schema.row_from_json(row).map(|read| read.cells);
    rows.iter().map(cells).collect::<Result<_, _>>().map_err(|e| e.to_string())
}
