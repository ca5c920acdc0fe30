"""Multi-task pretraining of an encoder: several labelled sets, one head each, weighted losses."""

from jaxbridge.pretraining.fitting import PretrainSettings, pretrain
from jaxbridge.pretraining.mixing import TaskSet
from jaxbridge.pretraining.multi_task import MultiTask

__all__ = ["MultiTask", "PretrainSettings", "TaskSet", "pretrain"]
