//! The environment of the process: the only code that reads it and adds to it.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::Flags;
use super::sources::EnvFile;

/// A variable of this process. Bytes that are not UTF-8 become U+FFFD, which every check rejects.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Adds variables of the environment file that *libraries* read (`AWS_*`, proxies, certificates), and HOME if it is
/// absent or empty, to the environment of the process. For this it executes the program again in the same process
/// (`execve`: same process ID and open files, so systemd does not notice).
///
/// A system unit without `User=` has no HOME, and without HOME no AWS SDK finds `~/.aws`. The user database has it. If it
/// has no entry, as in a container without `/etc/passwd`, HOME stays absent.
///
/// Call it first in `main`. It returns if no variable is missing, and an error if `execve` fails. The second execution
/// finds all variables in its environment. Existing variables stay unchanged.
///
/// Rejected alternatives: `set_var` is unsafe with threads, and a provider for each of the many `AWS_*` settings would
/// repeat the SDK. Settings of the daemon, in particular the password, are not added.
pub fn adopt_library_variables(flags: &Flags) -> io::Result<()> {
    let file = EnvFile::read(flags.env_file.as_deref(), |path| std::fs::read_to_string(path));
    let mut missing = missing_library_variables(&file, process_environment);
    missing.extend(missing_home(process_environment("HOME"), std::env::home_dir));
    if missing.is_empty() {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    Err(command.args(arguments).envs(missing).exec())
}

fn missing_library_variables(file: &EnvFile, environment: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let absent = |name: &str| environment(name).is_none_or(|value| value.is_empty());
    let pairs = file.variables().into_iter().filter(|(name, _)| is_for_libraries(name) && absent(name));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// HOME from the user database, which the standard library reads if the variable is absent or empty.
fn missing_home(home: Option<String>, lookup: impl Fn() -> Option<PathBuf>) -> Option<(String, String)> {
    if home.is_some_and(|home| !home.is_empty()) {
        return None;
    }
    let home = lookup().filter(|home| !home.as_os_str().is_empty())?;
    Some(("HOME".to_owned(), home.to_string_lossy().into_owned()))
}

/// The home directory of the user of this process in `/etc/passwd`, regardless of HOME; `None` without an entry or if the
/// file cannot be read.
pub(crate) fn home_by_passwd() -> Option<PathBuf> {
    home_in(&std::fs::read_to_string("/etc/passwd").ok()?, rustix::process::getuid().as_raw())
}

fn home_in(passwd: &str, user: u32) -> Option<PathBuf> {
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = fields.into_iter().find(|fields| fields.get(2).is_some_and(|id| *id == user.to_string()))?;
    entry.get(5).filter(|home| !home.is_empty()).map(PathBuf::from)
}

fn is_for_libraries(name: &str) -> bool {
    const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    const PROXIES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];
    // MANAGED_APP_FAKE_CLOUD is read where URLs of the cloud are checked.
    name.starts_with("AWS_")
        || name == super::settings::FAKE_CLOUD.variable
        || CERTIFICATES.contains(&name)
        || PROXIES.iter().any(|proxy| name == *proxy || name == proxy.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn missing(text: &str, environment: &[(&str, &str)]) -> Vec<(String, String)> {
        let file = EnvFile::read(Some(Path::new("/env")), |_| Ok(text.to_owned()));
        let pairs: Vec<_> = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        missing_library_variables(&file, |name| Some(pairs.iter().find(|(key, _)| key == name)?.1.clone()))
    }

    #[test]
    fn only_library_variables_are_added_to_the_environment() {
        let text = "PASSWORD=p\nAPP=a\nAWS_PROFILE=x\nhttps_proxy=y\nNO_PROXY=z\nSSL_CERT_FILE=/c\nDOCKER_HOST=d";
        let names: Vec<_> = missing(text, &[]).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["AWS_PROFILE", "NO_PROXY", "SSL_CERT_FILE", "https_proxy"]);
    }

    #[test]
    fn home_is_read_from_the_user_database_if_unset() {
        let database = || Some(PathBuf::from("/root"));
        let root = Some(("HOME".to_owned(), "/root".to_owned()));
        assert_eq!(missing_home(None, database), root);
        assert_eq!(missing_home(Some(String::new()), database), root);
        assert_eq!(missing_home(Some("/home/me".to_owned()), database), None);
        assert_eq!(missing_home(None, || None), None, "there is no entry");
        assert_eq!(missing_home(Some(String::new()), || Some(PathBuf::new())), None);
    }

    #[test]
    fn home_of_a_user_is_read_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nodd\nme:x:1000:1000::/home/me:/bin/sh\nnone:x:7:7:::\n";
        assert_eq!(home_in(passwd, 0), Some(PathBuf::from("/root")));
        assert_eq!(home_in(passwd, 1000), Some(PathBuf::from("/home/me")));
        assert_eq!((home_in(passwd, 7), home_in(passwd, 8)), (None, None));
    }

    #[test]
    fn the_environment_beats_the_file() {
        assert_eq!(missing("AWS_PROFILE=file", &[("AWS_PROFILE", "env")]), []);
        assert_eq!(missing("AWS_PROFILE=file", &[("AWS_PROFILE", "")]), [("AWS_PROFILE".into(), "file".into())]);
    }

    #[test]
    fn second_execution_finds_all_library_variables() {
        let text = "AWS_A=1\nAWS_A=2\nAWS_B=\nAWS_C=x\nAWS_C=";
        let passed = missing(text, &[]);
        assert_eq!(passed, [("AWS_A".into(), "2".into())]);
        let now: Vec<_> = passed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(missing(text, &now), []);
    }

    /// Has two roles: as the parent it runs itself with an environment file; as the child it adopts the variables of the
    /// file, which executes it again in the same process.
    #[test]
    fn env_file_variables_reach_the_process_environment() {
        const ROLE: &str = "MANAGED_APP_TEST_ADOPT_FROM";
        const NAME: &str = "config::environment::tests::env_file_variables_reach_the_process_environment";
        if let Some(path) = process_environment(ROLE) {
            let mut flags = Flags::default();
            flags.env_file = Some(path.into());
            adopt_library_variables(&flags).expect("the program can be started over");
            let (given, secret) = (process_environment("AWS_TEST_ADOPT"), process_environment("PASSWORD"));
            println!("process {} has {given:?} and {secret:?}.", std::process::id());
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("env");
        std::fs::write(&path, "AWS_TEST_ADOPT='from the file'\nPASSWORD=hunter2\n").expect("written");
        let mut run = Command::new(std::env::current_exe().expect("this program has a path"));
        run.args(["--exact", NAME, "--nocapture"]).env(ROLE, &path).env_remove("PASSWORD");
        let child = run.stdout(std::process::Stdio::piped()).spawn().expect("this program can be run");
        let process = child.id();
        let output = child.wait_with_output().expect("the child ends");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let expected = format!("process {process} has Some(\"from the file\") and None.");
        assert!(stdout.contains(&expected), "{stdout}");
    }
}
