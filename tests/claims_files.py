"""Files of published numbers as a user writes them."""

import json

ENTRY = {
    "method": "ce",
    "task": "toy-task",
    "metric": "mIoU",
    "value": 41.5,
    "unit": "percent",
    "location": "table 1",
    "protocol_as_printed": "toy, 10 iterations",
    "protocol": "toy:quick",
    "verified": True,
    "tag": "R",
}


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and value != value:
        return "nan"
    return (
        json.dumps(value, ensure_ascii=False).replace("Infinity", "inf").replace("\x7f", "\\u007f")
    )


def write(folder, *entries, tables=(), name="paper.toml", **top):
    folder.mkdir(exist_ok=True)
    source = top.pop("source", {"title": "A paper", "where": "its README"})
    content = {**top, "source": source, "table": list(tables), "claim": list(entries)}
    (folder / name).write_text(
        "".join(f"{key} = {toml(v)}\n" for key, v in content.items()), "utf-8"
    )
    return folder
