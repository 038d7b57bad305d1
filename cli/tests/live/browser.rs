//! Chromium without a window, driven through its debugging pipe.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::until;

/// Programs that are Chromium.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser with one page.
pub struct Browser {
    child: Child,
    orders: File,
    answers: BufReader<File>,
    session: String,
    number: u64,
    /// Exceptions and blocked resources.
    pub faults: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser; `None` if this machine has none.
    pub fn start() -> Option<Browser> {
        let program = PROGRAMS.into_iter().find(|program| {
            let version = Command::new(program).arg("--version").output();
            version.is_ok_and(|output| output.status.success())
        })?;
        let profile = tempfile::tempdir().unwrap();
        let [orders, answers] = ["orders", "answers"].map(|name| profile.path().join(name));
        let made = Command::new("mkfifo")
            .args([&orders, &answers])
            .status()
            .unwrap();
        assert!(made.success());
        // It reads orders from descriptor 3 and answers on 4.
        let line = format!(
            "exec {program} --headless --no-sandbox --disable-gpu --no-first-run \
             --remote-debugging-pipe --user-data-dir={0} about:blank 3<{1} 4>{2}",
            profile.path().join("profile").display(),
            orders.display(),
            answers.display()
        );
        let child = Command::new("sh")
            .args(["-c", &line])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut browser = Browser {
            child,
            orders: File::options().write(true).open(orders).unwrap(),
            answers: BufReader::new(File::open(answers).unwrap()),
            session: String::new(),
            number: 0,
            faults: Vec::new(),
            _profile: profile,
        };
        let page = browser.order("Target.createTarget", json!({ "url": "about:blank" }));
        let target = &page["targetId"];
        let attach = json!({ "targetId": target, "flatten": true });
        let attached = browser.order("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.order(domain, json!({}));
        }
        Some(browser)
    }

    /// Sends an order and returns its result.
    pub fn order(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let mut order = json!({ "id": self.number, "method": method, "params": params });
        if !self.session.is_empty() {
            order["sessionId"] = json!(self.session);
        }
        self.orders
            .write_all(format!("{order}\0").as_bytes())
            .unwrap();
        loop {
            let mut answer = Vec::new();
            self.answers.read_until(0, &mut answer).unwrap();
            assert_eq!(answer.pop(), Some(0), "the browser ended");
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.number {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            let method = answer["method"].as_str().unwrap_or_default();
            if ["Runtime.exceptionThrown", "Log.entryAdded"].contains(&method) {
                self.faults.push(answer);
            }
        }
    }

    /// Loads a page in a window of this size, in pixels.
    pub fn open(&mut self, url: &str, width: u32, dark: bool) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1,
            "mobile": width < 600 });
        self.order("Emulation.setDeviceMetricsOverride", size);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.order(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        );
        self.order("Page.navigate", json!({ "url": url }));
    }

    /// The value of an expression in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        self.order("Runtime.evaluate", params)["result"]["value"].clone()
    }

    /// Waits until an expression in the page is true.
    pub fn wait(&mut self, what: &str, expression: &str) {
        until(what, || (self.value(expression) == true).then_some(()));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
