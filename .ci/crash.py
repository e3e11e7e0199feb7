#!/usr/bin/env python3
"""Kills Caddy again and again, at random moments under load, and fills its disk: what got 250 is delivered, whole.

crash.py <caddy> [--rounds <n>]

The messages can be told whole from their tags. Clients take down which ones they have begun, which ones got 250, and which ones they left before
the end; the next hop takes down what it got.
"""
import argparse
import itertools
import os
import random
import smtplib
import subprocess
import threading
import time

from kit import HOST, Caddy, Sink, check, done, free_ports, text_of, wait_for, work_folder

CADDYFILE = """{{
	admin off
	persist_config off
	esmtp {{
		queue {{
			hostname relay.example
			spool {spool}
			next_hop {host}:{sink}
			per_route 30
			retry 1s
		}}
		{host}:{port} {{
			hostname relay.example
			queue
		}}
	}}
}}
"""

CLIENTS = 12

# What the other file leaves of the disk, in octets.
ROOM = 4 << 20


class Ledger:
    """What clients did, by the tags of their messages."""

    def __init__(self):
        self.begun, self.acked, self.left, self.full, self.odd = set(), set(), set(), set(), []


class Client(threading.Thread):
    """Sends one message after the other, whatever becomes of the server, until it is told to end."""

    def __init__(self, name, port, ledger):
        super().__init__(daemon=True)
        self.tags, self.port, self.ledger = (f"{name}-{i}" for i in itertools.count()), port, ledger
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.is_set():
            try:
                with smtplib.SMTP(HOST, self.port, "client.example", timeout=30) as c:
                    while not self.over.is_set():
                        self.send(c, next(self.tags))
            except (OSError, smtplib.SMTPException):
                time.sleep(0.02)

    def send(self, c, tag):
        text = text_of(tag)
        c.ehlo_or_helo_if_needed()
        if c.mail("ann@client.example", ["BODY=8BITMIME"])[0] == 452:
            self.is_full(tag)
            return
        c.rcpt("bob@example.net")
        if random.random() < 0.1:
            self.leave(c, tag, text)
            return
        self.ledger.begun.add(tag)
        code, reply = c.data(text)
        if code == 250:
            self.ledger.acked.add(tag)
        elif code == 452:
            self.is_full(tag)
        else:
            self.ledger.odd.append((code, reply))

    def is_full(self, tag):
        self.ledger.full.add(tag)
        time.sleep(0.05)

    def leave(self, c, tag, text):
        """Goes away before the end of the message."""
        self.ledger.left.add(tag)
        c.docmd("DATA")
        c.sock.sendall(smtplib._quote_periods(text)[:random.randrange(len(text))])
        c.close()
        raise smtplib.SMTPServerDisconnected("left")


def end(clients):
    for c in clients:
        c.over.set()
    for c in clients:
        c.join(60)


def verdict(ledger, sink, caddy, *expected):
    """Compares what the next hop got with what clients did."""
    tags, once = list(sink.tags), set(sink.tags)
    print(f"     {len(ledger.begun)} sent, {len(ledger.acked)} got 250, {len(ledger.left)} left before their end, {len(tags)} delivered, "
          f"{len(tags) - len(once)} of them twice, {len(once - ledger.acked)} without a 250 that got to the client")
    check("there was a load", len(ledger.acked) > 100, len(ledger.acked))
    check("what got 250 was delivered", ledger.acked <= once, (len(ledger.acked - once), sorted(ledger.acked - once)[:5]))
    check("all that was delivered is whole", not sink.broken, sink.broken[:3])
    check("nothing was delivered that its client left", not once & ledger.left, sorted(once & ledger.left)[:5])
    check("nothing was delivered that nobody sent", once <= ledger.begun, sorted(once - ledger.begun)[:5])
    check("no reply but 250 and 452", not ledger.odd, ledger.odd[:5])
    check("nothing went wrong in the log", not caddy.wrong(*expected), caddy.wrong(*expected)[:5])


def drained(sink, ledger, quiet=2):
    """Waits until all that got 250 has come, and then until nothing has come for some seconds."""
    wait_for("the queue drains", lambda: ledger.acked <= set(sink.tags), 300, lambda: sorted(ledger.acked - set(sink.tags))[:5])
    last, since = -1, time.monotonic()

    def condition():
        nonlocal last, since
        if len(sink.tags) != last:
            last, since = len(sink.tags), time.monotonic()
        return time.monotonic() - since > quiet

    wait_for("the queue comes to rest", condition, 300)


def rounds(binary, count, end_it):
    """Starts and ends Caddy again and again, each time after a while that is anything from before the first client to the middle of the load."""
    folder, sink, ledger, [port] = work_folder("crash"), Sink(), Ledger(), free_ports("us").values()
    caddy = Caddy(binary, folder + "/caddy", CADDYFILE.format(host=HOST, spool=folder + "/spool", sink=sink.port, port=port))
    clients = [Client(f"c{n}", port, ledger) for n in range(CLIENTS)]
    try:
        for _ in range(count):
            caddy.start(port)
            time.sleep(random.uniform(0, 0.8))
            end_it(caddy)
        end(clients)
        caddy.start(port)
        drained(sink, ledger)
        caddy.stop()
    finally:
        caddy.end()
    verdict(ledger, sink, caddy)
    check("no body is left in the spool", not os.listdir(folder + "/spool/bodies"), os.listdir(folder + "/spool"))
    done(folder)
    return ledger, sink


def stops(binary, count):
    ledger, sink = rounds(binary, count, Caddy.stop)
    check("nothing was delivered twice", len(sink.tags) == len(set(sink.tags)))
    check("what was delivered got 250", set(sink.tags) <= ledger.acked, sorted(set(sink.tags) - ledger.acked)[:5])


def full_disk(binary):
    """The spool is on a disk that is full at some time: 452 then, what is in drains, and when there is room all goes on."""
    folder = work_folder("full")
    disk = folder + "/disk"
    os.makedirs(disk)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", disk], capture_output=True).returncode:
        print("skip a full disk: tmpfs can't be mounted here")
        return
    sink, ledger, ports = Sink(), Ledger(), free_ports("us")
    caddy = Caddy(binary, folder + "/caddy", CADDYFILE.format(host=HOST, spool=disk + "/spool", sink=sink.port, port=ports["us"]))
    try:
        caddy.start(ports["us"])
        fill(caddy, sink, ledger, ports["us"], disk)
        caddy.stop()
    finally:
        caddy.end()
        subprocess.run(["umount", "-l", disk], check=True)
    verdict(ledger, sink, caddy, "spool: disk is full", "message can't be queued")
    done(folder)


def fill(caddy, sink, ledger, port, disk):
    """Somebody else's file leaves little room, and the next hop takes nothing, until the disk is full."""
    with open(disk + "/other", "wb") as other:
        room = os.statvfs(disk)
        os.posix_fallocate(other.fileno(), 0, room.f_bavail * room.f_bsize - ROOM)
    sink.refuses = True
    clients = [Client(f"full{n}", port, ledger) for n in range(CLIENTS)]
    wait_for("452 when the disk is full", lambda: len(ledger.full) > 50, 120, lambda: (len(ledger.acked), caddy.log()[-3000:]))
    end(clients)
    waiting = len(ledger.acked)
    check("some were accepted before", waiting > 20, waiting)
    sink.refuses = False
    wait_for("what was accepted drains", lambda: ledger.acked <= set(sink.tags), 120, lambda: (waiting, len(sink.tags), caddy.log()[-3000:]))
    os.remove(disk + "/other")
    clients = [Client(f"room{n}", port, ledger) for n in range(CLIENTS)]
    wait_for("all goes on when there is room", lambda: len(ledger.acked) > waiting + 200, 60, lambda: (waiting, len(ledger.acked), caddy.log()[-3000:]))
    end(clients)
    drained(sink, ledger)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("caddy")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    full_disk(args.caddy)
    print("SIGTERM")
    stops(args.caddy, max(args.rounds // 4, 5))
    print("SIGKILL")
    rounds(args.caddy, args.rounds, Caddy.kill)
    print("all crashes passed")


if __name__ == "__main__":
    main()
