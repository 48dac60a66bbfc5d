"""Files of the project that are no code: published numbers, attestations.

They lie in `results/` of a checkout (and of the copy of the code that a job runs), and in an installed package
as data of its own (setup.py).
"""

from pathlib import Path

HERE = Path(__file__).resolve().parents[2] / "results"
INSTALLED = Path(__file__).resolve().parents[1] / "shipped"


def shipped(name: str) -> Path:
    """The file or folder `results/NAME`; need not exist.

    Only what belongs to this code: neither the results root nor the working folder is looked at.
    """
    return (INSTALLED if INSTALLED.is_dir() else HERE) / name
