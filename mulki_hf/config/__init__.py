"""Every setting: the stream (`StreamConfig`, `TaskConfig`) and the training of each of its tasks (`MulKIConfig`).

The fields are declared beside the code that they are about; here they are only put together.
"""

from ..data.task_config import TaskConfig
from .stream import StreamConfig
from .training import MulKIConfig


__all__ = ["MulKIConfig", "StreamConfig", "TaskConfig"]
