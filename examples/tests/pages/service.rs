//! The service: several clients at once, every refusal, and its page.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use ndarray::Array4;
use nnunet_examples::service::{Limits, Service};

use super::client::{Answer, exchange, get, post, post_form};
use super::{Subject, assert_overlay, chromium::Browser, labels_of, picture, write};

/// A service that ends with the test.
struct Running {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

fn start(subject: &Subject, limits: Limits) -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let service = Service::new(subject.predictor(), limits).unwrap();
    runtime.spawn(service.serve(listener, std::future::pending()));
    Running { address, _runtime: runtime }
}

/// An image that takes a few seconds.
fn long_image(folder: &Path) -> Vec<u8> {
    let path = folder.join("long.nii.gz");
    write(
        &path,
        Array4::from_shape_fn((1, 48, 96, 96), |(_, z, y, x)| ((z * 7 + y * 5 + x * 3) % 23) as f32),
    );
    std::fs::read(path).unwrap()
}

/// The last state that the events tell, and how many there were.
fn events(address: SocketAddr, id: &str) -> (serde_json::Value, usize) {
    let answer = get(address, &format!("/jobs/{id}/events"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.head.contains("text/event-stream"), "{}", answer.head);
    let text = answer.text();
    let states: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    (serde_json::from_str(states.last().unwrap()).unwrap(), states.len())
}

fn refused(answer: &Answer, status: u16, parts: &[&str]) {
    let error = answer.error();
    assert_eq!(answer.status, status, "{error}");
    assert!(
        parts.iter().all(|part| error.contains(part)) && error.ends_with('.'),
        "{error}: expected {parts:?}"
    );
}

#[test]
fn several_clients_get_the_labels_of_their_own_images() {
    let subject = Subject::new();
    let running = start(&subject, Limits::default());
    let address = running.address;
    let results: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4usize)
            .map(|client| {
                let path = subject.folder.path().join(format!("client_{client}.nii.gz"));
                write(
                    &path,
                    Array4::from_shape_fn((1, 9 + client, 18, 17), |(_, z, y, x)| {
                        ((z * (client + 3) + y * 5 + x * 2) % 17) as f32
                    }),
                );
                let bytes = std::fs::read(&path).unwrap();
                scope.spawn(move || {
                    if client % 2 == 0 {
                        let answer = post(address, "/segment", &bytes);
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        return (path, answer.body);
                    }
                    let answer = post_form(address, "/jobs", &[&bytes]);
                    assert_eq!(answer.status, 202, "{}", answer.text());
                    let id = answer.json()["id"].as_str().unwrap().to_owned();
                    let (last, count) = events(address, &id);
                    assert!(last["state"] == "done" && count >= 1, "{last}");
                    assert_eq!(get(address, &format!("/jobs/{id}")).json(), last);
                    (path, get(address, &format!("/jobs/{id}/labels")).body)
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for (path, bytes) in results {
        let (found, expected) = (labels_of(&bytes), subject.expected(&path));
        assert_eq!(found.data, expected.data, "{}", path.display());
        assert_eq!(found.geometry.origin, [5.0, -3.0, 7.0]);
    }
    let model = get(address, "/model").json();
    assert_eq!(model["configuration"], "3d_fullres", "{model}");
}

#[test]
fn what_is_wrong_with_an_upload_is_a_sentence() {
    let subject = Subject::new();
    let limits =
        Limits { upload_bytes: 100_000, upload_time: Duration::from_millis(400), ..Limits::default() };
    let running = start(&subject, limits);
    let address = running.address;
    refused(&post(address, "/segment", b"hello, world"), 422, &["upload.nii", "header"]);
    refused(&post(address, "/segment", b""), 422, &["1 file", "has 0"]);
    let image = std::fs::read(&subject.image).unwrap();
    refused(&post_form(address, "/segment", &[&image, &image]), 422, &["1 file", "has 2"]);
    refused(&post(address, "/segment", &image[..image.len() / 2]), 422, &["upload.nii"]);
    let form = "POST /jobs HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=edge\r\nContent-Length: 5";
    refused(&exchange(address, form, b"stuff"), 400, &["cannot be read"]);

    let large = vec![0; 100_001];
    refused(&post(address, "/segment", &large), 413, &["100000 bytes"]);
    refused(&post_form(address, "/jobs", &[&large]), 413, &["100000 bytes"]);
    let mut chunks = format!("{:x}\r\n", large.len()).into_bytes();
    chunks.extend_from_slice(&large);
    chunks.extend_from_slice(b"\r\n0\r\n\r\n");
    let head = "POST /jobs HTTP/1.1\r\nTransfer-Encoding: chunked";
    refused(&exchange(address, head, &chunks), 413, &["100000 bytes"]);

    // One that does not go on.
    refused(&exchange(address, "POST /jobs HTTP/1.1\r\nContent-Length: 999", b"part"), 408, &["0.4 s"]);

    refused(&get(address, "/jobs/77"), 404, &["77"]);
    refused(&get(address, "/jobs/none/labels"), 404, &["none"]);
    refused(&get(address, "/elsewhere"), 404, &["address"]);
    let failed = post(address, "/jobs", b"no image at all").json()["id"].as_str().unwrap().to_owned();
    let (last, _) = events(address, &failed);
    assert_eq!(last["state"], "failed", "{last}");
    let answer = get(address, &format!("/jobs/{failed}/labels"));
    assert!(answer.status == 409 && answer.error().contains("header"), "{}", answer.text());
}

#[test]
fn a_full_queue_and_long_predictions_are_refused() {
    let subject = Subject::new();
    let running = start(&subject, Limits { waiting: 1, ..Limits::default() });
    let address = running.address;
    let image = long_image(subject.folder.path());
    let submit = || post(address, "/jobs", &image);
    let id = |answer: &Answer| answer.json()["id"].as_str().unwrap().to_owned();
    let first = id(&submit());
    while get(address, &format!("/jobs/{first}")).json()["state"] == "waiting" {
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = id(&submit());
    assert_eq!(
        get(address, &format!("/jobs/{second}")).json(),
        serde_json::json!({ "state": "waiting", "ahead": 1 })
    );
    let third = submit();
    refused(&third, 503, &["1 images are waiting"]);
    assert!(third.head.to_lowercase().contains("retry-after: 30"), "{}", third.head);
    refused(&get(address, &format!("/jobs/{first}/labels")), 409, &["not there yet"]);
    for job in [&second, &first] {
        let answer = exchange(address, &format!("DELETE /jobs/{job} HTTP/1.1"), b"");
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    for job in [&first, &second] {
        let (last, _) = events(address, job);
        assert!(last["error"].as_str().unwrap().contains("cancelled"), "{last}");
    }

    let running = start(&subject, Limits { predict_time: Duration::from_millis(20), ..Limits::default() });
    refused(&post(running.address, "/segment", &image), 503, &["0.02 s"]);
}

#[test]
fn a_client_that_goes_away_cancels_its_prediction() {
    let subject = Subject::new();
    let running = start(&subject, Limits::default());
    let address = running.address;
    let image = long_image(subject.folder.path());
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", image.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&image).unwrap();
    while get(address, "/jobs/1").json()["state"] != "running" {
        std::thread::sleep(Duration::from_millis(5));
    }
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    let _ = stream.read(&mut [0]);
    drop(stream);
    let (last, _) = events(address, "1");
    assert!(last["error"].as_str().is_some_and(|error| error.contains("cancelled")), "{last}");
}

#[test]
fn the_page_uploads_an_image_and_shows_the_overlay() {
    let Some(mut browser) = Browser::start() else { return };
    let subject = Subject::new();
    let running = start(&subject, Limits::default());
    browser.open(&format!("http://{}/", running.address));
    browser.choose("#image", &[&subject.image]);
    let (state, text) = browser.finished();
    assert_eq!(state, "done", "{text}");
    let expected = subject.expected(&subject.image);
    assert_eq!(labels_of(&browser.download()).data, expected.data);
    assert_overlay(&mut browser, &expected);
    picture(&mut browser, "service.png");

    let broken = subject.folder.path().join("broken.nii");
    std::fs::write(&broken, "no image").unwrap();
    browser.choose("#image", &[&broken]);
    browser.wait("document.body.dataset.state === 'error'");
    let (_, text) = browser.finished();
    assert!(text.contains("upload.nii"), "{text}");
}

#[test]
fn the_requests_of_the_documentation_can_be_followed() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        println!("skipped: there is no curl");
        return;
    }
    let subject = Subject::new();
    let running = start(&subject, Limits::default());
    let here = subject.folder.path();
    std::fs::copy(&subject.image, here.join("case_0000.nii.gz")).unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/service.md");
    let text = std::fs::read_to_string(page).unwrap();
    let commands: Vec<&str> = text.lines().filter(|line| line.starts_with("curl ")).collect();
    assert_eq!(commands.len(), 2);
    for command in commands {
        let command = command.replace("127.0.0.1:8080", &running.address.to_string());
        let words: Vec<&str> = command.split_whitespace().collect();
        let output =
            std::process::Command::new(words[0]).args(&words[1..]).current_dir(here).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        let labels = std::fs::read(here.join(words[words.len() - 1])).unwrap();
        assert_eq!(labels_of(&labels).data, subject.expected(&subject.image).data, "{command}");
    }
}
