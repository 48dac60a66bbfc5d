"""Files of the project that are no code: published numbers, attestations, reference runs.

They lie in `results/` of a checkout (and of the copy of the code that a job runs), and in
`share/longtail-suite/` of an installed package.
"""

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

SHARE = "share/longtail-suite"
HERE = Path(__file__).resolve().parents[2] / "results"


@cache
def shipped(name: str) -> Path:
    """The file or folder `results/NAME`; need not exist.

    Only what belongs to this code: neither the results root nor the working folder is looked at.
    """
    beside = HERE / name
    if not beside.exists():
        try:
            files = distribution("longtail-suite").files or []
        except PackageNotFoundError:
            files = []
        for file in files:
            path, mark, rest = file.as_posix().partition(f"{SHARE}/")
            if mark and (rest == name or rest.startswith(f"{name}/")):
                return Path(str(distribution("longtail-suite").locate_file(path))) / SHARE / name
    return beside
