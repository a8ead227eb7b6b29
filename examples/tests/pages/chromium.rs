//! A browser without a window, driven over its debugging protocol.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

/// One page of a browser.
pub struct Browser {
    child: Child,
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    session: String,
    next: u64,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// None, with a message, where no Chromium is installed.
    pub fn start() -> Option<Self> {
        let programs = ["chromium", "chromium-browser", "google-chrome"];
        let installed = |name: &&&str| {
            Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status()
        };
        let Some(program) = programs.iter().find(|name| installed(name).is_ok_and(|status| status.success()))
        else {
            println!("skipped: no Chromium is installed");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let child = Command::new(program)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--remote-debugging-port=0", "--window-size=960,900", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port = profile.path().join("DevToolsActivePort");
        let deadline = Instant::now() + Duration::from_secs(60);
        let address = loop {
            let text = std::fs::read_to_string(&port).unwrap_or_default();
            if let [port, path] = text.lines().collect::<Vec<_>>()[..] {
                break format!("ws://127.0.0.1:{port}{path}");
            }
            assert!(Instant::now() < deadline, "{program} does not start");
            std::thread::sleep(Duration::from_millis(100));
        };
        let (socket, _) = tungstenite::connect(address).unwrap();
        let mut browser = Self { child, socket, session: String::new(), next: 0, _profile: profile };
        let target = browser.send("Target.createTarget", json!({ "url": "about:blank" }));
        let flat = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session =
            browser.send("Target.attachToTarget", flat)["sessionId"].as_str().unwrap().to_owned();
        browser.send("Page.enable", json!({}));
        Some(browser)
    }

    /// Sends a command and waits for its result.
    fn send(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let mut command = json!({ "id": self.next, "method": method, "params": parameters });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.clone().into();
        }
        self.socket.send(Message::text(command.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let mut answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == self.next {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// Goes to a page and waits until its script has run.
    pub fn open(&mut self, address: &str) {
        self.send("Page.navigate", json!({ "url": address }));
        self.wait("document.body?.dataset.state === 'ready'");
    }

    /// The value of an expression, awaited.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.send("Runtime.evaluate", ask);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true.
    pub fn wait(&mut self, expression: &str) {
        let deadline = Instant::now() + Duration::from_secs(240);
        while self.evaluate(expression) != true {
            if Instant::now() > deadline {
                let text = self.evaluate("document.body.innerText");
                panic!("{expression} does not come true: {text}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Chooses files in an `<input type="file">`.
    pub fn choose(&mut self, selector: &str, files: &[&Path]) {
        let root = self.send("DOM.getDocument", json!({}));
        let query = json!({ "nodeId": root["root"]["nodeId"], "selector": selector });
        let node = self.send("DOM.querySelector", query)["nodeId"].take();
        self.send("DOM.setFileInputFiles", json!({ "nodeId": node, "files": files }));
    }

    /// Waits for the end of a segmentation and gives the page's sentence.
    pub fn finished(&mut self) -> (String, String) {
        self.wait("['done', 'error'].includes(document.body.dataset.state)");
        let text = |value: Value| value.as_str().unwrap().to_owned();
        (
            text(self.evaluate("document.body.dataset.state")),
            text(self.evaluate("document.querySelector('#status').textContent")),
        )
    }

    /// The bytes behind the link to the labels.
    pub fn download(&mut self) -> Vec<u8> {
        let text = self.evaluate(
            "fetch(document.querySelector('#download').href).then((r) => r.blob()).then((blob) => new Promise((done) => {
                const reader = new FileReader();
                reader.onload = () => done(reader.result.split(',')[1]);
                reader.readAsDataURL(blob); }))",
        );
        decode(text.as_str().unwrap())
    }

    /// Writes a picture of the page.
    pub fn screenshot(&mut self, to: &Path) {
        let height = self.evaluate("Math.ceil(document.documentElement.getBoundingClientRect().bottom)");
        let clip = json!({ "x": 0, "y": 0, "width": 960, "height": height, "scale": 1 });
        let picture = self.send(
            "Page.captureScreenshot",
            json!({ "format": "png", "clip": clip, "captureBeyondViewport": true }),
        );
        std::fs::write(to, decode(picture["data"].as_str().unwrap())).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Base 64.
fn decode(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|c| DIGITS.iter().position(|&d| d == c)).collect::<Vec<_>>();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for four in digits.chunks(4) {
        let bits = four.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - four.len()));
        bytes.extend([16, 8, 0].map(|shift| (bits >> shift) as u8).iter().take(four.len() - 1));
    }
    bytes
}

#[test]
fn base_64_is_decoded() {
    assert_eq!(decode("aGVsbG8="), b"hello");
    assert_eq!(decode("AP8Q"), [0, 255, 16]);
}
