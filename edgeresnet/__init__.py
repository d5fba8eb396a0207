"""edgeresnet: from a trained ResNet to verified INT8 on an edge device."""

from edgeresnet.device.machine.process_environment import prepare

__version__ = "0.1.0"

# Before any module of ours can import a runtime.
prepare()
