"""Kills the process at one point of its code, as kill -9 does: for children with this on PYTHONPATH.

The variable FAULT_POINT names the point as `module:function:when:number`. Of the number-th call of
the function `when` is

before, after   the call,
parquet, entry  in the midst of it, once its first argument, a Delta table, has a new Parquet file,
                or the beginning of a new log entry (Linux: by inotify).

Without the variable nothing happens until somebody calls `arm`.
"""

import ctypes
import importlib.abc
import importlib.util
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any

VARIABLE = "FAULT_POINT"
CLOSE_WRITE, MOVED_TO, CREATE = 0x8, 0x80, 0x100


@dataclass(frozen=True)
class Armed:
    """A function that counts its calls, and what it was before."""

    inner: Callable[..., Any]
    when: str
    number: int
    calls: Iterator[int]


_armed: dict[str, Armed] = {}


def arm(point: str) -> None:
    """Lets the process die at the point, whether its module is imported yet or not."""
    module = point.partition(":")[0]
    if module in sys.modules:
        _set(sys.modules[module], point)
    else:
        sys.meta_path.insert(0, _Finder(module, point))


def called(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Stands in for the function that is armed under this name."""
    armed = _armed[name]
    is_it = next(armed.calls) == armed.number
    if is_it and armed.when == "before":
        die()
    if is_it and armed.when in ("parquet", "entry"):
        _die_once_written(args[0].table_uri.removeprefix("file://"), armed.when)
    result = armed.inner(*args, **kwargs)
    if is_it:
        # what was to happen in the midst of the call at the latest now
        die()
    return result


def die() -> None:
    """As if by somebody else's kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def _set(module: ModuleType, point: str) -> None:
    _, name, when, number = point.split(":")
    found: Any = reduce(getattr, name.split("."), module)
    # of a Prefect task the function
    function: FunctionType = getattr(found, "fn", found)
    inner = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    inner.__kwdefaults__ = function.__kwdefaults__
    key = f"{module.__name__}:{name}"
    _armed[key] = Armed(inner, when, int(number), itertools.count(1))
    # its code and not its name is replaced, so that whoever has imported it already calls the new one
    function.__code__ = _stand_in(key).__code__
    function.__defaults__ = function.__kwdefaults__ = None


def _stand_in(key: str) -> Callable[..., Any]:
    # it runs with the globals of another module, so it must need none
    code = (
        "def stand_in(*args, **kwargs):\n"
        "    import sitecustomize\n"
        f"    return sitecustomize.called({key!r}, args, kwargs)\n"
    )
    names: dict[str, Any] = {}
    exec(code, names)
    stand_in: Callable[..., Any] = names["stand_in"]
    return stand_in


def _die_once_written(table: str, what: str) -> None:
    """A thread that waits for the kernel's word; the Delta library lets other threads run meanwhile."""
    libc = ctypes.CDLL(None)
    descriptor = libc.inotify_init()
    folder, events = (table, CLOSE_WRITE | MOVED_TO) if what == "parquet" else (f"{table}/_delta_log", CREATE)  # fmt: skip
    if libc.inotify_add_watch(descriptor, os.fsencode(folder), events) < 0:
        raise OSError(f"{folder} cannot be watched")

    def wait() -> None:
        os.read(descriptor, 4096)
        die()

    threading.Thread(target=wait, daemon=True).start()


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module as everybody else would, and arms it once it is executed."""

    def __init__(self, module: str, point: str) -> None:
        self._module = module
        self._point = point

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec is not None, f"there is no module {fullname}"
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def executed(module: ModuleType) -> None:
            execute(module)
            _set(module, self._point)

        spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec


if os.environ.get(VARIABLE):
    arm(os.environ[VARIABLE])
