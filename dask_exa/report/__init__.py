"""What a run leaves behind: a page for people, a summary for programs."""

from dask_exa.report.html import Report
from dask_exa.report.result import AlarmPicture, Detection, FieldResult, Picture, RunResult
from dask_exa.report.summary import write_summary

__all__ = [
    "AlarmPicture",
    "Detection",
    "FieldResult",
    "Picture",
    "Report",
    "RunResult",
    "write_summary",
]
