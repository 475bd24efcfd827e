//! Instances that the operator's own programs start and stop: virtual machines, processes, whatever.

use std::collections::BTreeMap;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{ADDRESS, Fault, Provider, parse_place, told, told_of};
use crate::executor::excerpt::{LINE, excerpt};
use crate::executor::settings::Commands;
use crate::executor::world::{Instance, Place, PoolName};
use crate::ids::{Name, NodeId};

/// The most that is read of what a program prints, in bytes.
const LONGEST: u64 = 1 << 20;

/// What the programs get of this one's environment. The rest is not theirs: the token of the balancers may be in it.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// Runs the programs of one pool.
pub(super) struct Exec {
    pool: PoolName,
    commands: Commands,
}

impl Exec {
    /// Runs these programs.
    pub(super) fn new(pool: PoolName, commands: Commands) -> Self {
        Exec { pool, commands }
    }

    /// A program with what it is told in its environment, and little else. No shell sees any of it.
    fn command(&self, program: &[String], told: &[(&str, String)]) -> Result<Command, Fault> {
        let (program, arguments) = program.split_first().ok_or_else(|| Fault("no program is named".to_owned()))?;
        let mut command = Command::new(program);
        let passed_on = PASSED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.args(arguments).env_clear().envs(passed_on).envs(told.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // Ctrl-C is for this program. What it has started lives on.
        command.process_group(0).kill_on_drop(true);
        Ok(command)
    }

    async fn in_time<T>(&self, what: &str, run: impl Future<Output = io::Result<T>>) -> Result<T, Fault> {
        let limit = self.commands.timeout;
        let done = timeout(limit, run).await.map_err(|_| late(what, limit))?;
        done.map_err(|e| Fault(format!("{what}: {e}")))
    }

    /// Runs a program to its end and returns what it has printed.
    async fn output(&self, what: &str, program: &[String], told: &[(&str, String)]) -> Result<String, Fault> {
        let mut command = self.command(program, told)?;
        let run = async {
            let mut child = command.spawn()?;
            let mut text = String::new();
            stdout(&mut child)?.take(LONGEST).read_to_string(&mut text).await?;
            Ok((child.wait().await?, text))
        };
        let (status, text) = self.in_time(what, run).await?;
        succeeded(what, status)?;
        Ok(text)
    }

    /// Waits until a program that starts an instance has ended, and reads where that is.
    async fn started(&self, mut child: Child) -> Result<Place, Fault> {
        let run = async {
            let mut lines = BufReader::new(stdout(&mut child)?.take(LONGEST)).lines();
            // Not to the end of its output: what it leaves behind may hold that open.
            let (line, status) = tokio::join!(lines.next_line(), child.wait());
            Ok((line?, status?))
        };
        let outcome = self.in_time("start", run).await;
        // One that is late must not go on beside the program that stops what it has made.
        drop(child);
        let (line, status) = outcome?;
        succeeded("start", status)?;
        let line = line.unwrap_or_default();
        parse_place(&line).ok_or_else(|| Fault(format!("start: \"{}\" is not an address", excerpt(&line, LINE))))
    }
}

#[async_trait]
impl Provider for Exec {
    async fn list(&self) -> Result<BTreeMap<NodeId, Instance>, Fault> {
        let text = self.output("list", &self.commands.list, &told_of(&self.pool)).await?;
        Ok(parse_list(&text)?.into_iter().map(|(id, place)| (id, Instance::Running(place))).collect())
    }

    async fn start(&self, id: &NodeId) -> Result<Place, Fault> {
        let mut command = self.command(&self.commands.start, &told(&self.pool, id))?;
        let child = command.spawn().map_err(|e| Fault(format!("start: {e}")))?;
        match self.started(child).await {
            Ok(place) => Ok(place),
            // It ran: it may have made something that nobody would find.
            Err(fault) => Err(match self.stop(id, None).await {
                Ok(()) => fault,
                Err(left) => Fault(format!("{fault}; something may be left of it: {left}")),
            }),
        }
    }

    async fn stop(&self, id: &NodeId, place: Option<&Place>) -> Result<(), Fault> {
        let mut variables = told(&self.pool, id).to_vec();
        variables.extend(place.map(|place| (ADDRESS, place.address.to_string())));
        let mut command = self.command(&self.commands.stop, &variables)?;
        command.stdout(Stdio::null());
        let status = self.in_time("stop", async { command.spawn()?.wait().await }).await?;
        succeeded("stop", status)
    }
}

fn stdout(child: &mut Child) -> io::Result<impl AsyncRead + Unpin + use<>> {
    child.stdout.take().ok_or_else(|| io::Error::other("its output cannot be read"))
}

fn late(what: &str, limit: Duration) -> Fault {
    Fault(format!("{what}: not done within {}", humantime::format_duration(limit)))
}

fn succeeded(what: &str, status: ExitStatus) -> Result<(), Fault> {
    if status.success() { Ok(()) } else { Err(Fault(format!("{what}: {status}"))) }
}

/// A line for each instance: `ID ADDRESS`, as [`parse_place`] has it. Empty lines are left out.
fn parse_list(text: &str) -> Result<BTreeMap<NodeId, Place>, Fault> {
    let line = |line: &str| {
        let (id, place) = line.trim().split_once(char::is_whitespace)?;
        Some((Name::parse(id)?, parse_place(place)?))
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let bad = |text: &str| Fault(format!("list: \"{}\" is not an id and an address", excerpt(text, LINE)));
    lines.map(|text| line(text).ok_or_else(|| bad(text))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{CLUSTER, MEMBER, ROLE};
    use super::*;
    use crate::ids::Role;

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn exec(start: &str, stop: &str, list: &str) -> Exec {
        let pool = PoolName { cluster: Name::parse("esb").unwrap(), role: Role::Worker };
        let timeout = Duration::from_secs(20);
        Exec::new(pool, Commands { start: sh(start), stop: sh(stop), list: sh(list), timeout })
    }

    fn wk() -> NodeId {
        Name::parse("auto-1").unwrap()
    }

    #[tokio::test]
    async fn programs_are_told_what_it_is_about() {
        let start =
            r#"[ "$CARBON_ELB_MEMBER/$CARBON_ELB_CLUSTER/$CARBON_ELB_ROLE" = auto-1/esb/worker ] && echo 10.0.0.5:80"#;
        let stop = r#"[ "$CARBON_ELB_MEMBER at $CARBON_ELB_ADDRESS" = "auto-1 at 10.0.0.5" ]"#;
        let list = r#"echo "$CARBON_ELB_CLUSTER-$CARBON_ELB_ROLE" 10.0.0.5"#;
        let exec = exec(start, stop, list);
        let place = exec.start(&wk()).await.unwrap();
        assert_eq!(place, parse_place("10.0.0.5:80").unwrap());
        exec.stop(&wk(), Some(&place)).await.unwrap();
        let listed: Vec<NodeId> = exec.list().await.unwrap().into_keys().collect();
        assert_eq!(listed, [Name::parse("esb-worker").unwrap()]);
        assert!(exec.stop(&wk(), None).await.is_err(), "it fails without the address");
    }

    #[tokio::test]
    async fn programs_do_not_see_the_environment_of_this_one() {
        let exec = exec("true", "true", "true");
        let seen = exec.output("env", &["env".to_owned()], &told(&exec.pool, &wk())).await.unwrap();
        let expected = ["PATH", "HOME", "LANG", "TZ"].into_iter().filter(|name| std::env::var_os(name).is_some());
        let mut expected: Vec<&str> = expected.chain([MEMBER, CLUSTER, ROLE]).collect();
        let mut names: Vec<&str> = seen.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        expected.sort_unstable();
        names.sort_unstable();
        assert_eq!(names, expected);
        let other = |(name, _): (std::ffi::OsString, _)| !expected.iter().any(|expected| name == *expected);
        assert!(std::env::vars_os().any(other), "there is something to be kept from them");
    }

    #[tokio::test]
    async fn what_a_start_leaves_behind_is_not_waited_for() {
        let folder = std::env::temp_dir().join(format!("carbon-elb-exec-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let pipe = folder.join("pipe").display().to_string();
        // The reader of the pipe holds the output open until somebody writes.
        let exec = exec(&format!("mkfifo {pipe}; cat {pipe} & echo 10.0.0.5"), &format!("echo >{pipe}"), "true");
        assert!(exec.start(&wk()).await.is_ok());
        assert!(exec.stop(&wk(), None).await.is_ok(), "it was still there");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn failures_are_said() {
        for (start, expected) in [
            ("exit 3", "exit status: 3"),
            ("echo 10.0.0.5; exit 1", "exit status: 1"),
            ("echo wk-1.example.com", "\"wk-1.example.com\" is not an address"),
            ("true", "\"\" is not an address"),
        ] {
            let fault = exec(start, "true", "true").start(&wk()).await.unwrap_err().to_string();
            assert!(fault.contains(expected), "{start}: {fault}");
        }
        let mut slow = exec("exec sleep 1000", "exec sleep 1000", "true");
        slow.commands.timeout = Duration::from_millis(50);
        assert_eq!(
            slow.start(&wk()).await.unwrap_err().to_string(),
            "start: not done within 50ms; something may be left of it: stop: not done within 50ms"
        );
        assert_eq!(slow.stop(&wk(), None).await.unwrap_err().to_string(), "stop: not done within 50ms");
        let missing =
            Exec { commands: Commands { start: vec!["/no/such/program".to_owned()], ..slow.commands }, ..slow };
        assert!(missing.start(&wk()).await.is_err());
    }

    #[tokio::test]
    async fn what_a_failed_start_has_made_is_stopped() {
        let folder = std::env::temp_dir().join(format!("carbon-elb-exec-failed-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let made = folder.join("auto-1");
        let stop = format!(r#"rm -f {}/"$CARBON_ELB_MEMBER""#, folder.display());
        for end in ["exit 3", "echo somewhere", "exec sleep 1000"] {
            let mut exec = exec(&format!("touch {} && {end}", made.display()), &stop, "true");
            // Long enough for what does not sleep.
            exec.commands.timeout = Duration::from_secs(if end.contains("sleep") { 2 } else { 20 });
            let fault = exec.start(&wk()).await.unwrap_err().to_string();
            assert!(!fault.contains("left") && !made.exists(), "{end}: {fault}");
        }
        let failing = exec("exit 3", "exit 4", "true").start(&wk()).await.unwrap_err().to_string();
        assert_eq!(failing, "start: exit status: 3; something may be left of it: stop: exit status: 4");
        let missing = exec("true", &format!("touch {}", made.display()), "true");
        let start = vec!["/no/such/program".to_owned()];
        let missing = Exec { commands: Commands { start, ..missing.commands }, ..missing };
        assert!(missing.start(&wk()).await.is_err() && !made.exists(), "what did not begin has made nothing");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn a_list_is_what_runs() {
        let listed = exec("true", "true", "echo auto-1 10.0.0.5:80; echo; echo '  auto-2  ::1 servlet=9763'");
        let expected = [("auto-1", "10.0.0.5:80"), ("auto-2", "::1 servlet=9763")]
            .map(|(id, place)| (Name::parse(id).unwrap(), Instance::Running(parse_place(place).unwrap())));
        assert_eq!(listed.list().await.unwrap(), BTreeMap::from(expected));
        for script in ["echo auto-1", "echo /etc 10.0.0.5", "exit 1"] {
            assert!(exec("true", "true", script).list().await.is_err(), "{script}");
        }
        assert_eq!(exec("true", "true", "true").list().await, Ok(BTreeMap::new()));
        let long = parse_list(&format!("auto-1 10.0.0.5\n\x1b{}", "x".repeat(5000))).unwrap_err().to_string();
        assert_eq!(long, format!("list: \"\\u{{1b}}{}…\" is not an id and an address", "x".repeat(99)));
    }
}
