"""The tasks (flowers, relations) behind one protocol; no package above this one names a task."""

from flowerml.settings import Family, ModelSpec
from flowerml.tasks.base import Features, FrozenFeatures, Task, TaskData, Views
from flowerml.tasks.flowers import FlowersTask
from flowerml.tasks.relations import RelationsTask

__all__ = ["Features", "FrozenFeatures", "Task", "TaskData", "Views", "task_for"]


def task_for(spec: ModelSpec) -> Task:
    """The task of a model's family."""
    return RelationsTask() if spec.family is Family.RELATION else FlowersTask()
