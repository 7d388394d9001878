"""Predictions as files that other programs read: one writer a format, none knows of the others."""

from nucdet.export.coco import write_coco
from nucdet.export.geojson import write_geojson
from nucdet.export.imagej import write_rois
from nucdet.export.label_image import write_label_image
from nucdet.export.record import ImageRecord
from nucdet.export.report import ReportFacts, write_report
from nucdet.export.tables import write_kaggle, write_nuclei, write_summary, write_table

__all__ = [
    "ImageRecord",
    "ReportFacts",
    "write_coco",
    "write_geojson",
    "write_kaggle",
    "write_label_image",
    "write_nuclei",
    "write_report",
    "write_rois",
    "write_summary",
    "write_table",
]
