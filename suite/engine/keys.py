"""Keys of a base config with a meaning to the engine."""

PREDICTION_KEYS = ("prediction_dataloaders", "prediction_hooks")
"""Say how prediction sets other than the test set are made: from a data loader, or by a hook with
`after_train(runner)` and `arrays()`."""
PREDICTION_SET = "prediction_set"
"""In the `dataset_meta` of a test evaluator that collects a set other than `test`: which one."""
BUDGET_KEYS = ("train_cfg.max_iters", "train_dataloader.batch_size")
"""Left to a method whose card says `extra_budget`."""
FIXED = (
    *BUDGET_KEYS,
    "train_dataloader.dataset",
    "test_dataloader",
    "test_evaluator",
    "val_dataloader",
    "val_evaluator",
    *PREDICTION_KEYS,
)
"""Budget, data and test: `Protocol.fixed` of every protocol that trains with mmengine, but for its network."""
