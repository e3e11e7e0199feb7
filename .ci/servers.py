"""Servers that others have made, each an instance of its own with all that it has in a folder: Postfix, Dovecot, PostgreSQL. They need root."""
import glob
import os
import shutil
import smtplib
import socketserver
import subprocess
import threading

from kit import HOST, check, wait_for

# Where Postfix and Dovecot are is not in everybody's PATH.
ENV = dict(os.environ, PATH="/usr/sbin:" + os.environ["PATH"])

# Postfix cuts lines after 998 octets unless it is told not to, and takes what comes from here for a mail reader's, with fields to be added.
MAIN_CF = """compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/postfix
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
myhostname = postfix.example
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_header_rewrite_clients =
smtp_line_length_limit = 0
smtputf8_enable = yes
virtual_mailbox_domains = dest.example back.example
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
relay_domains = boxes.example
relay_transport = smtp:[{host}]:{us}
smtp_host_lookup = native
smtp_tls_security_level = may
smtp_tls_loglevel = 1
smtpd_tls_security_level = may
smtpd_tls_loglevel = 1
smtpd_tls_cert_file = {folder}/cert.pem
smtpd_tls_key_file = {folder}/key.pem
smtpd_restriction_classes = greylist
smtpd_authorized_xforward_hosts = 127.0.0.0/8
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/auth
greylist = check_policy_service inet:{host}:{policy}
smtpd_recipient_restrictions = check_recipient_access texthash:{folder}/access
smtpd_peername_lookup = no
"""

MASTER_CF = """{host}:{postfix} inet n - n - - smtpd
{host}:{login} inet n - n - - smtpd -o syslog_name=login -o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
{host}:{front} inet n - n - - smtpd -o syslog_name=front -o smtpd_authorized_xclient_hosts=127.0.0.0/8 -o smtpd_sasl_auth_enable=yes
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

DOVECOT_CONF = """base_dir = {folder}/dovecot
log_path = {folder}/dovecot.log
protocols = lmtp
ssl = no
hostname = dovecot.example
mail_location = maildir:{folder}/boxes/all
first_valid_uid = {uid}
first_valid_gid = {gid}
default_internal_group = nogroup
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/boxes/all allow_all_users=yes
}}
passdb {{
  driver = static
  args = password=secret
}}
auth_mechanisms = plain scram-sha-256
service auth {{
  unix_listener {folder}/auth {{
    mode = 0666
  }}
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
}}
"""


class Postfix:
    """Keeps mail for dest.example and back.example in the maildir mail/all, and hands that for boxes.example to us. On its port login
    it is for those who log in, on its port front for those of whom we say that they have."""

    def __init__(self, folder, values):
        self.folder, self.etc = folder, os.path.join(folder, "etc")
        for name in ("etc", "queue", "postfix", "mail"):
            os.makedirs(os.path.join(folder, name))
        shutil.chown(os.path.join(folder, "postfix"), "postfix")
        shutil.chown(os.path.join(folder, "mail"), "nobody", "nogroup")
        for name, text in (("main.cf", MAIN_CF), ("master.cf", MASTER_CF)):
            write(os.path.join(self.etc, name), text.format(**values))
        write(os.path.join(folder, "access"), "nobody@dest.example 550 5.1.1 There is nobody of that name\ngrey@dest.example greylist\n")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=postfix.example", "-addext", "subjectAltName=IP:" + HOST, "-keyout",
                        os.path.join(folder, "key.pem"), "-out", os.path.join(folder, "cert.pem")], check=True, capture_output=True)
        self.command("start")
        wait_for("Postfix starts", lambda: smtp_greets(values["postfix"]), 30, self.log)

    def command(self, word):
        run = subprocess.run(["postfix", "-c", self.etc, word], env=ENV, capture_output=True, timeout=60, text=True)
        check("postfix " + word, run.returncode == 0, run.stdout + run.stderr)

    def log(self):
        return read(os.path.join(self.folder, "postfix.log")).decode(errors="replace")


class Dovecot:
    """Takes mail by LMTP, at the socket lmtp, and keeps it in the maildir boxes/all. Postfix asks it about users, whose password is secret."""

    def __init__(self, folder, values):
        self.log_path = os.path.join(folder, "dovecot.log")
        os.makedirs(os.path.join(folder, "boxes"))
        shutil.chown(os.path.join(folder, "boxes"), "nobody", "nogroup")
        config = os.path.join(folder, "dovecot.conf")
        write(config, DOVECOT_CONF.format(**values))
        self.process = subprocess.Popen(["dovecot", "-F", "-c", config], env=ENV)
        wait_for("Dovecot starts", lambda: os.path.exists(os.path.join(folder, "lmtp")), 30, lambda: read(self.log_path))

    def stop(self):
        self.process.terminate()
        check("Dovecot ends", self.process.wait(30) == 0, read(self.log_path))


class Postgres:
    """Listens on a socket in its folder."""

    def __init__(self, folder):
        self.folder, self.data = folder, os.path.join(folder, "data")
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
        self.bin = os.path.dirname(found[-1] if found else shutil.which("initdb"))
        shutil.chown(folder, "postgres")
        subprocess.run([self.bin + "/initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale"], user="postgres", cwd=folder, check=True, capture_output=True)
        with open(os.path.join(folder, "postgres.log"), "wb") as log:
            self.process = subprocess.Popen([self.bin + "/postgres", "-D", self.data, "-k", folder, "-c", "listen_addresses="], user="postgres",
                                            cwd=folder, stdout=log, stderr=log)
        wait_for("PostgreSQL starts", lambda: self.ask("SELECT 1") == "1", 30)

    def ask(self, sql):
        run = subprocess.run([self.bin + "/psql", "-h", self.folder, "-U", "postgres", "-Atqc", sql], cwd=self.folder, capture_output=True, text=True)
        return run.stdout.strip()

    def items(self, condition="true"):
        return int(self.ask(f"SELECT count(*) FROM spool_item WHERE {condition}") or 0)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


class Policy:
    """Postfix asks it about a recipient that it greylists: the first time it says no."""

    def __init__(self):
        self.asked = 0
        policy = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self):
                for line in self.rfile:
                    if line == b"\n":
                        policy.asked += 1
                        action = "DEFER 4.7.1 Greylisted" if policy.asked == 1 else "DUNNO"
                        self.wfile.write(f"action={action}\n\n".encode())

        server = socketserver.ThreadingTCPServer((HOST, 0), Session)
        server.daemon_threads = True
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def smtp_greets(port):
    try:
        with smtplib.SMTP(HOST, port, "client.example", timeout=5) as c:
            return c.noop()[0] == 250
    except (OSError, smtplib.SMTPException):
        return False
