#!/usr/bin/env python3
"""Some minutes of everything at once: reloads, clients that are killed, slow or silent, web and mail on one port, and a queue behind it.

soak.py <caddy> [--minutes <n>]

Afterwards goroutines, file descriptors and memory are back where they were after a warm-up, no client that behaves well was refused or
reset on a port of ours, and the queue has delivered all that got 250.
"""
import argparse
import collections
import itertools
import random
import smtplib
import socket
import ssl
import struct
import threading
import time

from kit import HOST, Caddy, Sink, check, done, free_ports, http, text_of, wait_for, work_folder
from measure import compare, is_back, settle, steady

CADDYFILE = """{{
	admin {host}:{admin}
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	default_sni localhost
	servers :{shared} {{
		listener_wrappers {{
			esmtp {{
				server mail
				wait 200ms
			}}
			tls
			esmtp {{
				server mail
				wait 200ms
			}}
		}}
	}}
	esmtp {{
		grace_period 2s
		drain_timeout 10s
		queue {{
			hostname relay.example
			spool {folder}/spool
			next_hop {host}:{sink}
			retry 1s
			{queue}
		}}
		server mail {host}:{plain} tls://{host}:{implicit} {more} {{
			hostname localhost
			tls internal
			max_size 1MiB
			timeouts {{
				command 20s
				data 20s
			}}
			auth {{
				users {{
					ann {{PLAIN}}secret
				}}
			}}
			{server}
			queue
		}}
	}}
}}
https://localhost:{shared} {{
	tls internal
	respond "{web}"
}}
"""

# What of the log is expected: there is no certificate when Caddy has just begun.
EXPECTED = ("no certificate",)


class Soak:
    def __init__(self, caddy, ports, configs):
        self.caddy, self.ports, self.configs = caddy, ports, configs
        self.acked, self.done, self.failed = set(), collections.Counter(), collections.defaultdict(list)
        self.numbers = itertools.count()
        self.trust = ssl._create_unverified_context()

    def run(self, seconds):
        """Lets all clients do their work, with a reload each second, and ends with the config that it began with."""
        over = threading.Event()
        threads = [threading.Thread(target=self.repeat, args=(over, what)) for what in GOOD * 3 + BAD]
        for t in threads:
            t.start()
        end, n = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            time.sleep(1)
            n += 1
            self.load(n % 2)
        over.set()
        for t in threads:
            t.join(60)
        check("all clients have ended", not any(t.is_alive() for t in threads))
        self.load(0)
        self.done["reload"] += n

    def load(self, n):
        http(f"http://{HOST}:{self.ports['admin']}/load", self.configs[n].encode())

    def repeat(self, over, what):
        while not over.is_set():
            try:
                what(self)
                self.done[what.__name__] += 1
            except (OSError, smtplib.SMTPException) as e:
                self.failed[what.__name__].append(repr(e))
            time.sleep(random.uniform(0, 0.05))

    def smtp(self, port):
        return smtplib.SMTP(HOST, self.ports[port], "client.example", timeout=30)

    def send(self, c):
        tag = f"soak-{next(self.numbers)}"
        c.sendmail("ann@client.example", "bob@example.net", text_of(tag))
        self.acked.add(tag)

    def connect(self, port):
        return socket.create_connection((HOST, self.ports[port]), timeout=30)


def plain(soak):
    with soak.smtp("plain") as c:
        soak.send(c)
        soak.send(c)


def starttls(soak):
    with soak.smtp("plain") as c:
        c.starttls(context=soak.trust)
        c.login("ann", "secret")
        soak.send(c)


def implicit_tls(soak):
    with smtplib.SMTP_SSL(HOST, soak.ports["implicit"], "client.example", timeout=30, context=soak.trust) as c:
        soak.send(c)


def too_large(soak):
    """Two messages that are too large, and one that is not."""
    with soak.smtp("plain") as c:
        c.ehlo()
        if c.mail("ann@client.example", ["SIZE=2000000"])[0] != 552:
            raise smtplib.SMTPException("a size that is too large was accepted")
        c.mail("ann@client.example")
        c.rcpt("bob@example.net")
        if c.data(b"Subject: large\r\n\r\n" + (b"x" * 998 + b"\r\n") * 1200)[0] != 552:
            raise smtplib.SMTPException("a message that is too large was accepted")
        soak.send(c)


def wrong_password(soak):
    with soak.smtp("plain") as c:
        c.starttls(context=soak.trust)
        c.ehlo()
        c.user, c.password = "ann", "wrong"
        try:
            c.auth("PLAIN", c.auth_plain)
        except smtplib.SMTPAuthenticationError:
            return
        raise smtplib.SMTPException("a wrong password was accepted")


def slow(soak):
    """A session that takes ten seconds, and is told to end by the reloads in between."""
    with soak.connect("plain") as c:
        text = b"EHLO client.example\r\nMAIL FROM:<slow@client.example>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n"
        for octet in range(0, len(text), 4):
            c.sendall(text[octet:octet + 4])
            time.sleep(0.1)
        drain(c)


def drain(c):
    c.shutdown(socket.SHUT_WR)
    while c.recv(65536):
        pass


def killed(soak):
    """Is gone in the middle of a message, with a reset."""
    c = soak.connect(random.choice(("plain", "shared")))
    c.sendall(b"EHLO client.example\r\nMAIL FROM:<killed@client.example>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n" + b"x" * random.randrange(100000))
    reset(c)


def reset(c):
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()


def silent(soak):
    """Some that say nothing, or the first octets of something, and are there for a while."""
    some = []
    for first in (b"", b"E", b"H", b"GE", b"\x16\x03\x01", b"EHLO client.example\r\nSTARTTLS\r\n\x16\x03"):
        for port in ("plain", "implicit", "shared"):
            some.append(soak.connect(port))
            some[-1].sendall(first)
    time.sleep(random.uniform(0, 5))
    for c in some:
        random.choice((reset, socket.socket.close))(c)


def web(soak):
    with soak.trust.wrap_socket(soak.connect("shared"), server_hostname="localhost") as c:
        c.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := c.recv(65536):
            answer += data
    if b"200 OK" not in answer or b"Hello, web" not in answer:
        raise smtplib.SMTPException(answer)


def shared_mail(soak):
    with soak.smtp("shared") as c:
        c.starttls(context=soak.trust)
        soak.send(c)


def shared_tls_mail(soak):
    with smtplib.SMTP_SSL(HOST, soak.ports["shared"], "client.example", timeout=30, context=soak.trust) as c:
        soak.send(c)


GOOD = [plain, starttls, implicit_tls, too_large]
BAD = [wrong_password, slow, killed, silent, web, shared_mail, shared_tls_mail]


def verdict(soak, sink):
    for what in ["reload", *(f.__name__ for f in GOOD + BAD)]:
        failed = soak.failed.get(what, [])
        print(f"     {what}: {soak.done[what]} times" + (f", {len(failed)} failed, such as {failed[0]}" if failed else ""))
        check(f"{what} was done", soak.done[what] > 0)
    for f in GOOD:
        failed = [e for e in soak.failed[f.__name__] if "421, b'4.3.2" not in e]
        check(f"{f.__name__}: none was refused or reset", not failed, failed[:5])
    wait_for("all that got 250 was delivered", lambda: soak.acked <= set(sink.tags), 120, lambda: sorted(soak.acked - set(sink.tags))[:5])
    print(f"     {len(soak.acked)} got 250, {len(sink.tags)} were delivered")
    check("each is whole", not sink.broken, sink.broken[:3])
    check("none was delivered twice", len(sink.tags) == len(set(sink.tags)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("caddy")
    parser.add_argument("--minutes", type=float, default=2)
    args = parser.parse_args()
    folder, sink, ports = work_folder("soak"), Sink(), free_ports("admin", "shared", "plain", "implicit", "more")
    values = dict(ports, host=HOST, folder=folder, sink=sink.port)
    configs = [CADDYFILE.format(**values | dict(more="", queue="", server="", web="Hello, web")),
               CADDYFILE.format(**values | dict(more=f"{HOST}:{ports['more']}", queue="per_route 4", server="strict", web="Hello, web, again"))]
    caddy = Caddy(args.caddy, folder + "/caddy", configs[0])
    try:
        caddy.start(ports["plain"], tls=True)
        soak = Soak(caddy, ports, configs)
        soak.run(15)
        before = steady(caddy, ports["admin"])
        soak.run(args.minutes * 60)
        after = settle(caddy, ports["admin"], lambda m: is_back(before, m))
        verdict(soak, sink)
        compare(before, after)
        caddy.stop()
    finally:
        caddy.end()
    wrong = caddy.wrong(*EXPECTED)
    check("nothing went wrong in the log", not wrong, wrong[:5])
    done(folder)
    print("the soak passed")


if __name__ == "__main__":
    main()
