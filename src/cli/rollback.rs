//! `crossfade rollback`: the switch.

use std::sync::Arc;

use serde_json::{Value, json};

use super::admin_client::AdminClient;
use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Database};
use crate::flags::{RollbackSwitch, Scope};
use crate::serve::switch;
use crate::storage::{LibsqlStorage, SharedStorage};

#[derive(Debug, clap::Args)]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Why; the next person reads it first.
    #[arg(long, required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Only tells what it would do, and what legacy does not have yet.
    #[arg(long, conflicts_with = "lift")]
    dry_run: bool,
    /// Only this resource; all without it.
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
    /// Who; the user that runs the command without it.
    #[arg(long, env = "USER", default_value = "operator")]
    actor: String,
    /// Ends the rollback instead.
    #[arg(long)]
    lift: bool,
}

/// Sends everybody back to legacy, or lifts that.
///
/// A crossfade that does not answer is rolled back through its database: it looks there four times a
/// second, and first of all when it starts.
pub(super) async fn run(args: RollbackArgs) -> Result<ExitCode, CliError> {
    let config = Config::load(&args.config.config)?;
    let scope = args.resource.as_deref().unwrap_or("all");
    if args.dry_run {
        return preview(&config, &args, scope).await;
    }
    let order = json!({ "scope": scope, "reason": args.reason.as_deref().unwrap_or_default(), "actor": args.actor });
    let path = if args.lift { "/rollback/lift" } else { "/rollback" };
    let answer = match AdminClient::of(&config)?.post(path, Some(&order)).await {
        Ok(answer) => answer,
        Err(error) if error.is_dependency() => {
            eprintln!("{}", error.text());
            eprintln!("writing to the database instead");
            beside(&config, &args, scope).await?
        }
        Err(error) => return Err(error),
    };
    if args.config.format == Format::Json {
        print(&answer.to_string());
    } else if args.lift {
        print(&format!("lifted ({scope}): the flags decide again"));
    } else {
        print(&format!("rolled back ({scope}): legacy answers every request"));
        if let Some(owed) = answer.get("owed").filter(|owed| !owed.is_null()) {
            print("owed to legacy, whose delivery goes on:");
            super::outbox::owed(owed).iter().for_each(|line| print(&format!("  {line}")));
        }
    }
    if answer.get("replicated") == Some(&Value::Bool(false)) {
        return Err(CliError::dependency(
            "it holds in this process's memory only: the database cannot be written (not replicated)",
        ));
    }
    Ok(ExitCode::Done)
}

/// Tells what a rollback would do now.
async fn preview(config: &Config, args: &RollbackArgs, scope: &str) -> Result<ExitCode, CliError> {
    let answer = AdminClient::of(config)?.get(&format!("/rollback?scope={scope}")).await?;
    if args.config.format == Format::Json {
        print(&answer.to_string());
        return Ok(ExitCode::Done);
    }
    print(&format!("a rollback ({scope}) would do this; nothing is changed now"));
    for one in answer["resources"].as_array().into_iter().flatten() {
        let text = |key: &str| one[key].as_str().unwrap_or("–").to_owned();
        let left_out = match one["left_out"].as_bool() {
            Some(true) => " (left out: legacy's rows are stale)",
            _ => "",
        };
        print(&format!("  {}: {} → {}{left_out}", text("resource"), text("now"), text("then")));
    }
    let sockets = &answer["sockets"];
    print(&format!("  sync sockets open: {}, drained: {}", sockets["open"], sockets["drained"]));
    print("not in legacy yet, and delivered all the same:");
    super::outbox::owed(&answer["owed"]).iter().for_each(|line| print(&format!("  {line}")));
    Ok(ExitCode::Done)
}

/// Throws the switch in the database, beside a process that does not answer or does not run.
async fn beside(config: &Config, args: &RollbackArgs, scope: &str) -> Result<Value, CliError> {
    let scope = match scope {
        "all" => Scope::All,
        name => match config.resources.iter().find(|r| r.name.as_str() == name) {
            Some(resource) => Scope::Resource(resource.name.clone()),
            None => return Err(CliError::usage(format!("no resource `{name}` is configured"))),
        },
    };
    let storage: SharedStorage = match &config.storage.control {
        Database::File(path) => {
            Arc::new(LibsqlStorage::open_beside(path).await.map_err(CliError::dependency)?)
        }
        remote @ Database::Remote { .. } => crate::serve::open_storage(remote).await?,
    };
    let kept = switch::read(&*storage).await.map_err(CliError::dependency)?;
    let now_ms = SystemClock.now_ms();
    let reason = args.reason.as_deref().unwrap_or_default();
    let rollback = RollbackSwitch::new(kept);
    if args.lift {
        if rollback.lift(&scope, &args.actor, reason).is_none() {
            return Err(CliError::usage("this scope is not rolled back"));
        }
    } else {
        rollback.trip(&scope, &args.actor, reason, now_ms, false);
    }
    switch::keep(&*storage, &rollback).await.map_err(CliError::dependency)?;
    let owed = storage.outbox_summary(0).await.map_err(CliError::dependency)?;
    Ok(json!({
        "tripped": !args.lift, "replicated": true, "through": "database",
        "owed": { "pending": owed.pending, "dead": owed.dead },
    }))
}
