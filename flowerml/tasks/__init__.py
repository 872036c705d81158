"""What differs between tasks, and only that. Nothing above this folder knows a task's name."""

from flowerml.settings import Family, ModelSpec
from flowerml.tasks.base import Task, TaskData, Views
from flowerml.tasks.flowers import FlowersTask
from flowerml.tasks.relations import RelationsTask

__all__ = ["Task", "TaskData", "Views", "task_for"]


def task_for(spec: ModelSpec) -> Task:
    """The task a model is for."""
    return RelationsTask() if spec.family is Family.RELATION else FlowersTask()
