//! Requests and answers.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Path, Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::{Stream, StreamExt, stream};

use super::jobs::{Full, Job, Jobs, State, Waiter};
use crate::pages::{SERVICE, page};

pub(super) fn routes(jobs: Arc<Jobs>) -> Router {
    let limit = jobs.limits.upload_bytes;
    let files = SERVICE
        .iter()
        .fold(Router::new(), |router, file| router.route(file.path, get(move || async move { page(file) })));
    files
        .route("/model", get(|Shared(jobs): Shared<Arc<Jobs>>| async move { Json(jobs.model()) }))
        .route("/segment", post(segment))
        .route("/jobs", post(submit))
        .route("/jobs/{id}", get(status).delete(cancel))
        .route("/jobs/{id}/events", get(events))
        .route("/jobs/{id}/labels", get(labels))
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "There is nothing at this address.") })
        .layer(DefaultBodyLimit::max(limit))
        .with_state(jobs)
}

/// An answer that says what is wrong in a sentence.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl Refusal {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self(status, text.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response();
        if self.0 == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
        }
        response
    }
}

fn size(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{bytes} bytes") } else { format!("{} MiB", bytes >> 20) }
}

/// The files of an upload: the parts of a form, in order, or the body as the only one.
async fn upload(jobs: &Jobs, request: Request) -> Result<Vec<Vec<u8>>, Refusal> {
    let limits = &jobs.limits;
    let too_large = || {
        let most = size(limits.upload_bytes);
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The upload is larger than {most}, the limit of this service."),
        )
    };
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: usize| length > limits.upload_bytes) {
        return Err(too_large());
    }
    let read = async {
        let broken = |status: StatusCode, text: String| match status {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            _ => Refusal::new(StatusCode::BAD_REQUEST, format!("The upload cannot be read: {text}.")),
        };
        if !is_form(request.headers()) {
            let body =
                Bytes::from_request(request, &()).await.map_err(|e| broken(e.status(), e.body_text()))?;
            return Ok(if body.is_empty() { Vec::new() } else { vec![body.to_vec()] });
        }
        let mut form =
            Multipart::from_request(request, &()).await.map_err(|e| broken(e.status(), e.body_text()))?;
        let mut files = Vec::new();
        while let Some(field) = form.next_field().await.map_err(|e| broken(e.status(), e.body_text()))? {
            let bytes = field.bytes().await.map_err(|e| broken(e.status(), e.body_text()))?;
            files.push(bytes.to_vec());
        }
        Ok(files)
    };
    let files = tokio::time::timeout(limits.upload_time, read).await.map_err(|_| {
        let seconds = limits.upload_time.as_secs_f64();
        let text = format!("The upload took longer than {seconds} s, the limit of this service.");
        Refusal::new(StatusCode::REQUEST_TIMEOUT, text)
    })??;
    if files.len() != jobs.channels() {
        let (found, expected) = (files.len(), jobs.channels());
        let text = format!("The model takes {expected} file(s), one per channel; the upload has {found}.");
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, text));
    }
    Ok(files)
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("multipart/form-data"))
}

async fn enqueue(jobs: &Jobs, request: Request) -> Result<Arc<Job>, Refusal> {
    let files = upload(jobs, request).await?;
    jobs.add(files).map_err(|Full| {
        let text = format!("{} images are waiting already; try again later.", jobs.limits.waiting);
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
    })
}

/// Queues an upload and tells its number.
async fn submit(Shared(jobs): Shared<Arc<Jobs>>, request: Request) -> Result<Response, Refusal> {
    let job = enqueue(&jobs, request).await?;
    let about = Json(serde_json::json!({ "id": job.id }));
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/jobs/{}", job.id))], about).into_response())
}

/// Queues an upload, waits, and answers with the labels.
async fn segment(Shared(jobs): Shared<Arc<Jobs>>, request: Request) -> Result<Response, Refusal> {
    let waiter = Waiter(enqueue(&jobs, request).await?);
    let mut state = waiter.0.state.clone();
    let over = state.wait_for(State::is_over).await.map(|state| state.clone());
    match over {
        Ok(State::Done { .. }) => file(&waiter.0),
        Ok(State::Failed { error, timeout: true }) => {
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error))
        }
        Ok(State::Failed { error, .. }) => Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error)),
        _ => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "The prediction ended without a result.")),
    }
}

fn file(job: &Job) -> Result<Response, Refusal> {
    let labels = job.labels.lock().ok().and_then(|labels| labels.clone());
    let labels = labels.ok_or_else(|| Refusal::new(StatusCode::CONFLICT, "The labels are not there yet."))?;
    let headers = [
        (header::CONTENT_TYPE, "application/gzip"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"labels.nii.gz\""),
    ];
    Ok((headers, labels.as_ref().clone()).into_response())
}

fn job(jobs: &Jobs, id: &str) -> Result<Arc<Job>, Refusal> {
    jobs.get(id).ok_or_else(|| {
        let text = format!("There is no image number {id}, or not any more.");
        Refusal::new(StatusCode::NOT_FOUND, text)
    })
}

async fn status(Shared(jobs): Shared<Arc<Jobs>>, Path(id): Path<String>) -> Result<Json<State>, Refusal> {
    let state = job(&jobs, &id)?.state.borrow().clone();
    Ok(Json(state))
}

async fn cancel(Shared(jobs): Shared<Arc<Jobs>>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    job(&jobs, &id)?.cancel.cancel();
    Ok(StatusCode::NO_CONTENT)
}

async fn labels(Shared(jobs): Shared<Arc<Jobs>>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let job = job(&jobs, &id)?;
    if let State::Failed { error, .. } = &*job.state.borrow() {
        return Err(Refusal::new(StatusCode::CONFLICT, error.clone()));
    }
    file(&job)
}

/// The state whenever it changes, until it is over.
async fn events(
    Shared(jobs): Shared<Arc<Jobs>>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let job = job(&jobs, &id)?;
    let next = |(mut receiver, over): (tokio::sync::watch::Receiver<State>, bool)| async move {
        if over || receiver.changed().await.is_err() {
            return None;
        }
        let state = receiver.borrow_and_update().clone();
        let over = state.is_over();
        Some((state, (receiver, over)))
    };
    let mut receiver = job.state.clone();
    receiver.mark_changed();
    let states = stream::unfold((receiver, false), next);
    let events = states.map(|state| Ok(Event::default().json_data(state).unwrap_or_default()));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
