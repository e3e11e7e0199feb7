#!/usr/bin/env python3
"""Starts Caddy with Caddyfile.example, as the README says, and sends mail with the clients that people use.

What arrives is compared octet for octet with what was sent. The address is that of the example, 127.0.0.1:2525.
"""
import os
import re
import shutil
import smtplib
import socket
import subprocess
import sys
import tempfile
import time

from kit import check

HOST, PORT = "127.0.0.1", 2525
SMTP_SOURCE = shutil.which("smtp-source") or "/usr/sbin/smtp-source"


def start(caddy, caddyfile, folder):
    """Starts Caddy in a folder of its own, and waits for its greeting."""
    with socket.socket() as probe:
        check("the port is free", probe.connect_ex((HOST, PORT)) != 0, f"something listens on {HOST}:{PORT}")
    shutil.copy(caddyfile, os.path.join(folder, "Caddyfile"))
    env = dict(os.environ, HOME=folder, XDG_DATA_HOME=folder + "/data", XDG_CONFIG_HOME=folder + "/config")
    log = open(os.path.join(folder, "log"), "wb")
    server = subprocess.Popen([os.path.abspath(caddy), "run", "--config", "Caddyfile"], cwd=folder, env=env,
                              stdout=log, stderr=log)
    end = time.monotonic() + 30
    while time.monotonic() < end and server.poll() is None:
        try:
            with socket.create_connection((HOST, PORT), timeout=5) as c:
                if c.recv(3) == b"220":
                    return server
        except OSError:
            time.sleep(0.1)
    server.kill()
    sys.exit("caddy did not start:\n" + open(os.path.join(folder, "log")).read())


class Mailbox:
    """The Maildirs below a folder; take returns what is new in them."""

    def __init__(self, root):
        self.root = root
        self.seen = set()

    def take(self):
        found = []
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                if path not in self.seen and os.path.basename(folder) == "new":
                    self.seen.add(path)
                    with open(path, "rb") as f:
                        found.append((path, f.read()))
                elif os.path.basename(folder) == "tmp":
                    check("nothing is left in tmp", False, path)
        return found


def split_trace(message):
    """Takes off what we put on top: Return-Path, Delivered-To and Received."""
    trace = re.match(rb"Return-Path: <(.*)>\r\nDelivered-To: (.*)\r\nReceived: .*\r\n(?:[ \t].*\r\n)*", message)
    check("a message begins with Return-Path, Delivered-To and Received", trace is not None, message[:300])
    return trace.group(1), trace.group(2), message[trace.end():]


BODY = (b"From: Ann <ann@client.example>\r\nTo: user@example.org\r\nSubject: folded\r\n\tsubject line\r\n"
        b"Message-ID: <1@client.example>\r\n\r\nHello,\r\n.one dot\r\n..two dots\r\n.\x20\r\n"
        + b"x" * 3000 + b"\r\n\r\n  trailing space \r\n")


def with_smtplib(box):
    with smtplib.SMTP(HOST, PORT, "client.example") as c:
        refused = c.sendmail("ann@client.example", ["user@example.org", "b@elsewhere.example"], BODY)
    check("smtplib: a stranger's domain is refused", refused["b@elsewhere.example"][0] == 550, refused)
    got = box.take()
    check("smtplib: one message", len(got) == 1, got)
    sender, rcpt, content = split_trace(got[0][1])
    check("smtplib: octet for octet", content == BODY, content)
    check("smtplib: envelope", (sender, rcpt) == (b"ann@client.example", b"user@example.org"), (sender, rcpt))


def with_swaks(box):
    data = BODY.replace(b"\r\n", b"\n")
    run = subprocess.run(["swaks", "--server", HOST, "--port", str(PORT), "--helo", "client.example",
                          "--from", "ann@client.example", "--to", "user@example.org,postmaster@example.org",
                          "--data", "-"], input=data, capture_output=True, timeout=60)
    check("swaks: exit code", run.returncode == 0, run.stdout + run.stderr)
    got = box.take()
    check("swaks: a copy for each recipient", len(got) == 2, got)
    # swaks ends its data with one more line break of its own
    check("swaks: octet for octet", all(split_trace(m)[2] in (BODY, BODY + b"\r\n") for _, m in got), got)


def with_curl(box, folder):
    path = os.path.join(folder, "message")
    with open(path, "wb") as f:
        f.write(BODY)
    run = subprocess.run(["curl", "-sS", f"smtp://{HOST}:{PORT}/client.example", "--mail-from", "ann@client.example",
                          "--mail-rcpt", "user@example.org", "--upload-file", path], capture_output=True, timeout=60)
    check("curl: exit code", run.returncode == 0, run.stderr)
    got = box.take()
    check("curl: octet for octet", len(got) == 1 and split_trace(got[0][1])[2] == BODY, got)


def with_smtp_source(box):
    run = subprocess.run([SMTP_SOURCE, "-s", "20", "-m", "200", "-l", "4096", "-f", "ann@client.example", "-t",
                          "user@example.org", f"{HOST}:{PORT}"], capture_output=True, timeout=120)
    check("smtp-source: 200 messages over 20 sessions", run.returncode == 0, run.stderr)
    check("smtp-source: all are there", len(box.take()) == 200)


def raw(script):
    with socket.create_connection((HOST, PORT), timeout=20) as c:
        c.sendall(script)
        out = b""
        while data := c.recv(4096):
            out += data
    return out


def with_smuggling(box):
    """Text that only looks like an end of data must not become commands."""
    evil = b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<user@example.org>\r\nDATA\r\nevil\r\n.\r\n"
    for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n\0.\r\n"):
        out = raw(b"EHLO client.example\r\nMAIL FROM:<ann@client.example>\r\nRCPT TO:<user@example.org>\r\nDATA\r\n"
                  b"Subject: x\r\n\r\ntext" + end + evil + b"QUIT\r\n")
        check(f"smuggling with {end!r}: at most one message, none of them evil",
              all(b"Return-Path: <evil" not in m for _, m in box.take()), out)


def main():
    caddy, caddyfile = sys.argv[1:]
    folder = tempfile.mkdtemp(prefix="esmtp-clients-")
    server = start(caddy, caddyfile, folder)
    try:
        box = Mailbox(os.path.join(folder, "mail"))
        with_smtplib(box)
        with_swaks(box)
        with_curl(box, folder)
        with_smtp_source(box)
        with_smuggling(box)
    finally:
        server.terminate()
        code = server.wait(30)
    check("caddy ends on SIGTERM", code == 0, code)
    log = open(os.path.join(folder, "log"), "rb").read()
    check("nothing went wrong in the log", b'"level":"error"' not in log and b"panic" not in log, log[-3000:])
    shutil.rmtree(folder)
    print("all clients passed")


if __name__ == "__main__":
    main()
