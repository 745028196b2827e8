# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the near device carried, beside what the programs made of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Callable

from collectd_cgacct.bpf import Object
from collectd_cgacct.counters import Counters

from .capture import Capture, Frame, captured
from .cgroups import Cgroup, temporary_cgroup, wait_for
from .counting import attach
from .netlab import Lab

Unseen = Callable[[Frame], bool]


def add(*all_counters: Counters) -> Counters:
    """Add up field by field."""
    return Counters(*(sum(field) for field in zip(*all_counters)))


def amount(frames: Iterable[Frame]) -> Counters:
    """Add up frames that were captured at the far end, as the near end sees them."""
    sums = [0, 0, 0, 0]
    for frame in frames:
        first = 0 if frame.outgoing else 2
        sums[first] += frame.octets
        sums[first + 1] += 1
    return Counters(*sums)


class Meter:
    """An object attached to the cgroup under test."""

    def __init__(self, loaded: Object, cgroup: Cgroup) -> None:
        self.layout = loaded.layout
        self._counters = loaded.counters()
        self._cgroup = cgroup
        self._link = attach(loaded, cgroup)

    def cells(self) -> tuple[int, ...]:
        """Return one reading."""
        found = self._counters.read(self._cgroup.id)
        assert found is not None, "nothing is attached"
        return found

    def total(self) -> Counters:
        """Return the sum of one reading's cells."""
        return self.layout.total(self.cells())

    def close(self) -> None:
        self._link.close()


@contextlib.contextmanager
def metered(path: str | Path, cgroup: Cgroup, splits: Iterable[str] = ()) -> Iterator[Meter]:
    """Count with the object at ``path`` what goes through ``cgroup``."""
    with (
        Object(str(path), splits) as loaded,
        contextlib.closing(Meter(loaded, cgroup)) as meter,
    ):
        yield meter


class Bench:
    """A cgroup in the near namespace, with every meter on it, and the truth beside it."""

    def __init__(self, lab: Lab, cgroup: Cgroup, all_meters: dict[str, Meter], capture: Capture):
        self.lab = lab
        self.cgroup = cgroup
        self.meters = all_meters
        self.capture = capture
        self._before = lab.devices()
        self.restart()

    def restart(self) -> None:
        """Compare from now on. The programs' counts go on."""
        wait_for(self._begin, "a moment without traffic")

    def _begin(self) -> bool:
        self.capture.forget()
        last, self._before = self._before, self.lab.devices()
        return last == self._before

    def truth(self) -> Counters:
        """Return what the near device carried, Ethernet headers left out."""
        return Counters(*self.lab.devices().since(self._before))

    def counted(self) -> Counters:
        """Return what the packaged programs counted."""
        return self.meters["cgacct"].total()

    def assert_exact(self, title: str, unseen: Unseen = lambda _frame: False) -> Counters:
        """Assert that truth, capture and count agree; return the count.

        Frames that are ``unseen``, because no full socket sends or takes them, and those that
        the kernel itself sends are looked for in the capture, and have to make up the difference.
        """

        def left_out() -> Counters:
            return amount(self.capture.frames(lambda one: one.kernels_own or unseen(one)))

        def agree() -> bool:
            truth = self.truth()
            return truth == amount(self.capture.frames()) == add(self.counted(), left_out())

        try:
            wait_for(agree, "agreement of device, capture and programs", 5)
        except AssertionError:
            print("device ", self.truth())
            print("capture", amount(self.capture.frames()))
            raise
        finally:
            self.show(title, left_out())
        return self.counted()

    def show(self, title: str, difference: Counters) -> None:
        """Print truth and meters as a table, each with what it is off by."""
        wire = add(self.truth(), Counters(*(-field for field in difference)))
        print(f"\n{title}; {sum(difference[1::2])} frames of no full socket left out")
        row = "  {:<10}" + " {:>12} {:>10}" * 2 + "{:>9}{:>9}"
        print(row.format("", *Counters._fields, "rx off", "tx off"))
        for name, counters in {"wire": wire, **self.all_totals()}.items():
            off = (_off(counters.rx_bytes, wire.rx_bytes), _off(counters.tx_bytes, wire.tx_bytes))
            print(row.format(name, *counters, *off))

    def all_totals(self) -> dict[str, Counters]:
        """Return what every meter that adds up octets has."""
        names = ("cgacct", "skb->len", "article")
        return {name: self.meters[name].total() for name in names}

    def segmented(self) -> Counters:
        """Return how many packets stood for several; as bytes, those of them above 64 KiB."""
        return self.meters["segmented"].total()


def _off(counted: int, wire: int) -> str:
    return f"{(counted - wire) / wire:+.2%}" if wire else "-"


@contextlib.contextmanager
def bench(lab: Lab, objects: dict[str, Path]) -> Iterator[Bench]:
    """Attach all ``objects`` to one cgroup; what is in ``lab`` from now on is compared."""
    with contextlib.ExitStack() as stack:
        cgroup = stack.enter_context(temporary_cgroup())
        attached = {
            name: stack.enter_context(metered(path, cgroup)) for name, path in objects.items()
        }
        capture = stack.enter_context(captured(lab.far, "far"))
        yield Bench(lab, cgroup, attached, capture)
