"""`suite export` of runs of our own."""

from exported import Page


# -- command line
def test_the_command(suite, inside, fake, tmp_path):
    done = suite("run", "--task", "fake", "--seeds", "0")
    assert done.returncode == 0, done.stderr
    for path, more in (("t.tex", ()), ("t.parquet", ("--long",))):
        done = inside("export", "--task", "fake", "-o", path, *more)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / path).stat().st_size > 100
    done = suite("export", "--task", "fake", "--format", "html", "-o", "site")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("site/index.html\n")
    page = Page((tmp_path / "site" / "index.html").read_text())
    assert "numpy" in page.text  # package versions, from the records
    (tmp_path / "site" / "mine").write_text("x")
    for arguments, message in (
        (("-o", "site", "--format", "html"), "no export wrote (mine)"),
        (("-o", "x.csv", "--protocol", "nothing"), "no such protocol"),
    ):
        done = inside("export", "--task", "fake", *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
