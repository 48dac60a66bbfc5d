"""What is to be trained: a frozen `RunSpec` and its identity, the run id.

A run is identified by its training alone. Task, machine, path, date, device and the number of
workers are not part of it: tasks are evaluations of a run's stored predictions.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from suite.base.canonical import short_hash

RUN_ID_LENGTH = 12


class RunSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training.

    Attributes:
        protocol: name of the protocol, for people; the identity is `protocol_hash`.
        protocol_hash: hash of what the protocol fixes (`Protocol.hash`).
        method: name of the method (a preset of a card).
        params: the method's resolved parameters, those at their neutral value left out.
        seed: replicate number, >= 0.
        inputs: role -> run_id of another run that this one needs (stage 1, teachers).
    """

    protocol: str
    protocol_hash: str
    method: str
    params: dict[str, Any] = {}
    seed: int = 0
    inputs: dict[str, str] = {}

    @property
    def run_id(self) -> str:
        """Twelve hex digits; equal exactly for equal trainings."""
        # without the protocol's name: it may be renamed without changing what it fixes
        identity = {
            "protocol_hash": self.protocol_hash,
            "method": self.method,
            "params": self.params,
            "seed": self.seed,
            "inputs": self.inputs,
        }
        return short_hash(identity, RUN_ID_LENGTH)


def spelled(seeds: Iterable[int]) -> str:
    """`0-2,5` as `--seeds` takes it."""
    parts: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if parts and seed == parts[-1][1] + 1:
            parts[-1][1] = seed
        else:
            parts.append([seed, seed])
    return ",".join(f"{low}-{high}" if high > low else str(low) for low, high in parts)
