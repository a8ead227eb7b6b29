//! Requests as plain text.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What came back.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The sentence of a refusal.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

/// Sends a head (without its end) and a body, and reads to the end.
pub fn exchange(to: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let text = format!("{head}\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    // A service that has answered already may not listen any more.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    let mut block = [0; 1 << 16];
    while let Ok(n @ 1..) = stream.read(&mut block) {
        bytes.extend_from_slice(&block[..n]);
    }
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("no whole answer");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if head.to_lowercase().contains("transfer-encoding: chunked") {
        unchunk(&bytes[end + 4..])
    } else {
        bytes[end + 4..].to_vec()
    };
    Answer { status, head, body }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap().trim(), 16).unwrap();
        let rest = &bytes[line + 2..];
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        if size == 0 || rest.len() <= size + 2 {
            break;
        }
        bytes = &rest[size + 2..];
    }
    body
}

pub fn get(to: SocketAddr, path: &str) -> Answer {
    exchange(to, &format!("GET {path} HTTP/1.1"), b"")
}

pub fn post(to: SocketAddr, path: &str, body: &[u8]) -> Answer {
    exchange(to, &format!("POST {path} HTTP/1.1\r\nContent-Length: {}", body.len()), body)
}

/// Posts files as the parts of a form.
pub fn post_form(to: SocketAddr, path: &str, files: &[&[u8]]) -> Answer {
    let mut body = Vec::new();
    for file in files {
        body.extend_from_slice(
            b"--edge\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.nii\"\r\n\r\n",
        );
        body.extend_from_slice(file);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    let kind = "multipart/form-data; boundary=edge";
    let length = body.len();
    exchange(to, &format!("POST {path} HTTP/1.1\r\nContent-Type: {kind}\r\nContent-Length: {length}"), &body)
}
