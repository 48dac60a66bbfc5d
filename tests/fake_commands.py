"""Shell scripts in place of the commands that a machine may have."""


def commands(folder, monkeypatch, **scripts):
    """A PATH that holds these shell scripts alone."""
    folder.mkdir()
    for name, text in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
