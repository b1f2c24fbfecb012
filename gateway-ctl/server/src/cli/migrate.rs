//! The command line of `migrate`.

use std::path::PathBuf;

use clap::ValueEnum;
use gateway_core::migration::Addresses;

use super::{EngineArgs, FAILED, FINDINGS, Failure, failed};
use crate::migrate;
use crate::output::{self, note};

/// Say what becomes of resources of Emissary, Edge Stack and envoyproxy/ratelimit
///
/// Reads files, folders or standard input: v1, v2 and v3alpha1 as they are written, a dump of a
/// cluster, files of envoyproxy/ratelimit or ConfigMaps with them. Says what works unchanged, what
/// works but differs and why, what is not taken, and what can be written anew; --write does that.
/// Nothing is changed otherwise. The exit code is 1 when something is not taken.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gateway-ctl migrate emissary/ --write tollgate/\n  kubectl get -A -o yaml mappings,hosts,listeners,tlscontexts,modules,authservices,ratelimitservices | gateway-ctl migrate -"
)]
pub(super) struct Args {
    /// Files or folders; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write what can be written anew below this folder
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Name every object, those that work unchanged, too
    #[arg(long)]
    all: bool,
    /// How the report is written
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Where authz-svc is, as HOST:PORT, for an AuthService of Edge Stack; without it that is to be
    /// deleted, as the chart brings one
    #[arg(long, value_name = "ADDR", default_value = "", hide_default_value = true)]
    authz_service: String,
    /// Where ratelimit-svc is, as HOST:PORT, for a RateLimitService of Edge Stack
    #[arg(long, value_name = "ADDR", default_value = "", hide_default_value = true)]
    ratelimit_service: String,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

pub(super) fn run(args: Args) -> Result<u8, Failure> {
    let addresses = Addresses { authz: args.authz_service, ratelimit: args.ratelimit_service };
    let report = migrate::assess(&args.files, args.engine.settings(), &addresses);
    let report = report.map_err(|e| Failure(FAILED, e.to_string()))?;
    let text = match args.output {
        Output::Text => migrate::as_text(&report, args.all),
        Output::Json => serde_json::to_string_pretty(&report).map_err(failed)? + "\n",
    };
    output::result(&text).map_err(failed)?;
    if let Some(folder) = &args.write {
        let count = migrate::write(&report, folder).map_err(failed)?;
        note(format_args!("{count} objects are written below {}", folder.display()));
    }
    Ok(if report.has_faults() { FINDINGS } else { 0 })
}
