"""A package beside longtail-suite: a task that takes methods of the suite, a protocol for `longtail-cls`, a method."""

TASKS = {"worst-class": "longtail_example.task:TASK"}

# task -> protocols that it accepts too; a task that is evaluated on the same runs is named as well
PROTOCOLS = {
    "longtail-cls": "longtail_example.protocols:PROTOCOLS",
    "test-agnostic": "longtail_example.protocols:PROTOCOLS",
}
