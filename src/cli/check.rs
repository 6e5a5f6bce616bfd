//! `crossfade check`: the configuration and what it names.

use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::config::{Config, FlagSource};
use crate::legacy::{Credentials, LegacyClient, LegacyRequest, LegacySettings, Purpose};

/// One thing that was looked at.
struct Finding {
    what: String,
    outcome: Result<String, String>,
}

/// Exit code 0 if all is well, 2 if the configuration is wrong, 3 if the legacy API gives no answer.
pub(super) async fn run(args: &ConfigArgs) -> Result<ExitCode, CliError> {
    let config = Config::load(&args.config)?;
    let mut findings = vec![Finding {
        what: "configuration".to_owned(),
        outcome: Ok(format!("{} resources", config.resources.len())),
    }];
    findings.push(Finding { what: "secrets".to_owned(), outcome: secrets(&config) });
    findings.push(Finding { what: "comparison rules".to_owned(), outcome: rules(&config) });
    let wrong = findings.iter().any(|finding| finding.outcome.is_err());
    for resource in &config.resources {
        findings.push(Finding {
            what: format!("legacy list of `{}`", resource.name),
            outcome: list(&config, resource).await,
        });
    }
    let unreachable = !wrong && findings.iter().any(|finding| finding.outcome.is_err());
    match args.format {
        Format::Text => {
            for Finding { what, outcome } in &findings {
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
    Ok(match (wrong, unreachable) {
        (true, _) => ExitCode::Usage,
        (_, true) => ExitCode::Dependency,
        _ => ExitCode::Done,
    })
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

fn rules(config: &Config) -> Result<String, String> {
    crate::serve::compile_rules(&config.resources)
        .map(|rules| format!("{} sets", rules.len()))
        .map_err(|e| e.to_string())
}

/// Asks legacy for one page, and reads its rows as a backfill would.
async fn list(config: &Config, resource: &crate::resource::Resource) -> Result<String, String> {
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
        path_and_query: resource.page_url(0),
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
    for row in rows {
        resource.schema.row_from_json(row).map_err(|e| e.to_string())?;
    }
    Ok(format!("{} rows on the first page fit [resource.cells]", rows.len()))
}
