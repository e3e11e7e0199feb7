#!/usr/bin/env python3
"""Starts Caddy with TLS, users and LMTP, and lets the clients that people use log in and send mail.

The certificate is of Caddy's own authority, which the clients are told to trust. All ports are free ones of the loopback.
"""
import glob
import os
import shutil
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time

from kit import HOST, check, free_ports, wrong_lines

MESSAGE = b"From: ann@example.org\r\nTo: user@example.org\r\nSubject: x\r\n\r\nHello\r\n"
CONFIG = """{{
	admin off
	persist_config off
	skip_install_trust
	esmtp {{
		{host}:{starttls} tls://{host}:{implicit} {{
			hostname localhost
			tls internal
			log debug
			auth {{
				users {{
					ann {{PLAIN}}secret
				}}
				required
			}}
			senders {{user}}@example.org
			recipients *@example.org
			maildir ./mail/{{rcpt.local}}
		}}
		{host}:{file} {{
			hostname localhost
			tls {{
				required
			}}
			auth {{
				file users
			}}
			maildir ./mail/{{rcpt.local}}
		}}
		{host}:{proxied} {{
			hostname localhost
			tls off
			xclient {host}
			maildir ./mail/{{rcpt.local}}
		}}
		unix/lmtp.sock {{
			hostname localhost
			lmtp
			maildir ./mail/{{rcpt.local}}
		}}
	}}
}}
"""


def run(*command, send=b"", code=0):
    """Runs a client, and returns what it wrote."""
    done = subprocess.run(command, input=send, capture_output=True, timeout=60)
    out = done.stdout + done.stderr
    check(" ".join(command[:1] + tuple(a for a in command[1:] if a.startswith("-"))), code is None or done.returncode == code, out.decode(errors="replace"))
    return out


def start(caddy, folder, ports):
    """Starts Caddy, and waits until it has a certificate: before that STARTTLS is 454."""
    with open(os.path.join(folder, "Caddyfile"), "w") as f:
        f.write(CONFIG.format(host=HOST, **ports))
    env = dict(os.environ, HOME=folder, XDG_DATA_HOME=folder + "/data", XDG_CONFIG_HOME=folder + "/config")
    with open(os.path.join(folder, "users"), "wb") as f:
        for name, kind in (("bob", "scram-sha-256"), ("eve", "argon2id"), ("joe", "bcrypt")):
            f.write(subprocess.run([caddy, "esmtp", "user", name, "--hash", kind], input=b"secret of " + name.encode(), env=env,
                                   stdout=subprocess.PIPE, check=True, timeout=60).stdout)
    with open(os.path.join(folder, "log"), "wb") as log:
        server = subprocess.Popen([caddy, "run", "--config", "Caddyfile"], cwd=folder, env=env, stdout=log, stderr=log)
    end = time.monotonic() + 30
    while time.monotonic() < end and server.poll() is None:
        try:
            with smtplib.SMTP(HOST, ports["starttls"], "client.example", timeout=5) as c:
                c.ehlo()
                if c.docmd("STARTTLS")[0] == 220:
                    return server
        except (OSError, smtplib.SMTPException):
            pass
        time.sleep(0.1)
    server.kill()
    sys.exit("caddy did not start:\n" + open(os.path.join(folder, "log")).read())


class Mail:
    def __init__(self, folder):
        self.path = os.path.join(folder, "mail/user/new/*")

    def take(self, protocol):
        """Checks that there is one new message, that came by a protocol."""
        files = glob.glob(self.path)
        check("one message came", len(files) == 1, files)
        with open(files[0], "rb") as f:
            text = f.read()
        os.remove(files[0])
        check("it came with " + protocol, b" with " + protocol.encode() + b" id " in text, text)


def with_openssl(ports, root):
    hello = ["openssl", "s_client", "-connect", "", "-CAfile", root, "-verify_return_error", "-verify_hostname", "localhost", "-quiet"]
    for port, more in (("starttls", ["-starttls", "smtp"]), ("implicit", [])):
        hello[3] = f"{HOST}:{ports[port]}"
        for name in (["-servername", "localhost"], ["-servername", "other.example"], ["-noservername"], ["-alpn", "smtp"], ["-alpn", "h2,smtp"]):
            out = run(*hello, *more, *name, send=b"EHLO client.example\r\nQUIT\r\n")
            check("openssl: an answer inside TLS", b"221 2.0.0" in out and b"250-AUTH " in out, out)
        for name in ("h2", "http/1.1", "acme-tls/1"):
            out = run(*hello, *more, "-alpn", name, code=1)
            check("openssl: refused for its protocol name", b"no application protocol" in out, out)


def with_smtplib(ports, root, mail):
    trust = ssl.create_default_context(cafile=root)
    for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
        with smtplib.SMTP("localhost", ports["starttls"], "client.example", timeout=20) as c:
            c.starttls(context=trust)
            c.ehlo()
            c.user, c.password = "ann", "secret"
            method = getattr(c, "auth_" + mechanism.lower().replace("-", "_"))
            check(f"smtplib: {mechanism}", c.auth(mechanism, method)[0] == 235)
            c.sendmail("ann@example.org", "user@example.org", MESSAGE)
        mail.take("ESMTPSA")
    with smtplib.SMTP_SSL("localhost", ports["implicit"], "client.example", timeout=20, context=trust) as c:
        check("smtplib: MAIL before AUTH is 530", c.docmd("EHLO client.example")[0] == 250 and c.mail("ann@example.org")[0] == 530)
        c.user, c.password = "ann", "wrong"
        try:  # not login, which tries all mechanisms in turn, and then the session is over
            check("smtplib: a wrong password is refused", c.auth("PLAIN", c.auth_plain)[0] == 535)
        except smtplib.SMTPAuthenticationError as e:
            check("smtplib: a wrong password is refused", e.smtp_code == 535, e)
        c.login("ann", "secret")
        check("smtplib: another's address is 553", c.mail("bob@example.org")[0] == 553)
        c.sendmail("ann@example.org", "user@example.org", MESSAGE)
    mail.take("ESMTPSA")
    for name in ("bob", "eve", "joe"):
        with smtplib.SMTP("localhost", ports["file"], "client.example", timeout=20) as c:
            c.ehlo()
            check("smtplib: MAIL before TLS is 530", c.mail("x@example.org")[0] == 530)
            c.starttls(context=trust)
            c.login(name, "secret of " + name)
            c.sendmail("x@example.org", "user@example.org", MESSAGE)
        mail.take("ESMTPSA")


def with_swaks(ports, root, mail, folder):
    send = ["swaks", "--helo", "client.example", "--from", "ann@example.org", "--to", "user@example.org"]
    for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
        login = ["--auth", mechanism, "--auth-user", "ann", "--auth-password", "secret"]
        run(*send, "--server", "localhost", "--port", str(ports["starttls"]), "--tls", "--tls-verify", "--tls-ca-path", root, *login)
        mail.take("ESMTPSA")
        run(*send, "--server", "localhost", "--port", str(ports["implicit"]), "--tls-on-connect", *login)
        mail.take("ESMTPSA")
    run(*send, "--server", "localhost", "--port", str(ports["starttls"]), "--auth", "CRAM-MD5", "--auth-user", "ann", "--auth-password", "secret")
    mail.take("ESMTPA")
    run(*send, "--socket", os.path.join(folder, "lmtp.sock"), "--protocol", "LMTP")
    mail.take("LMTP")


def with_curl(ports, root, mail, folder):
    path = os.path.join(folder, "message")
    with open(path, "wb") as f:
        f.write(MESSAGE)
    send = ["curl", "-sS", "--cacert", root, "--user", "ann:secret", "--mail-from", "ann@example.org", "--mail-rcpt", "user@example.org",
            "--upload-file", path]
    run(*send, "--ssl-reqd", f"smtp://localhost:{ports['starttls']}/client.example")
    mail.take("ESMTPSA")
    run(*send, f"smtps://localhost:{ports['implicit']}/client.example")
    mail.take("ESMTPSA")
    send[5] = "ann:wrong"
    run(*send, f"smtps://localhost:{ports['implicit']}/client.example", code=67)  # login denied


def with_xclient(ports, folder):
    """A proxy says who the client is; Received tells of that one."""
    out = run("swaks", "--helo", "client.example", "--from", "ann@example.org", "--to", "proxied@example.org", "--server",
              f"{HOST}:{ports['proxied']}", "--xclient", "ADDR=192.0.2.7 NAME=client.example")
    check("swaks --xclient: a second greeting", out.count(b"220 localhost") == 2, out)
    with open(glob.glob(os.path.join(folder, "mail/proxied/new/*"))[0], "rb") as f:
        message = f.read()
    check("Received names the client behind the proxy", b"(client.example [192.0.2.7])" in message, message)


def main():
    caddy = os.path.abspath(sys.argv[1])
    folder = tempfile.mkdtemp(prefix="esmtp-tls-")
    ports = free_ports("starttls", "implicit", "file", "proxied")
    server = start(caddy, folder, ports)
    try:
        root, mail = os.path.join(folder, "data/caddy/pki/authorities/local/root.crt"), Mail(folder)
        with_openssl(ports, root)
        with_smtplib(ports, root, mail)
        with_swaks(ports, root, mail, folder)
        with_curl(ports, root, mail, folder)
        with_xclient(ports, folder)
    finally:
        server.terminate()
        code = server.wait(30)
    check("caddy ends on SIGTERM", code == 0, code)
    with open(os.path.join(folder, "log")) as f:
        log = f.read()
    wrong = wrong_lines(log, "no certificate")  # as long as there is none
    check("nothing went wrong in the log", not wrong, wrong)
    check("no password is in the log", "secret" not in log and "AGFubgBzZWNyZXQ" not in log)
    shutil.rmtree(folder)
    print("all clients passed")


if __name__ == "__main__":
    main()
