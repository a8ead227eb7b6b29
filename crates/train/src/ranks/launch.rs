//! Where launchers of processes say which one this is.

/// Size and rank of Open MPI, and of MPICH and its kin.
const NAMES: [[&str; 2]; 2] = [["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"], ["PMI_SIZE", "PMI_RANK"]];
/// The rank on this machine.
const LOCAL: [&str; 3] = ["OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"];

/// What `mpirun` or a scheduler says in the environment about the processes that it started together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// How many there are.
    pub size: usize,
    /// Which of them this one is, from 0.
    pub rank: Option<usize>,
}

impl Launch {
    /// What each launcher that is known says, if it says how many processes there are.
    pub fn of_environment() -> impl Iterator<Item = Self> {
        NAMES.into_iter().filter_map(|[size, rank]| Some(Self { size: number(size)?, rank: number(rank) }))
    }

    /// Number of this process among those on this machine.
    pub fn local_rank() -> Option<usize> {
        LOCAL.into_iter().find_map(number)
    }
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}
