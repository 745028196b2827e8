# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""eBPF objects for measuring: compiled from source at run time, loaded, run on a packet.

The product's loader is not used: it takes only objects of the product's shape.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from collectd_cgacct import libbpf
from collectd_cgacct.counters import Layout

from .packets import Packet

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
BYTE_ORDER = "el" if sys.byteorder == "little" else "eb"
OURS = CHECKOUT / "collectd_cgacct" / f"cgacct.bpf{BYTE_ORDER}.o"
OUR_SOURCE = CHECKOUT / "bpf" / "cgacct.bpf.c"


class TestRunOpts(ctypes.Structure):
    """struct bpf_test_run_opts of <bpf/bpf.h>."""

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


def library() -> Any:
    """Return libbpf, with what the product has no use for; negative results raise OSError."""
    bound = ctypes.CDLL("libbpf.so.1", use_errno=True)
    for name, arguments in {
        "bpf_prog_test_run_opts": [c_int, POINTER(TestRunOpts)],
        "bpf_map_lookup_elem": [c_int, c_void_p, c_void_p],
        "bpf_obj_pin": [c_int, c_char_p],
    }.items():
        function = getattr(bound, name)
        function.argtypes = arguments
        function.errcheck = _check
    return bound


def _check(result: int, function: Any, _arguments: object) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result), function.__name__)
    return result


def compile_bpf(source: Path, target: Path, options: Sequence[str] = ()) -> Path:
    """Compile ``source`` as the product's Makefile does; return ``target``."""
    multiarch = subprocess.check_output(["clang", "-print-multiarch"], text=True).strip()
    command = ["clang", "-target", f"bpf{BYTE_ORDER}", "-mcpu=v2", "-O2", "-g", "-Wall", "-Werror"]
    command += [f"-I/usr/include/{multiarch}", *options, "-c", str(source), "-o", str(target)]
    subprocess.run(command, check=True)
    return target


class Program:
    """One program of a loaded object."""

    def __init__(self, path: Path, name: str, splits: Iterable[str] = ()) -> None:
        """Load the object at ``path``; with ``splits`` on, if it is one of ours."""
        self._library = library()
        self._handle = libbpf.open_object(str(path))
        try:
            if splits:
                layout = Layout(splits)
                libbpf.set_value_size(self._handle, "counters", layout.size)
                libbpf.set_rodata(self._handle, path.name, layout.switches)
            libbpf.load_object(self._handle)
            self._fd = libbpf.program_fd(self._handle, name)
        except BaseException:
            self.close()
            raise

    def run(self, packet: Packet, repeat: int) -> tuple[float, int]:
        """Run on ``packet``; return the wall seconds of it all, and the kernel's own figure.

        That one is whole nanoseconds a packet: too coarse to compare with, good as a check.
        """
        frame = ctypes.create_string_buffer(packet.frame, len(packet.frame))
        options = TestRunOpts(sz=ctypes.sizeof(TestRunOpts), repeat=repeat)
        options.data_in, options.data_size_in = ctypes.addressof(frame), len(packet.frame)
        context = ctypes.create_string_buffer(packet.context, len(packet.context))
        if packet.context:
            options.ctx_in, options.ctx_size_in = ctypes.addressof(context), len(packet.context)
        begin = time.perf_counter()
        self._library.bpf_prog_test_run_opts(self._fd, ctypes.byref(options))
        wall = time.perf_counter() - begin
        assert options.retval == 1, f"the program said {options.retval}: the packet is dropped"
        return wall, options.duration

    def witness(self) -> int:
        """Return the sum of all atomic adds so far, of an object compiled with witness.h."""
        fd = libbpf.map_fd(self._handle, ".bss")
        value = c_uint64()
        self._library.bpf_map_lookup_elem(fd, ctypes.byref(c_uint32(0)), ctypes.byref(value))
        return value.value

    def close(self) -> None:
        """Free the object."""
        libbpf.close_object(self._handle)
