"""Load: wrk and h2load (closed loop), oha (open loop), and connections that Python makes itself."""

import http.client
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass

from processes import Failed, end, find, run, start, wait_until
from stats import percentile

HERE = os.path.dirname(os.path.abspath(__file__))


@dataclass
class Load:
    """What became of a load. Latencies in microseconds."""

    requests: int
    seconds: float
    bytes: int = 0
    failures: int = 0
    p50: float = None
    p99: float = None
    p999: float = None


def url(running):
    return f"{running.scenario.scheme}://127.0.0.1:{running.port}{running.scenario.path}"


def write_requests(running, file):
    """The requests that wrk sends in turn. With affinity, nine of ten belong to a session."""
    scenario, cookies = running.scenario, running.cookies()
    if scenario.conf == "ordinary" and not cookies:
        raise Failed(f"{running.peer.name} sets no affinity cookie")
    count = max(scenario.hosts, 40 if cookies else 1)
    hosts, close = scenario.host_names(), "close" if scenario.close else ""
    with open(file, "w") as out:
        for number in range(count):
            cookie = cookies[number % len(cookies)] if cookies and number % 10 else ""
            out.write(f"{hosts[number % len(hosts)]}\t{cookie}\t{close}\n")


def closed_loop(running, seconds, cpus):
    """Load for a time with a given number of connections, each of which sends its next request after an answer."""
    if running.scenario.http2:
        return h2load(running, ["-D", str(seconds), "-m", "8"], seconds, cpus)
    file = f"{running.folder}/requests"
    if not os.path.exists(file):
        write_requests(running, file)
    command = [find("wrk"), "-t1", f"-c{running.scenario.connections}", f"-d{seconds}s", "--timeout", "30s",
               "-s", f"{HERE}/wrk.lua", url(running), "--", file]
    _, out, errors = run(command, seconds + 60, cpus)
    return parse_wrk(out, errors)


def parse_wrk(out, errors=""):
    """What `wrk.lua` prints."""
    found = re.search(r"^BENCH (\{.*\})$", out, re.M)
    if not found:
        raise Failed(f"wrk: {(out + errors).strip()[-300:]}")
    said = json.loads(found[1])
    return Load(said["requests"], said["seconds"], said["bytes"], said["failures"] + said["timeouts"] + said["status"],
                said["p50"], said["p99"], said["p999"])


def h2load(running, amount, patience, cpus, connections=None):
    """h2load, with `amount` as its options for how much; over HTTP/1.1 unless the scenario says otherwise."""
    scenario = running.scenario
    log = f"{running.folder}/h2load.log"
    if os.path.exists(log):
        os.remove(log)
    headers = ["-H", ":authority: esb.example.com"]
    cookies = running.cookies()
    if cookies:
        headers += ["-H", f"cookie: {cookies[0]}"]
    command = [find("h2load"), "-t1", "-c", str(connections or scenario.connections), *amount, *headers,
               "--log-file", log, *([] if scenario.http2 else ["--h1"]), url(running)]
    _, out, errors = run(command, patience + 60, cpus)
    load = parse_h2load(out, errors)
    load.p50, load.p99, load.p999 = latencies(log)
    return load


def parse_h2load(out, errors=""):
    """What h2load prints at its end."""
    took = re.search(r"finished in ([\d.]+)(us|ms|s|m)", out)
    counts = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
    good = re.search(r"status codes: (\d+) 2xx", out)
    traffic = re.search(r"traffic: .*?\((\d+)\) total", out)
    if not (took and counts and good):
        raise Failed(f"h2load: {(out + errors).strip()[-300:]}")
    seconds = float(took[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[took[2]]
    done, succeeded = int(counts[1]), int(counts[2])
    failures = sum(int(counts[part]) for part in (3, 4, 5)) + max(done - min(int(good[1]), succeeded), 0)
    return Load(done, seconds, int(traffic[1]) if traffic else 0, failures)


def latencies(log):
    """Percentiles of h2load's log, whose third field is microseconds."""
    try:
        with open(log) as lines:
            times = [int(line.split("\t")[2]) for line in lines]
    except (OSError, IndexError, ValueError):
        return None, None, None
    return [percentile(times, share) for share in (0.5, 0.99, 0.999)] if times else (None, None, None)


def open_loop(running, rate, seconds, cpus):
    """Requests at a fixed rate whether or not answers come: what waits counts into the latency."""
    oha = find("oha")
    _, usage, _ = run([oha, "--help"], 20)
    json_output = ["--output-format", "json"] if "--output-format" in usage else ["--json"]
    headers = ["-H", "Host: esb.example.com"]
    cookies = running.cookies()
    if cookies:
        headers += ["-H", f"Cookie: {cookies[0]}"]
    command = [oha, "--no-tui", *json_output, "-z", f"{seconds}s", "-q", str(rate), "-c", str(running.scenario.connections),
               "--latency-correction", "--insecure", *headers, url(running)]
    _, out, errors = run(command, seconds + 60, cpus)
    return parse_oha(out, errors)


def parse_oha(out, errors=""):
    """oha's JSON. What was still under way when the time was over is no failure."""
    try:
        said = json.loads(out)
        at = said["latencyPercentiles"]
        codes = {int(code): count for code, count in said["statusCodeDistribution"].items()}
        broken = sum(count for error, count in said.get("errorDistribution", {}).items() if "deadline" not in error)
        return Load(sum(codes.values()), said["summary"]["total"],
                    failures=broken + sum(count for code, count in codes.items() if not 200 <= code < 300),
                    p50=at["p50"] * 1e6, p99=at["p99"] * 1e6, p999=at["p99.9"] * 1e6)
    except (ValueError, KeyError, TypeError) as problem:
        raise Failed(f"oha: {problem}: {(out + errors).strip()[-300:]}") from None


def fixed_count(running, count, cpus, seconds=240):
    """Exactly so many requests, for counting; fails unless all of them succeed."""
    if running.scenario.close:
        one_by_one(running, count)
        return
    connections = 4
    streams = ["-m", "4"] if running.scenario.http2 else []
    load = h2load(running, ["-n", str(count), *streams], seconds, cpus, connections)
    if load.failures or load.requests != count:
        raise Failed(f"{running.peer.name}: {load.failures} failures, {load.requests} of {count} requests")


def one_by_one(running, count):
    """Requests one after the other, each on a connection of its own."""
    for _ in range(count):
        client = running.connect(60)
        try:
            client.request("GET", running.scenario.path, headers={"Host": "esb.example.com", "Connection": "close"})
            answer = client.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as problem:
            raise Failed(f"{running.peer.name}: {problem}") from None
        finally:
            client.close()
        if answer.status != 200:
            raise Failed(f"{running.peer.name}: {answer.status}")


class Held:
    """Connections that a process of its own holds open until `release`."""

    def __init__(self, running, count, path, cpus):
        said = f"{running.folder}/held"
        if os.path.exists(said):
            os.remove(said)
        tls = "tls" if running.scenario.tls else "clear"
        with open(said, "wb") as out:
            self.child = start([sys.executable, f"{HERE}/holder.py", str(running.port), str(count), path, tls],
                               f"{running.folder}/holder", cpus, stdout=out)

        def ready():
            with open(said) as words:
                return "holds" in words.read()
        try:
            wait_until(ready, 120, f"{count} connections to {running.peer.name}", self.child)
        except Failed:
            self.release()
            raise

    def release(self):
        end(self.child)
