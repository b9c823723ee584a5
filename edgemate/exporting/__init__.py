"""From a run to a bundle: graphs, proof that they agree with the network, golden samples and operating points."""

from edgemate.exporting.agreement import Agreement, Limits
from edgemate.exporting.package import Exported, ExportOptions, export_run

__all__ = ["Agreement", "ExportOptions", "Exported", "Limits", "export_run"]
