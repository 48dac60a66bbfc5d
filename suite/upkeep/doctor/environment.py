"""Python, the declared packages, what a training imports, GPUs, tasks and methods."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from suite.upkeep.doctor import finding
from suite.upkeep.doctor.finding import Finding, Place, State, call, catalog_of

DISTRIBUTION = "longtail-suite"
OPTIONAL = frozenset({"streamlit", "submitit"})
"""Needed by one part alone (dashboard, cluster): their absence stops no training."""
IMPORTED = ("torch", "mmengine", "mmcv", "mmseg")
"""What a training imports; an installed package need not work (another torch, a missing library)."""


def check_python(place: Place) -> Iterator[Finding]:
    """Version against the package's own bounds, and which interpreter it is."""
    version = platform.python_version()
    where = f"Python {version} in {sys.prefix}"
    try:
        bounds = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"] or ""
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            "python", "problem", f"{where}; {DISTRIBUTION} is not installed", "pip install -e ."
        )
        return
    if _within(version, SpecifierSet(bounds)):
        yield Finding("python", "ok", where)
    else:
        todo = f"make an environment with a Python {bounds}"
        yield Finding("python", "problem", f"{where}, but {DISTRIBUTION} needs {bounds}", todo)


def check_packages(place: Place) -> Iterator[Finding]:
    """Every declared dependency: there, and of a version that is allowed."""
    try:
        declared = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return  # said by the check before
    present = []
    for text in declared:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue  # an extra, or another platform's
        name, bounds = requirement.name, requirement.specifier
        state: State = "warning" if name in OPTIONAL else "problem"
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("packages", state, f"{name} is missing", f"pip install '{text}'")
            continue
        present.append(f"{name} {version}")
        if not _within(version, bounds):
            words = f"{name} {version} is not {bounds}: not tested together"
            yield Finding("packages", "warning", words, f"pip install '{text}'")
    yield Finding("packages", "ok", ", ".join(present))


def _within(version: str, bounds: SpecifierSet) -> bool:
    return bounds.contains(version, prereleases=True)


_IMPORT = """
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
        found[name] = {"version": str(getattr(module, "__version__", "?"))}
    except BaseException as error:
        found[name] = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
if "version" in found.get("torch", {}):
    import torch
    found["torch"].update(threads=torch.get_num_threads(), built_for=torch.version.cuda, gpus=[])
    try:
        if torch.cuda.is_available():
            for i in range(torch.cuda.device_count()):
                found["torch"]["gpus"].append(torch.cuda.get_device_name(i))
    except BaseException as error:
        found["torch"]["cuda_error"] = " ".join(str(error).split())[:300]
print("\\n" + json.dumps(found))
"""


def check_imports(place: Place) -> Iterator[Finding]:
    """Import what a training imports, in a process of its own: it may crash, hang, or take a GPU."""
    command = [sys.executable, "-W", "ignore", "-c", _IMPORT, *IMPORTED]
    code, output, words = call(command, finding.CHECK_SECONDS - 1)
    try:
        found = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        reason = words or f"exit code {code}"
        todo = f'python -c "import {", ".join(IMPORTED)}"'
        yield Finding("imports", "problem", f"importing the engine fails: {reason}", todo)
        return
    working = []
    for name, entry in found.items():
        if "error" in entry:
            words, todo = f"import {name}: {entry['error']}", f'python -c "import {name}"'
            yield Finding("imports", "problem", words, todo)
        else:
            working.append(f"{name} {entry['version']}")
    yield Finding("imports", "ok", ", ".join(working) or "none")
    if "version" in found.get("torch", {}):
        yield from _torch(found["torch"])


def _torch(torch: Mapping[str, Any]) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0))
    threads = f"{cores} core(s), torch uses {torch['threads']} thread(s)"
    if torch["threads"] > cores:
        todo = f"export OMP_NUM_THREADS={cores}"
        yield Finding("threads", "warning", f"{threads}: more than there are", todo)
    else:
        yield Finding("threads", "ok", f"{threads}; a run sets its own number by its protocol")
    if torch["gpus"]:
        yield Finding("gpu", "ok", f"CUDA {torch['built_for']}: {', '.join(torch['gpus'])}")
        return
    reason = torch.get("cuda_error") or (
        f"torch is built for CUDA {torch['built_for']} and finds none"
        if torch["built_for"]
        else "torch is built for the CPU"
    )
    seen = call(["nvidia-smi", "-L"], finding.COMMAND_SECONDS)[1].strip().splitlines()
    if seen and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        words = f"{len(seen)} GPU(s) by nvidia-smi, none for torch: {reason}"
        yield Finding("gpu", "warning", words, "install a torch for your CUDA: pytorch.org")
    else:
        yield Finding("gpu", "ok", f"none ({reason}): runs here train on the CPU")


def check_catalog(place: Place) -> Iterator[Finding]:
    """The installed tasks and methods, and the plug-ins, can be read."""
    catalog = catalog_of(place)
    tasks, methods = catalog.tasks(), catalog.methods()
    words = f"{len(tasks)} task(s), {len(methods)} method(s)"
    if tasks and methods:
        yield Finding("catalog", "ok", words)
    else:
        yield Finding("catalog", "problem", f"{words} found", "pip install -e .")
    for line in catalog.problems:
        yield Finding("catalog", "warning", line, "mend the package, or uninstall it")
