"""edgeresnet: from a trained ResNet to verified INT8 on an edge device."""

__version__ = "0.1.0"
