//! `crossfade rollback`: the switch.

use std::time::Duration;

use serde_json::{Value, json};

use super::admin_client::AdminClient;
use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::flags::{RollbackSwitch, Scope};
use crate::migration::{ResourceName, Stage};
use crate::serve::switch;
use crate::storage::{AuditEntry, ControlOp};

/// How long a process's answer may take, in an incident.
const ANSWER: Duration = Duration::from_secs(3);

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
    /// Sends resources in `complete` back too, although legacy's rows are stale.
    #[arg(long, conflicts_with = "lift")]
    accept_stale: bool,
}

/// Sends everybody back to legacy, or lifts that.
///
/// A crossfade that does not answer is rolled back through its database: it looks there four times a
/// second, and first of all when it starts. Where the database cannot be written either, each process that
/// `[cluster] peers` names is called.
pub(super) async fn run(args: RollbackArgs) -> Result<ExitCode, CliError> {
    let config = Config::load(&args.config.config)?;
    let scope = args.resource.as_deref().unwrap_or("all");
    if args.dry_run {
        return preview(&config, &args, scope).await;
    }
    let mut order = json!({ "scope": scope, "reason": args.reason.as_deref().unwrap_or_default(), "actor": args.actor });
    if args.accept_stale {
        order["accept_stale"] = Value::Bool(true);
    }
    let path = if args.lift { "/rollback/lift" } else { "/rollback" };
    let own = AdminClient::of(&config)?.within(ANSWER);
    let answer = match own.post(path, Some(&order)).await {
        Ok(answer) => Ok(answer),
        Err(error) if error.is_dependency() => {
            eprintln!("{}", error.text());
            eprintln!("writing to the database instead");
            beside(&config, &args, scope).await
        }
        Err(error) => return Err(error),
    };
    // Who reads the database finds it there; otherwise each process has to be told.
    let is_kept =
        answer.as_ref().is_ok_and(|said| said.get("replicated") != Some(&Value::Bool(false)));
    let told = if is_kept { Told::default() } else { tell_peers(&config, path, &order).await? };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if told.done.is_empty() => return Err(error),
        Err(error) => {
            eprintln!("{}", error.text());
            json!({ "replicated": false })
        }
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
        rows_behind(&answer["behind"]);
    }
    let left_out: Vec<_> =
        answer["left_out"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !left_out.is_empty() {
        let names = left_out.join(", ");
        return Err(CliError::failed(format!(
            "left in complete: {names}. Legacy's rows are stale there; --accept-stale sends them back all the same"
        )));
    }
    if is_kept {
        return Ok(ExitCode::Done);
    }
    Err(CliError::dependency(told.text(args.lift)))
}

/// Which rows legacy does not have as the store has them.
fn rows_behind(behind: &Value) {
    let rows: Vec<_> = behind.as_array().into_iter().flatten().collect();
    if rows.is_empty() {
        return;
    }
    print("rows that legacy does not have yet as they were acknowledged:");
    for row in rows {
        let text = |key: &str| row[key].as_str().unwrap_or("–");
        let state = if text("state") == "dead" { " (a dead letter)" } else { "" };
        print(&format!("  {} {} {}{state}", text("resource"), text("path"), text("row")));
    }
}

/// What became of calling each process.
#[derive(Default)]
struct Told {
    done: Vec<String>,
    failed: Vec<String>,
}

impl Told {
    fn text(&self, lift: bool) -> String {
        let what = if lift { "lifted" } else { "rolled back" };
        let mut text =
            "it holds in memory only: the database cannot be written (not replicated)".to_owned();
        if !self.done.is_empty() {
            text += &format!(". Other processes that have {what}: {}", self.done.join(", "));
        }
        if !self.failed.is_empty() {
            text += &format!(". NOT {what}: {}", self.failed.join("; "));
        }
        if self.done.is_empty() && self.failed.is_empty() {
            text += ". Other processes, if there are any, are not told: [cluster] peers names none";
        }
        text
    }
}

/// Calls every other process that the configuration names, all at the same time.
async fn tell_peers(config: &Config, path: &str, order: &Value) -> Result<Told, CliError> {
    let mut others = Vec::new();
    for peer in &config.cluster.peers {
        let client = AdminClient::at(config, peer)?.within(ANSWER);
        if !client.is_of(config) {
            others.push((peer.as_str(), client));
        }
    }
    let calls = others.iter().map(|(peer, client)| async move {
        client
            .post(path, Some(order))
            .await
            .map(|_| (*peer).to_owned())
            .map_err(|error| format!("{peer} ({})", error.text()))
    });
    let mut told = Told::default();
    for answer in futures_util::future::join_all(calls).await {
        match answer {
            Ok(peer) => told.done.push(peer),
            Err(why) => told.failed.push(why),
        }
    }
    Ok(told)
}

/// Tells what a rollback would do now.
async fn preview(config: &Config, args: &RollbackArgs, scope: &str) -> Result<ExitCode, CliError> {
    let query = format!("/rollback?scope={scope}&accept_stale={}", args.accept_stale);
    let answer = AdminClient::of(config)?.get(&query).await?;
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
    rows_behind(&answer["behind"]);
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
    let storage = crate::serve::open_beside(&config.storage.control).await?;
    let kept = switch::read(&*storage).await.map_err(CliError::dependency)?;
    let now_ms = SystemClock.now_ms();
    let reason = args.reason.as_deref().unwrap_or_default();
    let rollback = RollbackSwitch::new(kept);
    if args.lift {
        if rollback.lift(&scope, &args.actor, reason).is_none() {
            return Err(CliError::usage("this scope is not rolled back"));
        }
    } else {
        rollback.trip(&scope, &args.actor, reason, now_ms, args.accept_stale);
    }
    switch::keep_in(&*storage, &rollback, || {}).await.map_err(CliError::dependency)?;
    let entry = AuditEntry {
        at_ms: now_ms,
        actor: args.actor.clone(),
        action: if args.lift { "lift" } else { "rollback" }.to_owned(),
        subject: scope.to_string(),
        reason: reason.to_owned(),
        process: "crossfade rollback".to_owned(),
    };
    if let Err(error) = storage.commit_control(vec![ControlOp::Audit(entry)]).await {
        eprintln!("the audit log could not be written: {error}");
    }
    let owed = storage.outbox_summary(0).await.map_err(CliError::dependency)?;
    let kept = crate::serve::kept_stages(&*storage).await.map_err(CliError::dependency)?;
    let is_left_out = |(name, stage): &(ResourceName, Stage)| {
        let is_in = scope == Scope::All || scope == Scope::Resource(name.clone());
        is_in && *stage == Stage::Complete && !args.lift && !args.accept_stale
    };
    let left_out: Vec<_> = kept.into_iter().filter(is_left_out).map(|(name, _)| name).collect();
    Ok(json!({
        "tripped": !args.lift, "replicated": true, "through": "database", "left_out": left_out,
        "owed": { "pending": owed.pending, "dead": owed.dead },
    }))
}
