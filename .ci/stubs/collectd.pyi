# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The part of collectd's built-in module that this project uses; see collectd-python(5).
from collections.abc import Callable, Sequence
from typing import Any

class Config:
    @property
    def parent(self) -> Config | None: ...
    @property
    def key(self) -> str: ...
    @property
    def values(self) -> tuple[str | float | bool, ...]: ...
    @property
    def children(self) -> tuple[Config, ...]: ...

class Values:
    host: str
    interval: float
    meta: dict[str, Any]
    plugin: str
    plugin_instance: str
    time: float
    type: str
    type_instance: str
    values: Sequence[float]
    def __init__(
        self,
        type: str = ...,
        values: Sequence[float] = ...,
        plugin_instance: str = ...,
        type_instance: str = ...,
        plugin: str = ...,
        host: str = ...,
        time: float = ...,
        interval: float = ...,
        meta: dict[str, Any] = ...,
    ) -> None: ...
    def dispatch(
        self,
        type: str = ...,
        values: Sequence[float] = ...,
        plugin_instance: str = ...,
        type_instance: str = ...,
        plugin: str = ...,
        host: str = ...,
        time: float = ...,
        interval: float = ...,
        meta: dict[str, Any] = ...,
    ) -> None: ...

def register_config(
    callback: Callable[[Config], object], data: object = ..., name: str = ...
) -> str: ...
def register_init(callback: Callable[[], object], data: object = ..., name: str = ...) -> str: ...
def register_read(
    callback: Callable[[], object], interval: float = ..., data: object = ..., name: str = ...
) -> str: ...
def register_shutdown(
    callback: Callable[[], object], data: object = ..., name: str = ...
) -> str: ...
def unregister_read(identifier: str | Callable[[], object]) -> None: ...
def error(message: str) -> None: ...
def warning(message: str) -> None: ...
def notice(message: str) -> None: ...
def info(message: str) -> None: ...
def debug(message: str) -> None: ...
