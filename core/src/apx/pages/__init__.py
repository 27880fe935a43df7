"""Pages about runs, in one HTML file each: `report_page`, `save_report`."""

from .report import report_page, save_report
from .subject import Subject, open_subjects

__all__ = ["Subject", "open_subjects", "report_page", "save_report"]
