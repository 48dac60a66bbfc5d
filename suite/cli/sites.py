"""`sites`: the profiles of what a cluster job asks for."""

from __future__ import annotations

from typing import Annotated

import typer

from suite.cli.options import parse_format


def sites(format: Annotated[str, typer.Option(help="table or json.")] = "table") -> None:
    """List the site profiles for --site.

    \b
    Examples:
      python -m suite sites
      python -m suite run --task longtail-seg --on slurm --site lab --dry-run
    """
    import msgspec

    from suite.cli.output import clean, console, params, print_rows, table
    from suite.dispatch import request as profiles

    parse_format(format, ("table", "json"))
    known = profiles.sites()
    if format == "json":
        listing = [{"site": name, **msgspec.to_builtins(site)} for name, site in known.items()]
        print_rows("sites", listing, file=str(profiles.sites_path()))
        return
    out = console()
    path = profiles.sites_path()
    if not known:
        out.print(f"no sites yet. Write them into {clean(path)}, such as:\n", soft_wrap=True)
        print('[lab]\npartition = "gpu"\ntime = "4:00:00"\ngpus_per_node = 1\nmem = "32G"\n')
        print(f"keys: {', '.join(profiles.Site.__struct_fields__)}")
        return
    default = msgspec.to_builtins(profiles.Site())
    rows = []
    for name, site in known.items():
        values = msgspec.to_builtins(site)
        rows.append((name, params({k: v for k, v in values.items() if v != default[k]})))
    out.print(table(("site", "asks for"), rows, str(path)))
