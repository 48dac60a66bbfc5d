"""The config file, the data root and the data sets in it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from suite.base import settings
from suite.base.errors import UserError
from suite.upkeep.doctor.finding import Finding, Place, catalog_of, typed


def check_config(place: Place) -> Iterator[Finding]:
    """The config file, which need not be there."""
    path = settings.config_path()
    keys = settings.config()
    words = f"sets {', '.join(keys)}" if keys else "sets nothing" if path.exists() else "not there"
    yield Finding("config", "ok", f"{path}: {words}")


def check_data(place: Place) -> Iterator[Finding]:
    """Which data root is set and from where, and which data sets are there."""
    root = settings.data_root(place.data_root, here=False)
    source = (
        "--data-root"
        if place.data_root
        else "$LONGTAIL_DATA"
        if os.environ.get("LONGTAIL_DATA")
        else str(settings.config_path())
    )
    todo = f"--data-root DIR, $LONGTAIL_DATA, or data_root in {settings.config_path()}"
    if root is None:
        yield Finding("data root", "warning", "none is set: embedded data sets alone", todo)
    elif not root.is_dir():
        yield Finding("data root", "problem", f"{root} (from {source}): no such folder", todo)
    elif not os.access(root, os.R_OK | os.X_OK):
        yield Finding("data root", "problem", f"{root} (from {source}): cannot be read", todo)
    else:
        yield Finding("data root", "ok", f"{root} (from {source})")
    there, missing = [], []
    for name, dataset in catalog_of(place).datasets().items():
        try:
            if dataset.embedded:
                # made here, or part of a package that may not be installed
                dataset.find(settings.cache_dir())
                there.append(f"{name} (embedded)")
            elif root is not None and root.is_dir():
                there.append(f"{name} ({dataset.find(root)})")
            else:
                missing.append(name)
        except UserError as error:
            absent = not (root and (root / name).exists())
            if absent:
                missing.append(name)
            else:
                # something is there, and not as it has to be
                yield Finding(
                    "data set", "warning", str(error), typed(place, "data", "check", name)
                )
        except OSError as error:
            yield Finding(
                "data set",
                "warning",
                f"{name}: {error.strerror}",
                typed(place, "data", "check", name),
            )
    if there:
        yield Finding("data sets", "ok", f"here: {', '.join(there)}")
    if missing:
        # a user of one data set lacks the others: no reason for a warning each
        words = f"not here: {', '.join(missing)}"
        yield Finding(
            "data sets", "ok" if there else "warning", words, typed(place, "data", "list")
        )
