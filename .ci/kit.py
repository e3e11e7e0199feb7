"""What the scripts here share: checks, free ports, a Caddy that can be killed and started again, and a next hop that takes down what it gets."""
import os
import random
import re
import shutil
import signal
import smtplib
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HOST = "127.0.0.1"


def check(name, ok, detail=""):
    print(("ok   " if ok else "FAIL ") + name, detail if not ok else "", flush=True)
    if not ok:
        raise SystemExit(1)


def wait_for(what, condition, seconds=60, detail=lambda: ""):
    """Waits until a condition holds, and returns what it gave."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    check(what, False, detail())


def free_ports(*names):
    sockets = {name: socket.socket() for name in names}
    for s in sockets.values():
        s.bind((HOST, 0))
    ports = {name: s.getsockname()[1] for name, s in sockets.items()}
    for s in sockets.values():
        s.close()
    return ports


def work_folder(name):
    """A folder that servers with users of their own can get at. Its path is short: that of a Unix socket must be."""
    folder = tempfile.mkdtemp(prefix=name + "-", dir="/tmp")
    os.chmod(folder, 0o755)
    return folder


class Caddy:
    """A Caddy with a folder of its own. It can be started many times, and adds to one log."""

    def __init__(self, binary, folder, config, **env):
        self.binary, self.folder, self.env, self.process = os.path.abspath(binary), folder, env, None
        os.makedirs(folder, exist_ok=True)
        self.log_path = os.path.join(folder, "log")
        with open(os.path.join(folder, "Caddyfile"), "w") as f:
            f.write(config)

    def start(self, port, tls=False):
        """Starts it, and waits for its greeting, with tls until it has a certificate too: before that STARTTLS is 454."""
        env = dict(os.environ, HOME=self.folder, XDG_DATA_HOME=self.folder + "/data", XDG_CONFIG_HOME=self.folder + "/config", **self.env)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([self.binary, "run", "--config", "Caddyfile"], cwd=self.folder, env=env, stdout=log, stderr=log)
        wait_for("caddy starts", lambda: self.process.poll() is not None or self.greets(port, tls), 30, self.log)
        if self.process.poll() is not None:
            sys.exit("caddy did not start:\n" + self.log()[-5000:])

    def greets(self, port, tls):
        try:
            with smtplib.SMTP(HOST, port, "client.example", timeout=5) as c:
                c.ehlo_or_helo_if_needed()
                return not tls or c.docmd("STARTTLS")[0] == 220
        except (OSError, smtplib.SMTPException):
            return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(30)
        check("caddy ends on SIGTERM", code == 0, code)

    def end(self):
        """Sees to it that it is gone, whatever has happened."""
        if self.process and self.process.poll() is None:
            self.kill()

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def wrong(self, *expected):
        return wrong_lines(self.log(), *expected)


def wrong_lines(log, *expected):
    """The lines of a log that tell of errors, but for those that have one of these texts in them."""
    lines = [l for l in log.splitlines() if '"level":"error"' in l or "panic" in l or "fatal" in l]
    return [l for l in lines if not any(text in l for text in expected)]


class Sink:
    """A next hop: an SMTP server that takes down the tags of what it is given, and what is not whole. While refuses is true it takes nothing, and
    while go is not set it keeps its replies to messages back."""

    def __init__(self):
        self.tags, self.broken, self.refuses, self.go = [], [], False, threading.Event()
        self.go.set()
        sink = self

        class Session(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self):
                try:
                    sink.session(self.rfile, self.wfile)
                except OSError:
                    pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, request_queue_size = True, 128

        self.server = Server((HOST, 0), Session)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def session(self, rfile, wfile):
        replies = {b"EHLO": b"250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n", b"QUIT": b"221 bye\r\n"}
        if self.refuses:
            wfile.write(b"421 4.3.2 not now\r\n")
            return
        wfile.write(b"220 sink.example ESMTP\r\n")
        for line in rfile:
            verb = line[:4].upper()
            if verb == b"DATA":
                if self.refuses:
                    return
                wfile.write(b"354 go on\r\n")
                text = read_data(rfile)
                if text is None:
                    return
                self.keep(text)
                self.go.wait()
            wfile.write(replies.get(verb, b"250 ok\r\n"))

    def keep(self, text):
        tag = whole_tag(text)
        if tag is None:
            self.broken.append(text[:300])
        else:
            self.tags.append(tag)


def read_data(rfile):
    """Reads until the dot, and undoes what was done to lines that begin with one; None if the client is gone before."""
    lines = []
    for line in rfile:
        if line == b".\r\n":
            return b"".join(lines)
        lines.append(line[1:] if line.startswith(b".") else line)
    return None


TRACE = (b"return-path", b"x-original-to", b"delivered-to", b"received")


def split_trace(text):
    """Takes off the fields that servers put on top. It returns them, by their names in lower case, and what is below them."""
    found = {}
    while match := re.match(rb"([!-9;-~]+):(.*\r\n(?:[ \t].*\r\n)*)", text):
        name = match.group(1).lower()
        if name not in TRACE:
            break
        found.setdefault(name, []).append(match.group(2).strip())
        text = text[match.end():]
    return found, text


def text_of(tag):
    """The message with this tag: it can be told whole from the tag alone."""
    r = random.Random(tag)
    size = r.randrange(100000, 400000) if r.random() < 0.1 else r.randrange(10000)
    block = bytes(r.choice(b"abcdefghijklmnopqrstuvwxyz....\xc3 ") for _ in range(70)) + b"\r\n.\r\n"
    body = (block * (size // len(block) + 1))
    return f"From: ann@client.example\r\nTo: bob@example.net\r\nSubject: {tag}\r\n\r\n".encode() + body + tag.encode() + b"\r\n"


def tag_of(text):
    match = re.search(rb"^Subject: (\S+)\r\n", text, re.M)
    return match and match.group(1).decode()


def whole_tag(text):
    """The tag of a message that has come through one server of ours, or None if it is not the one that its tag says."""
    trace, content = split_trace(text)
    tag = tag_of(content)
    return tag if len(trace.get(b"received", [])) == 1 and tag and content == text_of(tag) else None


def http(url, data=None, content_type="text/caddyfile"):
    request = urllib.request.Request(url, data=data, headers={"Content-Type": content_type} if data else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def done(folder):
    shutil.rmtree(folder, ignore_errors=True)
