//! `crossfade outbox`: what is owed to legacy, and what becomes of dead letters.

use serde_json::{Value, json};

use super::admin_client::AdminClient;
use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct OutboxArgs {
    #[command(subcommand)]
    command: OutboxCommand,
}

#[derive(Debug, clap::Subcommand)]
enum OutboxCommand {
    /// Lists what is owed, oldest first.
    List(ListArgs),
    /// Has a dead letter tried again, with a whole budget of tries.
    Retry(RetryArgs),
    /// Gives a dead letter up for good: its cells return to what legacy has, for everybody.
    Discard(DiscardArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Dead letters only.
    #[arg(long)]
    dead: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The entry's number, as `crossfade outbox list` shows it.
    seq: Option<i64>,
    /// All dead letters.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, clap::Args)]
struct RetryArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    which: Which,
    /// Who; the user that runs the command without it.
    #[arg(long, env = "USER", default_value = "operator")]
    actor: String,
}

#[derive(Debug, clap::Args)]
struct DiscardArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The entry's number, as `crossfade outbox list` shows it.
    seq: i64,
    /// Why; whoever misses the edit reads it.
    #[arg(long)]
    reason: String,
    /// Who; the user that runs the command without it.
    #[arg(long, env = "USER", default_value = "operator")]
    actor: String,
}

/// Shows what is owed, or deals with dead letters.
pub(super) async fn run(args: OutboxArgs) -> Result<ExitCode, CliError> {
    match args.command {
        OutboxCommand::List(args) => list(args).await,
        OutboxCommand::Retry(RetryArgs { config, which, actor }) => {
            let mut order = json!({ "actor": actor });
            if let Some(seq) = which.seq {
                order["seq"] = seq.into();
            }
            let answer = send(&config, "/outbox/retry", &order).await?;
            tell(&config, &answer, &format!("{} dead letters are tried again", answer["retried"]))
        }
        OutboxCommand::Discard(DiscardArgs { config, seq, reason, actor }) => {
            let order = json!({ "seq": seq, "reason": reason, "actor": actor });
            let answer = send(&config, "/outbox/discard", &order).await?;
            tell(&config, &answer, &format!("dead letter {seq} is discarded"))
        }
    }
}

async fn send(config: &ConfigArgs, path: &str, order: &Value) -> Result<Value, CliError> {
    let config = Config::load(&config.config)?;
    AdminClient::of(&config)?.post(path, Some(order)).await
}

fn tell(config: &ConfigArgs, answer: &Value, text: &str) -> Result<ExitCode, CliError> {
    print(
        if config.format == Format::Json { answer.to_string() } else { text.to_owned() }.as_str(),
    );
    Ok(ExitCode::Done)
}

async fn list(args: ListArgs) -> Result<ExitCode, CliError> {
    let config = Config::load(&args.config.config)?;
    let path = if args.dead { "/outbox?state=dead" } else { "/outbox" };
    let outbox = AdminClient::of(&config)?.get(path).await?;
    if args.config.format == Format::Json {
        print(&outbox.to_string());
        return Ok(ExitCode::Done);
    }
    owed(&outbox).iter().for_each(|line| print(line));
    for entry in outbox["entries"].as_array().into_iter().flatten() {
        let text = |key: &str| entry[key].as_str().unwrap_or("–");
        let tries = match (entry["attempts"].as_u64(), entry["last_error"].as_str()) {
            (_, None | Some("")) => String::new(),
            (attempts, Some(error)) => format!(", {} tries: {error}", attempts.unwrap_or(0)),
        };
        let cells: Vec<_> =
            entry["cells"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        print(&format!(
            "{:>8} {:<8} {} {} {} [{}]{tries}",
            entry["seq"],
            text("state"),
            text("path"),
            text("resource"),
            text("row"),
            cells.join(", "),
        ));
    }
    Ok(ExitCode::Done)
}

/// What legacy does not have yet, in lines: how much, for how long, of which paths.
pub(super) fn owed(owed: &Value) -> Vec<String> {
    let mut lines = vec![format!("{} pending, {} dead letters", owed["pending"], owed["dead"])];
    if let Some(age) = owed["oldest_age_ms"].as_u64() {
        let older = &owed["older_than"];
        lines.push(format!(
            "the oldest has waited for {}; longer than 5 s: {}, 1 min: {}, 1 h: {}",
            seconds(age),
            older["5s"],
            older["1m"],
            older["1h"],
        ));
    }
    for path in owed["paths"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  {}: {} pending, {} dead letters, the oldest {} old",
            path["path"].as_str().unwrap_or("–"),
            path["pending"],
            path["dead"],
            seconds(path["oldest_age_ms"].as_u64().unwrap_or(0)),
        ));
    }
    lines
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}
