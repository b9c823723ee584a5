"""Exports a run to a bundle: graphs, their verification, golden samples and operating points."""

from edgemate.exporting.agreement import Agreement, Limits
from edgemate.exporting.package import Exported, ExportOptions, export_run

__all__ = ["Agreement", "ExportOptions", "Exported", "Limits", "export_run"]
