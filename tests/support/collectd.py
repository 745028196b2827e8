# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A real collectd with a private configuration in a directory of its own."""

from __future__ import annotations

import contextlib
import grp
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .cgroups import wait_for
from .unixsock import UnixSock

CHECKOUT = Path(__file__).resolve().parents[2]
PLUGIN = "cgacct"
HOST = "testhost"
NOBODY = 65534

_BASE = """\
Hostname "{host}"
FQDNLookup false
BaseDir "{directory}"
PIDFile "{directory}/pid"
TypesDB "/usr/share/collectd/types.db"
Interval {interval:g}
CollectInternalStats false
LoadPlugin logfile
<Plugin logfile>
  File "{directory}/log"
  LogLevel info
  PrintSeverity true
</Plugin>
LoadPlugin csv
<Plugin csv>
  DataDir "{directory}/csv"
</Plugin>
LoadPlugin unixsock
<Plugin unixsock>
  SocketFile "{directory}/sock"
  SocketGroup "{group}"
</Plugin>
LoadPlugin python
<Plugin python>
  ModulePath "{module_path}"
  LogTraces true
  Import "collectd_cgacct"
{module}
</Plugin>
{extra}
"""


def module_block(options: str) -> str:
    """Return ``options`` inside the plugin's own block; nothing is pinned without a PinPath."""
    if "PinPath" not in options:
        # The machine's own pins are not for a test.
        options += "\nPersist false"
    return f"<Module collectd_cgacct>\n{options}\n</Module>"


class Collectd:
    """A collectd that runs in the foreground; made by running()."""

    def __init__(self, directory: Path, launch: Callable[[], subprocess.Popen[bytes]]) -> None:
        self.directory = directory
        self._launch = launch
        self.earlier_logs: list[str] = []
        self.process = launch()
        self.sock = UnixSock(directory / "sock")

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> list[str]:
        """Return the lines of the log so far, the time cut off: ``[severity] text``."""
        with contextlib.suppress(FileNotFoundError):
            text = (self.directory / "log").read_text("utf-8", "backslashreplace")
            return [re.sub(r"^\[[\d: -]+\] ", "", line) for line in text.splitlines()]
        return []

    def complaints(self) -> list[str]:
        """Return what the plugin itself logged as a warning or an error."""
        pattern = re.compile(rf"\[(warning|error)\] {PLUGIN}: (?!libbpf:)")
        return [line for line in self.log() if pattern.match(line)]

    def tracebacks(self) -> list[str]:
        """Return what a Python exception that nobody caught left in the log."""
        marks = ("Traceback", "Unhandled python exception", '  File "')
        return [line for line in self.log() if any(mark in line for mark in marks)]

    def rows(self, instance: str, kind: str, type_instance: str = "") -> list[list[float]]:
        """Return the csv writer's rows: time, then the values."""
        plugin = f"{PLUGIN}-{instance}" if instance else PLUGIN
        name = f"{kind}-{type_instance}" if type_instance else kind
        rows = []
        # A file a day: the test may run at midnight.
        day = "[0-9]" * 4 + "-[0-9][0-9]-[0-9][0-9]"
        for file in sorted((self.directory / "csv" / HOST / plugin).glob(f"{name}-{day}")):
            lines = file.read_text("ascii").splitlines(keepends=True)[1:]
            rows += [[*map(float, line.split(","))] for line in lines if line.endswith("\n")]
        return rows

    def last(self, instance: str, kind: str, type_instance: str = "") -> tuple[int, ...] | None:
        """Return the values of the newest row, rx and tx say; None if there is none yet."""
        rows = self.rows(instance, kind, type_instance)
        return tuple(int(value) for value in rows[-1][1:]) if rows else None

    def wait_for_rows(self, instance: str, more: int = 1, kind: str = "if_octets") -> None:
        """Wait for ``more`` rows than there are."""
        before = len(self.rows(instance, kind))
        wait_for(
            lambda: len(self.rows(instance, kind)) >= before + more,
            f"{more} more rows of {kind} of {instance}",
        )

    def wait_for_last(self, instance: str, kind: str, expected: Sequence[int]) -> None:
        """Wait for a row with these values and one more; AssertionError if it has others."""
        # If it waits in vain, the comparison at the end says more.
        with contextlib.suppress(AssertionError):
            wait_for(lambda: (self.last(instance, kind) or ()) >= tuple(expected), "the values")
            self.wait_for_rows(instance, 1, kind)
        assert self.last(instance, kind) == tuple(expected)

    def dispatched(self) -> set[tuple[str, str]]:
        """Return plugin instance and type (with its instance) of all that the plugin sent."""
        pairs = set()
        for identifier in self.sock.identifiers():
            plugin, _, kind = identifier.partition("/")[2].partition("/")
            if plugin.partition("-")[0] == PLUGIN:
                pairs.add((plugin.partition("-")[2], kind))
        return pairs

    def signal(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def again(self) -> None:
        """Start once more with the same configuration, after the end; the log begins anew."""
        assert self.process.poll() is not None
        self.earlier_logs += self.log()
        (self.directory / "log").unlink()
        # What was killed has left its socket.
        (self.directory / "sock").unlink(missing_ok=True)
        self.process = self._launch()
        wait_for(self._is_up, "collectd to be up again")

    def _is_up(self) -> bool:
        said = self.log()
        output = (self.directory / "output").read_text("utf-8", "replace")
        assert self.process.poll() is None, f"collectd ended: {output}\n" + "\n".join(said)
        # The socket is made by a thread of its own.
        return any("Initialization complete" in line for line in said) and self.sock.answers()

    def _end(self) -> bool:
        """End it; return whether it did so when it was asked to."""
        # Again and again: a thread other than the main one may take the signal, and the main
        # one then sleeps on for the rest of its interval.
        for _ in range(20):
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
                return True
        self.process.kill()
        self.process.wait()
        return False


def _environment() -> dict[str, str]:
    # collectd embeds its own Python: what steers that of the tests is not for it.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1"}


def _start(
    directory: Path, config: str, wrapper: Sequence[str], user: int | None
) -> subprocess.Popen[bytes]:
    file = directory / "collectd.conf"
    file.write_text(config, "utf-8", "surrogateescape")
    identity: dict[str, Any] = {}
    if user is not None:
        os.chown(directory, user, user)
        identity = {"user": user, "group": user, "extra_groups": []}
    # Where an ordinary user's PATH does not lead.
    collectd = shutil.which("collectd") or "/usr/sbin/collectd"
    with open(directory / "output", "wb") as output:
        return subprocess.Popen(
            [*wrapper, collectd, "-f", "-C", file],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(),
            # Ctrl-C is for the one who started it, who ends collectd in turn.
            start_new_session=True,
            **identity,
        )


@contextlib.contextmanager
def running(
    module: str,
    *,
    interval: float = 0.2,
    extra: str = "",
    module_path: Path = CHECKOUT,
    wrapper: Sequence[str] = (),
    user: int | None = None,
) -> Iterator[Collectd]:
    """Run collectd until the end of the block, however that comes.

    ``module`` goes into ``<Plugin python>``, see module_block(); ``wrapper`` are the words
    of a command that runs collectd. The log is printed if the block fails.
    """
    directory = Path(tempfile.mkdtemp(prefix="cgacct-collectd-"))
    instance = None
    try:
        config = _BASE.format(
            host=HOST,
            directory=directory,
            group=grp.getgrgid(os.getgid() if user is None else user).gr_name,
            interval=interval,
            module_path=module_path,
            module=module,
            extra=extra,
        )
        instance = Collectd(directory, lambda: _start(directory, config, wrapper, user))
        wait_for(instance._is_up, "collectd to be up")
        yield instance
        assert instance._end(), "collectd does not end"
    except BaseException:
        if instance:
            print("\n".join(instance.log()))
        raise
    finally:
        if instance:
            instance._end()
        shutil.rmtree(directory)
