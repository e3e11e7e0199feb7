#!/usr/bin/env python3
"""Two Caddys share one spool in PostgreSQL: each message is delivered once, and one that is killed loses nothing.

PostgreSQL is an instance of its own without a port, in a temporary folder.
"""
import os
import smtplib
import sys
import threading

from kit import HOST, Caddy, Sink, check, done, free_ports, text_of, wait_for, work_folder
from servers import Postgres

CADDYFILE = """{{
	admin off
	persist_config off
	esmtp {{
		queue {{
			hostname relay.example
			spool "postgres:///postgres?host={folder}&user=postgres"
			next_hop {host}:{sink}
			per_route {per_route}
			retry 1s
		}}
		{host}:{port} {{
			hostname relay.example
			queue
		}}
	}}
}}
"""

# How many deliveries each of them makes at a time.
PER_ROUTE = 20

# How long what a process has leased is its own when it is dead. There is no setting for it.
LEASE_MS = 15 * 60 * 1000


def send(port, prefix, count, acked):
    """Sends messages until there are enough, or the server is gone, and takes down which got 250."""
    try:
        with smtplib.SMTP(HOST, port, "client.example", timeout=30) as c:
            for i in range(count):
                tag = f"{prefix}-{i}"
                c.sendmail("ann@client.example", "bob@example.net", text_of(tag))
                acked.add(tag)
    except (OSError, smtplib.SMTPException):
        pass


def load(ports, prefix, count):
    """Sends to both at the same time."""
    acked = set()
    threads = [threading.Thread(target=send, args=(port, f"{prefix}{n}{port}", count, acked)) for port in ports for n in range(4)]
    for t in threads:
        t.start()
    return threads, acked


def each_once(a, b, ports, sink, database):
    threads, acked = load(ports, "both", 50)
    for t in threads:
        t.join()
    check("both accept all", len(acked) == 400, len(acked))
    wait_for("the queue is empty", lambda: database.items() == 0, 60, lambda: (len(sink.tags), a.log()[-2000:], b.log()[-2000:]))
    tags, once = list(sink.tags), set(sink.tags)
    check("each message came, once", len(tags) == 400 and once == acked, (len(tags), len(once)))
    check("each is whole", not sink.broken, sink.broken[:3])
    shares = [c.log().count('"msg":"delivered"') for c in (a, b)]
    check("both have delivered some", min(shares) > 20 and sum(shares) == 400, shares)


def killed(a, b, ports, sink, database):
    """Kills a in the middle. What it had on lease is b's when the lease is over, which the test sees to by turning its end back."""
    threads, acked = load(ports, "kill", 150)
    wait_for("the load goes on", lambda: len(acked) > 300)
    sink.go.clear()
    wait_for("both have something on lease", lambda: database.items("lease <> 0") == 2 * PER_ROUTE, detail=b.log)
    a.kill()
    sink.go.set()
    for t in threads:
        t.join()
    wait_for("b delivers all but what a had on lease", lambda: database.items() == PER_ROUTE, 60, lambda: (database.items(), b.log()[-3000:]))
    check("that is still a's", database.items("lease <> 0") == PER_ROUTE)
    print(f"     {len(acked)} got 250, and {PER_ROUTE} of them are the dead one's")
    database.ask(f"UPDATE spool_item SET due = due - {LEASE_MS} WHERE lease <> 0")
    wait_for("the leases come back", lambda: database.items() == 0, 60, lambda: b.log()[-3000:])
    tags, once = list(sink.tags), set(sink.tags)
    check("what got 250 was delivered", acked <= once, sorted(acked - once)[:5])
    check("each is whole", not sink.broken, sink.broken[:3])
    ours = [t for t in tags if t.startswith("kill")]
    check("only what was on lease can come twice", len(ours) - len(set(ours)) <= PER_ROUTE, len(ours) - len(set(ours)))


def main():
    folder, sink = work_folder("spool"), Sink()
    ports = free_ports("a", "b")
    database = Postgres(folder)
    os.makedirs(folder + "/caddys")
    a, b = (Caddy(sys.argv[1], f"{folder}/caddys/{name}", CADDYFILE.format(host=HOST, folder=folder, sink=sink.port, per_route=PER_ROUTE, port=ports[name])) for name in ports)
    try:
        a.start(ports["a"])
        b.start(ports["b"])
        each_once(a, b, ports.values(), sink, database)
        killed(a, b, ports.values(), sink, database)
        b.stop()
        a.start(ports["a"])
        a.stop()
    finally:
        a.end()
        b.end()
        database.stop()
    check("nothing went wrong in the logs", not a.wrong() and not b.wrong(), a.wrong() + b.wrong())
    done(folder)
    print("the shared spool passed")


if __name__ == "__main__":
    main()
