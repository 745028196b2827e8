# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a packet costs: nanoseconds in each program, through BPF_PROG_TEST_RUN.

The empty program's time is subtracted: it is that of the measuring. Wall time around many
repeats is taken, since the kernel's own figure is whole nanoseconds; it is printed beside.
A program is run here from a warm cache, on one CPU: the figures compare programs, they do
not predict a busy machine.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from . import measure
from .objects import HERE, OUR_SOURCE, OURS, Program, compile_bpf
from .packets import udp

_UDP = udp(1400)
_WITNESS = ("-include", str(HERE / "witness.h"))
_PRIME = 23


@dataclass(frozen=True)
class Candidate:
    """A program, and the sum of what it must add for a packet."""

    name: str
    source: Path
    adds: int
    built: Path | None = None
    program: str = "count"
    options: tuple[str, ...] = ()


_EMPTY = Candidate("an empty program", HERE / "empty.bpf.c", 0)
_INGRESS = "ours, ingress"
_EGRESS = "ours, egress"
_BARE = "two atomic adds, bare"
_ARTICLE = "the article's shape"

# A length and one packet; the article's counts no packets.
_BOTH = _UDP.length + 1

CANDIDATES = (
    Candidate(_INGRESS, OUR_SOURCE, _BOTH, OURS, "count_ingress"),
    Candidate(_EGRESS, OUR_SOURCE, _BOTH, OURS, "count_egress"),
    Candidate(_BARE, HERE / "bare.bpf.c", _BOTH),
    Candidate(_ARTICLE, HERE / "article.bpf.c", _UDP.length),
    Candidate(
        "shared hash by cgroup id",
        HERE / "hash.bpf.c",
        _BOTH,
        options=("-DMAP_TYPE=BPF_MAP_TYPE_HASH",),
    ),
    Candidate(
        "per-CPU hash by cgroup id",
        HERE / "hash.bpf.c",
        _BOTH,
        options=("-DMAP_TYPE=BPF_MAP_TYPE_PERCPU_HASH",),
    ),
)


def run(tiny: bool) -> None:
    """Measure, and print the table and the claims."""
    rounds, repeat = (1, 1000) if tiny else (21, 1_000_000)
    with tempfile.TemporaryDirectory(prefix="cgacct-bench-") as directory, measure.pinned():
        for candidate in CANDIDATES:
            _check_that_it_counts(candidate, Path(directory))
        with _loaded(Path(directory)) as programs:
            walls, durations = _measure(programs, rounds, repeat)
    _print(walls, durations, rounds, repeat)


def _check_that_it_counts(candidate: Candidate, directory: Path) -> None:
    options = (*candidate.options, *_WITNESS)
    compiled = compile_bpf(candidate.source, directory / "witness.bpf.o", options)
    with contextlib.closing(Program(compiled, candidate.program)) as program:
        program.run(_UDP, _PRIME)
        found, right = program.witness(), _PRIME * candidate.adds
    assert found == right, f"{candidate.name} added {found}, not {right}: it did not count"


@contextlib.contextmanager
def _loaded(directory: Path) -> Iterator[dict[Candidate, Program]]:
    with contextlib.ExitStack() as stack:
        programs = {}
        for number, candidate in enumerate((_EMPTY, *CANDIDATES)):
            built = candidate.built or compile_bpf(
                candidate.source, directory / f"{number}.bpf.o", candidate.options
            )
            program = Program(built, candidate.program)
            programs[candidate] = stack.enter_context(contextlib.closing(program))
        yield programs


def _measure(
    programs: dict[Candidate, Program], rounds: int, repeat: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the medians of wall time and of the kernel's own figure, in ns a packet."""
    durations: measure.Rounds = {candidate.name: [] for candidate in programs}

    def timer(candidate: Candidate, program: Program) -> Callable[[], float]:
        def time_once() -> float:
            wall, duration = program.run(_UDP, repeat)
            durations[candidate.name].append(duration)
            return wall / repeat * 1e9

        return time_once

    timers = {candidate.name: timer(candidate, program) for candidate, program in programs.items()}
    measure.interleave(timers, 1)  # caches, branch predictor, clock rate
    durations.update({name: [] for name in durations})
    walls = measure.medians(measure.interleave(timers, rounds))
    return walls, measure.medians(durations)


def _print(walls: dict[str, float], durations: dict[str, float], rounds: int, repeat: int) -> None:
    empty = walls[_EMPTY.name]
    net = {name: wall - empty for name, wall in walls.items() if name != _EMPTY.name}
    ours = max(net[_INGRESS], net[_EGRESS])
    measure.table(
        f"hot_path: an IPv4 UDP packet of {_UDP.length} octets, "
        f"medians of {rounds} rounds of {repeat:,} packets each",
        ("program", "ns/packet", "ratio to ours", "kernel's figure"),
        [
            (name, wall, wall / ours, durations[name] - durations[_EMPTY.name])
            for name, wall in net.items()
        ],
    )
    print(f"\nsubtracted: {empty:.2f} ns of an empty program; ours is the slower direction")
    measure.claim("ours / the article's shape", ours / net[_ARTICLE], 0.45)
    measure.claim("ours / two atomic adds, bare", ours / net[_BARE], 1.15)
