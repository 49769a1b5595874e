//! The rules of the architecture, as data where possible.
//!
//! A new rule is a line in a table or a function here, and a violation in `planted.rs`. Reads no files.

use crate::source::{Mention, Source};

const FILE_LINES_MAX: usize = 600;

/// Product code. Fewer rules hold for the fakes, which are built for tests and the demo.
const PRODUCT: &[&str] = &["src/", "runtimes/src/"];
/// The pure core: all its input arrives in arguments.
const PURE: &[&str] = &["src/model/", "src/reconciler/"];

/// Paths that code in some directories may not use.
pub(crate) struct Ban {
    /// Whole segments of a path; a trailing `*` matches the rest of a segment.
    pub(crate) patterns: &'static [&'static str],
    /// Scope: prefixes of file paths.
    pub(crate) within: &'static [&'static str],
    /// Exceptions within the scope.
    pub(crate) except: &'static [&'static str],
    pub(crate) reason: &'static str,
}

pub(crate) const BANS: &[Ban] = &[
    Ban {
        patterns: &["bollard"],
        within: &["src/", "runtimes/", "fakes/"],
        except: &["runtimes/src/docker/", "runtimes/tests/"],
        reason: "only runtimes/src/docker uses the Docker client",
    },
    Ban {
        patterns: &["podman_api", "containers_api"],
        within: &["src/", "runtimes/", "fakes/"],
        except: &["runtimes/src/podman/", "runtimes/tests/"],
        reason: "only runtimes/src/podman uses the Podman client",
    },
    Ban {
        patterns: &["aws_sdk_*"],
        within: &["src/", "runtimes/", "fakes/"],
        except: &["src/changes/", "src/registry/", "src/logs/", "src/cloud/"],
        reason: "only changes, registry, logs and cloud use AWS clients",
    },
    Ban {
        patterns: &["tokio::spawn", "task::spawn", "task::spawn_local", "JoinSet", "thread::spawn"],
        within: PRODUCT,
        // The task of the last exception ends with the files that it watches.
        except: &["src/tasks.rs", "src/driver/", "runtimes/src/conformance/", "runtimes/src/logfile/watch.rs"],
        reason: "every task has a name and an owner: spawn through src/tasks.rs",
    },
    Ban {
        patterns: &["std::env"],
        within: PRODUCT,
        except: &["src/config/", "src/main.rs", "runtimes/src/conformance/"],
        reason: "the environment is read once, in src/config",
    },
    Ban {
        patterns: &["process::exit", "process::abort"],
        within: PRODUCT,
        except: &["src/main.rs"],
        reason: "only src/main.rs ends the process",
    },
    Ban {
        patterns: &["async", "await", "tokio", "futures_util", "async_trait"],
        within: PURE,
        except: &[],
        reason: "the core never waits",
    },
    Ban {
        patterns: &["Instant::now", "SystemTime", "now_utc", "now_local"],
        within: PURE,
        except: &[],
        reason: "the core has no clock: time arrives in events",
    },
    Ban { patterns: &["rand"], within: PURE, except: &[], reason: "the core has no randomness: bits arrive in events" },
    Ban {
        patterns: &["std::fs", "std::net", "std::process", "std::thread", "reqwest", "aws_*", "managed_app_fakes"],
        within: PURE,
        except: &[],
        reason: "the core does no I/O and uses no client",
    },
    Ban {
        patterns: &["serde", "serde_json", "Serialize", "Deserialize"],
        within: &["src/model/"],
        except: &[],
        reason: "the model is never serialized: each edge has wire types of its own",
    },
    Ban {
        patterns: &["prune_*", "prune"],
        within: &["runtimes/src/"],
        except: &[],
        reason: "no prune: the host has foreign containers",
    },
];

/// All findings in a file, as `path:line: reason`.
pub(crate) fn check(source: &Source) -> Vec<String> {
    let mut findings = banned(source);
    findings.extend(layered(source));
    findings.extend(sized(source));
    findings.extend(finished(source));
    findings.extend(observed(source));
    if !source.text.starts_with("//!") {
        findings.push((1, "a file starts with `//!`: its responsibility and its limits".to_owned()));
    }
    findings.sort();
    findings.iter().map(|(line, reason)| format!("{}:{line}: {reason}", source.path)).collect()
}

type Findings = Vec<(usize, String)>;

fn lies_in(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| path.starts_with(prefix))
}

/// At most one finding per line and ban.
fn banned(source: &Source) -> Findings {
    let mentions: Vec<Mention<'_>> = source.mentions();
    let mut findings = Findings::new();
    for ban in BANS.iter().filter(|ban| lies_in(&source.path, ban.within) && !lies_in(&source.path, ban.except)) {
        let mut last = 0;
        for mention in mentions.iter().filter(|mention| !mention.token.in_test) {
            let line = mention.token.line;
            if line != last && ban.patterns.iter().any(|pattern| matches(mention, pattern)) {
                findings.push((line, format!("`{}`: {}", mention.path, ban.reason)));
                last = line;
            }
        }
    }
    findings
}

pub(crate) fn matches(mention: &Mention<'_>, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => mention.path.split("::").any(|segment| segment.starts_with(start)),
        None => mention.has(pattern),
    }
}

/// Modules that all above the reconciler may use.
const LEAVES: [&str; 4] = ["exit", "json_file", "tasks", "text"];

/// The layers of `src/lib.rs`, top first, each with its modules.
pub(crate) fn layers() -> Vec<Vec<&'static str>> {
    let text = include_str!("../../src/lib.rs");
    let (_, section) = text.split_once("//! # Layers").expect("src/lib.rs declares the layers");
    let block = section.split("```").nth(1).expect("in a block").trim_start_matches("text");
    let modules =
        |layer: &'static str| layer.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|m| !m.is_empty());
    block.split('>').map(|layer| modules(layer).collect()).collect()
}

/// Each module uses only lower layers.
fn layered(source: &Source) -> Findings {
    let Some(path) = source.path.strip_prefix("src/").filter(|path| *path != "lib.rs") else { return Findings::new() };
    let module = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
    let layers = layers();
    let layer_of = |module: &str| layers.iter().position(|layer| layer.contains(&module));
    let is_core = ["model", "reconciler"].contains(&module);
    let may_use = |used: &str| {
        let is_below = layer_of(module).zip(layer_of(used)).is_some_and(|(own, used)| own < used);
        used == module || is_below || (LEAVES.contains(&used) && !is_core && !LEAVES.contains(&module))
    };
    let mut findings = Findings::new();
    for mention in source.mentions().iter().filter(|mention| !mention.token.in_test) {
        let Some(used) = mention.path.strip_prefix("crate::").and_then(|rest| rest.split("::").next()) else {
            continue;
        };
        if !may_use(used) {
            findings
                .push((mention.token.line, format!("`{}`: {module} is not above {used} in the layers", mention.path)));
        }
    }
    findings
}

fn sized(source: &Source) -> Findings {
    let mut findings = Findings::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push((lines, format!("the file has {lines} lines, more than {FILE_LINES_MAX}")));
    }
    findings
}

/// No unfinished work and no disabled test. Holds for tests too. Clippy finds `todo!` and `unimplemented!`.
fn finished(source: &Source) -> Findings {
    let ignored = source.tokens.windows(2).filter(|pair| pair[0].text == "[" && pair[1].text == "ignore");
    let mut findings: Findings =
        ignored.map(|pair| (pair[0].line, "`[ignore`: repair the test or remove it".to_owned())).collect();
    // Concatenated, so that this file does not match.
    let markers = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];
    for (index, line) in source.text.lines().enumerate() {
        if markers.iter().any(|marker| line.contains(marker)) {
            findings.push((index + 1, "a marker of unfinished work: finish it or remove it".to_owned()));
        }
    }
    findings
}

/// The host engine is the only observer of containers. What runs without a daemon lists on its own.
fn observed(source: &Source) -> Findings {
    let observers = ["src/engine.rs", "src/cli/", "src/demo/"];
    if !source.path.starts_with("src/") || lies_in(&source.path, &observers) {
        return Findings::new();
    }
    let calls = source.tokens.windows(4).filter(|call| {
        let [receiver, dot, verb, bracket] = call else { return false };
        let is_query = ["list", "events"].contains(&verb.text.as_str());
        !receiver.in_test && receiver.text == "runtime" && dot.text == "." && is_query && bracket.text == "("
    });
    let reason = "the host engine lists containers and the driver receives events: subscribe to what is known";
    calls.map(|call| (call[2].line, format!("`runtime.{}`: {reason}", call[2].text))).collect()
}
