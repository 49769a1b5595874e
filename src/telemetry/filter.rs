//! Which events are logged. Pure.
//!
//! Own crates log from the configured level. Other crates log warnings and errors only, and at DEBUG also infos: more
//! detailed events of the AWS SDK and hyper contain whole requests. `aws_cognito_srp` is always off, because it logs a
//! hash of the password.

use tracing::{Level, Metadata};

use super::line::CRITICAL_FIELD;
use crate::config::LoggingLevel;

const OURS: [&str; 4] = ["managed_app", "managed_app_runtimes", "managed_app_fakes", "echostream_managed_app"];
const SILENT: [&str; 1] = ["aws_cognito_srp"];

pub(super) fn enabled(threshold: LoggingLevel, metadata: &Metadata<'_>) -> bool {
    let may_be_critical = metadata.fields().field(CRITICAL_FIELD).is_some();
    passes(threshold, metadata.target(), *metadata.level(), may_be_critical)
}

fn passes(threshold: LoggingLevel, target: &str, level: Level, may_be_critical: bool) -> bool {
    if SILENT.contains(&crate_of(target)) {
        return false;
    }
    let least = if is_ours(target) { ours(threshold) } else { others(threshold) };
    level <= least && (threshold != LoggingLevel::Critical || may_be_critical)
}

/// Whether `target` is a module of an own crate.
pub(super) fn is_ours(target: &str) -> bool {
    OURS.contains(&crate_of(target))
}

fn crate_of(target: &str) -> &str {
    target.split("::").next().unwrap_or_default()
}

/// The least serious level that is logged; tracing orders levels from ERROR, the least, up to TRACE.
fn ours(threshold: LoggingLevel) -> Level {
    match threshold {
        LoggingLevel::Debug => Level::DEBUG,
        LoggingLevel::Info => Level::INFO,
        LoggingLevel::Warning => Level::WARN,
        LoggingLevel::Error | LoggingLevel::Critical => Level::ERROR,
    }
}

fn others(threshold: LoggingLevel) -> Level {
    match threshold {
        LoggingLevel::Debug => Level::INFO,
        LoggingLevel::Info | LoggingLevel::Warning => Level::WARN,
        LoggingLevel::Error | LoggingLevel::Critical => Level::ERROR,
    }
}

/// The level's name in the line form.
pub(super) fn name(level: Level, critical: bool) -> &'static str {
    match level {
        Level::ERROR if critical => "CRITICAL",
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_crates_and_others_have_their_own_least_levels() {
        use LoggingLevel::{Critical, Debug, Error, Info, Warning};
        let cases = [
            (Info, "managed_app::driver", Level::INFO, true),
            (Info, "managed_app::driver", Level::DEBUG, false),
            (Debug, "managed_app_runtimes::docker", Level::DEBUG, true),
            (Debug, "managed_app", Level::TRACE, false),
            (Warning, "managed_app", Level::INFO, false),
            (Error, "managed_app", Level::WARN, false),
            (Info, "hyper::client", Level::WARN, true),
            (Info, "hyper::client", Level::INFO, false),
            (Debug, "aws_smithy_runtime::client", Level::INFO, true),
            (Debug, "aws_smithy_runtime::client", Level::DEBUG, false),
            (Error, "bollard::docker", Level::WARN, false),
            (Debug, "aws_cognito_srp::user", Level::ERROR, false),
            (Debug, "managed_apple", Level::DEBUG, false),
            (Critical, "managed_app", Level::ERROR, false),
        ];
        for (threshold, target, level, expected) in cases {
            assert_eq!(passes(threshold, target, level, false), expected, "{threshold:?} {target} {level}");
        }
        assert!(passes(Critical, "managed_app", Level::ERROR, true));
    }

    #[test]
    fn levels_have_the_names_of_the_line_form() {
        let names = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG].map(|level| name(level, false));
        assert_eq!(names, ["ERROR", "WARNING", "INFO", "DEBUG"]);
        assert_eq!(name(Level::ERROR, true), "CRITICAL");
    }
}
