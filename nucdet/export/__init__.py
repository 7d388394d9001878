"""Writers for prediction files that other programs read, one independent writer per format."""

from nucdet.export.coco import write_coco
from nucdet.export.geojson import PlaneNuclei, write_geojson
from nucdet.export.imagej import RoiPlane, RoiPosition, write_rois
from nucdet.export.label_image import (
    LabelPlane,
    StackLayout,
    write_label_image,
    write_label_stack,
)
from nucdet.export.record import ImageRecord, Metadata
from nucdet.export.report import ReportFacts, write_report
from nucdet.export.tables import (
    csv_text,
    read_csv_text,
    write_csv_texts,
    write_kaggle,
    write_nuclei,
    write_summary,
    write_table,
)

__all__ = [
    "ImageRecord",
    "LabelPlane",
    "Metadata",
    "PlaneNuclei",
    "ReportFacts",
    "RoiPlane",
    "RoiPosition",
    "StackLayout",
    "csv_text",
    "read_csv_text",
    "write_coco",
    "write_csv_texts",
    "write_geojson",
    "write_kaggle",
    "write_label_image",
    "write_label_stack",
    "write_nuclei",
    "write_report",
    "write_rois",
    "write_summary",
    "write_table",
]
