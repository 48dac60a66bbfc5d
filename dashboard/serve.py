"""Start Streamlit on our pages, so that nothing but the browser's own requests is ever sent."""

import errno
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboard.palette import PALETTE
from suite.base import settings
from suite.base.command import Call
from suite.base.errors import UserError
from suite.base.text import clipped
from suite.define.catalog import Catalog

APP = Path(__file__).with_name("app.py")

LAST_PORT = 65535
USUAL_PORTS = range(8501, 8550)


def serve(
    root: Path,
    plugins: Sequence[Path],
    address: str,
    port: int,
    catalog: Catalog,
    call: Call = Call(),
) -> None:
    """Serve until Ctrl-C; `catalog` has the tasks whose pages are imported, `call` is what was said of
    folders: commands on the pages say it again, and are typed in another shell. Raises UserError: the port is taken or the address is not this machine's."""
    host = check_free(address, port)
    _own_settings()
    from streamlit.web import cli

    from dashboard import pages

    # now, so that the first visitor does not wait for it
    pages.views(catalog)
    colours = json.dumps(PALETTE)
    options = {
        "server.address": host,
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.showEmailPrompt": "false",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "type",
        "client.showErrorLinks": "false",
        "logger.hideWelcomeMessage": "true",
        "logger.level": "warning",
        "runner.magicEnabled": "false",
        # of each alone: a theme for both would be light for those who like it dark
        "theme.light.primaryColor": PALETTE[0],
        "theme.dark.primaryColor": PALETTE[5],
        "theme.light.chartCategoricalColors": colours,
        "theme.dark.chartCategoricalColors": colours,
    }
    print(f"dashboard of {root}: {url(address, port)}  (Ctrl-C ends it)", flush=True)
    arguments = ["run", os.fspath(APP), *(f"--{key}={value}" for key, value in options.items())]
    arguments += ["--", "--root", os.fspath(root)]
    for plugin in plugins:
        arguments += ["--plugin", os.fspath(plugin.absolute())]
    if call.root is not None or root != settings.results_root(None):
        arguments += ["--say-root"]
    if call.data_root is not None:
        arguments += ["--data-root", os.fspath(Path(call.data_root).expanduser().absolute())]
    sys.argv = ["streamlit", *arguments]
    cli.main()


def _own_settings() -> None:
    """No setting that somebody made for another app is ours: neither those of the home folder or of the
    folder that this was typed in, nor those of the environment."""
    for name in [name for name in os.environ if name.startswith("STREAMLIT_")]:
        del os.environ[name]
    from streamlit import config, net_util

    config.get_config_files = lambda file_name: []
    # Streamlit asks a server outside for this machine's public address when it is opened under a name
    # that it does not know
    net_util.get_external_ip = lambda: None


def url(address: str, port: int) -> str:
    """Where a browser finds it."""
    name = socket.gethostname() if address in ("0.0.0.0", "::") else address
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def check_free(address: str, port: int) -> str:
    """The address in numbers. Raises UserError where nothing can listen, with a port that is free."""
    if not 1 <= port <= LAST_PORT:
        raise UserError(f"--port {port}: a port is between 1 and {LAST_PORT}")
    try:
        host = str(socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError, ValueError) as error:
        raise UserError(f"--address {clipped(address)}: {_words(error)}") from None
    try:
        _listen(host, port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise UserError(
                f"--address {address}: {_words(error)}; without it, only this machine is served"
            ) from None
        near = range(port + 1, min(port + 50, LAST_PORT + 1))
        free = next((other for other in (*near, *USUAL_PORTS) if _is_free(host, other)), None)
        hint = f"; type --port {free}" if free else ""
        raise UserError(f"--port {port}: {_words(error)}{hint}") from None
    return host


def _words(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return (text or str(error)).lower()


def _is_free(host: str, port: int) -> bool:
    try:
        _listen(host, port)
    except OSError:
        return False
    return True


def _listen(host: str, port: int) -> None:
    """Listen for a moment, as the server will."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # a port that was served a moment ago is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind((host, port))
        probe.listen()
