"""Tasks and protocols. One line a task: name -> where its `Task` object lives."""

TASKS = {
    "longtail-seg": "tasks.longtail_seg:TASK",
    "longtail-cls": "tasks.longtail_cls:TASK",
    "test-agnostic": "tasks.test_agnostic:TASK",
    "multilabel": "tasks.multilabel:TASK",
    "robust-auc": "tasks.robust_auc:TASK",
    "multimodal": "tasks.multimodal:TASK",
    "neural-collapse": "tasks.neural_collapse:TASK",
}
