//! The access log: one JSON object a line for each request, written by a thread of its own.
//!
//! A request only formats its line and hands it over. If the writer cannot follow, lines are dropped and counted: a full
//! disk or a slow terminal must not slow down requests.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use log::error;
use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;

pub use super::line::Entry;
use crate::config::AccessLog;

/// Bytes of lines that may wait for the writer; some 16,000 lines.
const MOST: usize = 8 << 20;

/// How long lines may wait for others.
const PAUSE: Duration = Duration::from_millis(10);

/// Bytes of memory for lines that are kept for the next ones.
const KEPT: usize = 128 << 10;

/// How long the end of the process waits for the writer, and how often it looks.
const CLOSE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The sender's side of the log.
#[derive(Debug)]
pub struct AccessWriter {
    /// `None`: nobody wants lines.
    queue: Option<Arc<Queue>>,
    lost: IntCounter,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Lines on their way to the writer.
#[derive(Debug, Default)]
struct Queue {
    /// The lock is taken for a copy of a line, or to take them all.
    waiting: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Whether the writer waits for a line, rather than for some to come together.
    idle: bool,
    closing: bool,
}

impl Queue {
    /// Hands a line over; `false` if there are too many.
    fn push(&self, line: &[u8]) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.lines.len() + line.len() > MOST || waiting.closing {
            return false;
        }
        waiting.lines.extend_from_slice(line);
        let idle = std::mem::take(&mut waiting.idle);
        drop(waiting);
        if idle {
            self.news.notify_one();
        }
        true
    }

    /// Waits for lines, and exchanges `taken`, which is empty, for them. `false`: there will be no more.
    fn take(&self, taken: &mut Vec<u8>) -> bool {
        let mut waiting = self.waiting.lock();
        while waiting.lines.is_empty() && !waiting.closing {
            waiting.idle = true;
            self.news.wait(&mut waiting);
        }
        // Lines that come together are written together; and requests need not wake the writer meanwhile.
        self.news.wait_while_for(&mut waiting, |waiting| !waiting.closing, PAUSE);
        std::mem::swap(&mut waiting.lines, taken);
        !waiting.closing
    }
}

thread_local! {
    /// Where a thread puts its lines together.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AccessWriter {
    /// Opens the log and starts its writer.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or the thread cannot be started.
    pub fn open(target: &AccessLog, lost: IntCounter) -> io::Result<Self> {
        let sink: Box<dyn Write + Send> = match target {
            AccessLog::Off => return Ok(AccessWriter { queue: None, lost, writer: Mutex::new(None) }),
            AccessLog::Stdout => Box::new(io::stdout()),
            AccessLog::File(path) => Box::new(open_for_append(path)?),
        };
        let queue = Arc::new(Queue::default());
        let lines = queue.clone();
        let writer =
            std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write_lines(&lines, sink))?;
        Ok(AccessWriter { queue: Some(queue), lost, writer: Mutex::new(Some(writer)) })
    }

    /// Whether anybody wants lines.
    pub fn wanted(&self) -> bool {
        self.queue.is_some()
    }

    /// Hands a line to the writer, or drops and counts it if too many wait.
    pub fn write(&self, entry: &Entry<'_>) {
        let Some(queue) = &self.queue else { return };
        let handed_over = LINE.with_borrow_mut(|line| {
            line.clear();
            entry.write_to(line);
            queue.push(line)
        });
        if !handed_over {
            self.lost.inc();
        }
    }

    /// Waits until every line that was handed over so far is written, and ends the log; but not for ever, since whoever
    /// should read the log may have stopped reading.
    pub fn close(&self) {
        let (Some(queue), Some(writer)) = (&self.queue, self.writer.lock().take()) else { return };
        queue.waiting.lock().closing = true;
        queue.news.notify_one();
        let deadline = Instant::now() + CLOSE;
        while !writer.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(LOOK_AGAIN);
        }
        if !writer.is_finished() {
            error!("the access log takes no lines, the last ones are lost");
        } else if writer.join().is_err() {
            error!("the writer of the access log had ended before");
        }
    }
}

fn open_for_append(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Writes lines until the log is closed.
fn write_lines(queue: &Queue, mut sink: Box<dyn Write + Send>) {
    let mut failing = false;
    let mut note = |outcome: io::Result<()>| match outcome {
        Ok(()) => failing = false,
        Err(_) if failing => {} // said once, until it works again
        Err(e) => {
            failing = true;
            error!("cannot write the access log: {e}");
        }
    };
    let mut lines = Vec::new();
    let mut open = true;
    while open {
        open = queue.take(&mut lines);
        note(sink.write_all(&lines).and_then(|()| sink.flush()));
        lines.clear();
        lines.shrink_to(KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::entry;
    use super::*;

    #[test]
    fn every_line_is_on_disk_after_close() {
        let path = std::env::temp_dir().join(format!("carbon-elb-access-{}", std::process::id()));
        let lost = IntCounter::new("lost", "lost").unwrap();
        let log = AccessWriter::open(&AccessLog::File(path.clone()), lost.clone()).unwrap();
        for _ in 0..1_000 {
            log.write(&entry());
        }
        log.close();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text.lines().count() as u64 + lost.get(), 1_000);
    }

    #[test]
    fn what_is_too_much_to_wait_is_lost_and_nothing_else() {
        let (queue, line) = (Queue::default(), [b'x'; 1 << 10]);
        let pushed = (0..MOST / line.len() + 5).filter(|_| queue.push(&line)).count();
        let mut taken = Vec::new();
        assert!(queue.take(&mut taken));
        assert_eq!((pushed, taken.len()), (MOST / line.len(), MOST));
        assert!(queue.push(&line));
        queue.waiting.lock().closing = true;
        assert!(!queue.push(&line), "nobody would write it");
        taken.clear();
        assert!(!queue.take(&mut taken));
        assert_eq!(taken.len(), line.len());
    }
}
