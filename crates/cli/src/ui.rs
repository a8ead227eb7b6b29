//! What a person sees while the program works: progress bars on a terminal, log lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use nnunet::image::Progress;

/// Without a terminal, a stage reports at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// How much is said, and in which form. Everything goes to stderr; stdout belongs to results.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    quiet: bool,
    verbose: bool,
    terminal: bool,
}

impl Ui {
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        Self { quiet, verbose, terminal: std::io::stderr().is_terminal() }
    }

    /// Says one line unless `-q` was given.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    /// Says one line only with `-v`.
    pub(crate) fn detail(&self, line: &str) {
        if self.verbose {
            eprintln!("{line}");
        }
    }

    /// Begins a stage of counted work.
    pub(crate) fn stage(&self, name: &str) -> Stage {
        let bar = (self.terminal && !self.quiet).then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template(
                "{prefix:<18} {bar:32} {pos:>5}/{len}  {elapsed} < {eta}  {wide_msg}",
            );
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar.set_prefix(name.to_owned());
            bar
        });
        Stage {
            name: name.to_owned(),
            quiet: self.quiet,
            bar,
            begun: Instant::now(),
            log: Mutex::new(LogState { said: None, total: 0 }),
        }
    }
}

struct LogState {
    said: Option<Instant>,
    total: usize,
}

/// One stage of work; finish it with [`Stage::finish`].
pub(crate) struct Stage {
    name: String,
    quiet: bool,
    bar: Option<ProgressBar>,
    begun: Instant,
    log: Mutex<LogState>,
}

impl Stage {
    /// Reports progress; may be called from any thread.
    pub(crate) fn update(&self, progress: Progress<'_>) {
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total as u64);
            bar.set_position(progress.done as u64);
            bar.set_message(progress.item.to_owned());
            return;
        }
        let Ok(mut log) = self.log.lock() else { return };
        log.total = progress.total;
        let due = log.said.is_none_or(|said| said.elapsed() >= LOG_INTERVAL);
        if !self.quiet && due && progress.done < progress.total {
            log.said = Some(Instant::now());
            eprintln!("{}: {}/{} {}", self.name, progress.done, progress.total, progress.item);
        }
    }

    /// Prints a line above the bar, or as it is where there is no bar.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None if !self.quiet => eprintln!("{line}"),
            None => {}
        }
    }

    /// Ends the stage and says how long it took.
    pub(crate) fn finish(self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        if let Some(bar) = &self.bar {
            bar.set_message(String::new());
            bar.finish();
        } else if !self.quiet {
            let total = self.log.lock().map_or(0, |log| log.total);
            eprintln!("{}: {total} done in {seconds:.1} s", self.name);
        }
    }
}
