"""Model to canonical Q/DQ ONNX, to each target's encoding, to a proven bundle."""

from edgeresnet.export.stage import ExportOptions, export_bundle

__all__ = ["ExportOptions", "export_bundle"]
