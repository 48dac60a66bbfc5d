"""Methods, one file each (or a few presets of one method).

A file opens with `CARD`, a pure literal that `suite.define.card` reads without importing the file, then the
components it registers with OpenMMLab's registries, then `configure(cfg, facts, **params) -> cfg`. The BibTeX
that cards cite by key is in `references.bib`.
"""

import suite as _suite  # noqa: F401 - old names of modules can be imported
