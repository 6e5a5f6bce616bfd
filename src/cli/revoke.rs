//! `crossfade revoke`: sync tokens that count no more.

use std::sync::Arc;

use serde_json::{Value, json};

use super::admin_client::AdminClient;
use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::clock::{Clock, SharedClock, SystemClock};
use crate::config::Config;
use crate::identity::{RevocationStanding, Revocations, Subject};
use crate::scenario::iso;
use crate::serve::revocations::{UNDER_WAY_MS, order_of, subject};
use crate::serve::revoked;
use crate::storage::{AuditEntry, ControlOp};

#[derive(Debug, clap::Args)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    whose: Whose,
    /// Why.
    #[arg(long, default_value = "")]
    reason: String,
    /// Who; the user that runs the command without it.
    #[arg(long, env = "USER", default_value = "operator")]
    actor: String,
    /// Ends the revocation instead.
    #[arg(long, conflicts_with = "list")]
    lift: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// All tokens of this user (`sub`) until now. A session token from after it buys new ones.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// All tokens of this session (`sid`), which gets none any more.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Shows what is revoked.
    #[arg(long)]
    list: bool,
}

/// Revokes, lifts, or shows what is revoked.
///
/// A crossfade that does not answer is told through its database, where it looks four times a second, and first of all when
/// it starts.
pub(super) async fn run(args: RevokeArgs) -> Result<ExitCode, CliError> {
    let config = Config::load(&args.config.config)?;
    let own = AdminClient::of(&config)?;
    if args.whose.list {
        return list(&own.get("/revocations").await?, args.config.format);
    }
    let Whose { user, session, .. } = &args.whose;
    let subject = subject(user.as_deref(), session.as_deref()).map_err(CliError::usage)?;
    let path = if args.lift { "/revocations/lift" } else { "/revocations" };
    let order = json!({
        subject.kind(): subject.id(), "reason": args.reason, "actor": args.actor,
    });
    let answer = match own.post(path, Some(&order)).await {
        Err(error) if error.is_dependency() => {
            eprintln!("{}", error.text());
            eprintln!("writing to the database instead");
            beside(&config, &args, &subject).await?
        }
        answer => answer?,
    };
    if args.config.format == Format::Json {
        print(&answer.to_string());
    } else if args.lift {
        print(&format!("lifted: tokens of this {} hold again", subject.kind()));
    } else {
        print(&format!("revoked: the sync tokens of this {}; its sockets close", subject.kind()));
    }
    if answer["replicated"] == false {
        let text = "it holds in memory only: the database cannot be written (not replicated)";
        return Err(CliError::dependency(text));
    }
    Ok(ExitCode::Done)
}

fn list(answer: &Value, format: Format) -> Result<ExitCode, CliError> {
    if format == Format::Json {
        print(&answer.to_string());
        return Ok(ExitCode::Done);
    }
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let time = |at: &Value| at.as_u64().map_or("–".to_owned(), iso);
    for one in answer["revocations"].as_array().into_iter().flatten() {
        let kind = if one["user"].is_string() { "user" } else { "session" };
        let reason = match text(one, "reason").as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        let (id, actor) = (text(one, kind), text(one, "actor"));
        print(&format!("{} {kind:<8} {id:<36} by {actor}{reason}", time(&one["at_ms"])));
    }
    if answer["all_before_ms"].as_u64().is_some_and(|at| at > 0) {
        print(&format!("no token from {} or before counts", time(&answer["all_before_ms"])));
    }
    Ok(ExitCode::Done)
}

/// Revokes in the database, beside a process that does not answer or does not run.
async fn beside(config: &Config, args: &RevokeArgs, subject: &Subject) -> Result<Value, CliError> {
    let storage = crate::serve::open_beside(&config.storage.control).await?;
    let clock: SharedClock = Arc::new(SystemClock);
    let kept = revoked::read(&*storage).await.map_err(CliError::dependency)?;
    let revocations = Revocations::new(kept, config.identity.sync_token.ttl, clock);
    let standing = if args.lift { RevocationStanding::Lifted } else { RevocationStanding::Revoked };
    let order = order_of(subject.clone(), standing, &args.actor, &args.reason);
    let entry = revocations.order(&order, UNDER_WAY_MS).map_err(CliError::usage)?;
    revoked::keep(&*storage, &revocations).await.map_err(CliError::dependency)?;
    let entry_of = AuditEntry {
        at_ms: SystemClock.now_ms(),
        actor: args.actor.clone(),
        action: if args.lift { "lift revocation" } else { "revoke" }.to_owned(),
        subject: format!("{} {}", subject.kind(), subject.id()),
        reason: args.reason.clone(),
        process: "crossfade revoke".to_owned(),
    };
    if let Err(error) = storage.commit_control(vec![ControlOp::Audit(entry_of)]).await {
        eprintln!("the audit log could not be written: {error}");
    }
    Ok(json!({ "revocation": entry, "replicated": true, "through": "database" }))
}
