//! Uploads that wait, the one that is predicted, and results.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nnunet::image::{CaseReader, Progress, reader_by_name};
use nnunet::infer::{CancelToken, CaseInput, InferError, Predictor};
use serde::Serialize;
use tokio::sync::watch;

use super::Limits;

/// How far an upload has come.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(super) enum State {
    /// It waits; so many are before it.
    Waiting { ahead: usize },
    /// Tiles.
    Running { done: usize, total: usize },
    /// The labels can be fetched.
    Done { seconds: f64 },
    /// A sentence that says why not.
    Failed { error: String, timeout: bool },
}

impl State {
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed { .. })
    }
}

/// An upload on its way.
pub(super) struct Job {
    pub(super) id: String,
    pub(super) state: watch::Receiver<State>,
    sender: watch::Sender<State>,
    pub(super) cancel: CancelToken,
    /// Taken when it is the job's turn.
    channels: Mutex<Vec<Vec<u8>>>,
    /// A gzipped NIfTI file.
    pub(super) labels: Mutex<Option<Arc<Vec<u8>>>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Job>>,
    all: BTreeMap<u64, Arc<Job>>,
    running: bool,
    next: u64,
}

/// All uploads.
pub(super) struct Jobs {
    predictor: Predictor,
    reader: Arc<dyn CaseReader>,
    pub(super) limits: Limits,
    queue: Mutex<Queue>,
    arrived: std::sync::Condvar,
}

/// The queue is full.
#[derive(Debug)]
pub(super) struct Full;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Jobs {
    pub(super) fn start(predictor: Predictor, limits: Limits) -> anyhow::Result<Arc<Self>> {
        let reader = reader_by_name(&predictor.plans().image_reader_writer)?;
        let jobs = Arc::new(Self {
            predictor,
            reader,
            limits,
            queue: Mutex::default(),
            arrived: std::sync::Condvar::new(),
        });
        let worker = Arc::downgrade(&jobs);
        std::thread::Builder::new().name("predict".to_owned()).spawn(move || {
            while let Some(jobs) = worker.upgrade() {
                jobs.turn();
            }
        })?;
        Ok(jobs)
    }

    /// Files per image.
    pub(super) fn channels(&self) -> usize {
        self.predictor.dataset().channel_names.len()
    }

    /// What the page needs to know of the model.
    pub(super) fn model(&self) -> serde_json::Value {
        serde_json::json!({
            "dataset": self.predictor.plans().dataset_name,
            "configuration": self.predictor.configuration_name(),
            "channels": self.predictor.dataset().channel_names.values().collect::<Vec<_>>(),
            "labels": self.predictor.label_rules().names(),
        })
    }

    /// Puts an upload at the end of the queue.
    pub(super) fn add(&self, channels: Vec<Vec<u8>>) -> Result<Arc<Job>, Full> {
        let mut queue = lock(&self.queue);
        if queue.waiting.len() >= self.limits.waiting {
            return Err(Full);
        }
        let ahead = queue.waiting.len() + usize::from(queue.running);
        let (sender, state) = watch::channel(State::Waiting { ahead });
        queue.next += 1;
        let job = Arc::new(Job {
            id: queue.next.to_string(),
            state,
            sender,
            cancel: CancelToken::new(),
            channels: Mutex::new(channels),
            labels: Mutex::default(),
        });
        let number = queue.next;
        queue.all.insert(number, job.clone());
        queue.waiting.push_back(job.clone());
        let over: Vec<u64> =
            queue.all.iter().filter(|(_, job)| job.state.borrow().is_over()).map(|(&n, _)| n).collect();
        for number in over.iter().take(over.len().saturating_sub(self.limits.kept)) {
            queue.all.remove(number);
        }
        drop(queue);
        self.arrived.notify_one();
        Ok(job)
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Job>> {
        lock(&self.queue).all.get(&id.parse().ok()?).cloned()
    }

    /// Predicts the next upload, or waits a little for one.
    fn turn(&self) {
        let job = {
            let mut queue = lock(&self.queue);
            queue.running = false;
            if queue.waiting.is_empty() {
                let wait = std::time::Duration::from_millis(500);
                queue = self.arrived.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
            }
            let Some(job) = queue.waiting.pop_front() else { return };
            queue.running = true;
            for (place, job) in queue.waiting.iter().enumerate() {
                job.sender.send_replace(State::Waiting { ahead: place + 1 });
            }
            job
        };
        let start = Instant::now();
        // One image must not take the service down, whatever it holds.
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.predict(&job, start)));
        let predicted = caught
            .unwrap_or_else(|_| Err("The prediction failed for a reason inside the program.".to_owned()));
        let state = match predicted {
            Ok(labels) => {
                *lock(&job.labels) = Some(Arc::new(labels));
                State::Done { seconds: start.elapsed().as_secs_f64() }
            }
            Err(_) if start.elapsed() > self.limits.predict_time => {
                let seconds = self.limits.predict_time.as_secs_f64();
                State::Failed {
                    error: format!("The prediction took longer than {seconds} s, the limit of this service."),
                    timeout: true,
                }
            }
            Err(error) => State::Failed { error, timeout: false },
        };
        job.sender.send_replace(state);
    }

    fn predict(&self, job: &Job, start: Instant) -> Result<Vec<u8>, String> {
        let cancelled = || "The prediction was cancelled.".to_owned();
        if job.cancel.is_cancelled() {
            return Err(cancelled());
        }
        job.sender.send_replace(State::Running { done: 0, total: 0 });
        let channels = std::mem::take(&mut *lock(&job.channels));
        let files: Vec<(&str, &[u8])> = channels.iter().map(|bytes| ("upload.nii", &bytes[..])).collect();
        let failed = |error: &dyn std::fmt::Display| format!("The upload cannot be segmented: {error}.");
        let image = self.reader.read_bytes(&files).map_err(|error| failed(&error))?;
        drop(channels);
        let case = CaseInput { cancel: job.cancel.clone(), ..CaseInput::from(image) };
        let report = |progress: Progress<'_>| {
            job.sender.send_replace(State::Running { done: progress.done, total: progress.total });
            if start.elapsed() > self.limits.predict_time {
                job.cancel.cancel();
            }
        };
        let prediction = self.predictor.predict_image(case, false, &report).map_err(|error| match error {
            InferError::Cancelled => cancelled(),
            other => failed(&other),
        })?;
        self.reader.labels_to_bytes("labels.nii.gz", &prediction.labels).map_err(|error| failed(&error))
    }
}

/// Cancels a job when whoever waits for it goes away.
pub(super) struct Waiter(pub(super) Arc<Job>);

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.cancel.cancel();
    }
}
