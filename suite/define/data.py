"""Where a protocol's data lie on this machine."""

from __future__ import annotations

from pathlib import Path

from suite.base.aside import aside
from suite.base.errors import DataError
from suite.base.settings import cache_dir, config_path
from suite.define.protocol import Protocol


@aside()
def find_data(protocol: Protocol, data_root: Path | None) -> Path:
    """Folder of the protocol's data set below `data_root` (embedded sets: in the cache).

    Raises DataError: no data root, or the data set is missing, empty or half-copied.
    """
    dataset = protocol.dataset
    if dataset.embedded:
        return dataset.find(cache_dir())
    if data_root is None:
        raise DataError(
            f"data set {dataset.name!r} needs a data root: give --data-root DIR, set $LONGTAIL_DATA, "
            f"or put data_root in {config_path()}; layout: {dataset.layout}"
        )
    return dataset.find(data_root)
