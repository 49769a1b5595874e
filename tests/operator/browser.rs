//! A real headless browser, driven over WebDriver. Dropping it ends browser and driver.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::program;

/// Limit of each wait for a page, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// One browser with one window.
pub struct Browser {
    driver: Child,
    session: String,
    http: reqwest::Client,
}

impl Browser {
    /// Starts one.
    pub async fn start() -> Self {
        // A second installation is refused; the first one serves all tests of the process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut command = Command::new(program("MANAGED_APP_TEST_CHROMEDRIVER"));
        command.process_group(0).arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.spawn().expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
        let output = lines.find(|line| line.contains("started successfully on port")).expect("it prints its port");
        let port = output.trim_end_matches('.').rsplit(' ').next().expect("a port").to_owned();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let mut browser = Self { driver, session: format!("http://127.0.0.1:{port}/session"), http };
        // Root cannot use the sandbox, and /dev/shm of a container is small.
        let arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];
        let options = json!({"args": arguments, "binary": "/usr/bin/chromium"});
        let wanted = json!({"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}});
        let created = browser.post("", json!({"capabilities": {"alwaysMatch": wanted}})).await;
        let id = created["sessionId"].as_str().expect("a session").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.http.post(format!("{}{path}", self.session)).json(&body).send().await.expect("an answer");
        let body: Value = answer.json().await.expect("JSON");
        assert!(body["value"]["error"].is_null(), "{path}: {body}");
        body["value"].clone()
    }

    pub async fn open(&self, url: &str) {
        self.post("/url", json!({"url": url})).await;
    }

    /// The value of a JavaScript expression in the page.
    pub async fn value(&self, expression: &str) -> Value {
        self.post("/execute/sync", json!({"script": format!("return ({expression});"), "args": []})).await
    }

    /// Waits until an expression is true.
    pub async fn eventually(&self, expression: &str) {
        let until = Instant::now() + LIMIT;
        while self.value(expression).await != json!(true) {
            if Instant::now() > until {
                let text = self.value("document.body.innerText").await;
                panic!("not in time: {expression}\n{}", text.as_str().unwrap_or_default());
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Presses and releases one key.
    pub async fn press(&self, key: &str) {
        let keys = json!([{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]);
        self.post("/actions", json!({"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})).await;
    }

    async fn command(&self, command: &str, parameters: Value) {
        self.post("/goog/cdp/execute", json!({"cmd": command, "params": parameters})).await;
    }

    /// Emulates a screen of this width, in dark or light mode.
    pub async fn shows(&self, width: u32, is_dark: bool) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.command("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.command("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// Severe log entries of the browser since the last call: failed scripts, violations of the policy of the page.
    pub async fn errors(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({"type": "browser"})).await;
        let entries = entries.as_array().expect("entries");
        entries.iter().filter(|entry| entry["level"] == "SEVERE").map(|entry| entry["message"].to_string()).collect()
    }

    /// Saves a screenshot to the directory in MANAGED_APP_TEST_PICTURES, if it is set.
    pub async fn screenshot(&self, name: &str) {
        use base64::Engine;
        let Ok(folder) = std::env::var("MANAGED_APP_TEST_PICTURES") else { return };
        let answer = self.http.get(format!("{}/screenshot", self.session)).send().await.expect("an answer");
        let body: Value = answer.json().await.expect("JSON");
        let bytes = base64::engine::general_purpose::STANDARD.decode(body["value"].as_str().expect("a picture"));
        std::fs::write(format!("{folder}/{name}.png"), bytes.expect("base64")).expect("a file");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // On SIGTERM, the driver usually ends its browser; the remaining processes are in its process group.
        let id = self.driver.id();
        let _ = Command::new("kill").args(["-TERM", &id.to_string()]).status();
        let _ = self.driver.wait();
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{id}")]).stderr(Stdio::null()).status();
    }
}
