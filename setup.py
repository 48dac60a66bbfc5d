"""What pyproject.toml cannot say: `results/` as data of the package `suite` (see `suite/base/shipped.py`).

Published numbers and attestations are kept beside the reference runs in a checkout; a wheel has them within.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("results/*.toml", "results/claims/*.toml")


class BuildWithResults(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for path in sorted(path for pattern in SHIPPED for path in Path().glob(pattern)):
            target = Path(self.build_lib, "suite", "shipped", *path.parts[1:])
            self.mkpath(str(target.parent))
            self.copy_file(str(path), str(target))


setup(cmdclass={"build_py": BuildWithResults})
