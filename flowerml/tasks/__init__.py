"""What differs between tasks, and only that. Nothing above this folder knows a task's name."""

from flowerml.settings import ModelSpec
from flowerml.tasks.base import Task, TaskData
from flowerml.tasks.flowers import FlowersTask

__all__ = ["Task", "TaskData", "task_for"]


def task_for(spec: ModelSpec) -> Task:
    """The task a model is for."""
    assert spec.family.value in ("cnn", "vit")
    return FlowersTask()
