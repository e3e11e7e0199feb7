#!/usr/bin/env python3
"""Mail goes through us between servers that others have made, and comes out octet for octet.

client -> us -> Postfix, which keeps it, by our queue and while the client waits, and client -> Postfix -> us -> Dovecot by LMTP. Both are instances of their own, with all
that they have in a temporary folder. It needs root, as they do.
"""
import email
import glob
import os
import re
import shutil
import smtplib
import ssl
import subprocess
import sys
import time

from kit import HOST, Caddy, check, done, free_ports, split_trace, wait_for, work_folder
from servers import ENV, Dovecot, Policy, Postfix, read, smtp_greets

SENDER = "ann@back.example"

CADDYFILE = """{{
	admin off
	persist_config off
	skip_install_trust
	log {{
		level DEBUG
	}}
	esmtp {{
		queue {{
			hostname relay.example
			spool {folder}/spool
			route dest.example {host}:{postfix}
			route back.example {host}:{postfix}
			route boxes.example unix/{folder}/lmtp
			xforward {host}:{postfix}
			login ann@{host}:{login} secret
			retry 1s
		}}
		{host}:{us} {{
			hostname relay.example
			tls internal
			queue
		}}
		{host}:{us_lmtp} {{
			hostname relay.example
			lmtp
			queue
		}}
		{host}:{us_login} {{
			hostname relay.example
			queue ann@{host}:{login}
		}}
		{host}:{us_front} {{
			hostname relay.example
			tls internal
			auth {{
				dovecot {folder}/auth
			}}
			relay {host}:{front} {{
				forward xclient
			}}
		}}
		{host}:{us_boxes} {{
			hostname relay.example
			recipients *@boxes.example
			lmtp unix/{folder}/lmtp
		}}
		{host}:{us_sink} {{
			hostname relay.example
			queue {host}:{sink}
		}}
	}}
}}
"""

class Maildir:
    """A maildir; take waits for some new messages, and returns them with CRLF and as the text of a file has them."""

    def __init__(self, path, peers):
        self.path, self.seen, self.peers = path, set(), peers

    def new(self):
        return [p for p in glob.glob(self.path + "/new/*") if p not in self.seen]

    def take(self, name, count=1):
        paths = wait_for(name, lambda: (found := self.new()) and len(found) >= count and found, 60, self.peers)
        self.seen.update(paths)
        check(f"{name}: {count} came", len(paths) == count, paths)
        return [read(p).replace(b"\n", b"\r\n") for p in paths]


HEAD = (b"From: Ann <ann@back.example>\r\nTo: bob@dest.example\r\nSubject: folded\r\n\tsubject  line \r\nX-Odd:no space\r\n"
        b"Message-ID: <%s@back.example>\r\nDate: Fri, 2 Jan 2026 15:04:05 +0000\r\n")
BODIES = {
    "dots": b".\r\n..\r\n...\r\n.one\r\n..two\r\nend.\r\n.\r\n",
    "8-bit": bytes(b for b in range(1, 256) if b not in b"\r\n") * 3 + b"\r\n",
    "long lines": b"x" * 998 + b"\r\n" + b"y" * 2048 + b"\r\n" + b"." * 70000 + b"\r\n",
    "trailing space": b"text \r\n\t \r\n  \r\n",
    "empty": b"",
    "blank lines": b"\r\n\r\n\r\n",
    "looks like mbox": b"From ann@back.example Fri Jan  2 15:04:05 2026\r\n>From bob\r\n",
    "5 MB": bytes(range(32, 127)) * 10 + b"\r\n",
}
BODIES["5 MB"] *= 5_000_000 // len(BODIES["5 MB"])


def message(name):
    return HEAD % name.replace(" ", "-").encode() + b"\r\n" + BODIES.get(name, b"Hello\r\n")


def send(port, text, to, sender=SENDER, mail=(), rcpt=()):
    with smtplib.SMTP(HOST, port, "client.example", timeout=60) as c:
        refused = c.sendmail(sender, to, text, ["BODY=8BITMIME", *mail], list(rcpt))
    check("the client gets 250", not refused, refused)


def octet_for_octet(port, to, box, hops):
    for name in BODIES:
        send(port, message(name), to)
        trace, content = split_trace(box.take(name)[0])
        check(f"{name}: {hops} fields Received", len(trace[b"received"]) == hops, trace)
        check(f"{name}: octet for octet", content == message(name), (len(content), len(message(name)), content[:2000]))
        check(f"{name}: envelope", trace[b"return-path"] == [b"<ann@back.example>"] and trace[b"delivered-to"][0].strip(b"<>") == to.encode(), trace)


def with_tls(caddy, postfix):
    delivered = [l for l in caddy.log().splitlines() if '"msg":"delivered"' in l and f":{postfix.port}" in l]
    check("us to Postfix is in TLS", delivered and all('"tls":"TLS 1.3"' in l for l in delivered), delivered[:1])
    for direction in ("from", "to"):
        found = re.findall(rf"TLS connection established {direction} \S+: TLSv1\.3", postfix.log())
        check(f"Postfix has TLS {direction} us", found, postfix.log()[-2000:])


def reports(text):
    """The fields of a report (RFC 3464): of the message, and of each recipient."""
    m = email.message_from_bytes(text)
    check("a report is multipart/report", (m.get_content_type(), m.get_param("report-type")) == ("multipart/report", "delivery-status"), text[:3000])
    parts = [p.get_content_type() for p in m.get_payload()]
    check("its parts", parts[:2] == ["text/plain", "message/delivery-status"], parts)
    check("Python finds nothing wrong in it", not any(p.defects for p in m.walk()), [p.defects for p in m.walk()])
    return m, m.get_payload()[1].get_payload()


def with_bounce(us, box):
    send(us, message("bounced"), "nobody@dest.example", mail=["ENVID=id+2B7", "RET=FULL"], rcpt=["ORCPT=rfc822;old@dest.example"])
    text = box.take("a bounce")[0]
    trace, _ = split_trace(text)
    m, (whole, one) = reports(text)
    check("a bounce is from nobody, to the sender", trace[b"return-path"] == [b"<>"] and trace[b"delivered-to"] == [SENDER.encode()], trace)
    check("it is ours", whole["Reporting-MTA"] == "dns; relay.example" and whole["Original-Envelope-Id"] == "id+7", whole)
    check("it names the recipient", "nobody@dest.example" in one["Final-Recipient"] and "old@dest.example" in one["Original-Recipient"], one)
    check("it says why", one["Action"] == "failed" and one["Status"] == "5.1.1" and "There is nobody of that name" in one["Diagnostic-Code"], one)
    returned = m.get_payload()[2]
    check("it has the message", returned.get_content_type() == "message/rfc822" and "bounced@back.example" in returned.as_string(), returned)


def with_success(us, postfix_port, box, boxes):
    send(us, message("success"), "bob@dest.example", mail=["ENVID=envelope1"], rcpt=["NOTIFY=SUCCESS", "ORCPT=rfc822;bob@dest.example"])
    texts = box.take("NOTIFY=SUCCESS", 2)
    [text] = [t for t in texts if b"multipart/report" in t]
    _, (whole, one) = reports(text)
    check("NOTIFY=SUCCESS is passed on: it is Postfix that reports", whole["Reporting-MTA"] == "dns; postfix.example", whole)
    check("with what we told it", whole["Original-Envelope-Id"] == "envelope1" and one["Action"] == "delivered" and "bob@dest.example" in one["Original-Recipient"], whole)
    send(postfix_port, message("success 2"), "bob@boxes.example", rcpt=["NOTIFY=SUCCESS"])
    boxes.take("NOTIFY=SUCCESS, to Dovecot")
    _, (whole, one) = reports(box.take("a report")[0])
    check("Dovecot can't report: we do", whole["Reporting-MTA"] == "dns; relay.example" and one["Action"] in ("delivered", "relayed"), (whole, one))


def with_utf8(us, box):
    text = "From: Änn <änn@back.example>\r\nTo: jürgen@dest.example\r\nSubject: Grüße\r\n\r\nHällo\r\n".encode()
    with smtplib.SMTP(HOST, us, "client.example", timeout=60) as c:
        c.ehlo()
        c.command_encoding = "utf-8"
        check("SMTPUTF8 is offered", c.has_extn("smtputf8"))
        check("MAIL", c.mail("änn@back.example", ["BODY=8BITMIME", "SMTPUTF8"])[0] == 250)
        check("RCPT", c.rcpt("jürgen@dest.example")[0] == 250)
        check("DATA", c.data(text)[0] == 250)
    trace, content = split_trace(box.take("SMTPUTF8")[0])
    check("SMTPUTF8: octet for octet", content == text, content)
    check("SMTPUTF8: envelope", trace[b"delivered-to"] == ["jürgen@dest.example".encode()] and trace[b"return-path"] == ["<änn@back.example>".encode()], trace)


def with_greylisting(us, box, policy):
    send(us, message("greylisted"), "grey@dest.example")
    _, content = split_trace(box.take("greylisted")[0])
    check("greylisted: 450 first, then accepted", policy.asked == 2 and content == message("greylisted"), policy.asked)


def with_login(us_login, box, postfix, caddy):
    send(us_login, message("login"), "bob@dest.example")
    _, content = split_trace(box.take("by a smarthost")[0])
    check("by a smarthost: octet for octet", content == message("login"), content)
    check("we have logged in", re.search(r"login/smtpd\[.*sasl_method=SCRAM-SHA-256, sasl_username=ann", postfix.log()), postfix.log()[-2000:])
    check("no password is in the log", "secret" not in caddy.log())


def as_front_door(us_front, box, postfix, caddy):
    """Users log in to us, by what Dovecot knows; Postfix, which hears of it by XCLIENT, has the last word while the client waits."""
    tls = ssl._create_unverified_context()
    with smtplib.SMTP(HOST, us_front, "client.example", timeout=60) as c:
        c.starttls(context=tls)
        c.ehlo()
        c.mail(SENDER)
        code, text = c.rcpt("bob@dest.example")
        check("without a login Postfix's refusal is the client's", code == 554 and b"Access denied" in text, (code, text))
    with smtplib.SMTP(HOST, us_front, "client.example", timeout=60) as c:
        c.starttls(context=tls)
        c.login("ann", "secret")
        for name in BODIES:
            refused = c.sendmail(SENDER, "bob@dest.example", message(name), ["BODY=8BITMIME"])
            check("front door: the client gets 250", not refused, refused)
            trace, content = split_trace(box.take("front door, " + name)[0])
            check(f"front door, {name}: octet for octet", content == message(name) and len(trace[b"received"]) == 2, (trace, content[:2000]))
    check("Postfix has heard from us who had logged in", re.search(r"front/smtpd\[.*sasl_username=ann", postfix.log()), postfix.log()[-2000:])
    check("no password is in the log", "secret" not in caddy.log())


def with_xforward(postfix):
    check("Postfix has heard from us who the client was", "orig_client=" in postfix.log(), postfix.log()[-2000:])


def with_swaks(us_lmtp, box):
    run = subprocess.run(["swaks", "--protocol", "LMTP", "--server", HOST, "--port", str(us_lmtp), "--helo", "client.example", "--from", SENDER, "--to",
                          "bob@dest.example,eve@dest.example", "--data", "-"], input=message("trailing space").replace(b"\r\n", b"\n"), capture_output=True, timeout=60)
    check("swaks by LMTP: a 250 for each recipient", run.returncode == 0 and run.stdout.count(b"<-  250 2.0.0 queued as") == 2, run.stdout)
    texts = box.take("swaks by LMTP", 2)
    check("swaks by LMTP: it came by LMTP", all(b" with LMTP id " in t for t in texts), texts)
    # swaks ends its data with one more line break of its own
    wanted = (message("trailing space"), message("trailing space") + b"\r\n")
    check("swaks by LMTP: octet for octet", all(split_trace(t)[1] in wanted for t in texts), texts)


def with_smtp_source(us_sink, sink, folder):
    dump = os.path.join(folder, "sink")
    os.makedirs(dump)
    shutil.chown(dump, "nobody", "nogroup")
    log = open(os.path.join(folder, "sink.log"), "wb")
    server = subprocess.Popen(["smtp-sink", "-u", "nobody", "-d", dump + "/%M.", f"{HOST}:{sink}", "1000"], env=ENV, stdout=log, stderr=log)
    try:
        wait_for("smtp-sink starts", lambda: smtp_greets(sink), 30, lambda: read(folder + "/sink.log"))
        run = subprocess.run(["smtp-source", "-s", "20", "-m", "500", "-l", "4096", "-N", "-f", SENDER, "-t", "user@sink.example", f"{HOST}:{us_sink}"],
                             env=ENV, capture_output=True, timeout=120)
        check("smtp-source: 500 messages over 20 sessions", run.returncode == 0, run.stderr)
        files = wait_for("smtp-sink has all", lambda: len(found := glob.glob(dump + "/*")) >= 500 and found, 60, lambda: len(os.listdir(dump)))
        time.sleep(0.5)  # for one that would come twice
        rcpts = [re.findall(rb"^X-Rcpt-Args: (.*)", read(f), re.M) for f in files]
        check("smtp-sink: each one once", len(glob.glob(dump + "/*")) == 500 and len({tuple(r) for r in rcpts}) == 500, len(files))
    finally:
        server.terminate()
        server.wait(30)


def run(caddy, postfix, policy, ports, box, boxes, folder):
    us = ports["us"]
    octet_for_octet(us, "bob@dest.example", box, 2)
    octet_for_octet(postfix.port, "bob@boxes.example", boxes, 3)
    octet_for_octet(ports["us_boxes"], "bob@boxes.example", boxes, 2)
    with_tls(caddy, postfix)
    with_bounce(us, box)
    with_success(us, postfix.port, box, boxes)
    with_utf8(us, box)
    with_greylisting(us, box, policy)
    with_xforward(postfix)
    with_login(ports["us_login"], box, postfix, caddy)
    as_front_door(ports["us_front"], box, postfix, caddy)
    with_swaks(ports["us_lmtp"], box)
    with_smtp_source(ports["us_sink"], ports["sink"], folder)


def main():
    folder, policy = work_folder("peers"), Policy()
    ports = free_ports("us", "us_lmtp", "us_login", "us_front", "us_boxes", "us_sink", "postfix", "login", "front", "sink")
    values = dict(ports, host=HOST, folder=folder, policy=policy.port, uid=65534, gid=65534)
    postfix = Postfix(folder, values)
    postfix.port = ports["postfix"]
    dovecot = Dovecot(folder, values)
    caddy = Caddy(sys.argv[1], os.path.join(folder, "caddy"), CADDYFILE.format(**values), SSL_CERT_FILE=folder + "/cert.pem")

    def logs():
        return "\n".join([caddy.log()[-4000:], postfix.log()[-4000:], read(dovecot.log_path).decode()[-2000:]])

    try:
        caddy.start(ports["us"], tls=True)
        run(caddy, postfix, policy, ports, Maildir(folder + "/mail/all", logs), Maildir(folder + "/boxes/all", logs), folder)
        caddy.stop()
    finally:
        caddy.end()
        postfix.command("stop")
        dovecot.stop()
    wrong = caddy.wrong("no certificate")  # as long as there is none
    check("nothing went wrong in the log", not wrong, wrong)
    done(folder)
    print("all peers passed")


if __name__ == "__main__":
    main()
