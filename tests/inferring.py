"""A method that infers, in a file of its own."""

FILE = """
CARD = {{
    "title": "Adapting",
    "tasks": ["{task}"],
    "names": {{"adapting": {{"summary": "adds a number"}}}},
    "params": {{"shift": {{"default": 1.0, "help": "added"}}}},
    "needs": {needs},
}}


def configure(cfg, facts, shift):
    return {{"start": shift, "sleep": 0.0, "at": 0, "what": ""}}


def infer(arrays, class_counts, {signature}):
    return arrays["logits"] + shift{extra}
"""


def plugin(folder, task="longtail-cls", needs="{}", signature="*, shift", extra=""):
    path = folder / "adapting.py"
    path.write_text(FILE.format(task=task, needs=needs, signature=signature, extra=extra))
    return path
