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
import mmap
import os
import sys
from collections.abc import Iterable
from ctypes import POINTER, c_char, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Callable

from .text import decode, encode

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
    # int bpf_link_update(int link_fd, int new_prog_fd, const struct bpf_link_update_opts *opts);
    "bpf_link_update": (c_int, _check_int, [c_int, c_int, c_void_p]),
    # int bpf_link_detach(int link_fd);
    "bpf_link_detach": (c_int, _check_int, [c_int]),
    # int bpf_obj_pin(int fd, const char *pathname);
    "bpf_obj_pin": (c_int, _check_int, [c_int, c_char_p]),
    # int bpf_obj_get(const char *pathname);
    "bpf_obj_get": (c_int, _check_int, [c_char_p]),
    # int bpf_obj_get_info_by_fd(int bpf_fd, void *info, __u32 *info_len);
    "bpf_obj_get_info_by_fd": (c_int, _check_int, [c_int, c_void_p, POINTER(c_uint32)]),
    # int bpf_map__set_pin_path(struct bpf_map *map, const char *path);
    "bpf_map__set_pin_path": (c_int, _check_int, [c_void_p, c_char_p]),
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


def set_pin_path(handle: int, name: str, path: str) -> None:
    """Have a map pinned at ``path`` when the object is loaded, or the one used that is there."""
    _library().bpf_map__set_pin_path(_map(handle, name), encode(path))


def map_fd(handle: int, name: str) -> int:
    """Return the descriptor of a created map; it stays the object's."""
    return int(_library().bpf_map__fd(_map(handle, name)))


def link_create(prog_fd: int, target_fd: int, attach_type: int) -> int:
    """Attach a program; return the link's descriptor. Closing the last one detaches."""
    return int(_library().bpf_link_create(prog_fd, target_fd, attach_type, None))


def link_update(link_fd: int, prog_fd: int) -> None:
    """Replace a link's program in place: no packet passes by neither."""
    _library().bpf_link_update(link_fd, prog_fd, None)


def link_detach(link_fd: int) -> None:
    """Detach at once, whoever else holds the link; fine if it is detached already."""
    _library().bpf_link_detach(link_fd)


class _LinkInfo(ctypes.Structure):
    """The head of struct bpf_link_info, with the arm of its union for cgroups."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("prog_id", c_uint32),
        ("_hole", c_uint32),
        ("cgroup_id", c_uint64),
        ("attach_type", c_uint32),
        ("_rest", c_uint32),
    )


_LINK_TYPE_CGROUP = 3  # enum bpf_link_type


def cgroup_link(fd: int) -> tuple[int, int] | None:
    """Return cgroup id and attach type of a link; None for anything else.

    The id is 0 if the cgroup is gone.
    """
    info = _info(fd, _LinkInfo)
    if info is None or info.type != _LINK_TYPE_CGROUP:
        return None
    return info.cgroup_id, info.attach_type


class _MapInfo(ctypes.Structure):
    """The head of struct bpf_map_info."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
        ("name", c_char * 16),
    )


_MAP_TYPE_ARRAY = 2  # enum bpf_map_type
_F_MMAPABLE = 1 << 10


def array_size(fd: int) -> int:
    """Return the octets that can be mapped of what create_array() made; 0 for anything else."""
    info = _info(fd, _MapInfo)
    if info is None or info.type != _MAP_TYPE_ARRAY or not info.map_flags & _F_MMAPABLE:
        return 0
    return int(info.value_size * info.max_entries)


def map_name(fd: int) -> str:
    """Return the name that a map was created with, "" for anything else."""
    info = _info(fd, _MapInfo)
    return "" if info is None else decode(info.name)


def _info(fd: int, kind: Any) -> Any:
    """Return a structure with what the kernel tells of a BPF object; None of another kind."""
    # The link "anon_inode:bpf-map" says which kind it is; the kernel fills in any structure.
    words = os.readlink(f"/proc/self/fd/{fd}")
    if ("map" if kind is _MapInfo else "link") not in words:
        return None
    info = kind()
    size = c_uint32(ctypes.sizeof(info))
    _library().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
    return info


class _MapCreateOptions(ctypes.Structure):
    """The head of struct bpf_map_create_opts."""

    _fields_ = (
        ("sz", c_size_t),
        *((f"_btf_{number}", c_uint32) for number in range(4)),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
    )


def create_array(name: str, size: int) -> int:
    """Make an array map of ``size`` octets to be mapped into memory; return its descriptor.

    ``size`` is rounded up to whole pages.
    """
    page = mmap.PAGESIZE
    pages = -(-size // page)
    sizes = (4, page, pages)  # of keys and values, and how many
    create = getattr(_library(), "bpf_map_create", None)
    if create is None:  # before libbpf 0.7
        # int bpf_create_map_name(enum bpf_map_type map_type, const char *name, int key_size,
        #                         int value_size, int max_entries, __u32 map_flags);
        create = _library().bpf_create_map_name
        create.argtypes = [c_int, c_char_p, c_int, c_int, c_int, c_uint32]
        flags: Any = _F_MMAPABLE
    else:
        # int bpf_map_create(enum bpf_map_type map_type, const char *map_name, __u32 key_size,
        #                    __u32 value_size, __u32 max_entries,
        #                    const struct bpf_map_create_opts *opts);
        create.argtypes = [c_int, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p]
        options = _MapCreateOptions(sz=ctypes.sizeof(_MapCreateOptions), map_flags=_F_MMAPABLE)
        flags = ctypes.byref(options)
    create.restype, create.errcheck = c_int, _check_int
    return int(create(_MAP_TYPE_ARRAY, encode(name), *sizes, flags))


def pin(fd: int, path: str) -> None:
    """Pin the BPF object that ``fd`` is open on."""
    _library().bpf_obj_pin(fd, encode(path))


def open_pin(path: str) -> int:
    """Return a descriptor of the BPF object that is pinned at ``path``."""
    return int(_library().bpf_obj_get(encode(path)))


class PerCpuLookup:
    """Looks up elements of a per-CPU map with a ``__u64`` key, ``capacity`` at a time.

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
