//! Segmentation over HTTP: one model, uploads in a bounded queue, progress as events.

mod http;
mod jobs;

use std::sync::Arc;
use std::time::Duration;

use nnunet::infer::Predictor;

use jobs::Jobs;

/// What the service allows.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most bytes of an upload.
    pub upload_bytes: usize,
    /// Most time for an upload to arrive.
    pub upload_time: Duration,
    /// Most time for a prediction, from when its turn comes.
    pub predict_time: Duration,
    /// Most uploads that wait for their turn.
    pub waiting: usize,
    /// Most results that are kept to be fetched; older ones go.
    pub kept: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upload_bytes: 512 << 20,
            upload_time: Duration::from_secs(120),
            predict_time: Duration::from_secs(1800),
            waiting: 8,
            kept: 16,
        }
    }
}

/// A service that can be run.
pub struct Service {
    jobs: Arc<Jobs>,
}

impl Service {
    /// Starts the thread that predicts.
    ///
    /// # Errors
    /// The thread cannot be started, or the plans' reader is not compiled in.
    pub fn new(predictor: Predictor, limits: Limits) -> anyhow::Result<Self> {
        Ok(Self { jobs: Jobs::start(predictor, limits)? })
    }

    /// Answers requests until `stop` is done.
    ///
    /// # Errors
    /// What the system says about the listener.
    pub async fn serve(
        self,
        listener: tokio::net::TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        axum::serve(listener, http::routes(self.jobs)).with_graceful_shutdown(stop).await
    }
}
