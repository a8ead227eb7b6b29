//! Ranks that MPI connects.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};

use super::Ranks;
use crate::TrainError;

/// The processes of `MPI_COMM_WORLD`. All calls of MPI are made by one thread, which owns the connection.
pub(super) struct MpiRanks {
    rank: usize,
    size: usize,
    requests: Mutex<Option<Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Request {
    Gather(Vec<f64>, Sender<Vec<Vec<f64>>>),
    Sum(Vec<f32>, Sender<Vec<f32>>),
    Abort,
}

impl MpiRanks {
    pub(super) fn start() -> Result<Self, TrainError> {
        let (requests, inbox) = channel();
        let (outbox, ready) = channel();
        let thread = std::thread::Builder::new()
            .name("mpi".to_owned())
            .spawn(move || serve(&outbox, &inbox))
            .map_err(|error| TrainError::Ranks(format!("a thread for MPI could not be started: {error}")))?;
        let gone = |_| TrainError::Ranks("MPI cannot be initialised; was it initialised before?".to_owned());
        let (rank, size) = ready.recv().map_err(gone)?;
        Ok(Self { rank, size, requests: Mutex::new(Some(requests)), thread: Mutex::new(Some(thread)) })
    }

    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> Result<T, TrainError> {
        let gone = || TrainError::Ranks(format!("the connection of rank {} to MPI has ended", self.rank));
        let (answer, inbox) = channel();
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.as_ref().ok_or_else(gone)?.send(request(answer)).map_err(|_| gone())?;
        inbox.recv().map_err(|_| gone())
    }
}

impl Drop for MpiRanks {
    fn drop(&mut self) {
        // Without requests the thread ends, which finalises MPI.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

impl Ranks for MpiRanks {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, mine: &[f64]) -> Result<Vec<Vec<f64>>, TrainError> {
        self.ask(|answer| Request::Gather(mine.to_vec(), answer))
    }

    fn sum(&self, values: &mut [f32]) -> Result<(), TrainError> {
        let sums = self.ask(|answer| Request::Sum(values.to_vec(), answer))?;
        values.copy_from_slice(&sums);
        Ok(())
    }

    fn leave(&self, reason: &str) {
        // The last words: aborting ends this process as well.
        eprintln!("error: rank {} of {}: {reason}", self.rank, self.size);
        if let Some(requests) = &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = requests.send(Request::Abort);
        }
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

/// The thread that talks to MPI.
fn serve(ready: &Sender<(usize, usize)>, requests: &Receiver<Request>) {
    let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else { return };
    let world = universe.world();
    let _ = ready.send((world.rank() as usize, world.size() as usize));
    while let Ok(request) = requests.recv() {
        match request {
            Request::Gather(mine, answer) => {
                let _ = answer.send(gather(&world, &mine));
            }
            Request::Sum(values, answer) => {
                let _ = answer.send(sum(&world, &values));
            }
            Request::Abort => world.abort(1),
        }
    }
}

/// All ranks give as many values but for the last samples of a batch: the lengths come first.
fn gather(world: &SimpleCommunicator, mine: &[f64]) -> Vec<Vec<f64>> {
    let size = world.size() as usize;
    let mut lengths = vec![0u64; size];
    world.all_gather_into(&(mine.len() as u64), &mut lengths[..]);
    let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
    let mut padded = mine.to_vec();
    padded.resize(longest, 0.0);
    let mut all = vec![0.0f64; longest * size];
    world.all_gather_into(&padded[..], &mut all[..]);
    let rows = all.chunks(longest.max(1)).zip(&lengths);
    let mut result: Vec<Vec<f64>> = rows.map(|(row, &length)| row[..length as usize].to_vec()).collect();
    result.resize(size, Vec::new());
    result
}

/// The first rank adds and tells the others, so that all have the same bits.
fn sum(world: &SimpleCommunicator, values: &[f32]) -> Vec<f32> {
    let mut sums = values.to_vec();
    let root = world.process_at_rank(0);
    if world.rank() == 0 {
        root.reduce_into_root(values, &mut sums[..], SystemOperation::sum());
    } else {
        root.reduce_into(values, SystemOperation::sum());
    }
    root.broadcast_into(&mut sums[..]);
    sums
}
