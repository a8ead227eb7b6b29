//! The pages of the examples, as they are served.

use std::path::PathBuf;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// A file of a page.
#[derive(Debug)]
pub(crate) struct File {
    /// Where it is served.
    pub(crate) path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

macro_rules! file {
    ($path:literal, $kind:expr, $text:literal) => {
        File { path: $path, kind: $kind, text: include_str!(concat!("../", $text)) }
    };
}

/// The page that segments in the browser.
static BROWSER: &[File] = &[
    file!("/", HTML, "browser/index.html"),
    file!("/app.js", SCRIPT, "browser/app.js"),
    file!("/worker.js", SCRIPT, "browser/worker.js"),
    file!("/nnunet.js", SCRIPT, "browser/nnunet.js"),
    file!("/viewer.js", SCRIPT, "browser/viewer.js"),
    file!("/style.css", STYLE, "browser/style.css"),
];

/// The page of the service.
pub(crate) static SERVICE: &[File] = &[
    file!("/", HTML, "service/index.html"),
    file!("/service.js", SCRIPT, "service/service.js"),
    file!("/viewer.js", SCRIPT, "browser/viewer.js"),
    file!("/style.css", STYLE, "browser/style.css"),
];

pub(crate) fn page(file: &'static File) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(file.kind))], file.text).into_response()
}

/// The page that segments in the browser, with the module at `wasm`.
pub fn browser(wasm: PathBuf) -> Router {
    let router = BROWSER
        .iter()
        .fold(Router::new(), |router, file| router.route(file.path, get(move || async move { page(file) })));
    router.route(
        "/nnunet.wasm",
        get(move || async move {
            match tokio::fs::read(&wasm).await {
                Ok(bytes) => ([(header::CONTENT_TYPE, "application/wasm")], bytes).into_response(),
                Err(error) => (StatusCode::NOT_FOUND, format!("{}: {error}", wasm.display())).into_response(),
            }
        }),
    )
}
