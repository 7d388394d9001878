"""Predictions as files that other programs read: one writer a format, none knows of the others."""

from nucdet.export.coco import write_coco
from nucdet.export.geojson import PlaneNuclei, write_geojson
from nucdet.export.imagej import RoiPosition, write_rois
from nucdet.export.label_image import StackLayout, write_label_image, write_label_stack
from nucdet.export.record import ImageRecord
from nucdet.export.report import ReportFacts, write_report
from nucdet.export.tables import (
    read_table_text,
    table_text,
    write_kaggle,
    write_nuclei,
    write_summary,
    write_table,
    write_table_texts,
)

__all__ = [
    "ImageRecord",
    "PlaneNuclei",
    "ReportFacts",
    "RoiPosition",
    "StackLayout",
    "read_table_text",
    "table_text",
    "write_coco",
    "write_geojson",
    "write_kaggle",
    "write_label_image",
    "write_label_stack",
    "write_nuclei",
    "write_report",
    "write_rois",
    "write_summary",
    "write_table",
    "write_table_texts",
]
