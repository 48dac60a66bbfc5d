"""Fairness flags: what makes two runs of one protocol unequal. A flag is shown; it ranks nothing down."""

TRANSDUCTIVE = "transductive"
TEST_PRIOR = "test-prior"
EXTRA_BUDGET = "extra-budget"
DATA_VARIANT = "data-variant"
EXTERNAL = "external"

FLAGS = {
    DATA_VARIANT: "trained on a copy of the data that differs from the protocol's manifest",
    EXTRA_BUDGET: "trained longer or on more samples than the protocol gives",
    EXTERNAL: "somebody else's record: scores recomputed, training taken on trust",
    TEST_PRIOR: "knows the class proportions of the test set",
    TRANSDUCTIVE: "adapts to the unlabelled test inputs",
}
"""Flag -> what it means, in one line."""

OF_THE_RUN = (DATA_VARIANT, EXTERNAL)
"""Flags that follow from a run rather than from its method: with and without are never averaged."""

ON_TEST_SET = (TRANSDUCTIVE, TEST_PRIOR)
"""Flags of methods whose scores depend on the test set."""
