"""Holds connections open: holder.py PORT COUNT PATH clear|tls

Each sends one request and reads the beginning of the answer: whole if the path is quick, so that it is idle then; if the path
is slow (/services/Slow), it stays busy. Prints `holds` when all are so, and ends when it is ended, or after half an hour.
"""

import resource
import socket
import ssl
import sys
import time

REQUEST = "GET {} HTTP/1.1\r\nHost: esb.example.com\r\n\r\n"


def opened(port, path, context):
    """One connection that has sent its request."""
    client = socket.create_connection(("127.0.0.1", port), 60)
    if context:
        client = context.wrap_socket(client, server_hostname="esb.example.com")
    client.sendall(REQUEST.format(path).encode())
    return client


def check(client):
    """Waits for the beginning of the answer, and ends the program if it is a bad one."""
    answer = client.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"answered with {answer[:80]!r}")


def main():
    port, count, path, tls = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4] == "tls"
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    context = None
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    held = []
    # In parts, so that a slow path has all of them waiting at the same time, and a quick one no burst.
    for part in range(0, count, 1000):
        fresh = [opened(port, path, context) for _ in range(min(1000, count - part))]
        for client in fresh:
            check(client)
        held += fresh
    print("holds", len(held), flush=True)
    time.sleep(1800)


main()
