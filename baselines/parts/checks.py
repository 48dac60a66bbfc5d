"""Checks of arguments that several losses take."""


def at_least_zero(**arguments: float) -> None:
    """Raise ValueError, with all of them, where one is below 0."""
    if any(value < 0 for value in arguments.values()):
        said = " and ".join(f"{name} {value}" for name, value in arguments.items())
        raise ValueError(f"{said.replace(' ', ' is ', 1)}, expected >= 0")
