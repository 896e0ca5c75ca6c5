"""Networks and ports."""

import os
import socket
import subprocess

from registry import Failed, Skip, contains, same, scenario, until

BOTH = "podman", "docker"


def addresses(text):
    """The IPv4 addresses in the output of `ip addr`, without the loopback's."""
    return [word.split("/")[0] for line in text.splitlines() if " inet " in line
            for word in [line.split()[1]] if not word.startswith("127.")]


@scenario("network: none has only the loopback", *BOTH)
def none(engine):
    same("interfaces", engine.sh("ls /sys/class/net", "--network", "none"), "lo\n")


@scenario("network: host is the host's", *BOTH)
def host(engine):
    same("namespace", engine.sh("readlink /proc/self/ns/net", "--network", "host").strip(), os.readlink("/proc/self/ns/net"))


@scenario("network: bridge, a neighbour is reached", *BOTH)
def bridge(engine):
    first = engine.detached("sh", "-c", "echo served > /data/index.html; exec httpd -f -p 8080 -h /data")
    address = addresses(engine.exec(first, "ip", "addr").out)[0]
    until("an answer", lambda: engine.run("wget", "-q", "-O", "-", f"http://{address}:8080/", status=None).out == "served\n")
    contains("route", engine.sh("ip route"), "default via")


@scenario("network: a port is reached by a client of the host", *BOTH)
def port(engine):
    engine.detached("sh", "-c", "echo served > /data/index.html; exec httpd -f -p 80 -h /data", options=["-p", "18081:80"])
    until("an answer", lambda: ask("127.0.0.1", 18081).endswith("served\n"))


def ask(address, number):
    try:
        with socket.create_connection((address, number), 5) as client:
            client.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
            text = b""
            while data := client.recv(4096):
                text += data
            return text.decode()
    except OSError:
        return ""


@scenario("network: container:other shares it", *BOTH)
def shared(engine):
    first = engine.detached("sh", "-c", "echo served > /data/index.html; exec httpd -f -p 8080 -h /data")
    until("an answer", lambda: engine.run("wget", "-q", "-O", "-", "http://127.0.0.1:8080/", status=None,
                                          options=["--network", f"container:{first}"]).out == "served\n")


@scenario("network: hosts and resolv.conf are the engine's", *BOTH)
def hosts(engine):
    contains("hosts", engine.sh("cat /etc/hosts", "--hostname", "inn", "--add-host", "far:192.0.2.9"), "192.0.2.9\tfar")
    contains("resolv.conf", engine.sh("cat /etc/resolv.conf", "--dns", "192.0.2.53"), "nameserver 192.0.2.53")


@scenario("network: one made by name", *BOTH)
def named(engine):
    engine("network", "create", "--subnet", "10.97.0.0/24", "own")
    try:
        same("address", addresses(engine.sh("ip addr", "--network", "own"))[0].rsplit(".", 1)[0], "10.97.0")
    finally:
        engine("network", "rm", "own", status=None)


def box_of(engine, program):
    """A root file system with one of the machine's programs in it."""
    import image

    folder = engine.path(program) + "/root"
    try:
        image.box(folder)
        image.add_program(folder, program)
    except FileNotFoundError as error:
        raise Skip(f"no {program} is installed") from error
    return folder


@scenario("lab: a Redis under limits serves requests", *BOTH)
def redis(engine):
    import image

    folder = box_of(engine, "redis-server")
    engine("import", image.as_tar(folder, folder + ".tar"), "redis")
    engine.detached("redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", image="redis",
                    options=["-p", "16379:6379", "--memory", "100m", "--cpus", "0.5", "--pids-limit", "50", "-u", "1000"])

    def talk():
        try:
            with socket.create_connection(("127.0.0.1", 16379), 5) as client:
                client.sendall(b"SET key value\r\nGET key\r\n")
                text = b""
                while b"value" not in text and (data := client.recv(4096)):
                    text += data
                return b"+OK" in text and b"value" in text
        except OSError:
            return False

    until("an answer", talk, 30)
    for _ in range(50):
        same("answer", talk(), True)


NGINX = """\
daemon off;
user alice;
worker_processes 2;
error_log stderr;
pid /tmp/pid;
events {}
http {
    access_log off;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    server { listen 80; root /data; }
}
"""


@scenario("lab: an nginx under limits, read-only and with few capabilities, serves requests", *BOTH)
def nginx(engine):
    import image

    folder = box_of(engine, "nginx")
    for name, text in (("etc/nginx.conf", NGINX), ("data/index.html", "served\n")):
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
    engine("import", image.as_tar(folder, folder + ".tar"), "nginx")
    capabilities = [word for each in ("CHOWN", "SETUID", "SETGID", "NET_BIND_SERVICE") for word in ("--cap-add", each)]
    name = engine.detached("nginx", "-c", "/etc/nginx.conf", image="nginx", options=[
        "-p", "18084:80", "--memory", "100m", "--cpus", "0.2", "--pids-limit", "20", "--read-only", "--tmpfs", "/tmp",
        "--cap-drop", "ALL", *capabilities, "--security-opt", "no-new-privileges"])
    try:
        until("an answer", lambda: ask("127.0.0.1", 18084).endswith("served\n"))
    except Failed as failure:
        raise Failed(f"{failure}; its log: {engine.logs(name)}") from failure
    for _ in range(50):
        contains("answer", ask("127.0.0.1", 18084), "served")
    same("a master and two workers", engine("top", name).out.count("nginx: "), 3)
