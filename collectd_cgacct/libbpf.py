# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""libbpf through ctypes: signatures, error checks, log capture. No policy.

The functions here take and give Python's own types; a failure is an OSError that
carries the kernel's errno and the name of the libbpf function. Nothing is loaded
on import: the library is opened on first use.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import itertools
import os
import sys
from collections.abc import Iterable
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from typing import Any, Callable

from .text import encode

# enum libbpf_print_level
WARN, INFO, DEBUG = 0, 1, 2

# enum bpf_attach_type
CGROUP_INET_INGRESS, CGROUP_INET_EGRESS = 0, 1

_SONAMES = ("libbpf.so.1", "libbpf.so.0")

# typedef int (*libbpf_print_fn_t)(enum libbpf_print_level level, const char *, va_list ap);
# A va_list arrives as a pointer on every ABI that Debian has; it is only handed on.
_PRINT_FN = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)


def _check_int(result: int, function: Any, _args: object) -> int:
    # libbpf 1.x returns -errno; the system call wrappers of 0.x return -1 and set errno.
    if result >= 0:
        return result
    number = ctypes.get_errno() if result == -1 else -result
    raise OSError(number, os.strerror(number), function.__name__)


def _check_pointer(result: int | None, function: Any, _args: object) -> int:
    # libbpf 1.x returns NULL and sets errno; 0.x returns the errno as a pointer.
    if result is None:
        number = ctypes.get_errno() or errno.EINVAL
    elif result > 2 ** (8 * ctypes.sizeof(c_void_p)) - 4096:
        number = 2 ** (8 * ctypes.sizeof(c_void_p)) - result
    else:
        return result
    raise OSError(number, os.strerror(number), function.__name__)


# name: (result type, error check, argument types)
_SIGNATURES: dict[str, tuple[Any, Any, list[Any]]] = {
    # libbpf_print_fn_t libbpf_set_print(libbpf_print_fn_t fn);
    "libbpf_set_print": (c_void_p, None, [c_void_p]),
    # int libbpf_num_possible_cpus(void);
    "libbpf_num_possible_cpus": (c_int, _check_int, []),
    # struct bpf_object *bpf_object__open_file(const char *path,
    #                                          const struct bpf_object_open_opts *opts);
    "bpf_object__open_file": (c_void_p, _check_pointer, [c_char_p, c_void_p]),
    # int bpf_object__load(struct bpf_object *obj);
    "bpf_object__load": (c_int, _check_int, [c_void_p]),
    # void bpf_object__close(struct bpf_object *obj);
    "bpf_object__close": (None, None, [c_void_p]),
    # struct bpf_program *bpf_object__find_program_by_name(const struct bpf_object *, const char *);
    "bpf_object__find_program_by_name": (c_void_p, _check_pointer, [c_void_p, c_char_p]),
    # struct bpf_map *bpf_object__find_map_by_name(const struct bpf_object *, const char *);
    "bpf_object__find_map_by_name": (c_void_p, _check_pointer, [c_void_p, c_char_p]),
    # int bpf_map__set_value_size(struct bpf_map *map, __u32 size);
    "bpf_map__set_value_size": (c_int, _check_int, [c_void_p, c_uint32]),
    # int bpf_map__set_initial_value(struct bpf_map *map, const void *data, size_t size);
    "bpf_map__set_initial_value": (c_int, _check_int, [c_void_p, c_char_p, c_size_t]),
    # int bpf_program__fd(const struct bpf_program *prog);
    "bpf_program__fd": (c_int, _check_int, [c_void_p]),
    # int bpf_map__fd(const struct bpf_map *map);
    "bpf_map__fd": (c_int, _check_int, [c_void_p]),
    # __u32 bpf_map__value_size(const struct bpf_map *map);
    "bpf_map__value_size": (c_uint32, None, [c_void_p]),
    # int bpf_link_create(int prog_fd, int target_fd, enum bpf_attach_type,
    #                     const struct bpf_link_create_opts *opts);
    "bpf_link_create": (c_int, _check_int, [c_int, c_int, c_int, c_void_p]),
    # int bpf_map_lookup_elem(int fd, const void *key, void *value);
    "bpf_map_lookup_elem": (c_int, _check_int, [c_int, c_void_p, c_void_p]),
}


def bind(library: Any) -> Any:
    """Give ``library`` the signatures above.

    Raises OSError(ELIBBAD) that names the symbols which the library lacks.
    """
    missing = []
    for name, (restype, check, argtypes) in _SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            missing.append(name)
            continue
        function.restype, function.argtypes = restype, argtypes
        if check:
            function.errcheck = check
    if missing:
        raise OSError(errno.ELIBBAD, f"it lacks {', '.join(missing)}", library._name)
    return library


@functools.cache
def _library() -> Any:
    for soname in _SONAMES:
        try:
            library = ctypes.CDLL(soname, use_errno=True)
        except OSError:
            continue
        return bind(library)
    raise OSError(errno.ENOENT, "no such shared library", " or ".join(_SONAMES))


def load() -> None:
    """Open the library; OSError if there is none, or none that has all of the functions."""
    _library()


def possible_cpus() -> int:
    """Return how many CPUs the kernel can have: the slots of a per-CPU value."""
    return int(_library().libbpf_num_possible_cpus())


# libbpf keeps the address of the callback, so that the callback must outlive the library.
_print_callback: Any = None


def set_print(sink: Callable[[int, str], None], most: int = INFO) -> None:
    """Send libbpf's messages to ``sink(level, text)``, those above level ``most`` left out."""
    libc = ctypes.CDLL(None)
    # int vasprintf(char **strp, const char *fmt, va_list ap);
    libc.vasprintf.argtypes = [POINTER(c_void_p), c_char_p, c_void_p]
    libc.free.argtypes = [c_void_p]

    def write(level: int, template: bytes, arguments: int) -> int:
        if level > most:
            return 0
        text = c_void_p()
        if libc.vasprintf(ctypes.byref(text), template, arguments) >= 0:
            sink(level, ctypes.string_at(text.value or 0).decode(errors="replace").rstrip())
            libc.free(text)
        return 0

    global _print_callback
    callback = _PRINT_FN(write)
    _library().libbpf_set_print(callback)
    _print_callback = callback


def open_object(path: str) -> int:
    """Open the ELF file at ``path``; return a handle for the functions below."""
    return int(_library().bpf_object__open_file(encode(path), None))


def load_object(handle: int) -> None:
    """Create the object's maps and load its programs into the kernel."""
    _library().bpf_object__load(handle)


def close_object(handle: int) -> None:
    """Free the handle and the descriptors of its maps and programs."""
    _library().bpf_object__close(handle)


def program_fd(handle: int, name: str) -> int:
    """Return the descriptor of a loaded program; it stays the object's."""
    program = _library().bpf_object__find_program_by_name(handle, encode(name))
    return int(_library().bpf_program__fd(program))


def _map(handle: int, name: str) -> int:
    return int(_library().bpf_object__find_map_by_name(handle, encode(name)))


def check_value_size(handle: int, name: str, size: int) -> None:
    """Raise OSError(EINVAL) if the values of a map are not declared to have ``size`` bytes."""
    found = int(_library().bpf_map__value_size(_map(handle, name)))
    if found != size:
        raise OSError(errno.EINVAL, f"values of {found} bytes, not {size}", name)


def set_value_size(handle: int, name: str, size: int) -> None:
    """Set the size of the values of a map that is not loaded yet."""
    _library().bpf_map__set_value_size(_map(handle, name), size)


def set_rodata(handle: int, object_name: str, data: bytes) -> None:
    """Set the constants of an object that is not loaded yet.

    OSError(EINVAL) if they are not as many bytes as ``data``.
    """
    try:
        found = _map(handle, ".rodata")
    except OSError:
        # libbpf 0.x knows only the kernel's name of it: the file's name up to the first dot
        # and the section's, cut to 15 characters.
        found = _map(handle, object_name.split(".", maxsplit=1)[0][:8] + ".rodata")
    _library().bpf_map__set_initial_value(found, data, len(data))


def map_fd(handle: int, name: str) -> int:
    """Return the descriptor of a created map; it stays the object's."""
    return int(_library().bpf_map__fd(_map(handle, name)))


def link_create(prog_fd: int, target_fd: int, attach_type: int) -> int:
    """Attach a program; return the link's descriptor. Closing the last one detaches."""
    return int(_library().bpf_link_create(prog_fd, target_fd, attach_type, None))


class PerCpuLookup:
    """Looks elements of a per-CPU map with a ``__u64`` key up, ``capacity`` at a time.

    The kernel writes round_up(value_size, 8) bytes for each possible CPU, whatever
    the size of the buffer: too small a one is memory corruption.
    """

    def __init__(self, fd: int, value_size: int, capacity: int) -> None:
        self._fd = fd
        self.stride = (value_size + 7) // 8 * 8 * possible_cpus()
        self._buffer = ctypes.create_string_buffer(self.stride * capacity)
        self._slots = [ctypes.byref(self._buffer, n * self.stride) for n in range(capacity)]
        self._view = memoryview(self._buffer).cast("B")
        self._checked = _library().bpf_map_lookup_elem
        # The same function without conversions and checks, which cost as much as the
        # system call. Its arguments are pointers made beforehand.
        self._bare = ctypes.CDLL(_library()._name)["bpf_map_lookup_elem"]

    def prepare(self, keys: Iterable[int]) -> list[Any]:
        """Return what read_all() takes to look up ``keys``, at most as many as the capacity."""
        return [
            (self._fd, key.to_bytes(8, sys.byteorder), slot) for key, slot in zip(keys, self._slots)
        ]

    def read_all(self, prepared: list[Any]) -> bytes | None:
        """Return the values of all elements, one after another; None if any is missing."""
        if any(itertools.starmap(self._bare, prepared)):
            return None
        return self._view[: len(prepared) * self.stride].tobytes()

    def read(self, key: int) -> bytes:
        """Return the value of one element; OSError(ENOENT) if there is none."""
        self._checked(self._fd, key.to_bytes(8, sys.byteorder), self._slots[0])
        return self._view[: self.stride].tobytes()
