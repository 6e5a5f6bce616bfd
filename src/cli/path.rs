//! `crossfade path`: what is stored, and starting anew without what was deleted.

use std::time::Duration;

use serde_json::{Value, json};

use super::admin_client::AdminClient;
use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::config::Config;

/// How long a rebuild may take: its drain, and copying what is stored.
const REBUILD_LIMIT: Duration = Duration::from_secs(600);

#[derive(Debug, clap::Args)]
pub(super) struct PathArgs {
    #[command(subcommand)]
    command: PathCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PathCommand {
    /// Lists the paths, with what is stored of each.
    List(ConfigArgs),
    /// Shows a path: its tables, who wrote, and what each connection lacks.
    Show {
        /// The path, as in `org/o_42`.
        path: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Drains a path's clients and starts its next generation, without tombstones.
    Rebuild {
        /// The path, as in `org/o_42`.
        path: String,
        /// Why; the next person reads it first.
        #[arg(long)]
        reason: String,
        /// Who; the user that runs the command without it.
        #[arg(long, env = "USER", default_value = "operator")]
        actor: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

/// Shows what is stored of paths, or rebuilds one.
pub(super) async fn run(args: PathArgs) -> Result<ExitCode, CliError> {
    match args.command {
        PathCommand::List(config) => list(&config).await,
        PathCommand::Show { path, config } => show(&path, &config).await,
        PathCommand::Rebuild { path, reason, actor, config } => {
            let order = json!({ "path": path, "reason": reason, "actor": actor });
            rebuild(&order, &config).await
        }
    }
}

async fn list(args: &ConfigArgs) -> Result<ExitCode, CliError> {
    let admin = AdminClient::of(&Config::load(&args.config)?)?;
    let (mut paths, mut after) = (Vec::new(), None::<String>);
    loop {
        let query = after.map_or_else(String::new, |after| format!("?after={after}"));
        let mut page = admin.get(&format!("/sync{query}")).await?;
        after = page["next"].as_str().map(str::to_owned);
        if let Some(Value::Array(more)) = page.get_mut("paths").map(Value::take) {
            paths.extend(more);
        }
        if after.is_none() {
            break;
        }
    }
    if args.format == Format::Json {
        print(&json!({ "paths": paths }).to_string());
        return Ok(ExitCode::Done);
    }
    print(&format!(
        "{:<30} {:>4} {:>9} {:>9} {:>10} {:>12}  {:<24} {:<7} {:>7} {:>6}",
        "path",
        "gen",
        "rows",
        "cells",
        "tombstones",
        "bytes",
        "last write",
        "memory",
        "clients",
        "owed"
    ));
    for one in &paths {
        print(&format!(
            "{:<30} {:>4} {:>9} {:>9} {:>10} {:>12}  {:<24} {:<7} {:>7} {:>6}",
            text(&one["path"]),
            one["generation"],
            one["rows"],
            one["cells"],
            one["tombstones"],
            one["bytes"],
            time(&one["last_write_ms"]),
            if one["loaded"] == true { "loaded" } else { "–" },
            one["clients"],
            one["owed"],
        ));
    }
    Ok(ExitCode::Done)
}

async fn show(path: &str, args: &ConfigArgs) -> Result<ExitCode, CliError> {
    let admin = AdminClient::of(&Config::load(&args.config)?)?;
    let shown = admin.get(&format!("/sync?path={path}")).await?;
    if args.format == Format::Json {
        print(&shown.to_string());
        return Ok(ExitCode::Done);
    }
    print(&format!(
        "{}: generation {}, hashes {} {}, {} owed",
        text(&shown["name"]),
        shown["generation"],
        shown["hashes"]["tables"],
        shown["hashes"]["values"],
        shown["owed"],
    ));
    for table in items(&shown["tables"]) {
        print(&format!(
            "  table {}: {} rows, {} cells, {} tombstones, {} bytes, last write {}",
            text(&table["table"]),
            table["rows"],
            table["cells"],
            table["tombstones"],
            table["bytes"],
            time(&table["last_write_ms"]),
        ));
    }
    print(&format!(
        "{} writers told apart, {} folded",
        shown["writer_count"], shown["folded"]["writers"]
    ));
    for one in items(&shown["writers"]) {
        let by = one["through"]["user"].as_str().map_or(String::new(), |user| format!(", {user}"));
        let newest = &one["newest"];
        print(&format!(
            "  {} up to {} ({}){by}",
            text(&one["writer"]),
            text(&newest["hlc"]),
            time(&newest["time_ms"])
        ));
    }
    print(&format!("{} connections", shown["connection_count"]));
    for one in items(&shown["connections"]) {
        let lag = match (&one["equal_ms"], one["edits_behind"].as_u64()) {
            (Value::Null, _) => "not known to have caught up since it connected".to_owned(),
            (_, Some(0)) => "has everything".to_owned(),
            _ => format!("lacks {} edits, for {} ms", one["edits_behind"], one["lag_ms"]),
        };
        print(&format!("  {} {}: {lag}", text(&one["connection"]), text(&one["user"])));
    }
    print(&format!("{} conflicts since it was loaded", shown["conflicts_ever"]));
    for one in items(&shown["conflicts"]) {
        let ids: Vec<_> = items(&one["ids"]).iter().filter_map(Value::as_str).collect();
        print(&format!(
            "  {} {}: {} lost to {}, it came through {}",
            time(&one["at_ms"]),
            ids.join("/"),
            text(&one["loser"]["hlc"]),
            text(&one["winner"]["hlc"]),
            text(&one["through"]["user"]),
        ));
    }
    Ok(ExitCode::Done)
}

async fn rebuild(order: &Value, args: &ConfigArgs) -> Result<ExitCode, CliError> {
    let admin = AdminClient::of(&Config::load(&args.config)?)?.within(REBUILD_LIMIT);
    let rebuilt = admin.post("/sync/rebuild", Some(order)).await?;
    if args.format == Format::Json {
        print(&rebuilt.to_string());
        return Ok(ExitCode::Done);
    }
    print(&format!(
        "{}: {} cells and values, {} tombstones kept, {} dropped",
        text(&rebuilt["name"]),
        rebuilt["kept"],
        rebuilt["tombstones_kept"],
        rebuilt["tombstones_dropped"]
    ));
    print("clients of the generation before are closed with 4005 until they ask for a sync token");
    Ok(ExitCode::Done)
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("–")
}

fn time(ms: &Value) -> String {
    let at = ms.as_i64().and_then(chrono::DateTime::from_timestamp_millis);
    at.map_or_else(|| "–".to_owned(), |at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}
