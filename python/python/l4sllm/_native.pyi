"""The native module. Arrays are bytes in native order."""

from os import PathLike
from typing import Any

__version__: str
INFO: list[str]

class Error(Exception):
    """An error of l4sllm."""

class EmulatorError(Error):
    """A scenario or a suite that cannot be emulated."""

class PolicyError(Error):
    """A policy directory that cannot be read, run or written."""

class PoolError(Error):
    """A pool that cannot be read."""

class Emulators:
    """`count` emulators with the same options, as JSON."""

    def __init__(self, count: int, options: str) -> None: ...
    @property
    def config(self) -> str:
        """The text of config.json of policies trained here."""
    @property
    def observation_bounds(self) -> bytes:
        """Bounds of each number of an observation, f32; the lower ones are negated."""
    @property
    def action_bounds(self) -> tuple[bytes, bytes]:
        """Lower and upper bounds of actions, f32."""
    @property
    def events(self) -> int:
        """Events of the emulations so far."""
    def reset(self, seeds: list[int | None], mask: list[bool]) -> None:
        """Start an episode in each emulator for which `mask` is true."""
    def step(self, actions: bytes) -> tuple[bytes, bytes]:
        """Step all, with four f32 each; rewards, f64, and whether episodes ended, u8."""
    def observations(self) -> bytes:
        """The last observations, f32."""
    def infos(self) -> bytes:
        """Numbers about the last period of each, f64, in the order of INFO."""
    def names(self) -> list[str]:
        """Name of the scenario or condition of each."""
    def outcome(self, at: int) -> dict[str, float | None] | None:
        """The measured part of the last episode of one, if it has ended."""

class Policy:
    """A policy on summaries in the plain engine."""

    def __init__(self, directory: str | PathLike[str]) -> None: ...
    @property
    def config(self) -> str:
        """The text of config.json."""
    @property
    def hash(self) -> str:
        """SHA-256 of its files."""
    def outputs(self, observations: bytes) -> bytes:
        """The first four outputs of the head for each observation: f32 to f32."""

class Pool:
    """A pool in memory, with Arrow's PyCapsule interface."""

    def __len__(self) -> int: ...
    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The stream of record batches."""

def read_pool(path: str | PathLike[str]) -> Pool:
    """Read a Parquet or JSON pool into memory."""

def save_policy(
    directory: str | PathLike[str], config: str, tensors: dict[str, bytes]
) -> None:
    """Write a policy directory, and check that the plain engine runs it."""

def read_tensors(directory: str | PathLike[str]) -> list[tuple[str, list[int], bytes]]:
    """The tensors of a policy directory: name, shape, f32."""

def run_rust_loop(scenario: str | PathLike[str], duration: float) -> tuple[int, float]:
    """Run plain DualPI2 without a learner; events and seconds."""
