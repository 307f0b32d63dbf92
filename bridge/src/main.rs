//! The command `pubsub-bridge`.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pubsub_bridge::check::check;
use pubsub_bridge::config::Config;
use pubsub_bridge::file;
use pubsub_bridge::report::{Report, printable, unix_time};
use pubsub_bridge::service;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Connects rings of data-pubsub-shared on many hosts, exactly once and in one order, over a stream in a server.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "See perldoc Data::PubSub::Shared::Bridge for all of it."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs all bridges of a configuration file, until TERM or INT
    ///
    /// HUP reads the file again: bridges that it does not change go on. USR1 logs the status.
    Run {
        /// Logs only losses, and what keeps a bridge from working
        #[arg(short, long)]
        quiet: bool,
        /// The configuration, in TOML
        file: PathBuf,
    },
    /// Checks whether a configuration would work, and creates nothing
    ///
    /// Checks the rings and directories, and the servers: credentials, permissions, the types of the keys, and how they save.
    /// Exits with 1 if something is wrong.
    Check {
        /// Does not connect to the servers
        #[arg(long)]
        offline: bool,
        /// The configuration, in TOML
        file: PathBuf,
    },
    /// Shows the status of a running bridge
    ///
    /// Exits with 1 if something is wrong: a direction does not run or is not connected, or the status is not written any more.
    Status {
        /// Prints the JSON of the status file
        #[arg(long)]
        json: bool,
        /// The configuration, which names the status file; or that file itself (.json)
        file: PathBuf,
    },
    /// Writes the completion for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Writes the manual pages of the commands, for man(1)
    Man {
        /// The directory for the pages
        directory: PathBuf,
    },
}

/// Formats log lines for operators: the program, the direction and the bridge, and the text.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::from("pubsub-bridge");
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                write!(line, " {}", fields.fields.strip_prefix("who=").unwrap_or(&fields.fields))?;
            }
        }
        line.push_str(": ");
        context.field_format().format_fields(Writer::new(&mut line), event)?;
        writeln!(writer, "{}", printable(&line))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(arguments.command) {
        Ok(code) => code,
        Err(why) => {
            complain(&why);
            ExitCode::FAILURE
        }
    }
}

/// Prints to standard output, which may be full or closed.
fn say(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout();
    let said = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    said.map_err(|error| format!("write: {}", file::plain(&error)))
}

/// Prints to standard error, and ignores errors.
fn complain(why: &str) {
    let _ = writeln!(std::io::stderr(), "pubsub-bridge: {}", printable(why));
}

/// Raises the limit for descriptors to its maximum: each direction needs some, and the usual limit is for programs that use
/// select(2).
fn raise_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls have a limit of ours to write or read; if they fail, nothing changes.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

fn runtime(threads: usize) -> Result<tokio::runtime::Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = builder.worker_threads(threads).thread_name("pubsub-bridge").enable_all();
    builder.build().map_err(|error| error.to_string())
}

fn dispatch(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Run { quiet, file } => {
            let config = Config::read(&file)?;
            raise_descriptors();
            let level = if quiet { Level::WARN } else { Level::INFO };
            // Messages of other crates are not logged, because this one logs their errors with remedies. Failures to log are
            // ignored.
            let ours = Targets::new().with_target("pubsub_bridge", level);
            let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
            tracing_subscriber::registry().with(lines.event_format(Lines).with_filter(ours)).init();
            let runtime = runtime(config.threads)?;
            let result = runtime.block_on(service::run(file, config));
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            result.map(|()| ExitCode::SUCCESS)
        }
        Command::Check { offline, file } => {
            let config = Config::read(&file)?;
            let findings = runtime(1)?.block_on(check(&config, !offline));
            let advice = findings.advice.iter().map(|line| format!("advice: {line}"));
            let lines = findings.good.iter().cloned().chain(advice).map(|line| printable(&line) + "\n");
            let said = say(&lines.collect::<String>());
            findings.problems.iter().for_each(|line| complain(line));
            said?;
            Ok(if findings.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Status { json, file } => {
            let path = if file.extension().is_some_and(|extension| extension == "json") {
                file
            } else {
                let shown = file.display().to_string();
                Config::read(&file)?.status.ok_or_else(|| format!("{shown}: names no status file; give status"))?
            };
            let failed = |why: String| format!("{}: {why}", path.display());
            let text = file::read_text(&path).map_err(|error| failed(file::plain(&error)))?;
            let report: Report = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
            let (lines, is_well) = report.lines(unix_time());
            say(if json { &text } else { &lines })?;
            Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Completion { shell } => {
            let mut command = <Arguments as clap::CommandFactory>::command();
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command, "pubsub-bridge", &mut text);
            say(&String::from_utf8_lossy(&text))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { directory } => {
            let command = <Arguments as clap::CommandFactory>::command();
            let written = clap_mangen::generate_to(command, &directory);
            written.map_err(|error| format!("{}: {}", directory.display(), file::plain(&error)))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
