"""IProp on a GPU; nothing of it is imported before a GPU is named, so torch is there already."""

from interpix.propagation.device.graph import DeviceGraph
from interpix.propagation.device.run import propagate_tensor

__all__ = ["DeviceGraph", "propagate_tensor"]
