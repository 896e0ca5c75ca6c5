"""The streams of a CRI: exec, attach and port-forward, by WebSocket on the address that the CRI gives.

The sub-protocol is `v4.channel.k8s.io`: a frame's first byte is the number of its stream, and the last
frame of the error stream says how it ended. RFC 6455 for the frames.
"""

import base64
import json
import os
import socket
import struct
import urllib.parse

from registry import PATIENCE, Failed

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Streams:
    def __init__(self, url, **query):
        parts = urllib.parse.urlsplit(url)
        query = "&".join(filter(None, [parts.query, urllib.parse.urlencode(query)]))
        path = parts.path + (f"?{query}" if query else "")
        self.seen = {}
        self.socket = socket.create_connection((parts.hostname, parts.port), 20 * PATIENCE)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             f"Origin: http://{parts.netloc}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
                             "Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n").encode())
        self.pipe = self.socket.makefile("rb")
        status = self.pipe.readline().decode()
        if " 101 " not in status:
            raise Failed(f"streams: {url} answers {status!r}")
        while self.pipe.readline().strip():
            pass

    def send(self, stream, data):
        self._frame(BINARY, bytes([stream]) + (data if isinstance(data, bytes) else data.encode()))

    def resize(self, rows, columns):
        self.send(RESIZE, json.dumps({"Width": columns, "Height": rows}))

    def _frame(self, kind, data):
        mask = os.urandom(4)
        length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack("!H", len(data))
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self.socket.sendall(bytes([0x80 | kind]) + length + mask + masked)

    def _receive(self):
        """Reads one frame into `seen`; false at the end of the connection."""
        head = self.pipe.read(2)
        if len(head) < 2:
            return False
        kind, length = head[0] & 15, head[1] & 127
        if length == 126:
            length = struct.unpack("!H", self.pipe.read(2))[0]
        elif length == 127:
            length = struct.unpack("!Q", self.pipe.read(8))[0]
        data = self.pipe.read(length)
        if kind == PING:
            self._frame(PONG, data)
        elif kind in (TEXT, BINARY) and data:
            self.seen[data[0]] = self.seen.get(data[0], b"") + data[1:]
        return kind != CLOSE

    def expect(self, stream, text):
        """Reads until the text has come on the stream; what came after it stays for the next call."""
        while text.encode() not in self.seen.get(stream, b""):
            if not self._more():
                raise Failed(f"streams: {text!r} did not come on {stream}, but {self.seen!r}")
        before, _, self.seen[stream] = self.seen[stream].partition(text.encode())
        return before.decode(errors="replace")

    def finish(self):
        """(exit code, stdout, stderr), once the program has ended."""
        while self._more():
            pass
        said = json.loads(self.seen.get(ERROR, b"") or "{}")
        if said.get("status") == "Success":
            code = 0
        elif said.get("reason") == "NonZeroExitCode":
            code = int(next(each["message"] for each in said["details"]["causes"] if each["reason"] == "ExitCode"))
        else:
            raise Failed(f"streams: no exit code in {said}; seen {self.seen}")
        return code, self.seen.get(STDOUT, b"").decode(), self.seen.get(STDERR, b"").decode()

    def _more(self):
        try:
            return self._receive()
        except (TimeoutError, socket.timeout) as late:
            raise Failed(f"streams: nothing more comes; so far {self.seen!r}") from late
        except ConnectionError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pipe.close()
        self.socket.close()
