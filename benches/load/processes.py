"""Children of the load test: started with bounds, pinned to processors, and ended when the test ends, however it ends."""

import atexit
import os
import resource
import shutil
import signal
import socket
import subprocess
import time

_children = []


class Failed(Exception):
    """What was to be measured could not be; the message says why."""


def find(name, folders=()):
    """The path of a program: in `folders`, then on PATH, then where Debian keeps servers; None if there is none."""
    places = [*folders, os.environ.get("PATH", ""), "/usr/sbin", "/sbin", os.path.expanduser("~/.cargo/bin")]
    return shutil.which(name, path=os.pathsep.join(place for place in places if place))


def processors():
    """(those of the proxy, those of everything else) as sets; (None, None) where there are too few to pin anything."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        return None, None
    return {usable[0]}, set(usable[1:])


def raise_limits(files=65536):
    """Raises the limit on open files as far as this user may, and returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, soft), max(files, hard)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def free_port(addresses=("127.0.0.1",)):
    """A TCP port that is free on all of the addresses."""
    for _ in range(100):
        with socket.socket() as first:
            first.bind((addresses[0], 0))
            port = first.getsockname()[1]
            try:
                for address in addresses[1:]:
                    with socket.socket() as other:
                        other.bind((address, port))
                return port
            except OSError:
                continue
    raise Failed("no free port")


def start(command, log, cpus=None, env=None, **more):
    """Starts a child in a process group of its own; its output goes to the file `log`."""
    def pin():
        if cpus:
            os.sched_setaffinity(0, cpus)

    out = open(log, "ab")
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=more.pop("stdout", out), stderr=out,
                             start_new_session=True, env={**os.environ, **(env or {})}, preexec_fn=pin, **more)
    out.close()
    _children.append(child)
    return child


def run(command, seconds, cpus=None, text=True):
    """Runs a command to its end, `seconds` at most, and returns (exit status, output, errors)."""
    def pin():
        if cpus:
            os.sched_setaffinity(0, cpus)

    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=text,
                             errors="replace", start_new_session=True, preexec_fn=pin)
    _children.append(child)
    try:
        out, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        end(child)
        raise Failed(f"{os.path.basename(command[0])} took longer than {seconds} s") from None
    _children.remove(child)
    return child.returncode, out, errors


def descendants(pid):
    """The process and all that it started, itself first."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as children:
                    found += [int(child) for child in children.read().split()]
        except OSError:
            continue
    return found


def end(child, how=signal.SIGTERM, seconds=10, whom=None):
    """Ends a child: `how` to the process `whom` (else to its group), and after `seconds` SIGKILL to the group."""
    try:
        if whom:
            os.kill(whom, how)
        else:
            os.killpg(child.pid, how)
    except ProcessLookupError:
        pass
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait(10)
    if child in _children:
        _children.remove(child)


def end_all():
    """Ends every child that is left."""
    for child in list(_children):
        end(child, seconds=2)


def end_all_at_exit():
    """Makes sure of `end_all` when this process ends, by a signal too."""
    atexit.register(end_all)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: exit(1))


def wait_until(condition, seconds, what, child=None):
    """Waits until `condition()` is true; fails after `seconds`, and at once if `child` has ended."""
    until = time.monotonic() + seconds
    while not condition():
        if child is not None and child.poll() is not None:
            raise Failed(f"{what}: it has ended with status {child.returncode}")
        if time.monotonic() > until:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(0.05)
