"""The server around the pages: its port and settings, how it starts and ends, and who brings the store up to
date."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
import strangers
from dashboards import _restored, free_port, open_page, texts  # noqa: F401
from records import Records

import suite.store.ingest
from dashboard import keeper as keeping
from dashboard import serve
from dashboard.keeper import Keeper
from suite.base.errors import UserError
from suite.cli.dashboard import dashboard
from suite.records.attempt import mark_changed
from suite.store.connection import connect, store_path
from suite.store.ingest import ingest

PLUGIN = """
CARD = {
    "title": "Mine",
    "tasks": ["longtail-cls"],
    "names": {"my-own-method": {"summary": "mine"}},
    "params": {},
    "bibtex": "@misc{mine, title={Mine}}",
}


def configure(cfg, facts):
    return cfg
"""


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


@pytest.fixture(params=["127.0.0.1", pytest.param("::1", marks=ipv6)])
def taken(request):
    """(address, port) where somebody listens."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family) as other:
        other.bind((request.param, 0))
        other.listen()
        yield request.param, other.getsockname()[1]


# -- ports and addresses


def test_a_taken_port_is_told_with_one_that_is_free(taken):
    address, port = taken
    with pytest.raises(UserError) as told:
        serve.check_free(address, port)
    line = str(told.value)
    assert line.startswith(f"--port {port}: address already in use; type --port ")
    assert serve.check_free(address, int(line.rpartition(" ")[2])) == address


@pytest.mark.parametrize("port", [0, -1, 65536, 70000, 2**40])
def test_a_port_that_is_none(port):
    with pytest.raises(UserError, match=f"--port {port}: a port is between 1 and 65535"):
        serve.check_free("127.0.0.1", port)


def test_the_last_port_has_no_next_one(monkeypatch):
    def refuse(host, port):
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(serve, "_listen", refuse)
    with pytest.raises(UserError, match=r"^--port 65535: address already in use$"):
        serve.check_free("127.0.0.1", 65535)


def test_a_port_that_only_root_may_have(monkeypatch):
    def refuse(host, port):
        if port < 1024:
            raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(serve, "_listen", refuse)
    with pytest.raises(UserError, match=r"^--port 80: permission denied; type --port 8501$"):
        serve.check_free("127.0.0.1", 80)


@pytest.mark.parametrize("address", ["no.such.host.invalid", "", "a" * 300, "1.2.3.4", "[::1]"])
def test_an_address_that_is_not_ours(address, monkeypatch):
    asked = []

    def looked_up(*args, **kwargs):
        asked.append(1)
        return real(*args, **kwargs)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    with pytest.raises(UserError, match=r"^--address ") as told:
        serve.check_free(address, free_port())
    assert len(str(told.value)) < 250
    # a name server that does not answer takes seconds each time
    assert len(asked) == 1


def test_where_a_browser_finds_it():
    assert serve.url("127.0.0.1", 8501) == "http://127.0.0.1:8501"
    assert serve.url("::1", 8501) == "http://[::1]:8501"
    for everywhere in ("0.0.0.0", "::"):
        assert serve.url(everywhere, 80) == f"http://{socket.gethostname()}:80"


# -- the verb


def test_bad_input_is_one_line(suite, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = suite("dashboard", "--port", str(port), "--root", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: --port {port}: address already in use; type --port ")
    assert done.stderr.count("\n") == 1
    file = tmp_path / "file"
    file.write_text("")
    done = suite("dashboard", "--port", str(free_port()), "--root", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Error: --root {file}: is a file, not a folder\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@pytest.fixture
def started(monkeypatch):
    """What the verb would serve."""
    served = []
    monkeypatch.setattr(serve, "serve", lambda *given: served.append(given))
    return served


def start(root, **options):
    given = {"port": free_port(), "address": "127.0.0.1", "root": root, "plugin": []}
    dashboard(**{**given, **options})


def other_version(root):
    """A store as another version of the suite leaves it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite.store.ingest, "STORE_SCHEMA", 99)
        Records(root).ingest()


def damaged(root):
    Records(root).ingest()
    content = store_path(root).read_bytes()
    store_path(root).write_bytes(content[: len(content) // 2])


def unwritable(root):
    """Where no store can be written, for root too."""
    (root / "store.lock").unlink(missing_ok=True)
    (root / "store.lock").mkdir()


BROKEN = {
    other_version: "store version 99, this suite reads",
    damaged: "damaged",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_store_that_cannot_be_read_is_made_anew(tmp_path, started, broken):
    Records(tmp_path).run(mIoU=0.3)
    broken(tmp_path)
    start(tmp_path)
    assert len(started) == 1
    with connect(tmp_path) as store:
        assert store.execute("SELECT count(*) FROM attempts").fetchall() == [(1,)]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_store_that_cannot_be_read_or_written_is_told_on_the_pages(
    tmp_path, started, capsys, broken
):
    strangers.finished(tmp_path, 0, "ce")
    broken(tmp_path)
    unwritable(tmp_path)
    start(tmp_path)
    assert len(started) == 1
    told = capsys.readouterr().err
    assert told.startswith("not brought up to date: ") and told.count("\n") == 1
    assert "cannot be written" in told
    for name in ("overview", "leaderboard"):
        page = open_page(tmp_path, name)
        (line,) = page.error
        said = line.value.replace("\\", "")
        assert BROKEN[broken] in said and said.endswith("type `python -m suite ingest`")
    (tmp_path / "store.lock").rmdir()
    ingest(tmp_path, strangers.catalog().tasks(), strangers.catalog().code)
    for name in ("overview", "leaderboard"):
        assert not open_page(tmp_path, name, task="longtail-cls").error
    assert ">ce<" in texts(open_page(tmp_path, "leaderboard", task="longtail-cls"))


def test_results_that_cannot_be_written_are_shown(tmp_path, started, capsys):
    strangers.finished(tmp_path, 0, "ce")
    ingest(tmp_path, strangers.catalog().tasks(), strangers.catalog().code)
    unwritable(tmp_path)
    start(tmp_path)
    assert started and "cannot be written" in capsys.readouterr().err
    assert ">ce<" in texts(open_page(tmp_path, "leaderboard", task="longtail-cls"))
    # and without any store there is nothing to show
    store_path(tmp_path).unlink()
    with pytest.raises(UserError, match="cannot be written"):
        start(tmp_path)


def test_nothing_is_made_where_there_are_no_results(tmp_path, started, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "results"
    with pytest.raises(UserError, match=r"--root .*/results: no such folder"):
        start(root)
    # the default, where runs may begin while it is served
    start(None)
    assert [given[0] for given in started] == [root]
    page = open_page(root, "overview")
    assert "No results below" in texts(page)
    assert "python -m suite run --task" in texts(page)
    assert not root.exists()


# -- a method of the user's own


def test_a_plugin_is_known_to_the_pages(tmp_path, started):
    root, plugin = tmp_path / "results", tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    strangers.finished(root, 0, "ce")
    start(root, plugin=[plugin])
    assert started[0][1] == [plugin]
    named = {"task": "longtail-cls", "protocol": "quick"}
    assert "my-own-method" in texts(open_page(root, "leaderboard", plugins=[plugin], **named))
    assert "my-own-method" not in texts(open_page(root, "leaderboard", **named))
    assert str(plugin) in Keeper(root, [plugin])._command
    with pytest.raises(UserError, match=r"--plugin .*: no such file"):
        start(root, plugin=[tmp_path / "other.py"])


# -- the server itself

SETTINGS = """
import json, sys
from pathlib import Path
from streamlit import config
from streamlit.web import bootstrap
from dashboard import serve
from suite.define.catalog import Catalog


def shown(*_, **__):
    names = ("server.port", "server.address", "server.baseUrlPath", "browser.gatherUsageStats", "theme.base",
             "theme.primaryColor", "server.headless", "client.toolbarMode", "server.enableStaticServing")
    print(json.dumps({name: config.get_option(name) for name in names}))


bootstrap.run = shown
serve.serve(Path("here"), [], "localhost", int(sys.argv[1]), Catalog({}, {}))
"""

USERS = """
[server]
port = 9999
baseUrlPath = "elsewhere"
headless = false
enableStaticServing = true
[browser]
gatherUsageStats = true
[theme]
base = "dark"
primaryColor = "#ff00ff"
"""


@pytest.fixture
def users_home(tmp_path, monkeypatch):
    """Somebody with settings for apps of his own: at home, in this folder and in the environment."""
    for folder in ("home", "here"):
        (tmp_path / folder / ".streamlit").mkdir(parents=True)
        (tmp_path / folder / ".streamlit" / "config.toml").write_text(USERS)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STREAMLIT_SERVER_PORT", "9998")
    monkeypatch.setenv("STREAMLIT_THEME_BASE", "dark")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_settings_of_the_users_other_apps_change_nothing(users_home):
    port = free_port()

    def settings():
        done = subprocess.run(
            [sys.executable, "-c", SETTINGS, str(port)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        first, last = done.stdout.strip().splitlines()
        assert first == f"dashboard of here: http://localhost:{port}  (Ctrl-C ends it)"
        return json.loads(last)

    found = settings()
    assert found["server.address"] in ("127.0.0.1", "::1")
    del found["server.address"]
    assert found == {
        "server.port": port,
        "server.baseUrlPath": "",
        "browser.gatherUsageStats": False,
        "theme.base": None,
        "theme.primaryColor": None,
        "server.headless": True,
        "client.toolbarMode": "viewer",
        "server.enableStaticServing": False,
    }
    for folder in ("home", "here"):
        (users_home / folder / ".streamlit" / "config.toml").write_text("[not toml")
    assert settings()["server.port"] == port


def test_ctrl_c_ends_it_without_a_word_too_many(users_home):
    root, port = users_home / "results", free_port()
    address = "::" if has_ipv6() else "127.0.0.1"
    strangers.finished(root, 0, "ce")
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "suite", "dashboard", "--root", str(root)),
            *("--port", str(port), "--address", address),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        at = "http://[::1]" if ":" in address else "http://127.0.0.1"
        for _ in range(200):
            try:
                with urllib.request.urlopen(f"{at}:{port}/_stcore/health", timeout=5) as answer:
                    assert answer.read() == b"ok"
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.1)
        os.kill(server.pid, signal.SIGINT)
        said, _ = server.communicate(timeout=20)
    finally:
        server.kill()
    assert server.returncode == 0
    first, *rest = said.strip().splitlines()
    assert first == f"dashboard of {root}: {serve.url(address, port)}  (Ctrl-C ends it)"
    assert [line.strip() for line in rest] == ["Stopping..."]
    with pytest.raises(ProcessLookupError):
        os.killpg(server.pid, 0)  # no child is left behind


# -- the keeper


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(keeping, "SECONDS", 0.0)
    monkeypatch.setattr(keeping, "SHARE", 0)


def keeper_of(root, code=""):
    """A keeper whose `ingest` is a few lines of Python."""
    made = Keeper(root, [])
    if code:
        made._command = [sys.executable, "-S", "-c", code]
    return made


def settle(keeper):
    """Look until the look that is going on has ended."""
    keeper.look()
    until = time.time() + 20
    while keeper._running is not None:
        assert time.time() < until
        time.sleep(0.01)
        with keeper._lock:
            keeper._reap(keeper._running)


def test_keeper_makes_nothing_where_there_are_no_runs(tmp_path):
    keeper = Keeper(tmp_path / "results", [])
    keeper.look()
    assert keeper._running is None
    assert list(tmp_path.iterdir()) == []


def test_keeper_looks_when_something_has_changed(tmp_path, quick):
    (tmp_path / "runs").mkdir()
    log = tmp_path / "log"
    keeper = keeper_of(tmp_path, f"open({str(log)!r}, 'a').write('x')")
    for _ in range(3):
        settle(keeper)
    assert log.read_text() == "x"
    mark_changed(tmp_path)
    settle(keeper)
    assert log.read_text() == "xx"
    (tmp_path / "runs" / "new").mkdir()
    settle(keeper)
    assert log.read_text() == "xxx"


def test_keeper_looks_again_after_a_while_unasked(tmp_path, quick, monkeypatch):
    (tmp_path / "runs").mkdir()
    log = tmp_path / "log"
    keeper = keeper_of(tmp_path, f"open({str(log)!r}, 'a').write('x')")
    monkeypatch.setattr(keeping, "UNASKED_SECONDS", 0.0)
    settle(keeper)
    settle(keeper)
    assert log.read_text() == "xx"


def test_keeper_runs_one_at_a_time_and_rests(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    log = tmp_path / "log"
    code = f"import time; open({str(log)!r}, 'a').write('x'); time.sleep(0.5)"
    keeper = keeper_of(tmp_path, code)

    def changed_and_looked():
        for _ in range(20):
            mark_changed(tmp_path)
            keeper.look()

    sessions = [threading.Thread(target=changed_and_looked) for _ in range(10)]
    for session in sessions:
        session.start()
    for session in sessions:
        session.join()
    settle(keeper)
    # ended, and another one is due only after a rest of ten times as long
    changed_and_looked()
    assert log.read_text() == "x"
    assert keeper._running is None
    assert keeper._next - time.monotonic() > 4


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import sys; print('Error: /x: no', file=sys.stderr); sys.exit(2)", "/x: no"),
        ("raise ValueError('odd')", "ingest ended with code 1: ValueError: odd"),
        ("import os; os.abort()", "ingest ended with code -6: it said nothing"),
        ("import sys; print('a warning', file=sys.stderr)", ""),
    ],
)
def test_keeper_says_what_is_in_its_way_until_it_is_mended(tmp_path, quick, code, problem):
    (tmp_path / "runs").mkdir()
    keeper = keeper_of(tmp_path, code)
    settle(keeper)
    assert keeper.problem == problem
    keeper._command = [sys.executable, "-S", "-c", ""]
    mark_changed(tmp_path)
    settle(keeper)
    assert keeper.problem == ""


def test_keeper_that_cannot_start_anything(tmp_path):
    (tmp_path / "runs").mkdir()
    keeper = keeper_of(tmp_path)
    keeper._command = [str(tmp_path / "no-such-python")]
    keeper.look()
    assert keeper.problem == "ingest cannot be started (No such file or directory)"
    keeper.look()


def test_keeper_brings_the_store_up_to_date(tmp_path, quick):
    strangers.finished(tmp_path, 0, "ce")
    keeper = Keeper(tmp_path, [])
    settle(keeper)
    assert keeper.problem == ""
    with connect(tmp_path) as store:
        assert store.execute("SELECT method FROM attempts").fetchall() == [("ce",)]
    unwritable(tmp_path)
    strangers.finished(tmp_path, 1, "ce")
    settle(keeper)
    assert keeper.problem == f"{tmp_path}: the store cannot be written (Is a directory)"


def test_keeper_takes_its_child_along(tmp_path):
    (tmp_path / "runs").mkdir()
    keeper = keeper_of(tmp_path, "import time; time.sleep(60)")
    keeper.look()
    child = keeper._running
    assert child is not None and child.poll() is None
    keeper.close()
    assert child.poll() == -signal.SIGTERM
