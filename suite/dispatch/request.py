"""What a cluster job asks for, and site profiles that name it once.

`~/.config/longtail-suite/sites.toml` (or the file named by `$LONGTAIL_SITES`) holds a table per site;
flags of the command beat it:

    [lab]
    partition = "gpu"
    time = "4:00:00"
    gpus_per_node = 1
    cpus_per_task = 8
    mem = "32G"
    setup = ["module load cuda"]
    sbatch = { reservation = "longtail" }
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from suite.base.errors import UserError, did_you_mean
from suite.base.settings import config_path


class Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One job's request, in sbatch's words; null leaves it to the cluster.

    Attributes:
        time: time limit in minutes or as SLURM writes it (`30`, `4:00:00`, `2-12`).
        gpus_per_node: such as `2` or `a100:2`. A job has one node and one task.
        cpus_per_task: without it a job asks for what its runs' protocol uses.
        mem: memory of the job, such as `16G`.
        gpu_mem: memory of one GPU, such as `80G`: lets `pack` put several runs on one.
        array_parallelism: jobs that may run at a time.
        max_array: largest array the site takes; default and bound is the cluster's own limit.
        pack: runs in a job, or `auto`.
        ranks: processes that share a run, each with a GPU of the job; null for the protocol's.
        sbatch: further options of sbatch, name -> value, true for one without.
        setup: shell lines before the job starts (modules, environment variables).
        python: command that starts Python on the node; default the present interpreter.
        signal_seconds: how long before the time limit a job is told to checkpoint.
        backoff_seconds: wait before a job that broke is queued again, doubled each time.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: int | str | None = None
    gpus_per_node: int | str = 0
    cpus_per_task: int | None = None
    mem: str | None = None
    gpu_mem: str | None = None
    array_parallelism: int | None = None
    max_array: int | None = None
    pack: int | Literal["auto"] = "auto"
    ranks: int | None = None
    sbatch: dict[str, str | int | bool] = {}
    setup: list[str] = []
    python: str | None = None
    signal_seconds: int = 120
    backoff_seconds: int = 30

    @property
    def minutes(self) -> int | None:
        """The time limit in whole minutes, rounded up as SLURM does."""
        return None if self.time is None else _minutes(self.time)

    @property
    def gpus(self) -> int:
        """Number of GPUs of a job."""
        return _gpus(self.gpus_per_node)

    @property
    def mem_bytes(self) -> int | None:
        return None if self.mem is None else _bytes("mem", self.mem)

    @property
    def gpu_mem_bytes(self) -> int | None:
        return None if self.gpu_mem is None else _bytes("gpu_mem", self.gpu_mem)


RESERVED = frozenset(
    {"array", "dependency", "error", "job-name", "no-requeue", "nodes", "ntasks", "ntasks-per-node"}
    | {"open-mode", "output", "parsable", "requeue", "signal", "wait", "wrap", "clusters"}
)
"""Options of sbatch that a job's bookkeeping hangs on."""
OWN_FLAGS = frozenset(
    {"partition", "account", "qos", "constraint", "time", "gpus-per-node", "cpus-per-task", "mem"}
)
"""Options of sbatch that have a flag and a key of their own."""


SHELL_KEYS = ("setup", "python", "sbatch")
"""Keys that run something of their own on the node."""


def sites_path() -> Path:
    given = os.environ.get("LONGTAIL_SITES")
    return Path(given).expanduser() if given else config_path().with_name("sites.toml")


def sites() -> dict[str, Site]:
    """Profiles by name, {} without a file. Raises UserError: bad TOML, unknown keys, bad values."""
    path = sites_path()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if "LONGTAIL_SITES" in os.environ:
            raise UserError(f"{path}: no such file (named by $LONGTAIL_SITES)") from None
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None
    found = {}
    for name, values in content.items():
        if not isinstance(values, dict):
            raise UserError(f"{path}: {name} stands outside of a table; write [NAME] above it")
        found[name] = checked_site(values, f"{path}: [{name}]")
    return found


def checked_site(values: Mapping[str, Any], where: str) -> Site:
    """What a job asks for, validated. Raises UserError that opens with `where`."""
    for key in values:
        if key not in Site.__struct_fields__:
            near = did_you_mean(key, Site.__struct_fields__)
            raise UserError(f"{where}: unknown key {key!r}{near}")
    try:
        site = msgspec.convert(dict(values), Site)
    except msgspec.ValidationError as error:
        raise UserError(f"{where}: {error}") from None
    lowest = {
        "cpus_per_task": 1,
        "array_parallelism": 1,
        "max_array": 1,
        "pack": 1,
        "ranks": 1,
        "signal_seconds": 1,
        "backoff_seconds": 0,
    }
    for key, low in lowest.items():
        value = getattr(site, key)
        if isinstance(value, int) and value < low:
            raise UserError(f"{where}: {key} is {value}; at least {low}")
    for text in (site.partition, site.account, site.qos, site.constraint, *site.sbatch):
        if text is not None and ("\n" in text or not text.strip()):
            raise UserError(f"{where}: {text!r} is no value that sbatch takes")
    for key in site.sbatch:
        name = key.replace("_", "-")
        if name in RESERVED:
            raise UserError(f"{where}: sbatch option {key!r} is set by the suite itself")
        if name in OWN_FLAGS:
            raise UserError(
                f"{where}: give {key!r} as --{name}, or {name.replace('-', '_')} of a site"
            )
        if len(name) < 2:
            raise UserError(f"{where}: sbatch option {key!r}: write its long name")
        if name.startswith(("gpus", "tres")) or (name == "gres" and "gpu" in str(site.sbatch[key])):
            raise UserError(f"{where}: ask for GPUs with --gpus-per-node, such as a100:2")
    try:
        minutes, _ = site.minutes, (site.mem_bytes, site.gpu_mem_bytes, site.gpus)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if minutes is not None and 60 * minutes <= site.signal_seconds + 30:
        # SLURM looks every half minute
        raise UserError(
            f"{where}: time is {minutes} min, and jobs are told to stop {site.signal_seconds} s before "
            "their limit (signal_seconds of the site): ask for more time"
        )
    return site


def requested_site(name: str | None, flags: Mapping[str, Any], base: Site | None = None) -> Site:
    """The profile `name` (`base`, or an empty one, for None) with the flags that were given (not None)
    over it.

    `flags["sbatch"]` holds `KEY=VALUE` or `KEY` texts, added to the profile's. Raises UserError.
    """
    known = sites()
    if name is not None and name not in known:
        hint = did_you_mean(name, known) if known else f"; {sites_path()} names none"
        raise UserError(f"--site {name}: no such site{hint}")
    profile = known[name] if name is not None else base or Site()
    values = msgspec.to_builtins(profile)
    given = {key: value for key, value in flags.items() if value is not None}
    extra = {}
    for text in given.pop("sbatch", ()):
        key, equals, value = text.removeprefix("--").partition("=")
        extra[key.strip()] = value if equals else True
    pack = given.get("pack")
    if isinstance(pack, str) and pack != "auto":
        if not (pack.isdecimal() and len(pack) < 10):
            raise UserError(f"--pack {pack!r}: a number of runs, or auto")
        given["pack"] = int(pack)
    if extra:
        given["sbatch"] = {**profile.sbatch, **extra}
    return checked_site({**values, **given}, f"site {name}" if name else "--on slurm")


_TIME = re.compile(r"(?:(\d{1,9})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?")


def _minutes(time: int | str) -> int:
    found = _TIME.fullmatch(str(time).strip())
    if not found:
        raise UserError(f"time {time!r}: write minutes, hours:minutes:seconds or days-hours")
    days, first, second, third = (None if part is None else int(part) for part in found.groups())
    assert first is not None
    if days is not None:
        seconds = days * 86400 + first * 3600 + (second or 0) * 60 + (third or 0)
    elif third is not None:
        seconds = first * 3600 + (second or 0) * 60 + third
    else:
        seconds = first * 60 + (second or 0)
    if seconds < 60:
        raise UserError(f"time {time!r}: at least one minute")
    return -(-seconds // 60)


# a slice of a GPU is a type as well: a100_1g.5gb, 1g.10gb+me
_GRES_TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def _gpus(asked: int | str) -> int:
    kind, colon, number = str(asked).rpartition(":")
    if not (number.isdecimal() and len(number) < 10) or (colon and not _GRES_TYPE.fullmatch(kind)):
        raise UserError(f"gpus_per_node {asked!r}: a number, or a type and a number such as a100:2")
    return int(number)


def _bytes(key: str, text: str) -> int:
    found = re.fullmatch(r"(\d{1,18})([KMGT]?)B?", text.strip().upper())
    if not found or not int(found[1]):
        raise UserError(f"{key} {text!r}: write a number and K, M, G or T, such as 16G")
    # a bare number is MiB, as for sbatch
    return int(found[1]) << {"K": 10, "": 20, "M": 20, "G": 30, "T": 40}[found[2]]
