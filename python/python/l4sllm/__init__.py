"""The l4sllm emulator as a Gymnasium environment, and experience pools as Arrow tables.

    import gymnasium, l4sllm
    env = gymnasium.make("l4sllm/DualPI2-v0")          # needs gymnasium and numpy
    table = l4sllm.read_pool("pool.parquet")           # needs pyarrow

Pools need neither gymnasium nor numpy: `l4sllm.Pool` also works with any library that has
Arrow's PyCapsule interface.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Union

from ._native import (
    EmulatorError,
    Error,
    Policy,
    PolicyError,
    Pool,
    PoolError,
    __version__,
)
from ._native import read_pool as _read_pool
from .registration import register

__all__ = [
    "EmulatorError",
    "Error",
    "Policy",
    "PolicyError",
    "Pool",
    "PoolError",
    "__version__",
    "find_policy",
    "find_scenario",
    "read_pool",
    "register",
]

if TYPE_CHECKING:
    import pyarrow

_Path = Union[str, "PathLike[str]"]
_DATA = Path(__file__).parent


def read_pool(path: _Path) -> pyarrow.Table:
    """Read a Parquet or JSON pool into a `pyarrow.Table`.

    Columns and types are those of the Parquet form, documented in
    `model/src/pool/mod.rs`: episode, scenario, time_ns, action, base_action, reason,
    reward, done, and one column for each feature. Without pyarrow, use
    `l4sllm._native.read_pool`, whose result other Arrow libraries take.

    Raises `PoolError`, with the text that `l4sllm pool inspect` prints.
    """
    import pyarrow

    return pyarrow.table(_read_pool(path))


def find_policy(name: _Path) -> Path:
    """Return the directory of a policy: `name` itself, or a built-in one of that name."""
    return _find(name, _DATA / "policies" / str(name), Path.is_dir)


def find_scenario(name: _Path) -> Path:
    """Return the file of a scenario: `name` itself, or a built-in one of that name."""
    return _find(name, _DATA / "scenarios" / f"{name}.toml", Path.is_file)


def _find(name: _Path, built_in: Path, exists: Callable[[Path], bool]) -> Path:
    given = Path(name)
    if exists(given) or not exists(built_in) or given.name != str(name):
        return given  # its reader reports errors
    return built_in


try:
    register()
except ImportError:
    pass  # pools and policies work without gymnasium
