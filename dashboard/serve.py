"""Start Streamlit on our pages, so that nothing but the browser's own requests is ever sent."""

import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from suite.errors import UserError

APP = Path(__file__).with_name("app.py")

# Okabe and Ito's colours, safe for colour-blind readers; their yellow and light blue are darkened, or too
# light on white
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#4DA6D9", "#8A6D00", "#7F7F7F")


def serve(root: Path, plugins: Sequence[Path], address: str, port: int) -> None:
    """Serve until Ctrl-C. Raises UserError: the port is taken or the address is not this machine's."""
    check_free(address, port)
    from streamlit import net_util
    from streamlit.web import cli

    # Streamlit asks a server outside for this machine's public address when it is opened under a name
    # that it does not know
    net_util.get_external_ip = lambda: None
    options = {
        "server.address": address,
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
        "theme.chartCategoricalColors": json.dumps(PALETTE),
    }
    print(f"dashboard of {root}: {url(address, port)}  (Ctrl-C ends it)", flush=True)
    arguments = ["run", os.fspath(APP), *(f"--{key}={value}" for key, value in options.items())]
    arguments += ["--", "--root", os.fspath(root)]
    for plugin in plugins:
        arguments += ["--plugin", os.fspath(plugin.absolute())]
    sys.argv = ["streamlit", *arguments]
    cli.main()


def url(address: str, port: int) -> str:
    """Where a browser finds it."""
    name = socket.gethostname() if address in ("0.0.0.0", "::") else address
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def check_free(address: str, port: int) -> None:
    """Raise UserError where nothing can listen, with a port that is free."""
    try:
        _listen(address, port)
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        free = next((p for p in range(port + 1, port + 50) if _is_free(address, p)), None)
        if free is None:
            raise UserError(f"--address {address}: cannot listen there ({words})") from None
        raise UserError(f"--port {port}: {words}; type --port {free}") from None
    except OverflowError:
        raise UserError(f"--port {port}: a port is between 1 and 65535") from None


def _is_free(address: str, port: int) -> bool:
    try:
        _listen(address, port)
    except (OSError, OverflowError):
        return False
    return True


def _listen(address: str, port: int) -> None:
    family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # as the server does: a port that was served a moment ago is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(place)
        probe.listen()
