"""Which code, on which machine, made a number."""

import hashlib
import json
import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "numpy",
    "onedl-mmengine",
    "onedl-mmcv",
    "onedl-mmsegmentation",
    "scikit-learn",
    "longtail-suite",
)
"""Distributions whose versions a record names."""


def environment(device: str, threads: int, seed: int, job: str = "") -> dict[str, Any]:
    """Versions, code state, hardware and settings of this process, for the record."""
    from importlib.metadata import PackageNotFoundError, version

    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "packages": packages,
        "git": git_state(),
        "system": f"{platform.system()} {platform.machine()}",
        "host": platform.node(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "device": device,
        "threads": threads,
        "seed": seed,
        **({"job": job} if job else {}),
    }


GIT_FILE = "longtail-git.json"
"""In a copy of the code: what `git_state` said of the checkout it was made from."""


@lru_cache(maxsize=1)
def git_state() -> dict[str, str] | None:
    """Commit of the suite's checkout and digest of its uncommitted changes; None outside of one."""
    here = Path(__file__).resolve().parents[2]
    try:
        copied: dict[str, str] | None = json.loads((here / GIT_FILE).read_bytes())
        return copied
    except FileNotFoundError:
        pass

    def git(*arguments: str) -> bytes:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, check=True, timeout=20).stdout

    try:
        commit = git("rev-parse", "HEAD").decode().strip()
        dirty = git("diff", "HEAD", "--", "*.py")
    except (OSError, subprocess.SubprocessError):
        return None
    state = {"commit": commit}
    if dirty:
        state["dirty"] = hashlib.sha256(dirty).hexdigest()[:12]
    return state


@lru_cache(maxsize=1)
def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
