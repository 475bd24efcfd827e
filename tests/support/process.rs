//! Child processes that never outlive the test, and the lines that they print.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{PATIENCE, poll};

/// Kills what is left when the test process ends, in whatever way: statics are not dropped, and neither is anything
/// after SIGKILL or an abort. (`PR_SET_PDEATHSIG` would not do: it fires when the *thread* that started the child
/// ends, and the test runner ends a thread with each test.)
///
/// A shell reads process ids from a pipe that only the test process holds. At its end, the shell kills them and
/// removes the temporary directories.
static WATCHDOG: LazyLock<Watchdog> = LazyLock::new(Watchdog::start);

struct Watchdog {
    root: PathBuf,
    shell: Mutex<Child>,
}

const WATCHDOG_SCRIPT: &str = r#"
# Ctrl-C reaches the whole process group; the watchdog has to be the last to go.
trap '' INT TERM HUP
pids=
while read -r sign pid; do
    rest=
    for p in $pids; do [ "$p" = "$pid" ] || rest="$rest $p"; done
    pids=$rest
    [ "$sign" = + ] && pids="$pids $pid"
done
[ -n "$pids" ] && kill -KILL $pids
# A process that was killed this moment may still hold a file open; it cannot write any more.
rm -rf "$1"
"#;

impl Watchdog {
    fn start() -> Watchdog {
        let root = std::env::temp_dir().join(format!("carbon-elb-test-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap_or_else(|e| panic!("cannot make {}: {e}", root.display()));
        let shell = Command::new("sh")
            .args(["-c", WATCHDOG_SCRIPT, "watchdog"])
            .arg(&root)
            .stdin(Stdio::piped())
            // Not inherited: whoever reads the output of the tests would wait for the watchdog too.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("cannot start sh");
        Watchdog { root, shell: Mutex::new(shell) }
    }

    fn tell(&self, sign: char, pid: u32) {
        let told = lock(&self.shell).stdin.as_mut().map(|pipe| writeln!(pipe, "{sign} {pid}"));
        assert!(matches!(told, Some(Ok(()))), "the watchdog of the tests has gone: {told:?}");
    }
}

/// The directory under which all temporary files of this test process are.
pub(crate) fn scratch_root() -> &'static Path {
    &WATCHDOG.root
}

/// A lock that a failed test left behind is as good as any: what it protects is consistent after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child process with its output. Dropping it kills it.
pub(crate) struct Process {
    name: String,
    child: Child,
    /// What it has written to standard output.
    pub(crate) stdout: Lines,
    /// What it has written to standard error.
    pub(crate) stderr: Lines,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`; `name` is what failure messages call it.
    #[track_caller]
    pub(crate) fn start(name: &str, command: &mut Command) -> Process {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {name} ({command:?}): {e}"));
        WATCHDOG.tell('+', child.id());
        let stdout = Lines::read(child.stdout.take().expect("stdout is piped"));
        let stderr = Lines::read(child.stderr.take().expect("stderr is piped"));
        Process { name: name.to_owned(), child, stdout, stderr, ended: None }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        assert!(self.ended.is_none(), "{} has ended already", self.name);
        let kill = format!("kill -{signal} {}", self.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("cannot start sh");
        assert!(status.success(), "{kill} failed for {}", self.name);
    }

    /// Whether it has ended, and how.
    pub(crate) fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("cannot wait for a child");
            if self.ended.is_some() {
                WATCHDOG.tell('-', self.id());
            }
        }
        self.ended
    }

    /// Waits for its end, at most for `limit`.
    #[track_caller]
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        // The end of its output is the event to block on; the process itself is gone an instant later.
        self.stderr.wait_for_end(deadline);
        self.stdout.wait_for_end(deadline);
        let status = poll(deadline.saturating_duration_since(Instant::now()), || self.poll());
        status.unwrap_or_else(|| panic!("{} still runs after {limit:?}\n{}", self.name, self.output()))
    }

    /// Kills it and waits for its end.
    pub(crate) fn kill(&mut self) {
        if self.poll().is_none() {
            // Fails only if it has ended just now.
            let _ = self.child.kill();
            let _ = self.child.wait().map(|status| self.ended = Some(status));
            WATCHDOG.tell('-', self.id());
        }
    }

    /// The last lines of its output, for failure messages.
    pub(crate) fn output(&self) -> String {
        format!("--- {} stdout\n{}--- {} stderr\n{}", self.name, self.stdout.tail(), self.name, self.stderr.tail())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.output());
        }
    }
}

/// The lines of an output so far; more arrive in the background.
#[derive(Clone)]
pub(crate) struct Lines(Arc<(Mutex<Output>, Condvar)>);

#[derive(Default)]
struct Output {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn read(source: impl Read + Send + 'static) -> Lines {
        let lines = Lines(Arc::default());
        let shared = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
                shared.update(|output| output.lines.push(String::from_utf8_lossy(&line).into_owned()));
            }
            shared.update(|output| output.ended = true);
        });
        lines
    }

    fn update(&self, change: impl FnOnce(&mut Output)) {
        let (output, changed) = &*self.0;
        change(&mut lock(output));
        changed.notify_all();
    }

    /// All lines so far.
    pub(crate) fn all(&self) -> Vec<String> {
        lock(&self.0.0).lines.clone()
    }

    /// Blocks until a line is there of which `pick` makes something.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, mut pick: impl FnMut(&str) -> Option<T>) -> T {
        let mut seen = 0;
        self.block_until(what, |output| {
            let found = output.lines[seen..].iter().find_map(|line| pick(line));
            seen = output.lines.len();
            found
        })
    }

    /// Blocks until `pick` makes something of all lines together.
    #[track_caller]
    pub(crate) fn wait_for_all<T>(&self, what: &str, mut pick: impl FnMut(&[String]) -> Option<T>) -> T {
        self.block_until(what, |output| pick(&output.lines))
    }

    /// The same, but `None` if the output ends before.
    #[track_caller]
    pub(crate) fn wait_for_all_or_end<T>(&self, mut pick: impl FnMut(&[String]) -> Option<T>) -> Option<T> {
        self.block_until("what is waited for", |output| match pick(&output.lines) {
            None if output.ended => Some(None),
            found => found.map(Some),
        })
    }

    #[track_caller]
    fn block_until<T>(&self, what: &str, mut pick: impl FnMut(&Output) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let (output, changed) = &*self.0;
        let mut output = lock(output);
        loop {
            if let Some(value) = pick(&output) {
                return value;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if output.ended || left.is_zero() {
                let why = if output.ended { "the output ended" } else { "time is up" };
                panic!("no line says {what} and {why}; the lines:\n{}", output.lines.join("\n"));
            }
            output = changed.wait_timeout(output, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_for_end(&self, deadline: Instant) {
        let (output, changed) = &*self.0;
        let mut output = lock(output);
        while !output.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            output = changed.wait_timeout(output, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn tail(&self) -> String {
        let lines = self.all();
        lines[lines.len().saturating_sub(20)..].iter().fold(String::new(), |text, line| text + line + "\n")
    }
}

/// Runs a command to its end and returns its standard output; panics if it fails, with `install` as the way out if
/// there is no such command.
#[track_caller]
pub(crate) fn run(command: &mut Command, install: &str) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}; {install}"));
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
