"""A terminal with a program in it, driven as a person would."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time

from registry import PATIENCE, Failed


class Terminal:
    """Starts `command` with a terminal of its own as controlling terminal."""

    def __init__(self, command, rows=24, columns=80):
        self.seen = ""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            try:
                os.execvp(command[0], command)
            finally:
                os._exit(126)
        self.resize(rows, columns)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize_until(self, rows, columns, reached, seconds=15):
        """Resizes until the program has noticed: an engine's client that is just starting may
        miss the first signal, and the same size again would send none."""
        deadline = time.monotonic() + seconds * PATIENCE
        while True:
            self.resize(rows - 1, columns - 1)
            self.resize(rows, columns)
            if reached():
                return
            if time.monotonic() > deadline:
                raise Failed(f"terminal: the program never has {rows} rows and {columns} columns")

    def send(self, text):
        os.write(self.master, text.encode())

    def expect(self, text, seconds=20):
        """Reads until the text has come; what came after it stays for the next call."""
        deadline = time.monotonic() + seconds * PATIENCE
        while text not in self.seen:
            if not self._read(deadline - time.monotonic()):
                raise Failed(f"terminal: {text!r} did not come, but {self.seen[-400:]!r}")
        before, _, self.seen = self.seen.partition(text)
        return before

    def _read(self, seconds):
        if seconds <= 0 or not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            # EIO: the other side of a terminal is closed.
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def status(self, seconds=20):
        """Waits for the program's end, reading what it still writes."""
        deadline = time.monotonic() + seconds * PATIENCE
        while time.monotonic() < deadline:
            self._read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = None
                return os.waitstatus_to_exitcode(status)
        raise Failed(f"terminal: the program does not end; last seen {self.seen[-400:]!r}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)
